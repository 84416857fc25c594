//! One writer at a time: an advisory lock on a file beside the database.
//!
//! It is on a file of its own because closing any other handle of a database file would drop
//! the locks that SQLite itself holds on it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Holds the lock until it is dropped, or the process ends.
#[derive(Debug)]
pub(super) struct WriterLock {
    file: File,
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        // A child process that is being started by another thread has a copy of the handle until
        // it runs its program. If unlocking fails, closing will do.
        drop(self.file.unlock());
    }
}

impl WriterLock {
    /// Takes the lock of the database at this path; `None` if someone else has it.
    pub(super) fn take(database: &Path) -> io::Result<Option<Self>> {
        let file = private(OpenOptions::new().create(true).append(true)).open(path(database))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// New files are for their owner only.
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}
