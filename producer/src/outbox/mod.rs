//! The outbox: what a node has committed, in order, until the log has it.

#[cfg(feature = "directory")]
mod blk;
#[cfg(test)]
mod conformance;
#[cfg(feature = "directory")]
mod directory;
mod error;
#[cfg(feature = "directory")]
mod files;
mod memory;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod spec;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(all(test, any(feature = "rocksdb", feature = "sqlite")))]
mod tries;

#[cfg(feature = "rocksdb")]
pub use self::rocksdb::{OutboxFamily, OutboxThreadMode, OutboxUnit, RocksDbOutbox};
#[cfg(feature = "directory")]
pub use blk::{BlkBlock, BlkBlocks, BlkSettings};
#[cfg(feature = "directory")]
pub use directory::{BlockFormat, BlockHeader, ContentHash, DirectorySettings};
pub use error::OutboxError;
#[cfg(feature = "directory")]
pub use files::FileOutbox;
pub use memory::MemoryOutbox;
pub use spec::{Outbox, Pending, Row};
#[cfg(feature = "sqlite")]
pub use sqlite::{OutboxTable, PayloadSource, SCHEMA, SqliteOutbox};
