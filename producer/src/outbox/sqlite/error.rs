//! SQLite's errors as the outbox's.

use rusqlite::{Error, ErrorCode, ffi};

use crate::outbox::OutboxError;

impl OutboxError {
    /// The error of a statement, for an outbox that keeps something in SQLite. `what` says what
    /// was being done. A lock or a full disk may pass ([`OutboxError::Failed`]). A database that
    /// is not what it should be does not, and neither does the doubt after a failed fsync
    /// ([`OutboxError::Corrupt`]).
    pub fn from_sqlite(place: &str, what: &str, error: Error) -> Self {
        let (place, what) = (place.to_owned(), what.to_owned());
        let passes = passes(&error);
        let source = Some(error.into());
        if passes {
            OutboxError::Failed { place, what, source }
        } else {
            OutboxError::Corrupt { place, at: format!("its database ({what})"), source }
        }
    }
}

/// For `map_err`.
pub(super) fn failed(place: &str, what: &str) -> impl FnOnce(Error) -> OutboxError {
    move |error| OutboxError::from_sqlite(place, what, error)
}

fn passes(error: &Error) -> bool {
    let unsynced = [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC];
    match error.sqlite_error() {
        Some(error) if unsynced.contains(&error.extended_code) => false,
        Some(error) => !matches!(error.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase),
        // Not SQLite failed, but what it gave is no number or text where one must be.
        None => false,
    }
}
