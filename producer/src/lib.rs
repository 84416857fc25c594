//! The part of Tipline that a node embeds: outbox, publisher, backup status.

mod board;
mod digests;
mod ended;
mod outbox;
mod producer;
mod progress;
mod publisher;
mod settings;
mod status;
#[cfg(test)]
mod tests;
mod ticket;

pub use ended::Ended;
#[cfg(feature = "directory")]
pub use outbox::{
    BlkBlock, BlkBlocks, BlkSettings, BlockFormat, BlockHeader, ContentHash, DirectorySettings,
    FileOutbox,
};
pub use outbox::{MemoryOutbox, Outbox, OutboxError, Pending, Row};
#[cfg(feature = "rocksdb")]
pub use outbox::{OutboxFamily, OutboxThreadMode, OutboxUnit, RocksDbOutbox};
#[cfg(feature = "sqlite")]
pub use outbox::{OutboxTable, PayloadSource, SCHEMA, SqliteOutbox};
pub use producer::Producer;
pub use progress::{Progress, Stage};
pub use settings::{Continue, ProducerSettings, Trim};
pub use status::{BackupStatus, ConsumerStatus, Standing};
pub use ticket::Ticket;
