//! Errors of a log, by what the caller must do.

use tipline_proto::{DecodeError, Lineage};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a log did not answer, or answered with something that must not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Out of reach for now: connection, election, time-out. Try again, with a growing pause.
    #[error("the log at {place} does not answer: {what}")]
    Unavailable {
        /// Address of the log.
        place: String,
        /// What was being done.
        what: String,
        /// What went wrong.
        source: Option<Source>,
    },
    /// There is no such log. Opening never creates it, because an empty log in the place of a
    /// lost one is the worst answer. Check the address, or run `tipline init`.
    #[error("there is no log at {place}: {hint}")]
    NotFound {
        /// Address of the log.
        place: String,
        /// What to do.
        hint: String,
    },
    /// `init` found a log that is there already. Nothing was changed.
    #[error("there is a log at {place} already: {what}; to use it, leave out init")]
    AlreadyExists {
        /// Address of the log.
        place: String,
        /// What is there.
        what: String,
    },
    /// The log is another one than the caller's. Never continue. Two histories would mix.
    #[error("the log at {place} has lineage {found}, not {expected}: it is another log")]
    WrongLog {
        /// Address of the log.
        place: String,
        /// The lineage that was asked for.
        expected: Lineage,
        /// The lineage that is there.
        found: Lineage,
    },
    /// The log no longer holds what was asked for, or not yet.
    #[error("the log holds entries {first} to {last}, not {asked}")]
    OutOfRange {
        /// Index that was asked for.
        asked: u64,
        /// First index it holds.
        first: u64,
        /// Last index it holds; `first - 1` if it holds none.
        last: u64,
    },
    /// Bytes in the log are not what was written. Stop, and compare with another copy.
    #[error("the log at {place} is damaged at {at}")]
    Corrupt {
        /// Address of the log.
        place: String,
        /// Which entry, message or row.
        at: String,
        /// What is wrong there.
        source: Option<Source>,
    },
    /// The log cannot be used as it is, for its settings, version or permissions, or by this handle,
    /// whose connection ended for good. Trying again does not help. The message says what to change.
    #[error("the log at {place} cannot be used: {why}")]
    Unusable {
        /// Address of the log.
        place: String,
        /// What is wrong, and what to do.
        why: String,
        /// What went wrong.
        source: Option<Source>,
    },
    /// The server denies it to this user. Nothing was done. Somebody has to change the user's
    /// permissions there, or to give the credentials of another user here.
    #[error("the log at {place} denies it: {user}, may not {action}: {hint}")]
    Denied {
        /// Address of the log.
        place: String,
        /// Who we are there, without anything that is secret.
        user: String,
        /// What was denied, with its subject.
        action: String,
        /// Who may, or what to do.
        hint: String,
    },
    /// The unit can never be appended, because it is empty, over a limit, or not sealed in a row.
    /// A mistake of the caller; only in [`AppendError::Refused`].
    #[error("the unit cannot be appended: {why}")]
    BadUnit {
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// Durability is in doubt after a failed write or fsync. The handle refuses further work.
    /// Open the log again once the cause is removed, and read the tail.
    #[error("the log at {place} stopped after a failed write: {what}")]
    Failed {
        /// Address of the log.
        place: String,
        /// What failed.
        what: String,
        /// What went wrong.
        source: Option<Source>,
    },
}

impl LogError {
    /// Whether the same call may succeed later without anyone's doing.
    pub fn is_retryable(&self) -> bool {
        matches!(self, LogError::Unavailable { .. })
    }

    /// Bytes in the log that do not decode.
    pub fn damaged(place: impl Into<String>, at: impl Into<String>, source: DecodeError) -> Self {
        Self::Corrupt { place: place.into(), at: at.into(), source: Some(Box::new(source)) }
    }
}

/// Why a unit was not appended, or may not have been.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The log's tail is not the one that was expected. Nothing was written. Read the
    /// tail, which decides.
    #[error(
        "the log's tail is not the expected one: another writer, or an append that was in doubt"
    )]
    Conflict,
    /// It is not known whether the unit was written. Read the tail, which decides.
    #[error("it is not known whether the append was stored")]
    Doubt(#[source] LogError),
    /// The unit can never be written as it is. Nothing was written. Trying again does not help.
    #[error("the log refuses the append")]
    Refused(#[source] LogError),
}

/// An error and its sources in one line, for logs and receipts.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    error_texts(error).join(": ")
}

/// The texts of an error and its sources. Some libraries repeat an error's source in its own text.
/// What is in the text before is left out.
pub fn error_texts(error: &dyn std::error::Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    for source in std::iter::successors(error.source(), |error| error.source()) {
        let text = source.to_string();
        if !texts.last().is_some_and(|before| before.contains(&text)) {
            texts.push(text);
        }
    }
    texts
}
