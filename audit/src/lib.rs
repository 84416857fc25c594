//! Audit of a Tipline log and of everything that was made from it.
//!
//! - **Replay**: verified entries from a log or an archive, from the first to the last or any range
//!   of them, in constant memory ([`replay`]).
//! - **Verify**: that a log or an archive holds one unbroken history ([`verify_entries`]), and that
//!   a store or a checkpoint is one that could come of such a history ([`verify_content`]).
//! - **Compare**: where two of them differ ([`diff_entries`], [`diff_content`]).
//! - **A verifiable log**: the tree, tiles, checkpoints and proofs of C2SP ([`tlog`]), kept and
//!   signed beside an archive ([`tree`]), cosigned by witnesses and mirrors, and certified.
//! - **Receipts**: what consumers had acknowledged at a past time ([`receipts_at`]).
//! - **Statistics** and rows for export ([`Stats`], [`EntryRow`], `ParquetRows` with `parquet`).
//!
//! A store keeps what the chain is now, not the entries that it came from: it has no digest but that
//! of its cursor. What can be said of one alone is that it contradicts itself nowhere. To learn
//! whether its content is what the log said, compare it with entries.
//!
//! # Hard limits
//! - It reads, and never writes, what it audits. Only functions of [`tree`] that sign or
//!   cosign write, into a folder of their own.
//! - Memory is constant in the length of the history; see [`Replay`].
//! - Whether a block is valid, and a proof true, is for the chain to know.

mod blocks;
mod chain;
mod content;
mod diff;
mod error;
mod follow;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod names;
mod problems;
mod receipts;
mod replay;
mod row;
mod signers;
mod stats;
#[cfg(test)]
mod tests;
pub mod tlog;
pub mod tree;
mod verify;

pub use content::{ContentReport, verify_content, verify_parts};
pub use diff::{Depth, DiffReport, content_as_of, diff_content, diff_entries, diff_parts};
pub use error::{AuditError, Problem};
pub use follow::Follow;
pub use receipts::{
    Acknowledged, AnnouncedRow, Checked, Compared, ForgottenRow, PositionRow, ReceiptChange,
    ReceiptGap, ReceiptsAt, ReceiptsBetween, Recorded, Why, checks_at, receipts_at,
    receipts_between,
};
pub use replay::{Range, Replay, replay};
pub use row::EntryRow;
#[cfg(feature = "parquet")]
pub use row::ParquetRows;
pub use signers::{BadTrust, SignerKey, read_trust};
pub use stats::{DelayStats, KindStats, Stats, StatsReport};
pub use verify::{VerifyProgress, VerifyReport, verify_entries};
