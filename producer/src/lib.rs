//! The part of Tipline that a node embeds. It has the outbox, the publisher and the backup status.
//!
//! The node writes its events to an outbox of the medium that it keeps its blocks in, each under a
//! feature: tables of its SQLite (`sqlite`), or a column family of its RocksDB (`rocksdb`).
//! [`MemoryOutbox`] is for tests. An outbox over files that a node writes anyway is in the crate
//! `tipline-sources`. The suite `conformance` holds every [`Outbox`] to its promises.

mod board;
mod digests;
mod end_reason;
mod outbox;
mod producer;
mod progress;
mod publisher;
mod settings;
mod status;
#[cfg(test)]
mod tests;
mod ticket;

pub use end_reason::EndReason;
#[cfg(any(test, feature = "conformance"))]
pub use outbox::conformance;
pub use outbox::{MemoryOutbox, Outbox, OutboxError, Pending, Row, Waiting};
#[cfg(feature = "rocksdb")]
pub use outbox::{OutboxFamily, OutboxThreadMode, OutboxUnit, RocksDbOutbox};
#[cfg(feature = "sqlite")]
pub use outbox::{OutboxTable, PayloadSource, SCHEMA, SqliteOutbox, check_frames, frames_length};
pub use producer::Producer;
pub use progress::{HeldUp, Progress, Stage};
pub use settings::{Keep, ProducerSettings, ResumeFrom, Trim};
pub use status::{BackupStatus, ConsumerStatus};
pub use ticket::Ticket;
