//! The part of Tipline inside replicas and backups.
//!
//! A [`Consumer`] is pushed the entries of a log, verifies each one, applies them to a [`Store`]
//! in batches, and acknowledges with receipts what is durable there: so the primary knows,
//! without asking, what is safe, where, and up to which block.
//!
//! ```text
//! log ──► verify ──► store.apply (atomic, fsynced, with the cursor) ──► receipt
//! ```
//!
//! # It is
//! - exactly once in effect: the store's own cursor is the truth, what comes again is ignored;
//! - fail-stop: an entry that does not follow, fork, gap or wrong link, stops the consumer in
//!   front of it and is named; nothing is ever skipped;
//! - patient: while the log is away or the store is full it tries again, for ever, and says so;
//! - for any medium: a node's own store implements [`Store`] and [`StoreReader`].
//!
//! # It is not
//! - a consensus or an execution client: payloads are opaque, and that a block is valid is for
//!   the chain to know;
//! - a copy of the log: a store keeps what the chain is now, not how it came to be.
//!
//! # Hard limits
//! - A batch has at most 1,000 entries or 32 MiB of payload; one entry may be larger alone, up to 64 MiB.
//! - In memory are at most one batch each of arrived, verifying and applying entries, and two
//!   that wait: 160 MiB at most; with entries of 64 MiB, of which one waits at a time, 256 MiB.
//!   The store comes on top: see there.
//! - At most 200 receipts per second, always the newest; the level is `durable`.
//! - A log that no longer holds its first entry cannot fill a new store alone: [`restore`] and
//!   [`catch_up`] do it from archives and checkpoints.
//!
//! Features: `sqlite` is the store in one SQLite file, `files` that of block files, `rocksdb` that
//! in a RocksDB directory; `archive` is archives, checkpoints, restore and the checks of them; `bundled` compiles SQLite in; `conformance` is the suite for a store of
//! one's own.

mod apply;
#[cfg(feature = "archive")]
mod archive;
mod backoff;
mod changes;
mod check;
#[cfg(feature = "archive")]
mod checkpoint;
#[cfg(feature = "archive")]
mod checks;
mod composite;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod consumer;
mod content;
#[cfg(feature = "archive")]
mod destination;
mod error;
#[cfg(feature = "files")]
mod files;
mod follow;
mod handle;
#[cfg(feature = "archive")]
mod identity;
#[cfg(feature = "archive")]
mod keys;
mod memory;
mod pinned;
mod progress;
mod queue;
mod receipts;
mod refusal;
mod replicate;
#[cfg(feature = "archive")]
mod restore;
mod resume;
pub mod retention;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod settings;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
#[cfg(test)]
mod tests;
mod verify;

#[cfg(feature = "archive")]
pub use archive::{
    Archive, ArchiveError, ArchiveKeeper, ArchivePlan, ArchiveRange, ArchiveStore, ExpireError,
    Merged, Row, SegmentIndex, SegmentName,
};
pub use changes::Changes;
#[cfg(feature = "archive")]
pub use checkpoint::{
    CheckpointError, CheckpointId, Checkpoints, Fate, Job, Keep, Listed, Manifest, ManifestFile,
    NotAnId,
};
#[cfg(feature = "archive")]
pub use checks::{
    Check, DrillReport, Record, Sample, VerifiedPlace, VerifyReport, common_point, drill, verify,
};
pub use composite::CompositeStore;
pub use consumer::Consumer;
pub use content::content_digest;
#[cfg(feature = "archive")]
pub use destination::{Destination, DestinationError, Object, Watch};
pub use error::ConsumerError;
#[cfg(feature = "files")]
pub use files::{FileReader, FileStore};
pub use handle::{Frozen, StoreHandle};
#[cfg(feature = "archive")]
pub use identity::{
    Identities, IdentityBackup, IdentityError, IdentityName, InvalidIdentityName, KeyFile,
};
#[cfg(feature = "archive")]
pub use keys::{KeyError, Keys};
pub use memory::MemoryStore;
pub use pinned::{Copied, Pace, Pinned, SharedCopy, SharedFile};
pub use progress::{Phase, Progress};
pub use refusal::{Refusal, VerifyError};
#[cfg(feature = "archive")]
pub use restore::{
    Achieved, Claim, ClaimedAt, OpenStore, Plan, PlannedCheckpoint, PlannedRead, RestoreError,
    RestoreProgress, RestoreReport, RestoreSettings, SignFloor, Sources, Step, StorePlace, Target,
    Verification, catch_up, claim, plan_for, plan_restore, restore,
};
#[cfg(feature = "rocksdb")]
pub use rocksdb::{RocksDbReader, RocksDbStore};
pub use settings::ConsumerSettings;
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteReader, SqliteStore};
pub use store::{
    Batch, Disagreement, Store, StoreError, StoreIdentity, StoreReader, StoredBlock, StoredLinks,
    StoredMark, StoredProof, StoredRecord, StoredTransaction,
};
pub use verify::{LookUp, REMEMBERED_POSITIONS, Verdict, Verifier};
