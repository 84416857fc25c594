//! One writer at a time, in front of RocksDB's own lock.
//!
//! RocksDB starts a new log of its own before it looks whether somebody else has the directory.
//! This lock is on the directory itself and changes nothing in it. Where the system has no such
//! lock, RocksDB's own decides alone.

use std::fs::{File, TryLockError};
use std::path::Path;

/// Holds the lock until it is dropped, or the process ends.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    _directory: Option<File>,
}

impl DirectoryLock {
    /// Takes the lock of a directory; `None` if someone else has it.
    pub(super) fn take(directory: &Path) -> Option<Self> {
        let Ok(directory) = File::open(directory) else {
            return Some(Self { _directory: None });
        };
        match directory.try_lock() {
            Ok(()) => Some(Self { _directory: Some(directory) }),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(_)) => Some(Self { _directory: None }),
        }
    }
}
