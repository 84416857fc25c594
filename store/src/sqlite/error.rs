//! What SQLite's errors mean for the caller.

use rusqlite::{Error, ErrorCode, ffi};

use crate::error::StoreError;

/// The error of a statement, by what the caller must do. `what` was being done, at `at`.
pub(super) fn store_error(place: &str, what: &str, error: Error) -> StoreError {
    let place = place.to_owned();
    let source = |error: Error| Some(Box::new(error) as Box<_>);
    match error.sqlite_error() {
        // Waiting for it was in vain.
        Some(found) if found.code == ErrorCode::DatabaseBusy => StoreError::InUse { place },
        Some(found) if is_full(found) => StoreError::NoSpace { place, source: source(error) },
        Some(found) if is_damage(found.code) => {
            StoreError::Corrupt { place, at: what.to_owned(), source: source(error) }
        }
        None if is_wrong_row(&error) => {
            StoreError::Corrupt { place, at: what.to_owned(), source: source(error) }
        }
        _ => StoreError::Failed { place, what: what.to_owned(), source: source(error) },
    }
}

/// The index of the WAL, a scratch file, is extended by a write whose failure has a code of
/// its own. Nothing durable is in doubt then.
fn is_full(error: &ffi::Error) -> bool {
    error.code == ErrorCode::DiskFull || error.extended_code == ffi::SQLITE_IOERR_SHMSIZE
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
