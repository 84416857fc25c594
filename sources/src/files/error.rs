//! Errors about files.

use std::io;
use std::path::Path;

use tipline_producer::OutboxError;

/// What errors of SQLite call an outbox over files: it says itself what it did, and not in which file.
pub(super) fn with_index(place: &str, index: &Path) -> String {
    format!("{place} (its index is {})", index.display())
}

/// Something about a file is not what it must be.
pub(crate) fn damaged(
    place: &str,
    path: &Path,
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> OutboxError {
    let at = path.display().to_string();
    OutboxError::Corrupt { place: place.to_owned(), at, source: Some(why.into()) }
}

/// A file could not be read now.
pub(crate) fn io_failed(
    place: &str,
    what: &str,
    path: &Path,
) -> impl FnOnce(io::Error) -> OutboxError {
    let (place, what) = (place.to_owned(), format!("{what} {}", path.display()));
    move |source| OutboxError::Failed { place, what, source: Some(source.into()) }
}

/// A file, or a directory, could not be made durable. A second try would succeed and say
/// nothing, so there is none.
pub(crate) fn sync_failed(place: &str, path: &Path) -> impl FnOnce(io::Error) -> OutboxError {
    let (place, at) = (place.to_owned(), path.display().to_string());
    move |error| {
        let why = format!(
            "it could not be synced, so it may not be on the disk ({error}): see to the disk, \
             and start again"
        );
        OutboxError::Corrupt { place, at, source: Some(why.into()) }
    }
}
