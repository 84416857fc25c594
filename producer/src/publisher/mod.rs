//! The publisher: brings the outbox into the log, in order, exactly once, fenced.

mod conflicts;
mod core;
mod drive;
mod durability;
mod keep;
mod measured;
mod pace;
mod proofs;
mod protocol;
mod resume;
mod shared;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod traces;
mod worker;

pub(crate) use drive::run;
pub(crate) use measured::Measured;
pub(crate) use shared::Publisher;
pub(crate) use traces::Tracing;
pub(crate) use worker::{LetGo, OutboxWorker, WeakOutbox};
