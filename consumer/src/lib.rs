//! The part of Tipline inside replicas and backups: where log meets store.
//!
//! A [`Consumer`] is pushed the entries of a log, verifies each one, applies them to a
//! [`Sink`](tipline_store::Sink) in batches, and acknowledges with receipts what is durable
//! there. So the primary knows, without asking, what is safe, where, and up to which block.
//!
//! ```text
//! log ──► verify ──► store.apply (atomic, fsynced, with the cursor) ──► receipt
//! ```
//!
//! - Exactly once in effect: the store's own cursor is the truth, what comes again is ignored.
//! - Fail-stop: an entry that does not follow (fork, gap or wrong link) stops the consumer before
//!   it is applied, and is named. Nothing is ever skipped.
//! - Patient: while the log is unavailable or the store is full it retries, for ever, and says so.
//!
//! Whether a block is valid is for the chain to know.
//!
//! # Hard limits
//! - A batch has at most 1,000 entries or 32 MiB of payload; one entry may be larger alone, up to
//!   64 MiB.
//! - In memory are at most one batch each of arrived, verifying and applying entries, and two
//!   that wait: 160 MiB at most; with entries of 64 MiB, of which one waits at a time, 256 MiB.
//!   The store's own memory comes on top of that.
//! - At most 200 receipts per second, always the newest; the level is `durable`.
//! - A log that no longer holds its first entry cannot fill a new store alone. `tipline-backup`
//!   does it from archives and checkpoints.

mod consumer;
mod error;
mod follow;
mod handle;
mod join;
mod progress;
mod queue;
mod receipts;
mod refusal;
mod replay;
mod replicate;
mod settings;
mod store_thread;
mod telemetry;
#[cfg(test)]
mod tests;
mod verify;
mod verifying;
mod vouch;

pub use consumer::Consumer;
pub use error::ConsumerError;
pub use follow::StopReason;
pub use handle::{Frozen, StoreHandle};
pub use join::StartState;
pub use progress::{Phase, Progress};
pub use refusal::{Refusal, VerifyError};
pub use replay::replay;
pub use settings::ConsumerSettings;
pub use store_thread::{Answer, StoreThread};
pub use verify::{LookUp, REMEMBERED_POSITIONS, Verdict, Verifier, check_row};
pub use vouch::Vouching;
