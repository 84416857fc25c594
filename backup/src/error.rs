//! Why a restore was not made.

use tipline_consumer::ConsumerError;
use tipline_log::LogError;
use tipline_store::StoreError;

use crate::archive::ArchiveError;
use crate::checkpoint::CheckpointError;
use crate::destination::DestinationError;

/// Why a restore was not made. The store at the place to restore to is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// None of the places has an archive, a checkpoint or a log. Check the addresses.
    #[error("there is nothing to restore from: {places}")]
    NotFound {
        /// What was looked at, and what was found there.
        places: String,
    },
    /// The places belong to different logs. Never mix them: name those of one log.
    #[error("{place} is of {found}, but {other} is of {expected}: name places of one log")]
    WrongLog {
        /// The place that does not fit.
        place: String,
        /// What it is of.
        found: String,
        /// The place it was compared with.
        other: String,
        /// What that one is of.
        expected: String,
    },
    /// The target is older than everything that is kept. Choose a later one.
    #[error("{target} is too old: the earliest point that can be restored is {earliest}")]
    TooOld {
        /// As asked.
        target: String,
        /// The earliest point.
        earliest: String,
    },
    /// The target is not there yet. Choose an earlier one, or wait.
    #[error("{target} is not there yet: the latest point is {latest}")]
    NotYet {
        /// As asked.
        target: String,
        /// The latest point.
        latest: String,
    },
    /// No such block or mark is in what is kept.
    #[error("{target} is in none of the entries that are kept, {held}")]
    Unknown {
        /// As asked.
        target: String,
        /// What was searched.
        held: String,
    },
    /// Entries on the way to the target are kept nowhere. Name another place that has them, or
    /// choose a target in front of the hole.
    #[error(
        "{target} cannot be reached: entries {first} to {last} are missing; name another place that has them, or restore to index:{}", first - 1
    )]
    Gap {
        /// As asked.
        target: String,
        /// Index of the first missing entry.
        first: u64,
        /// Index of the last.
        last: u64,
    },
    /// What is needed is damaged at every place. Name another place, or choose an earlier target.
    #[error("{target} cannot be reached, entry {needed} is damaged wherever it is kept: {what}")]
    Corrupt {
        /// As asked.
        target: String,
        /// Index of the entry that cannot be had.
        needed: u64,
        /// Every file, and what is wrong with it.
        what: String,
    },
    /// The staged store is not what was asked for. It was not installed. The checkpoint is damaged
    /// in a way that its hashes do not show, or the disk is: keep what is there, and report it.
    #[error("the restored store is not what was asked for: {what}")]
    Verification {
        /// What differs.
        what: String,
    },
    /// This program made a mistake: it panicked, or was called with what it cannot use. It says
    /// nothing about the backup. Report it, with what was printed.
    #[error("internal error: {what}")]
    Internal {
        /// What went wrong, where.
        what: String,
        /// The cause, if it is an error.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// There is a store, or something else, at the place to restore to. Give another place, or
    /// say that it is to be replaced.
    #[error("{place} is not empty: give another place, or replace it with --force")]
    NotEmpty {
        /// The place.
        place: String,
    },
    /// Another restore works at this place. Wait for it, or stop it.
    #[error("another restore is at work for {place}: wait for it, or stop it")]
    InUse {
        /// The place.
        place: String,
    },
    /// It was told to stop. The next attempt goes on where this one was.
    #[error("stopped when asked, at entry {at}: the same command goes on from there")]
    Cancelled {
        /// Index of the last entry that is durable in the staged store.
        at: u64,
    },
    /// No place for all of it. Make room; the next attempt goes on where this one was.
    #[error("{place} has room for {free} bytes, and {needed} are needed: make room")]
    NoSpace {
        /// The place.
        place: String,
        /// Free bytes.
        free: u64,
        /// Needed bytes.
        needed: u64,
    },
    /// A place to restore from does not answer. As its error says.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// An archive cannot be read. As its error says.
    #[error(transparent)]
    Archive(ArchiveError),
    /// A set of checkpoints cannot be read. As its error says.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log does not answer. As its error says.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The staged store failed. As its error says.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or directory at the place to restore to could not be made, moved or removed.
    #[error("{doing} failed")]
    Files {
        /// What was being done, with its path.
        doing: String,
        /// What went wrong.
        source: std::io::Error,
    },
}

impl RestoreError {
    pub(crate) fn internal(
        what: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        RestoreError::Internal { what: what.into(), source: Some(Box::new(source)) }
    }

    /// Why a store's thread or the loop on it ended: whose error it is, it stays.
    pub(crate) fn consumer(error: ConsumerError) -> Self {
        match error {
            ConsumerError::Store(error) => error.into(),
            ConsumerError::Log(error) => error.into(),
            error => Self::internal("replaying entries ended unexpectedly", error),
        }
    }
}
