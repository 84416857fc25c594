//! What SQLite's errors mean for the caller.

use std::io::{self, ErrorKind};

use rusqlite::{Error, ErrorCode, ffi};

use crate::error::StoreError;

/// The error of a statement, by what the caller must do. `what` was being done, at `at`.
pub(super) fn store_error(place: &str, what: &str, error: Error) -> StoreError {
    // First of all: what is called after it may have an error of its own.
    let system = io::Error::last_os_error().kind();
    let place = place.to_owned();
    let source = |error: Error| Some(Box::new(error) as Box<_>);
    match error.sqlite_error() {
        // Waiting for it was in vain.
        Some(found) if found.code == ErrorCode::DatabaseBusy => StoreError::InUse { place },
        Some(found) if is_full(found, system) => {
            StoreError::NoSpace { place, source: source(error) }
        }
        Some(found) if is_damage(found.code) => {
            StoreError::Corrupt { place, at: what.to_owned(), source: source(error) }
        }
        None if is_wrong_row(&error) => {
            StoreError::Corrupt { place, at: what.to_owned(), source: source(error) }
        }
        _ => StoreError::Failed { place, what: what.to_owned(), source: source(error) },
    }
}

/// The error of a commit. The index of the WAL is extended when the batch is in the WAL, fsynced:
/// this handle shows nothing of it, and whoever reads the WAL after a crash finds it. So nobody knows
/// what became of it before it is opened again.
pub(super) fn commit_error(place: &str, error: Error) -> StoreError {
    match error.sqlite_error() {
        Some(found) if found.extended_code == ffi::SQLITE_IOERR_SHMSIZE => StoreError::Failed {
            place: place.to_owned(),
            what: "committing: there is no space for the index of its WAL, so it is not known \
                whether the batch is stored; free some"
                .to_owned(),
            source: Some(Box::new(error)),
        },
        _ => store_error(place, "committing", error),
    }
}

/// The index of the WAL, a scratch file, is extended by a write whose failure has a code of
/// its own. Nothing durable is in doubt then, but for a commit: see [`commit_error`]. Of a write that failed for a quota SQLite says only
/// that it failed. The system's last error of this thread is that of the write, unless a call that
/// SQLite made after it failed too: then it is a failed write, and the store stops.
fn is_full(error: &ffi::Error, system: ErrorKind) -> bool {
    let is_written = error.extended_code == ffi::SQLITE_IOERR_WRITE;
    error.code == ErrorCode::DiskFull
        || error.extended_code == ffi::SQLITE_IOERR_SHMSIZE
        || (is_written && system == ErrorKind::QuotaExceeded)
}

fn is_damage(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
}

/// A row that is not what the schema allows.
fn is_wrong_row(error: &Error) -> bool {
    use Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    matches!(
        error,
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..)
    )
}
