//! Why a store did not do what was asked.

use std::fmt;

use tipline_proto::Position;

use crate::stored::StoreIdentity;

/// Why a store did not do what was asked, by what the caller must do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store belongs to another log. Never mix them: give another place, or restore.
    #[error("the store {place} belongs to {found}, not to {expected}: give it another place")]
    WrongLog {
        /// Which store.
        place: String,
        /// What it was created for.
        found: Box<StoreIdentity>,
        /// What was asked for.
        expected: Box<StoreIdentity>,
    },
    /// A batch that does not start directly after the cursor. It is the caller's mistake; nothing changed.
    #[error("the store {place} is at {cursor}, the batch starts with entry {first}")]
    OutOfOrder {
        /// Which store.
        place: String,
        /// Where it is.
        cursor: Position,
        /// Index of the first entry of the batch.
        first: u64,
    },
    /// The parts of a composite store are not of one history, or too far apart to be brought in
    /// step. Nothing was changed. Find out which part is right, and fill the others from it or
    /// from the log.
    #[error("{0}")]
    Disagree(Box<Disagreement>),
    /// What is there is not a store of Tipline, or one of another version. Nothing was changed.
    #[error("{place} is not a usable store: {why}")]
    Unusable {
        /// Which store.
        place: String,
        /// What is wrong, and what to do.
        why: String,
        /// What went wrong.
        source: Option<Source>,
    },
    /// Another process or handle has it open for writing.
    #[error("the store {place} is in use by another process: stop that one first")]
    InUse {
        /// Which store.
        place: String,
    },
    /// Something in the store is not what was written. Stop, and restore from another copy.
    #[error("the store {place} is corrupt at {at}")]
    Corrupt {
        /// Which store.
        place: String,
        /// Which block, proof, row or file.
        at: String,
        /// What is wrong there.
        source: Option<Source>,
    },
    /// No space. Nothing of the batch was stored and the handle stays usable if the medium
    /// promises that; otherwise it is [`StoreError::Failed`]. Free some.
    #[error("no space left for the store {place}: free some; it resumes where it stopped")]
    NoSpace {
        /// Which store.
        place: String,
        /// What went wrong.
        source: Option<Source>,
    },
    /// The medium does not answer, or refuses the credentials. Nothing that was durable is lost,
    /// and the handle stays usable: bring it back; it is tried again until it answers.
    #[error("the store {place} is unavailable")]
    Unavailable {
        /// Which store.
        place: String,
        /// What went wrong.
        source: Option<Source>,
    },
    /// A read, a write or an fsync failed. After a write the handle refuses further work:
    /// remove the cause, and open the store again.
    #[error("the store {place} failed: {what}")]
    Failed {
        /// Which store.
        place: String,
        /// What was being done.
        what: String,
        /// What went wrong.
        source: Option<Source>,
    },
}

impl StoreError {
    /// Whether the same call may succeed later, with nothing lost until then: space is
    /// freed, its other user releases it, or the medium comes back.
    pub fn is_retryable(&self) -> bool {
        use StoreError::{InUse, NoSpace, Unavailable};
        matches!(self, NoSpace { .. } | InUse { .. } | Unavailable { .. })
    }

    pub(crate) fn unusable(place: &str, why: &str, source: Option<Source>) -> Self {
        Self::Unusable { place: place.to_owned(), why: why.to_owned(), source }
    }
}

/// What went wrong below.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// Whether a store that was created for `found` is one of the log that is `expected`: there is
/// nothing to create then.
///
/// # Errors
/// [`StoreError::WrongLog`] if it is one of another log.
pub(crate) fn is_created(
    place: &str,
    found: Option<&StoreIdentity>,
    expected: &StoreIdentity,
) -> Result<bool, StoreError> {
    match found {
        None => Ok(false),
        Some(found) if found == expected => Ok(true),
        Some(found) => Err(StoreError::WrongLog {
            place: place.to_owned(),
            found: Box::new(found.clone()),
            expected: Box::new(expected.clone()),
        }),
    }
}

/// How the parts of a composite store disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// Which store.
    pub place: String,
    /// The part that does not fit.
    pub part: String,
    /// Where that part is; none if it was never created for a log.
    pub found: Option<Position>,
    /// The part that has the cursor.
    pub last: String,
    /// Where that one is.
    pub cursor: Option<Position>,
    /// How they differ.
    pub why: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |position: &Option<Position>| match position {
            Some(position) => format!("at {position}"),
            None => "new".to_owned(),
        };
        let Self { place, part, found, last, cursor, why } = self;
        let (found, cursor) = (at(found), at(cursor));
        write!(
            f,
            "the parts of the store {place} disagree: {part} is {found}, {last}, which has the cursor, is {cursor}: {why}; \
             find out which of them is right, and fill the other from it, or alone from the log"
        )
    }
}
