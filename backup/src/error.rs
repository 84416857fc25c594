//! Why nothing was restored.

use tipline_consumer::ConsumerError;
use tipline_log::LogError;
use tipline_store::StoreError;

use crate::archive::ArchiveError;
use crate::checkpoint::CheckpointError;
use crate::destination::DestinationError;

/// Why nothing was restored. The store at the place to restore to is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// None of the places has an archive, a checkpoint or a log. Check the addresses.
    #[error("there is nothing to restore from: {places}")]
    NotFound {
        /// The places, and what was found there.
        places: String,
    },
    /// The places belong to different logs. Never mix them: name places of one log.
    #[error("{place} belongs to {found}, but {other} to {expected}: name places of one log")]
    WrongLog {
        /// The place that differs.
        place: String,
        /// The log of it.
        found: String,
        /// The place it was compared with.
        other: String,
        /// The log of that place.
        expected: String,
    },
    /// The target is older than everything that is kept. Choose a later one.
    #[error("{target} is too old: the earliest point that can be restored is {earliest}")]
    TooOld {
        /// As requested.
        target: String,
        /// The earliest point.
        earliest: String,
    },
    /// The target lies beyond everything that is kept. Choose an earlier one, or wait.
    #[error("{target} is not there yet: the latest point is {latest}")]
    NotYet {
        /// As requested.
        target: String,
        /// The latest point.
        latest: String,
    },
    /// What is kept has no such block or mark.
    #[error("{target} is in none of the entries that are kept, {held}")]
    Unknown {
        /// As requested.
        target: String,
        /// What was searched.
        held: String,
    },
    /// Entries on the way to the target are kept nowhere. Name another place that has them, or
    /// choose a target before the gap.
    #[error(
        "{target} cannot be reached: entries {first} to {last} are missing; name another place that has them, or restore to index:{}", first - 1
    )]
    Gap {
        /// As requested.
        target: String,
        /// Index of the first missing entry.
        first: u64,
        /// Index of the last.
        last: u64,
    },
    /// What is needed is damaged at every place. Name another place, or choose an earlier target.
    #[error(
        "{target} cannot be reached, entry {needed} is damaged wherever it is kept: {what}; name another place that has it, or restore to index:{}", needed - 1
    )]
    Corrupt {
        /// As requested.
        target: String,
        /// Index of the entry that cannot be read.
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
    /// Another restore is running for this place. Wait for it, or stop it.
    #[error("another restore is running for {place}: wait for it, or stop it")]
    InUse {
        /// The place.
        place: String,
    },
    /// It was cancelled. The next attempt resumes where this one stopped.
    #[error("cancelled at entry {at}: the same command resumes there")]
    Cancelled {
        /// Index of the last entry that is durable in the staged store.
        at: u64,
    },
    /// There is no space for all of it. Free some; the next attempt resumes where this one stopped.
    #[error("{place} has {free} bytes free, and {needed} are needed: free some space")]
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
    /// Whether it says that what is kept is not what it should be: missing, damaged, or not what was
    /// asked for. Everything else says nothing about it: a place that does not answer, a key that is
    /// not at hand, a full disk of this machine, a mistake of this program.
    pub fn is_about_what_is_kept(&self) -> bool {
        match self {
            RestoreError::NotFound { .. }
            | RestoreError::WrongLog { .. }
            | RestoreError::TooOld { .. }
            | RestoreError::NotYet { .. }
            | RestoreError::Unknown { .. }
            | RestoreError::Gap { .. }
            | RestoreError::Corrupt { .. }
            | RestoreError::Verification { .. } => true,
            RestoreError::Archive(error) => matches!(
                error,
                ArchiveError::NotFound { .. }
                    | ArchiveError::WrongLog { .. }
                    | ArchiveError::Corrupt { .. }
                    | ArchiveError::Gap { .. }
                    | ArchiveError::Fork { .. }
            ),
            RestoreError::Checkpoint(error) => matches!(error, CheckpointError::Corrupt { .. }),
            _ => false,
        }
    }

    pub(crate) fn internal(
        what: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        RestoreError::Internal { what: what.into(), source: Some(Box::new(source)) }
    }

    /// An archive's error, or that of its destination.
    pub(crate) fn archive(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Destination(error) => error.into(),
            error => RestoreError::Archive(error),
        }
    }

    /// Why a store's thread or the loop on it ended. Errors of the store and the log stay theirs.
    pub(crate) fn consumer(error: ConsumerError) -> Self {
        match error {
            ConsumerError::Store(error) => error.into(),
            ConsumerError::Log(error) => error.into(),
            error => Self::internal("replaying entries ended unexpectedly", error),
        }
    }
}
