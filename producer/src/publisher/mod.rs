//! The publisher: brings the outbox into the log, in order, exactly once, fenced.

mod core;
mod drive;
mod resume;
mod shared;
#[cfg(test)]
mod simulation;
mod worker;

pub(crate) use drive::run;
pub(crate) use shared::Publisher;
pub(crate) use worker::OutboxWorker;
