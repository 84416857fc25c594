//! Whether a name still leads to what was opened by it.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// A file or directory that is open, by its name and by what it is.
///
/// What was removed, or replaced by another of its name, can still be written to by whoever has it
/// open. It is gone with the process, so nothing in it counts as durable.
#[derive(Debug)]
pub(crate) struct Presence {
    path: PathBuf,
    inode: Inode,
    /// Its length when it was last found whole.
    bytes: u64,
}

impl Presence {
    /// Of what has this name now.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self { path: path.to_owned(), inode: Inode::of(&found), bytes: found.len() })
    }

    /// Whether the name still leads to it. Costs one look at its metadata.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if it is gone, or is another one; [`StoreError::Unavailable`] if the
    /// medium does not answer.
    pub(crate) fn check(&self, place: &str) -> Result<(), StoreError> {
        self.look(place).map(drop)
    }

    /// Likewise, for a file that is never cut: what was in it is gone, whatever its inode.
    ///
    /// # Errors
    /// The same errors as [`Presence::check`]; [`StoreError::Failed`] if it was cut.
    #[cfg(any(feature = "sqlite", feature = "rocksdb"))]
    pub(crate) fn check_not_cut(&mut self, place: &str) -> Result<(), StoreError> {
        let now = self.look(place)?;
        if now < self.bytes {
            return Err(self.cut(place, now));
        }
        self.found_whole(now);
        Ok(())
    }

    /// Whether it was cut, for who only reads it. What cannot be looked at is nothing to him.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if it was cut.
    #[cfg(feature = "sqlite")]
    pub(crate) fn check_not_cut_if_there(&self, place: &str) -> Result<(), StoreError> {
        match Self::of(&self.path) {
            Ok(found) if found.inode == self.inode && found.bytes < self.bytes => {
                Err(self.cut(place, found.bytes))
            }
            _ => Ok(()),
        }
    }

    /// Its length when it was last found whole.
    #[cfg(any(feature = "sqlite", feature = "rocksdb"))]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// It has all that it should have, and so many bytes.
    #[cfg(any(feature = "sqlite", feature = "rocksdb"))]
    pub(crate) fn found_whole(&mut self, bytes: u64) {
        self.bytes = bytes;
    }

    /// The error of a file that was cut, and has so many bytes now.
    #[cfg(any(feature = "sqlite", feature = "rocksdb"))]
    pub(crate) fn cut(&self, place: &str, now: u64) -> StoreError {
        let (path, before) = (self.path.display(), self.bytes);
        gone(place, &format!("{path} was cut from {before} to {now} bytes"))
    }

    /// Its length, if it is still the one.
    ///
    /// # Errors
    /// The same errors as [`Presence::check`].
    pub(crate) fn look(&self, place: &str) -> Result<u64, StoreError> {
        let found = Self::find(&self.path, place)?;
        if found.inode == self.inode {
            return Ok(found.bytes);
        }
        Err(gone(place, &format!("{} was replaced by another", self.path.display())))
    }

    /// What has this name now, which must be there.
    ///
    /// # Errors
    /// The same errors as [`Presence::check`].
    pub(crate) fn find(path: &Path, place: &str) -> Result<Self, StoreError> {
        Self::of(path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => gone(place, &format!("{} was removed", path.display())),
            _ => StoreError::Unavailable { place: place.to_owned(), source: Some(Box::new(e)) },
        })
    }
}

/// The error of a file that is not what was opened.
pub(crate) fn gone(place: &str, how: &str) -> StoreError {
    let what = format!("{how} while it was open: put it back, or restore it, and open it again");
    StoreError::Failed { place: place.to_owned(), what, source: None }
}

#[derive(Debug, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    #[cfg(unix)]
    fn of(found: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: found.dev(), number: found.ino() }
    }

    /// Where there is no such thing, that it is there must do.
    #[cfg(not(unix))]
    fn of(_found: &Metadata) -> Self {
        Self { device: 0, number: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_or_replaced_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, aside) = (directory.path().join("a"), directory.path().join("b"));
        fs::write(&path, "one").unwrap();
        let presence = Presence::of(&path).unwrap();
        fs::write(&path, "changed").unwrap();
        presence.check("here").unwrap();
        fs::rename(&path, &aside).unwrap();
        let removed = presence.check("here").unwrap_err();
        assert!(removed.to_string().contains("was removed"), "{removed}");
        fs::write(&path, "two").unwrap();
        let replaced = presence.check("here").unwrap_err();
        assert!(replaced.to_string().contains("was replaced"), "{replaced}");
        fs::rename(&aside, &path).unwrap();
        presence.check("here").unwrap();
    }

    #[cfg(any(feature = "sqlite", feature = "rocksdb"))]
    #[test]
    fn what_is_cut_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, "one").unwrap();
        let mut presence = Presence::of(&path).unwrap();
        fs::write(&path, "longer").unwrap();
        presence.check_not_cut("here").unwrap();
        fs::write(&path, "four").unwrap();
        // Not once only: it stays cut.
        for _ in 0..2 {
            let cut = presence.check_not_cut("here").unwrap_err();
            assert!(cut.to_string().contains("was cut from 6 to 4 bytes"), "{cut}");
        }
    }
}
