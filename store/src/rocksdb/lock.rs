//! One writer at a time, before RocksDB's own lock.
//!
//! RocksDB starts a new log of its own before it checks whether somebody else has the directory.
//! This lock is on the directory itself and changes nothing in it. Where the system has no such
//! lock, RocksDB's own decides alone.

use std::fs::File;
use std::path::Path;

use crate::disk::Lock;

/// Holds the lock until it is dropped, or the process ends.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    _directory: Option<Lock>,
}

impl DirectoryLock {
    /// Takes the lock of a directory; `None` if someone else has it.
    pub(super) fn acquire(directory: &Path) -> Option<Self> {
        match File::open(directory).and_then(Lock::acquire) {
            Ok(None) => None,
            Ok(held) => Some(Self { _directory: held }),
            Err(_) => Some(Self { _directory: None }),
        }
    }
}
