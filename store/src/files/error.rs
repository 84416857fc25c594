//! What errors of files mean for the caller.

use std::io;

use crate::error::StoreError;

/// The error of a step that made or changed files: a full disk can be waited for.
pub(super) fn changing(place: &str, what: String, error: io::Error) -> StoreError {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded => {
            StoreError::NoSpace { place: place.to_owned(), source: Some(Box::new(error)) }
        }
        _ => failed(place, what, error),
    }
}

/// The error of a read, or of a flush: after the latter nobody knows what is on the medium.
pub(super) fn failed(place: &str, what: String, error: io::Error) -> StoreError {
    StoreError::Failed { place: place.to_owned(), what, source: Some(Box::new(error)) }
}
