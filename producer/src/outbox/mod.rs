//! The outbox: what a node has committed, in order, until the log has it.

#[cfg(test)]
mod conformance;
mod error;
mod memory;
mod spec;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use error::OutboxError;
pub use memory::MemoryOutbox;
pub use spec::{Outbox, Pending, Row};
#[cfg(feature = "sqlite")]
pub use sqlite::{OutboxTable, PayloadSource, SCHEMA, SqliteOutbox};
