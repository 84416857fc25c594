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
    /// Its length when it was last looked at.
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
        match self.shorter(place)? {
            None => Ok(()),
            Some((before, now)) => Err(self.cut(place, before, now)),
        }
    }

    /// Likewise; its length before and now if it is shorter than when it was last looked at.
    ///
    /// # Errors
    /// The same errors as [`Presence::check`].
    #[cfg(any(feature = "sqlite", feature = "rocksdb"))]
    pub(crate) fn shorter(&mut self, place: &str) -> Result<Option<(u64, u64)>, StoreError> {
        let now = self.look(place)?;
        let before = std::mem::replace(&mut self.bytes, now);
        Ok((now < before).then_some((before, now)))
    }

    /// The error of a file that was cut.
    #[cfg(any(feature = "sqlite", feature = "rocksdb"))]
    pub(crate) fn cut(&self, place: &str, before: u64, now: u64) -> StoreError {
        gone(place, &format!("{} was cut from {before} to {now} bytes", self.path.display()))
    }

    /// Its length, if it is still the one.
    fn look(&self, place: &str) -> Result<u64, StoreError> {
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

fn gone(place: &str, how: &str) -> StoreError {
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
        let cut = presence.check_not_cut("here").unwrap_err();
        assert!(cut.to_string().contains("was cut from 6 to 4 bytes"), "{cut}");
    }
}
