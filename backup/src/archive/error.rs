//! What goes wrong with an archive, by what the caller must do.

use tipline_proto::LogIdentity;
use tipline_store::{StoreError, StoreIdentity};

use crate::destination::DestinationError;
use crate::keys::KeyError;

/// Why an archive did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// There is no archive at this place. Give the address of one, or start one there.
    #[error("there is no archive at {place}")]
    NotFound {
        /// Which destination.
        place: String,
    },
    /// The archive is one of another log. Never mix them: give another place.
    #[error("the archive at {place} belongs to {}, not to {}: give another place",
        StoreIdentity::from(&**found), StoreIdentity::from(&**expected))]
    WrongLog {
        /// Which destination.
        place: String,
        /// The log of the archive.
        found: Box<LogIdentity>,
        /// The log that was requested.
        expected: Box<LogIdentity>,
    },
    /// An object is not what was written. Use another source for what it held, and find out
    /// what happened to it.
    #[error("{place}: {object} is damaged: {what}")]
    Corrupt {
        /// Which destination.
        place: String,
        /// Which object.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// Segments are missing in between. Nothing after them can be reached by way of this
    /// archive: bring them back from another copy.
    #[error("the archive at {place} has a gap: entries {first} to {last} are in no segment")]
    Gap {
        /// Which destination.
        place: String,
        /// Index of the first entry that is missing.
        first: u64,
        /// Index of the last entry that is missing.
        last: u64,
    },
    /// Two segments are of different histories. Compare both with the log or another copy, and
    /// remove the wrong one.
    #[error("the archive at {place} holds two histories: {one} and {other} disagree")]
    Fork {
        /// Which destination.
        place: String,
        /// One of the two.
        one: String,
        /// The other.
        other: String,
    },
    /// It was written by a newer version of this program. Use that.
    #[error(
        "{place}: {object} has format {found}, this program reads up to {known}: use a newer one"
    )]
    Newer {
        /// Which destination.
        place: String,
        /// Which object.
        object: String,
        /// Its format.
        found: u32,
        /// The newest format that is known.
        known: u32,
    },
    /// It is encrypted, and none of the keys at hand opens it. Give the file of the right one.
    #[error("{place}: {object} is encrypted: give the identity file of one of its recipients")]
    NeedsKey {
        /// Which destination.
        place: String,
        /// Which object.
        object: String,
    },
    /// The archive encrypts to others than those given. Give these, or start another archive.
    #[error("the archive at {place} encrypts to {}, not to {}", list(found), list(given))]
    WrongRecipients {
        /// Which destination.
        place: String,
        /// The recipients that the archive names.
        found: Vec<String>,
        /// Those that were given.
        given: Vec<String>,
    },
    /// A key cannot be used. As the key's error says.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What was to be written does not fit together. It is the caller's mistake; nothing was
    /// written.
    #[error("these entries are no segment: {what}")]
    BadSegment {
        /// What is wrong with them.
        what: String,
    },
    /// The destination failed. As its error says.
    #[error(transparent)]
    Destination(#[from] DestinationError),
}

fn list(recipients: &[String]) -> String {
    if recipients.is_empty() { "nobody".to_owned() } else { recipients.join(", ") }
}

impl ArchiveError {
    /// Whether the same call may succeed later, with nothing lost until then.
    pub fn is_retryable(&self) -> bool {
        matches!(self, ArchiveError::Destination(error) if error.is_retryable())
    }
}

/// What the caller of a store must do after an error of its archive.
pub(super) fn store_error(place: String, error: ArchiveError) -> StoreError {
    match error {
        ArchiveError::WrongLog { found, expected, .. } => StoreError::WrongLog {
            place,
            found: Box::new((&*found).into()),
            expected: Box::new((&*expected).into()),
        },
        ArchiveError::Destination(error @ DestinationError::NoSpace { .. }) => {
            StoreError::NoSpace { place, source: Some(Box::new(error)) }
        }
        error if error.is_retryable() => {
            StoreError::Unavailable { place, source: Some(Box::new(error)) }
        }
        ArchiveError::Corrupt { object, what, .. } => {
            StoreError::Corrupt { place, at: format!("{object}: {what}"), source: None }
        }
        ArchiveError::Destination(DestinationError::NotFound { name, .. }) => {
            StoreError::Corrupt { place, at: format!("{name}: it is gone"), source: None }
        }
        ArchiveError::Destination(DestinationError::Unsupported { place: at, what, source }) => {
            let why = format!("{what}: give another destination than {at}");
            StoreError::Unusable { place, why, source }
        }
        ArchiveError::BadSegment { .. } | ArchiveError::Destination(_) => StoreError::Failed {
            place,
            what: "a segment could not be written".to_owned(),
            source: Some(Box::new(error)),
        },
        ArchiveError::Key(error) => StoreError::Unusable {
            place,
            why: "its key cannot be used".to_owned(),
            source: Some(Box::new(error)),
        },
        error => StoreError::Unusable { place, why: error.to_string(), source: None },
    }
}
