//! What RocksDB's errors mean for the caller.

use rocksdb::{Error, ErrorKind};

use crate::error::StoreError;

/// The error of an operation, by what the caller must do. `what` was being done, at `place`.
pub(super) fn store_error(place: &str, what: &str, error: Error) -> StoreError {
    let (place, kind, full) = (place.to_owned(), error.kind(), is_full_text(error.as_ref()));
    let source = Some(Box::new(error) as Box<_>);
    match kind {
        _ if full => StoreError::NoSpace { place, source },
        ErrorKind::Corruption => StoreError::Corrupt { place, at: what.to_owned(), source },
        _ => StoreError::Failed { place, what: what.to_owned(), source },
    }
}

/// A write found no space. RocksDB's kinds say less than its text, in which it puts its own word for
/// this right after the kind, then what it was doing. Only these two places count: the rest is
/// paths and the system's words. For a quota it has no word of its own; the system's comes last.
/// After an fsync that found no space nobody knows what is durable: that is a failure.
fn is_full_text(text: &str) -> bool {
    let syncing = ["While fsync", "While fdatasync", "While sync"];
    let doing = match text.strip_prefix("IO error: No space left on device: ") {
        Some(doing) => Some(doing),
        None => text.strip_prefix("IO error: ").filter(|_| is_quota_text(text)),
    };
    doing.is_some_and(|doing| !syncing.iter().any(|what| doing.starts_with(what)))
}

/// As glibc and musl say it.
fn is_quota_text(text: &str) -> bool {
    text.ends_with(": Disk quota exceeded") || text.ends_with(": Quota exceeded")
}

/// Nothing was written, because what was written before is not in the files yet.
pub(super) fn is_stall(error: &Error) -> bool {
    error.kind() == ErrorKind::Incomplete && error.as_ref().ends_with("Write stall")
}

/// Somebody else has the directory open for writing, in this process or another.
pub(super) fn is_locked(error: &Error) -> bool {
    error.kind() == ErrorKind::IOError && is_locked_text(error.as_ref())
}

fn is_locked_text(text: &str) -> bool {
    text.starts_with("IO error: lock hold by current process")
        || text.ends_with(": Resource temporarily unavailable")
}

/// The system refused a file, by its permissions or those of the file system.
pub(super) fn is_denied(error: &Error) -> bool {
    is_denied_text(error.as_ref())
}

fn is_denied_text(text: &str) -> bool {
    // The system's reason comes last, after the path.
    let denied = [": Permission denied", ": Read-only file system", ": Operation not permitted"];
    denied.iter().any(|denied| text.ends_with(denied))
}

/// An error of what is found, instead of one of RocksDB.
pub(super) fn damaged(
    place: &str,
    at: String,
    error: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::Corrupt { place: place.to_owned(), at, source: Some(Box::new(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_or_quota_is_told_by_its_error_and_not_by_a_path() {
        let full = "IO error: No space left on device: While appending to file: /a/1.log: \
            No space left on device";
        assert!(is_full_text(full));
        let sync = "IO error: No space left on device: While fdatasync: /a/1.log: \
            No space left on device";
        assert!(!is_full_text(sync));
        let elsewhere = "IO error: While open a file for appending: \
            /No space left on device/1.log: Input/output error";
        assert!(!is_full_text(elsewhere));
        let named = "IO error: No space left on device: While appending to file: \
            /While fsync/1.log: No space left on device";
        assert!(is_full_text(named));
        let quota = "IO error: While appending to file: /a/1.log: Disk quota exceeded";
        assert!(is_full_text(quota));
        assert!(is_quota_text(quota) && !is_quota_text(full));
        let sync = "IO error: While fdatasync: /a/1.log: Disk quota exceeded";
        assert!(!is_full_text(sync));
        let elsewhere = "IO error: While appending to file: \
            /a: Disk quota exceeded/1.log: Input/output error";
        assert!(!is_full_text(elsewhere));
    }

    #[test]
    fn a_refusal_is_told_by_the_reason_and_not_by_a_path() {
        let denied = "IO error: While open a file for appending: /a/LOCK: Permission denied";
        assert!(is_denied_text(denied));
        let elsewhere = "IO error: While open a file for appending: \
            /Permission denied/LOCK: Input/output error";
        assert!(!is_denied_text(elsewhere));
        let locked = "IO error: While lock file: /a/LOCK: Resource temporarily unavailable";
        assert!(is_locked_text(locked));
        let own = "IO error: lock hold by current process, acquire time 1 acquiring thread 2: \
            /a/LOCK: No locks available";
        assert!(is_locked_text(own));
        let elsewhere = "IO error: While lock file: \
            /lock hold by current process/LOCK: Input/output error";
        assert!(!is_locked_text(elsewhere));
    }
}
