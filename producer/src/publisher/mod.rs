//! The publisher: brings the outbox into the log, in order, exactly once, fenced.

mod core;
mod drive;
mod resume;
#[cfg(test)]
mod simulation;
mod worker;

pub(crate) use drive::{Publisher, run};
pub(crate) use worker::OutboxWorker;
