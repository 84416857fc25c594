//! Whether the files that every write needs are still there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Presence, listing};
use crate::error::StoreError;

/// What RocksDB has open, and would write on in if it were removed: it notices only when it makes
/// its next file.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    directory: Presence,
    /// RocksDB's own lock. It is made when RocksDB opens, and never replaced: another one is there
    /// only if somebody went past it.
    lock: Presence,
    /// The newest log of writes that was seen: what is in it may be in no other file.
    log: Option<(String, Presence)>,
}

impl Files {
    /// As they are now.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let (directory, lock) = (Presence::of(path)?, Presence::of(&path.join("LOCK"))?);
        let log = newest_log(path)?;
        Ok(Self { path: path.to_owned(), directory, lock, log })
    }

    /// Looks at the directory, at `LOCK`, at `CURRENT`, which RocksDB replaces and never leaves out,
    /// and at the log that was last found to be the newest.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if one of them is gone, is another one, or was cut;
    /// [`StoreError::Unavailable`] if the medium does not answer.
    pub(super) fn check(&mut self, place: &str) -> Result<(), StoreError> {
        self.directory.check(place)?;
        self.lock.check(place)?;
        Presence::find(&self.path.join("CURRENT"), place)?;
        let Some((name, log)) = &mut self.log else { return self.look_for_log(place) };
        let Err(error) = log.check_not_cut(place) else { return Ok(()) };
        // RocksDB removes one whose rows are in files, if there is a newer one.
        let name = name.clone();
        self.look_for_log(place)?;
        match &self.log {
            Some((newest, _)) if is_newer(newest, &name) => Ok(()),
            _ => Err(error),
        }
    }

    /// Likewise, and finds the newest log of now, for which it lists the directory.
    ///
    /// # Errors
    /// The same errors as [`Files::check`].
    pub(super) fn check_all(&mut self, place: &str) -> Result<(), StoreError> {
        self.check(place)?;
        self.look_for_log(place)
    }

    fn look_for_log(&mut self, place: &str) -> Result<(), StoreError> {
        self.log = newest_log(&self.path).map_err(|e| listing(place, "looking for its log", e))?;
        Ok(())
    }
}

/// The log with the highest number.
fn newest_log(directory: &Path) -> io::Result<Option<(String, Presence)>> {
    let mut newest: Option<String> = None;
    for file in fs::read_dir(directory)? {
        let Ok(name) = file?.file_name().into_string() else { continue };
        let is_log = name.ends_with(".log");
        if is_log && newest.as_ref().is_none_or(|newest| is_newer(&name, newest)) {
            newest = Some(name);
        }
    }
    let Some(name) = newest else { return Ok(None) };
    match Presence::of(&directory.join(&name)) {
        Ok(log) => Ok(Some((name, log))),
        // There is a newer one by now, for the next look.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Names are numbers of six digits, or of more where there must be more.
fn is_newer(name: &str, than: &str) -> bool {
    (name.len(), name) > (than.len(), than)
}
