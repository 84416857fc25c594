//! The outbox: what a node has committed, in order, until the log has it.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod memory;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod spec;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(test)]
mod tests;

#[cfg(feature = "rocksdb")]
pub use self::rocksdb::{OutboxFamily, OutboxThreadMode, OutboxUnit, RocksDbOutbox};
pub use error::OutboxError;
pub use memory::MemoryOutbox;
pub(crate) use spec::Limits;
pub use spec::{Outbox, Pending, Row, Waiting};
#[cfg(feature = "sqlite")]
pub use sqlite::{OutboxTable, PayloadSource, SCHEMA, SqliteOutbox, check_frames, frames_length};
