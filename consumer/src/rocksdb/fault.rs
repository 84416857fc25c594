//! What RocksDB's errors mean for the caller.

use rocksdb::{Error, ErrorKind};

use crate::store::StoreError;

/// An error of RocksDB, by what the caller must do. `what` was being done, at `what`.
pub(super) fn fault(place: &str, what: &str, error: Error) -> StoreError {
    let place = place.to_owned();
    if is_full(&error) {
        return StoreError::Full { place, source: Some(Box::new(error)) };
    }
    match error.kind() {
        ErrorKind::Corruption => {
            StoreError::Damaged { place, at: what.to_owned(), source: Some(Box::new(error)) }
        }
        _ => StoreError::Failed { place, what: what.to_owned(), source: Some(Box::new(error)) },
    }
}

/// Somebody else has the database open for writing.
pub(super) fn is_locked(error: &Error) -> bool {
    error.kind() == ErrorKind::IOError && error.as_ref().to_lowercase().contains("lock")
}

/// A write found no room. Behind an fsync that did, it is not known what is durable: that is
/// another error.
fn is_full(error: &Error) -> bool {
    let text = error.as_ref();
    text.contains("No space left on device") && !text.contains("sync")
}

/// A row that is not what the format allows.
pub(super) fn damaged(place: &str, at: &str) -> StoreError {
    StoreError::Damaged { place: place.to_owned(), at: at.to_owned(), source: None }
}
