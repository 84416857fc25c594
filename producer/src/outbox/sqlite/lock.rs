//! The lock by which publishers of one database know of each other.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::outbox::OutboxError;

/// `<database>.tipline-lock`, the lock of whoever publishes from outside of the node too, who has it
/// exclusively. It stays when nobody has it.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: io::Result<File>,
}

impl Lock {
    pub(super) fn of(database: &Path) -> Self {
        // One database is one outbox, by whatever name.
        let database = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
        let mut path = database.into_os_string();
        path.push(".tipline-lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        Self { path: path.into(), file }
    }

    /// Runs `change` while nobody else publishes from the database.
    pub(super) fn alone<T>(
        &self,
        place: &str,
        change: impl FnOnce() -> Result<T, OutboxError>,
    ) -> Result<T, OutboxError> {
        let unusable = |why: String, source: Option<io::Error>| OutboxError::Unusable {
            place: place.to_owned(),
            why,
            source: source.map(Into::into),
        };
        let path = self.path.display();
        let cannot = || format!("it must be brought to this version, and {path} cannot be locked");
        let file = self.file.as_ref().map_err(|error| {
            let error = io::Error::new(error.kind(), error.to_string());
            unusable(format!("{}: make its directory writable", cannot()), Some(error))
        })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = format!(
                    "it is of an earlier version, and another publisher has it open (it holds \
                     {path}): end that one first, then start this one again, which brings it to \
                     this version"
                );
                return Err(unusable(why, None));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(cannot(), Some(error))),
        }
        let changed = change();
        let unlocked = file.unlock();
        let changed = changed?;
        unlocked.map_err(|error| unusable(cannot(), Some(error)))?;
        Ok(changed)
    }

    /// Keeps others from changing the tables, for as long as this is kept. `None` if somebody
    /// publishes from outside: the log decides between the two.
    pub(super) fn share(self) -> Option<Shared> {
        let file = self.file.ok()?;
        file.try_lock_shared().ok().map(|()| Shared { file })
    }
}

/// Keeps others from changing the tables until it is dropped, or the process ends.
#[derive(Debug)]
pub(super) struct Shared {
    file: File,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A child process that another thread is starting has a copy of the handle until it runs
        // its program. If unlocking fails, closing will do.
        _ = self.file.unlock();
    }
}
