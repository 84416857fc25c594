//! Whether a name still leads to what was opened by it.

use std::fs;
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
}

impl Presence {
    /// Of what has this name now.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), inode: Inode::of(path)? })
    }

    /// Whether the name still leads to it. Costs one look at its metadata.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if it is gone, or is another one; [`StoreError::Unavailable`] if the
    /// medium does not answer.
    pub(crate) fn check(&self, place: &str) -> Result<(), StoreError> {
        if Self::find(&self.path, place)?.inode == self.inode {
            return Ok(());
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
    fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let found = fs::metadata(path)?;
        Ok(Self { device: found.dev(), number: found.ino() })
    }

    /// Where there is no such thing, that it is there must do.
    #[cfg(not(unix))]
    fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|_| Self { device: 0, number: 0 })
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
}
