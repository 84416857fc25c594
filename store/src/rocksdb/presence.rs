//! Whether the files that RocksDB needs are still there, as long as they were.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::list::FileList;
use super::row_files::{RowFiles, names};
use super::view::Db;
use crate::disk::{Presence, listing};
use crate::error::StoreError;

/// A store that applies one batch after the other is looked at whole this often.
const WHOLE: Duration = Duration::from_secs(5);

/// What RocksDB has open, and would write on or read on in if it were removed: it notices only when
/// it makes its next file, or opens one again.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    directory: Presence,
    /// RocksDB's own lock. It is made when RocksDB opens, and never replaced: another one is there
    /// only if somebody went past it.
    lock: Presence,
    /// The newest log of writes that was seen: what is in it may be in no other file.
    log: Option<(String, Presence)>,
    list: FileList,
    rows: RowFiles,
    /// When all of it was looked at.
    looked: Instant,
}

impl Files {
    /// As they are now, in a directory that RocksDB has open.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let (directory, lock) = (Presence::of(path)?, Presence::of(&path.join("LOCK"))?);
        let names = names(path)?;
        let log = newest_log(path, &names)?;
        let (list, rows) = (FileList::of(path), RowFiles::of(path, &names));
        let looked = Instant::now();
        Ok(Self { path: path.to_owned(), directory, lock, log, list, rows, looked })
    }

    /// Whether the payloads are all there. See [`RowFiles::check_payloads`].
    pub(super) fn check_payloads(&self, place: &str, db: &Db) -> Result<(), StoreError> {
        self.rows.check_payloads(place, db)
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

    /// Whether it is time to look at everything.
    pub(super) fn is_due(&self) -> bool {
        self.looked.elapsed() >= WHOLE
    }

    #[cfg(test)]
    pub(super) fn be_due(&mut self) {
        self.looked = Instant::now().checked_sub(WHOLE).expect("it was on for so long");
    }

    /// Likewise, and at the list of files, and at the files of rows: it lists the directory, and
    /// finds the newest log of now.
    ///
    /// # Errors
    /// The same errors as [`Files::check`].
    pub(super) fn check_all(&mut self, place: &str, db: &Db) -> Result<(), StoreError> {
        self.looked = Instant::now();
        self.check(place)?;
        self.list.check(place, db)?;
        let names = self.names(place)?;
        self.log = newest_log(&self.path, &names).map_err(|e| listed(place, e))?;
        self.rows.check(place, &names, db)
    }

    fn names(&self, place: &str) -> Result<BTreeSet<String>, StoreError> {
        names(&self.path).map_err(|e| listed(place, e))
    }

    fn look_for_log(&mut self, place: &str) -> Result<(), StoreError> {
        let names = self.names(place)?;
        self.log = newest_log(&self.path, &names).map_err(|e| listed(place, e))?;
        Ok(())
    }
}

fn listed(place: &str, error: io::Error) -> StoreError {
    listing(place, "looking for its files", error)
}

/// The log with the highest number.
fn newest_log(
    directory: &Path,
    names: &BTreeSet<String>,
) -> io::Result<Option<(String, Presence)>> {
    let logs = names.iter().filter(|name| name.ends_with(".log"));
    let Some(name) = logs.max_by_key(|name| (name.len(), (*name).clone())) else { return Ok(None) };
    match Presence::of(&directory.join(name)) {
        Ok(log) => Ok(Some((name.clone(), log))),
        // There is a newer one by now, for the next look.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Names are numbers of six digits, or of more where there must be more.
fn is_newer(name: &str, than: &str) -> bool {
    (name.len(), name) > (than.len(), than)
}
