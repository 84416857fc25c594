//! The place to restore to. Everything is made beside it, and renamed last.
//!
//! | name | what it is |
//! |---|---|
//! | `STORE.restoring` | the store being restored: a store at every moment, from which a later attempt resumes |
//! | `STORE.fetching` | a checkpoint that is not there as a whole yet; removed by the next attempt |
//! | `STORE.carrying` | a logical copy: a store that gets the content of a checkpoint of another kind; likewise |
//! | `STORE.replaced` | what is being replaced, until the restored store has its name |
//! | `STORE.placing` | empty: parts are being installed, and not all may be |
//! | `STORE.restoring-lock` | locked while a restore is running; means nothing by itself |

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tipline_store::{Store, StoreError, StoreIdentity};

use crate::checkpoint::Manifest;
use crate::disk::{self, Lock, parent, with_suffix};
use crate::error::RestoreError;

const LOCK: &str = "restoring-lock";

/// Opens the parts of a store at these places, for writing.
pub type OpenStore = dyn Fn(&[PathBuf]) -> Result<Box<dyn Store>, StoreError> + Send + Sync;

/// A store to restore into.
#[derive(Clone)]
pub struct StorePlace {
    /// Kind (`sqlite`, `rocksdb`, `files`) and place of each part, in the order of a composite; one
    /// if it is none.
    pub parts: Vec<(String, PathBuf)>,
    /// How it is opened, at places like those of `parts`.
    pub open: Arc<OpenStore>,
}

impl fmt::Debug for StorePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorePlace").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl StorePlace {
    /// Its kinds of media.
    pub(super) fn kinds(&self) -> Vec<String> {
        self.parts.iter().map(|(kind, _)| kind.clone()).collect()
    }

    pub(super) fn name(&self) -> String {
        let part = |(kind, path): &(String, PathBuf)| format!("{kind}:{}", path.display());
        self.parts.iter().map(part).collect::<Vec<_>>().join("+")
    }
}

/// The one restore that is running for a place.
#[derive(Debug)]
pub(super) struct Stage {
    place: StorePlace,
    force: bool,
    _lock: Lock,
}

impl Stage {
    /// Locks the place for this restore.
    ///
    /// # Errors
    /// `InUse`; `NotEmpty` without `force`.
    pub(super) fn acquire(place: StorePlace, force: bool) -> Result<Self, RestoreError> {
        let Some((_, first)) = place.parts.first().cloned() else {
            let what = "the store to restore into has no parts".to_owned();
            return Err(RestoreError::Internal { what, source: None });
        };
        let lock = beside(&first, LOCK);
        let acquired = fs::create_dir_all(parent(&first)).and_then(|()| Lock::try_acquire(&lock));
        let Some(lock) = acquired.map_err(|source| files("locking", &lock, source))? else {
            return Err(RestoreError::InUse { place: place.name() });
        };
        let stage = Self { place, force, _lock: lock };
        stage.undo_install()?;
        stage.check_target()?;
        Ok(stage)
    }

    /// Whether there is space for what is read; a store is not smaller. What is staged already
    /// counts.
    pub(super) fn check_space(&self, bytes: u64) -> Result<(), RestoreError> {
        let first = parent(&self.paths()[0]).to_owned();
        let needed = bytes.saturating_mul(self.place.parts.len() as u64);
        let staged: u64 = self.staged().iter().map(|path| disk::size(path)).sum();
        match disk::free(&first) {
            Some(free) if free.saturating_add(staged) < needed => {
                let place = first.display().to_string();
                Err(RestoreError::NoSpace { place, free, needed: needed - staged })
            }
            _ => Ok(()),
        }
    }

    /// Whether there may be a store at the place.
    fn check_target(&self) -> Result<(), RestoreError> {
        let taken = self.place.parts.iter().find(|(_, path)| is_taken(path));
        let Some((kind, path)) = taken else { return Ok(()) };
        if !self.force {
            return Err(RestoreError::NotEmpty { place: format!("{kind}:{}", path.display()) });
        }
        // A process that has it open must close it first.
        match (self.place.open)(&self.paths()) {
            Err(error @ StoreError::InUse { .. }) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Undoes an installation that an earlier attempt did not finish: what has its name is staged
    /// again, so that a store is never installed in part.
    fn undo_install(&self) -> Result<(), RestoreError> {
        let placing = self.placing();
        if !placing.exists() {
            return Ok(());
        }
        for ((_, path), staged) in self.place.parts.iter().zip(self.staged()) {
            let replaced = beside(path, "replaced");
            if !staged.exists() && path.exists() {
                rename(path, &staged)?;
            }
            if !path.exists() && replaced.exists() {
                rename(&replaced, path)?;
                for suffix in ["-wal", "-shm"] {
                    let from = with_suffix(&replaced, suffix);
                    if from.exists() {
                        rename(&from, &with_suffix(path, suffix))?;
                    }
                }
            }
            sync(parent(path))?;
        }
        remove(&placing)?;
        sync(parent(&placing))
    }

    fn placing(&self) -> PathBuf {
        beside(&self.paths()[0], "placing")
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.place.parts.iter().map(|(_, path)| path.clone()).collect()
    }

    fn staged(&self) -> Vec<PathBuf> {
        self.place.parts.iter().map(|(_, path)| beside(path, "restoring")).collect()
    }

    /// Where a checkpoint is fetched to.
    pub(super) fn fetching(&self) -> PathBuf {
        beside(&self.paths()[0], "fetching")
    }

    /// Where the content of a checkpoint of another kind is copied to. The name is older than the
    /// word for it: keep it, so that what an earlier version left behind is removed.
    fn copying(&self) -> Vec<PathBuf> {
        self.place.parts.iter().map(|(_, path)| beside(path, "carrying")).collect()
    }

    /// Opens a new store for the content of a checkpoint of another kind.
    #[cfg(feature = "sqlite")]
    pub(super) fn open_copy(&self) -> Result<Box<dyn Store>, StoreError> {
        (self.place.open)(&self.copying())
    }

    /// A file beside it.
    #[cfg(feature = "sqlite")]
    pub(super) fn scratch(&self) -> PathBuf {
        self.fetching().join("order")
    }

    /// Makes the logical copy, which is closed, the staged store.
    #[cfg(feature = "sqlite")]
    pub(super) fn adopt_copy(&self) -> Result<(), RestoreError> {
        for (copy, staged) in self.copying().iter().zip(self.staged()) {
            rename(copy, &staged)?;
            sync(parent(&staged))?;
            // What is left are locks.
            remove(copy)?;
        }
        remove(&self.fetching())
    }

    /// Opens the staged store.
    pub(super) fn open(&self) -> Result<Box<dyn Store>, StoreError> {
        (self.place.open)(&self.staged())
    }

    /// How far the staged store of an earlier attempt is, if it belongs to this log and is not too
    /// far.
    pub(super) fn resume(&self, of: &StoreIdentity, to: u64) -> Option<u64> {
        if !self.staged().iter().all(|path| path.exists()) {
            return None;
        }
        let cursor = || {
            let store = self.open().ok()?;
            let is_of_it = store.identity().ok()?.as_ref() == Some(of);
            let cursor = store.reader().ok()?.cursor().ok()??;
            (is_of_it && cursor.position.index <= to).then_some(cursor.position.index)
        };
        cursor().filter(|index| *index > 0)
    }

    /// Removes everything staged and fetched.
    pub(super) fn clear(&self) -> Result<(), RestoreError> {
        for path in self.staged().iter().chain(&self.copying()).chain([&self.fetching()]) {
            remove(path)?;
        }
        Ok(())
    }

    /// Makes a fetched checkpoint the staged store.
    pub(super) fn adopt(&self, manifest: &Manifest) -> Result<(), RestoreError> {
        let fetched = self.fetching();
        let mut free: Vec<(usize, &String)> = manifest.parts.iter().enumerate().collect();
        for ((kind, _), staged) in self.place.parts.iter().zip(self.staged()) {
            let Some(at) = free.iter().position(|(_, found)| *found == kind) else {
                let what = format!("the checkpoint {} has no part of {kind}", manifest.id);
                return Err(RestoreError::Verification { what });
            };
            let part = fetched.join(format!("part-{}", free.remove(at).0));
            let from = if kind == "sqlite" { part.join("store.db") } else { part };
            rename(&from, &staged)?;
            sync(parent(&staged))?;
        }
        remove(&fetched)
    }

    /// Gives the staged store its name, and replaces whatever has it. If this ends in the middle,
    /// the next attempt finds all parts staged again.
    pub(super) fn install(&self) -> Result<(), RestoreError> {
        let placing = self.placing();
        // There is none: acquiring the place removed what an earlier attempt had left.
        disk::write_new(&placing, &[]).map_err(|source| files("making", &placing, source))?;
        sync(parent(&placing))?;
        for ((_, path), staged) in self.place.parts.iter().zip(self.staged()) {
            for suffix in ["-wal", "-journal"] {
                let left = with_suffix(&staged, suffix);
                if fs::metadata(&left).is_ok_and(|found| found.len() > 0) {
                    let what = format!("{} was left when the store was closed", left.display());
                    return Err(RestoreError::Verification { what });
                }
            }
            if staged.is_file() {
                sync(&staged)?;
            }
            let replaced = beside(path, "replaced");
            if is_taken(path) {
                remove(&replaced)?;
                // The old store's side files first: they must never meet the new one.
                for suffix in ["-wal", "-shm"] {
                    let from = with_suffix(path, suffix);
                    if from.exists() {
                        rename(&from, &with_suffix(&replaced, suffix))?;
                    }
                }
                rename(path, &replaced)?;
                sync(parent(path))?;
            }
            rename(&staged, path)?;
            sync(parent(path))?;
            remove(&replaced)?;
        }
        // What is left of the staged store are locks. What it was made of is left too, if the
        // attempt that made it was killed directly after.
        self.clear()?;
        remove(&placing)?;
        sync(parent(&placing))
    }
}

/// With nothing to resume from, nothing stays.
impl Drop for Stage {
    fn drop(&mut self) {
        let (staged, copying) = (self.staged(), self.copying());
        let alone = [self.fetching(), self.placing()];
        if !staged.iter().chain(&copying).chain(&alone).any(|path| path.exists()) {
            // It means nothing by itself.
            _ = fs::remove_file(beside(&self.paths()[0], LOCK));
        }
    }
}

/// Whether there is a store, or anything else that must not be lost.
fn is_taken(path: &Path) -> bool {
    match fs::metadata(path) {
        Err(_) => false,
        Ok(found) if found.is_dir() => fs::read_dir(path).is_ok_and(|found| {
            found.into_iter().flatten().any(|entry| entry.file_name() != "lost+found")
        }),
        Ok(found) => found.len() > 0,
    }
}

fn beside(path: &Path, what: &str) -> PathBuf {
    with_suffix(path, &format!(".{what}"))
}

/// Removes a store, with what SQLite keeps beside a file.
fn remove(path: &Path) -> Result<(), RestoreError> {
    for suffix in ["", "-wal", "-shm", "-journal", ".lock"] {
        let path = with_suffix(path, suffix);
        disk::remove(&path).map_err(|source| files("removing", &path, source))?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<(), RestoreError> {
    disk::rename(from, to).map_err(|source| files("renaming to", to, source))
}

fn sync(path: &Path) -> Result<(), RestoreError> {
    disk::sync(path).map_err(|source| files("flushing", path, source))
}

pub(super) fn files(doing: &str, path: &Path, source: io::Error) -> RestoreError {
    RestoreError::Files { doing: format!("{doing} {}", path.display()), source }
}
