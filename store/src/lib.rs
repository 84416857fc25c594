//! The store of a replica or backup: what it promises, and the stores that keep the promise.
//!
//! A [`Sink`] is a medium that verified entries are applied to, in batches, each atomic and fsynced
//! together with its cursor. A [`Store`] is one that can be read back, by a [`StoreReader`]. One
//! suite (`conformance`) holds every implementation to both, a node's own included.
//!
//! - `sqlite`: one SQLite file.
//! - `rocksdb`: a RocksDB directory.
//! - `files`: a file for each block and proof, and an index.
//! - [`CompositeStore`]: several of them in step. [`MemoryStore`]: nothing durable, for tests.
//!
//! A store knows no log, no runtime and no async: calls block. It keeps what the chain is now.

mod batch;
mod changes;
mod composite;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod content;
#[cfg(any(feature = "sqlite", feature = "rocksdb"))]
mod disk;
mod error;
#[cfg(feature = "files")]
mod files;
mod memory;
mod open_copy;
#[cfg(any(feature = "sqlite", feature = "rocksdb"))]
mod page;
mod reader;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod snapshot;
mod spec;
#[cfg(feature = "sqlite")]
mod sqlite;
mod stored;
#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use changes::Changes;
pub use composite::CompositeStore;
pub use content::{content_digest, content_digest_while};
pub use error::{Disagreement, StoreError};
#[cfg(feature = "files")]
pub use files::{FileReader, FileStore};
pub use memory::MemoryStore;
pub use open_copy::{can_open, open_copy};
pub use reader::{BlocksWithProofs, ChainView, StoreReader};
#[cfg(feature = "rocksdb")]
pub use rocksdb::{RocksDbReader, RocksDbStore};
pub use snapshot::{Copied, SharedCopy, SharedFile, Snapshot, Throttle};
pub use spec::{Sink, Store};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteReader, SqliteStore};
pub use stored::{
    StoreIdentity, StoredBlock, StoredLinks, StoredMark, StoredProof, StoredRecord,
    StoredTransaction,
};
