//! An active check: a mark goes the way of every event, from the primary's outbox through the log
//! into every store and back as a receipt, and each leg is timed.

mod legs;
#[cfg(test)]
mod tests;
mod wait;

pub use legs::{Answer, AnswerState, Probe, RoundTrip};
pub use wait::Prober;
