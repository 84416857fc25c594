//! What errors of SQLite mean for the caller.

use rusqlite::{ErrorCode, ffi};

use super::LOCK_LIMIT;
use crate::error::LogError;

/// What an error of SQLite means for the caller.
pub(super) fn explain(place: &str, what: &str, error: rusqlite::Error) -> LogError {
    let extended = error.sqlite_error().map_or(0, |error| error.extended_code);
    let (place, what) = (place.to_owned(), what.to_owned());
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed,
        ) => {
            let what = format!("{what}; another process held its lock for {LOCK_LIMIT:?}");
            LogError::Unavailable { place, what, source: Some(error.into()) }
        }
        // The transaction was rolled back. What was acknowledged before is not in doubt.
        Some(ErrorCode::DiskFull) => {
            let what = format!("{what}; there is no space left on its disk: free some");
            LogError::Unavailable { place, what, source: Some(error.into()) }
        }
        Some(ErrorCode::OutOfMemory) => {
            LogError::Unavailable { place, what, source: Some(error.into()) }
        }
        Some(ErrorCode::SystemIoFailure) if !is_read_failure(extended) => {
            LogError::Failed { place, what, source: Some(error.into()) }
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            let why =
                format!("{what} failed: check the permissions of the file and of its directory");
            LogError::Unusable { place, why, source: Some(error.into()) }
        }
        // Read failures, corruption, and tables or values that are not what was written.
        _ => LogError::Corrupt { place, at: what, source: Some(error.into()) },
    }
}

/// Codes that older bindings do not have; the numbers are SQLite's and do not change.
const SQLITE_IOERR_DATA: i32 = 8202;
const SQLITE_IOERR_CORRUPTFS: i32 = 8458;

fn is_read_failure(extended: i32) -> bool {
    matches!(
        extended,
        ffi::SQLITE_IOERR_READ
            | ffi::SQLITE_IOERR_SHORT_READ
            | SQLITE_IOERR_DATA
            | SQLITE_IOERR_CORRUPTFS
    )
}
