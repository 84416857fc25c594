//! One at a time in a set: an advisory lock on a file in its directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// The file. It stays; it means nothing by itself.
const NAME: &str = "lock";

/// Holds the lock until it is dropped, or the process ends.
#[derive(Debug)]
pub(crate) struct SetLock {
    file: File,
}

impl SetLock {
    /// Takes the lock of the set in this directory; `None` if someone else has it.
    pub(super) fn take(directory: &Path) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.create(true).append(true).open(directory.join(NAME))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for SetLock {
    fn drop(&mut self) {
        // A child process that is just being started has a copy of the handle. If unlocking
        // fails, closing will do.
        drop(self.file.unlock());
    }
}
