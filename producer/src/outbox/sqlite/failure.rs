//! SQLite's errors as the outbox's.

use rusqlite::{Error, ErrorCode, ffi};

use crate::outbox::OutboxError;

/// The error of a statement. A lock or a full disk may pass. A database that is not what it
/// should be does not, and neither does the doubt after a failed fsync.
pub(in crate::outbox) fn failed(place: &str, what: &str) -> impl FnOnce(Error) -> OutboxError {
    move |error| {
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

fn passes(error: &Error) -> bool {
    let unsynced = [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC];
    match error.sqlite_error() {
        Some(error) if unsynced.contains(&error.extended_code) => false,
        Some(error) => !matches!(error.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase),
        // Not SQLite failed, but what it gave is no number or text where one must be.
        None => false,
    }
}
