//! The outbox: what a node has committed, in order, until the log has it.

mod error;
mod spec;

pub use error::OutboxError;
pub use spec::{Outbox, Pending, Row};
