//! SQLite's errors as the outbox's.

use rusqlite::ErrorCode;

use crate::outbox::OutboxError;

/// The error of a statement. A lock or a full disk may pass; whatever says that the
/// database is not what it should be does not.
pub(in crate::outbox) fn failed(
    place: &str,
    what: &str,
) -> impl FnOnce(rusqlite::Error) -> OutboxError {
    move |error| {
        let (place, at) = (place.to_owned(), what.to_owned());
        let what = at.clone();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                OutboxError::Damaged { place, at, source: Some(Box::new(error)) }
            }
            _ => OutboxError::Failed { place, what, source: Some(Box::new(error)) },
        }
    }
}
