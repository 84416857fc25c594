//! The part of Tipline that a node embeds: outbox, publisher, backup status.

mod outbox;

#[cfg(feature = "directory")]
pub use outbox::{
    BlkBlock, BlkBlocks, BlkSettings, BlockFormat, BlockHeader, ContentHash, DirectorySettings,
    FileOutbox,
};
pub use outbox::{MemoryOutbox, Outbox, OutboxError, Pending, Row};
#[cfg(feature = "sqlite")]
pub use outbox::{OutboxTable, PayloadSource, SCHEMA, SqliteOutbox};
