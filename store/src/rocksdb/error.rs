//! What RocksDB's errors mean for the caller.

use rocksdb::{Error, ErrorKind};

use crate::error::StoreError;

/// The error of an operation, by what the caller must do. `what` was being done, at `place`.
pub(super) fn store_error(place: &str, what: &str, error: Error) -> StoreError {
    let (place, kind, full) = (place.to_owned(), error.kind(), is_full(&error));
    let source = Some(Box::new(error) as Box<_>);
    match kind {
        _ if full => StoreError::NoSpace { place, source },
        ErrorKind::Corruption => StoreError::Corrupt { place, at: what.to_owned(), source },
        _ => StoreError::Failed { place, what: what.to_owned(), source },
    }
}

/// A write found no room. RocksDB tells kinds apart by the text alone; this is its own, not the
/// system's. Behind an fsync that found none nobody knows what is durable: that is a failure.
fn is_full(error: &Error) -> bool {
    let text = error.as_ref();
    let syncing = ["While fsync", "While fdatasync", "While sync"];
    text.contains("No space left on device") && !syncing.iter().any(|what| text.contains(what))
}

/// Nothing was written, because what was written before is not in the files yet.
pub(super) fn is_stall(error: &Error) -> bool {
    error.kind() == ErrorKind::Incomplete && error.as_ref().contains("Write stall")
}

/// Somebody else has the directory open for writing, in this process or another.
pub(super) fn is_locked(error: &Error) -> bool {
    let text = error.as_ref();
    error.kind() == ErrorKind::IOError
        && (text.contains("lock hold by current process")
            || text.contains("Resource temporarily unavailable"))
}

/// An error of what is found, instead of one of RocksDB.
pub(super) fn damaged(
    place: &str,
    at: String,
    error: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::Corrupt { place: place.to_owned(), at, source: Some(Box::new(error)) }
}
