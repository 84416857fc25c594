//! What reading at the destinations proves.

use std::fmt;
use std::time::Duration;

use tipline_log::{Log, LogError, Survey};
use tipline_proto::{Position, Timestamp};

/// What kind of copy proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProvenKind {
    /// An archive: it has every entry up to the position, without a hole.
    Archive,
    /// A checkpoint: it holds the result of all entries up to the position.
    Checkpoint,
}

impl fmt::Display for ProvenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ProvenKind::Archive => "archive",
            ProvenKind::Checkpoint => "checkpoint",
        })
    }
}

/// What can be restored from one place, found out by reading there. It never relies on a receipt,
/// nor on what an archiver or the maker of a checkpoint remembers.
///
/// Every place that is named must prove its part: one that cannot be read, or has nothing,
/// keeps the whole log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// What is there.
    pub kind: ProvenKind,
    /// Its address, without secrets.
    pub place: String,
    /// Everything up to this position can be restored without the log; or why nothing is known
    /// to be restorable.
    pub covered: Result<Position, NotProven>,
}

/// Why a place proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotProven {
    /// It has no segment.
    #[error("it is empty")]
    Empty,
    /// It has no checkpoint.
    #[error("there is no checkpoint there")]
    NoCheckpoint,
    /// What is there is damaged.
    #[error("{what}")]
    Corrupt {
        /// What, and how.
        what: String,
    },
    /// It cannot be opened or read.
    #[error("{why}")]
    Unavailable {
        /// Why not.
        why: String,
    },
    /// Entries are missing.
    #[error("entries {first} to {last} are missing there")]
    Gap {
        /// Index of the first that is missing.
        first: u64,
        /// Index of the last.
        last: u64,
    },
    /// It is ahead of the log, which lost events.
    #[error("it is at event {index}, the log ends at {tail}: the log lost events")]
    Ahead {
        /// Where the place is.
        index: u64,
        /// Where the log ends.
        tail: u64,
    },
    /// It holds another history than the log.
    #[error("it holds another history than the log, at event {index}")]
    Fork {
        /// Where they differ.
        index: u64,
    },
    /// The survey did not read the log's entry there.
    #[error("event {index} was not compared with the log")]
    NotCompared {
        /// Which one.
        index: u64,
    },
}

impl Proven {
    /// The index up to which it counts, for the log that was surveyed; or why it does not.
    pub(super) fn counts(&self, survey: &Survey) -> Result<u64, NotProven> {
        let Position { index, digest } = *self.covered.as_ref().map_err(Clone::clone)?;
        let held = survey.held;
        if index > held.last {
            return Err(NotProven::Ahead { index, tail: held.last });
        }
        match survey.digests.get(&index) {
            // Nothing that is still there would go by it.
            _ if index < held.first => Ok(index),
            Some(own) if *own == digest => Ok(index),
            Some(_) => Err(NotProven::Fork { index }),
            None => Err(NotProven::NotCompared { index }),
        }
    }
}

/// Reads the log, with its digests at what was proven. What is younger than `keep_for` is young, by
/// the moment that [`Survey::ages`] gives; `now` is what the clock of this machine shows.
///
/// # Errors
/// The log's. Trimming meanwhile is no error.
pub async fn survey(
    log: &dyn Log,
    proven: &[Proven],
    keep_for: Duration,
    now: Timestamp,
) -> Result<Survey, LogError> {
    let covered = proven.iter().filter_map(|proven| proven.covered.as_ref().ok());
    Survey::read(log, covered.map(|position| position.index), keep_for, now).await
}
