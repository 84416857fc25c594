//! Whether the files that are open are still those of their names, and as long as they were.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::files::with_suffix;
use crate::error::LogError;

/// The files of a log, while a connection has them open.
///
/// SQLite itself continues to write into what was removed or replaced, and all of it would be lost.
/// What was cut away from a file it takes for what it has in memory.
pub(super) struct Files {
    place: String,
    database: Presence,
    /// The write-ahead log, and its index; `None` where nobody writes.
    beside: Option<(Presence, Presence)>,
}

impl Files {
    /// As they are now. A connection must have read the log, which makes the files beside it, and
    /// must stay open: nobody removes them as long as it does.
    pub(super) fn of(database: &Path, place: &str, is_read_only: bool) -> io::Result<Self> {
        let beside = |suffix: &str| Presence::of(with_suffix(database, suffix));
        let beside = match is_read_only {
            true => None,
            false => Some((beside("-wal")?, beside("-shm")?)),
        };
        let database = Presence::of(database.to_owned())?;
        Ok(Self { place: place.to_owned(), database, beside })
    }

    /// Whether they are all there, and nothing was cut from the log itself or from the index of its
    /// write-ahead log, which is mapped into memory. Costs three looks at their metadata.
    ///
    /// # Errors
    /// `Failed` if not, and then for good; `Unavailable` if the medium does not answer.
    pub(super) fn check(&self) -> Result<(), LogError> {
        self.database.check_not_cut(&self.place)?;
        if let Some((log, index)) = &self.beside {
            log.look(&self.place)?;
            index.check_not_cut(&self.place)?;
        }
        Ok(())
    }

    /// Whether the write-ahead log has all of the bytes that are in use, if it is shorter than when
    /// it last had them. Whoever has carried all of it into the file may cut it.
    ///
    /// # Errors
    /// As those of [`Files::check`], and of `in_use`.
    pub(super) fn check_wal(
        &self,
        in_use: impl Fn() -> Result<u64, LogError>,
    ) -> Result<(), LogError> {
        let Some((log, _)) = &self.beside else { return Ok(()) };
        let (before, now) = (log.bytes.load(Ordering::Acquire), log.look(&self.place)?);
        if now >= before {
            log.bytes.store(now, Ordering::Release);
            return Ok(());
        }
        // Twice: between the two looks another process may have had it begin again, and cut it.
        for _ in 0..2 {
            let in_use = match in_use() {
                Ok(in_use) => in_use,
                // What was to be read of it is not there.
                Err(LogError::Corrupt { .. }) => continue,
                Err(error) => return Err(error),
            };
            let now = log.look(&self.place)?;
            if now >= in_use {
                // Not before: if it cannot be told now, it is asked again.
                log.bytes.store(now, Ordering::Release);
                return Ok(());
            }
        }
        Err(log.cut(&self.place, before, now))
    }
}

/// A file that is open, by its name and by what it is.
struct Presence {
    path: PathBuf,
    inode: (u64, u64),
    /// Its length when it was last found whole.
    bytes: AtomicU64,
}

impl Presence {
    fn of(path: PathBuf) -> io::Result<Self> {
        let found = fs::metadata(&path)?;
        Ok(Self { path, inode: inode(&found), bytes: AtomicU64::new(found.len()) })
    }

    /// Its length, if it is still the one.
    fn look(&self, place: &str) -> Result<u64, LogError> {
        let gone = |how: &str, then: &str| {
            let what = format!("{} was {how} while it was open: {then}", self.path.display());
            Err(LogError::Failed { place: place.to_owned(), what, source: None })
        };
        match fs::metadata(&self.path) {
            Ok(found) if inode(&found) == self.inode => Ok(found.len()),
            Ok(_) => gone("replaced", "put back the one that was there"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => gone("removed", "put it back"),
            Err(error) => Err(LogError::Unavailable {
                place: place.to_owned(),
                what: format!("looking at {}", self.path.display()),
                source: Some(error.into()),
            }),
        }
    }

    /// For a file that is never cut: what is trimmed leaves room in it, and SQLite cuts an index only
    /// while nobody has it open.
    fn check_not_cut(&self, place: &str) -> Result<(), LogError> {
        let now = self.look(place)?;
        let longest = self.bytes.fetch_max(now, Ordering::AcqRel);
        if now >= longest {
            return Ok(());
        }
        // It may have grown since this look, and another one has seen that.
        let now = self.look(place)?;
        if now < longest { Err(self.cut(place, longest, now)) } else { Ok(()) }
    }

    fn cut(&self, place: &str, before: u64, now: u64) -> LogError {
        let path = self.path.display();
        let what = format!(
            "{path} was cut from {before} to {now} bytes while it was open: put back what was there"
        );
        LogError::Failed { place: place.to_owned(), what, source: None }
    }
}

#[cfg(unix)]
fn inode(found: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (found.dev(), found.ino())
}

#[cfg(not(unix))]
fn inode(_found: &Metadata) -> (u64, u64) {
    // An open file cannot be removed there.
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// While another process holds the lock, it is not known what is in use.
    #[test]
    fn a_cut_is_not_forgotten_because_it_could_not_be_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.db");
        let wal = with_suffix(&path, "-wal");
        for suffix in ["", "-wal", "-shm"] {
            fs::write(with_suffix(&path, suffix), [7; 100]).unwrap();
        }
        let files = Files::of(&path, "test", false).unwrap();
        fs::write(&wal, [7; 60]).unwrap();
        let busy = || {
            let (place, what) = ("test".to_owned(), "a lock".to_owned());
            Err(LogError::Unavailable { place, what, source: None })
        };
        let unknown = files.check_wal(busy).unwrap_err();
        assert!(matches!(unknown, LogError::Unavailable { .. }), "{unknown:?}");
        let cut = files.check_wal(|| Ok(80)).unwrap_err();
        assert!(matches!(cut, LogError::Failed { .. }), "{cut:?}");
        files.check_wal(|| Ok(60)).unwrap();
        files.check_wal(busy).unwrap();
    }
}
