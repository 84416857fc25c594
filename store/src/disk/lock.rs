//! One writer at a time: an advisory lock on a file or a directory.

use std::fs::{File, TryLockError};
use std::io;

/// Held until it is dropped, or the process ends however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Locks what is open; `None` if someone else holds the lock.
    pub(crate) fn acquire(file: File) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A child process that is being started by another thread has a copy of the handle until
        // it runs its program. If unlocking fails, closing will do.
        self.file.unlock().ok();
    }
}
