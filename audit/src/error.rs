//! Why an audit was not made, and what it found.

use std::io;

use tipline_backup::{ArchiveError, CheckpointError, RestoreError};
use tipline_consumer::Refusal;
use tipline_store::StoreError;

use crate::tree::TreeError;

/// Why an audit came to no result. It says nothing about what is audited.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// A source cannot be read, or there is nothing there.
    #[error(transparent)]
    Source(#[from] RestoreError),
    /// An archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tree beside an archive cannot be used, or contradicts it.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A store was never created for a log. Let a consumer fill it first, or name another one.
    #[error("{place} is new and empty")]
    Empty {
        /// Where it is.
        place: String,
    },
    /// No archiver that records receipts has written there yet. Name another archive, or ask the log
    /// what is acknowledged now.
    #[error("{place} has no history of receipts")]
    NoReceipts {
        /// Where it is not.
        place: String,
    },
    /// The range is not held. Ask for one that is, or name another source.
    #[error(
        "entries {from} to {to} cannot be checked: {place} holds entries {first} to {last}{hint}"
    )]
    Range {
        /// Where they are not.
        place: String,
        /// Index of the first entry that was asked for.
        from: u64,
        /// Index of the last.
        to: u64,
        /// Index of the oldest entry that is held.
        first: u64,
        /// Index of the newest.
        last: u64,
        /// What else is missing.
        hint: String,
    },
    /// The two are of different logs, so they say nothing about each other.
    #[error("{a} belongs to {of_a}, but {b} to {of_b}: they are of different logs")]
    WrongLog {
        /// The one.
        a: String,
        /// Its log.
        of_a: String,
        /// The other.
        b: String,
        /// Its log.
        of_b: String,
    },
    /// The directory of temporary files cannot be used. Free some space there, or set `TMPDIR`.
    #[error("the directory of temporary files cannot be used: {what}")]
    Scratch {
        /// What was being done.
        what: String,
        /// What went wrong.
        source: io::Error,
    },
    /// What was to be given is not good from somewhere on. What was given before is.
    #[error(transparent)]
    Found(#[from] Problem),
    /// It was told to stop.
    #[error("cancelled at entry {at}")]
    Cancelled {
        /// Index of the last entry that was checked; 0 where entries are not what is read.
        at: u64,
    },
    /// This program made a mistake. Report it, with what was printed.
    #[error("internal error: {what}")]
    Internal {
        /// What went wrong, where.
        what: String,
    },
}

/// What is wrong with what was audited.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// An entry does not continue the history before it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An entry is there twice.
    #[error("entry {index} is there more than once")]
    Repeated {
        /// Its index.
        index: u64,
    },
    /// Entries are kept nowhere.
    #[error("entries {first} to {last} are missing")]
    Missing {
        /// Index of the first.
        first: u64,
        /// Index of the last.
        last: u64,
    },
    /// An entry is corrupt wherever the source keeps it.
    #[error("entry {index} cannot be read: {what}")]
    Corrupt {
        /// Its index.
        index: u64,
        /// Every file, and what is wrong with it.
        what: String,
    },
    /// The proof tip is lower than it was asked to be.
    #[error("the proof tip is {}, not {asked} or higher: block {} has no proof", shown(*found), found.map_or(0, |tip| tip.saturating_add(1)))]
    Unproven {
        /// Height that should be proven.
        asked: u64,
        /// The proof tip.
        found: Option<u64>,
    },
    /// The log is damaged, or has lost what others know to be in it. Says what, and where.
    #[error("{0}")]
    Damaged(String),
}

impl Problem {
    /// Index of the entry that it is about, if it is about one.
    pub fn index(&self) -> Option<u64> {
        match self {
            Problem::Refused(Refusal::Gap { expected, .. }) => Some(*expected),
            Problem::Refused(refusal) => Some(refusal.index()),
            Problem::Repeated { index } | Problem::Corrupt { index, .. } => Some(*index),
            Problem::Missing { first, .. } => Some(*first),
            Problem::Unproven { .. } | Problem::Damaged(_) => None,
        }
    }
}

fn shown(height: Option<u64>) -> String {
    height.map_or("not there yet".to_owned(), |height| height.to_string())
}
