//! What errors of SQLite mean for the caller.

use std::io::{self, ErrorKind};

use rusqlite::{ErrorCode, ffi};

use super::LOCK_LIMIT;
use crate::error::LogError;

/// What an error of SQLite means for the caller.
pub(super) fn explain(place: &str, what: &str, error: rusqlite::Error) -> LogError {
    // First of all: what is called after it may have an error of its own.
    let system = io::Error::last_os_error().kind();
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
        Some(code) if is_full(code, extended, system) => {
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

/// Whether there is no space. The index of the write-ahead log is extended by a write whose failure
/// has a code of its own; it is made again from that log and holds nothing durable. Of a write that
/// failed for a quota SQLite says only that it failed. The system's last error of this thread is that
/// of the write, unless a call that SQLite made after it failed too: then it is a failed write.
fn is_full(code: ErrorCode, extended: i32, system: ErrorKind) -> bool {
    code == ErrorCode::DiskFull
        || extended == ffi::SQLITE_IOERR_SHMSIZE
        || (extended == ffi::SQLITE_IOERR_WRITE && system == ErrorKind::QuotaExceeded)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `None` if it may be tried again with space, else whether the handle is over.
    fn explained(extended: i32) -> Option<bool> {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(extended), None);
        match explain("p", "appending", error) {
            LogError::Unavailable { what, .. } if what.contains("no space left") => None,
            LogError::Failed { .. } => Some(true),
            _ => Some(false),
        }
    }

    #[test]
    fn a_full_disk_is_no_failed_write_whatever_does_not_fit() {
        assert_eq!(explained(ffi::SQLITE_FULL), None);
        assert_eq!(explained(ffi::SQLITE_IOERR_SHMSIZE), None);
        for extended in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_TRUNCATE] {
            assert_eq!(explained(extended), Some(true), "{extended}");
        }
        assert_eq!(explained(ffi::SQLITE_IOERR_READ), Some(false));
        let write = |system| is_full(ErrorCode::SystemIoFailure, ffi::SQLITE_IOERR_WRITE, system);
        assert!(write(ErrorKind::QuotaExceeded) && !write(ErrorKind::Other));
    }
}
