//! What the outboxes over a node's own files share: following the files, a small index of
//! the order in which they were seen, and reading payloads where they are.
//!
//! The index is an outbox in a SQLite file of its own whose rows only refer to the files:
//! `<path below the root>:<offset>:<length>`. It is written and fsynced after the files are.
//! What is in it is compared with what was written, at every look and whenever rows are given out.
//! What waits for the log is copied into it, within a limit, because a node may replace or remove
//! its files before.

mod changes;
mod copies;
mod durable;
mod error;
mod follow;
mod guard;
mod index;
mod outbox;
mod seal;
mod source;
mod stamp;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use changes::ChangeKind;
pub(super) use changes::{Completeness, FileChanges};
pub(super) use error::{damaged, io_failed, sync_failed};
pub(crate) use follow::FileMarks;
pub(super) use follow::{Look, Scan, Watched};
pub(super) use guard::Guard;
pub(super) use index::{Index, Item, from_i64, to_i64};
pub use outbox::FileOutbox;
pub(super) use source::{FileSource, reference, unmask};
pub(super) use stamp::Stamp;
