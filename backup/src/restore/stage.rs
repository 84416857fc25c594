//! The place to restore to. Everything is made beside it, and renamed last.
//!
//! | name | what it is |
//! |---|---|
//! | `STORE.restoring` | the store being restored: a store at every moment, from which a later attempt resumes |
//! | `STORE.restoring.copying` | a part of it that comes from another file system; removed by the next attempt |
//! | `STORE.fetching` | a checkpoint that is not there as a whole yet; what the next attempt does not fetch too, it removes |
//! | `STORE.carrying` | a logical copy: a store that gets the content of a checkpoint of another kind; likewise |
//! | `STORE.placing` | empty: parts are being installed, and not all may be; the next attempt undoes it |
//! | `STORE.replaced` | what is being replaced; without `STORE.placing` it was, and the next attempt removes the rest of it |
//! | `STORE.restoring-lock` | locked while a restore is running; means nothing by itself |

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tipline_store::{Store, StoreError, StoreIdentity};

use crate::checkpoint::Manifest;
use crate::disk::{self, Lock, parent, with_suffix};
use crate::error::RestoreError;

use super::plan::Space;

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

    /// Whether a restore without `force` would find the place free. Nothing is read of any source,
    /// and nothing changed or locked: ask it before the sources are opened. What an earlier attempt
    /// was installing counts as free, because the next one undoes that.
    ///
    /// # Errors
    /// [`RestoreError::NotEmpty`].
    pub fn check_free(&self) -> Result<(), RestoreError> {
        let place = self.resolved();
        match place.parts.first() {
            Some((_, first)) if beside(first, "placing").exists() => Ok(()),
            _ => Stage::check_free(&place, false),
        }
    }

    /// The same with what symbolic links lead to: beside that is staged, and that is replaced.
    pub(super) fn resolved(&self) -> Self {
        let part = |(kind, path): &(String, PathBuf)| (kind.clone(), disk::resolve(path));
        Self { parts: self.parts.iter().map(part).collect(), open: Arc::clone(&self.open) }
    }

    pub(super) fn name(&self) -> String {
        let part = |(kind, path): &(String, PathBuf)| format!("{kind}:{}", path.display());
        self.parts.iter().map(part).collect::<Vec<_>>().join("+")
    }
}

/// What SQLite keeps beside a file.
const SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The one restore that is running for a place.
#[derive(Debug)]
pub(super) struct Stage {
    place: StorePlace,
    force: bool,
    _lock: Lock,
    /// The installation ends after this many of its steps.
    #[cfg(test)]
    pub(super) steps: std::sync::atomic::AtomicUsize,
}

impl Stage {
    /// Locks the place for this restore.
    ///
    /// # Errors
    /// `InUse`; `NotEmpty` without `force`.
    pub(super) fn acquire(place: StorePlace, force: bool) -> Result<Self, RestoreError> {
        let place = place.resolved();
        let Some((_, first)) = place.parts.first().cloned() else {
            let what = "the store to restore into has no parts".to_owned();
            return Err(RestoreError::Internal { what, source: None });
        };
        let lock = beside(&first, LOCK);
        for (_, path) in &place.parts {
            let above = parent(path);
            disk::make_directories(above).map_err(|source| files("making", above, source))?;
        }
        let acquired = Lock::try_acquire(&lock);
        let Some(lock) = acquired.map_err(|source| files("locking", &lock, source))? else {
            return Err(RestoreError::InUse { place: place.name() });
        };
        let stage = Self {
            place,
            force,
            _lock: lock,
            #[cfg(test)]
            steps: usize::MAX.into(),
        };
        stage.undo_install()?;
        stage.remove_replaced()?;
        stage.check_target()?;
        Ok(stage)
    }

    /// Whether a restore to this place would find it free. Nothing is changed or locked.
    ///
    /// # Errors
    /// `NotEmpty` without `force`; `Files` if it is a mount point, which no rename replaces.
    pub(super) fn check_free(place: &StorePlace, force: bool) -> Result<(), RestoreError> {
        if let Some((_, path)) = place.parts.iter().find(|(_, path)| is_mount_point(path)) {
            let doing = format!(
                "replacing {}: it is a mount point; restore into a directory in it, because it",
                path.display()
            );
            return Err(RestoreError::Files { doing, source: io::ErrorKind::ResourceBusy.into() });
        }
        match place.parts.iter().find(|(_, path)| is_taken(path)) {
            Some((kind, path)) if !force => {
                Err(RestoreError::NotEmpty { place: format!("{kind}:{}", path.display()) })
            }
            _ => Ok(()),
        }
    }

    /// Whether there is space for all of it, on each file system that parts of it are on. What is
    /// staged already counts.
    pub(super) fn check_space(place: &StorePlace, space: &Space) -> Result<(), RestoreError> {
        // By file system: one directory on it, and what is needed there.
        let mut needed: BTreeMap<Option<u64>, (&Path, u64)> = BTreeMap::new();
        let first = place.parts.first().and_then(|(_, path)| disk::device(path));
        for (number, (_, path)) in place.parts.iter().enumerate() {
            let device = disk::device(path);
            let part = space.parts.get(number).copied().unwrap_or_default();
            // On the file system of the first it is moved there, elsewhere it is copied.
            let moved = if device == first { 0 } else { part.moved };
            let fetched = if number == 0 { space.fetched } else { 0 };
            let there = if number == 0 { disk::size(&beside(path, "fetching")) } else { 0 };
            let staged = disk::size(&beside(path, "restoring")) + there;
            let more = (fetched + part.written + moved).saturating_sub(staged);
            let (_, bytes) = needed.entry(device).or_insert((parent(path), 0));
            *bytes = bytes.saturating_add(more);
        }
        for (directory, needed) in needed.into_values() {
            match disk::free(directory) {
                Some(free) if free < needed => {
                    let place = directory.display().to_string();
                    return Err(RestoreError::NoSpace { place, free, needed });
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn place(&self) -> &StorePlace {
        &self.place
    }

    /// Whether there may be a store at the place.
    fn check_target(&self) -> Result<(), RestoreError> {
        Self::check_free(&self.place, self.force)?;
        if !self.place.parts.iter().any(|(_, path)| is_taken(path)) {
            return Ok(());
        }
        // A process that has it open must close it first.
        match (self.place.open)(&self.paths()) {
            Err(error @ StoreError::InUse { .. }) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Undoes an installation that an earlier attempt did not finish: what has its name is staged
    /// again, so that a store is never installed in part, and what it was to replace is back.
    fn undo_install(&self) -> Result<(), RestoreError> {
        let placing = self.placing();
        if !placing.exists() {
            return Ok(());
        }
        for ((_, path), staged) in self.place.parts.iter().zip(self.staged()) {
            let replaced = beside(path, "replaced");
            if !staged.exists() && path.exists() {
                rename_side_files(path, &staged)?;
                rename(path, &staged)?;
            }
            if !path.exists() && replaced.exists() {
                rename(&replaced, path)?;
            }
            // They went first.
            rename_side_files(&replaced, path)?;
            sync(parent(path))?;
        }
        remove(&placing)?;
        sync(parent(&placing))
    }

    /// Removes the rest of what was replaced, once the installation is beyond undoing.
    fn remove_replaced(&self) -> Result<(), RestoreError> {
        self.place.parts.iter().try_for_each(|(_, path)| remove(&beside(path, "replaced")))
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

    /// Opens the store in its place.
    fn open_installed(&self) -> Result<Box<dyn Store>, StoreError> {
        (self.place.open)(&self.paths())
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
        self.clear_staged()?;
        remove(&self.fetching())
    }

    /// Removes everything staged. What was fetched of a checkpoint is for whoever fetches one next.
    pub(super) fn clear_staged(&self) -> Result<(), RestoreError> {
        for path in self.staged().iter().chain(&self.copying()) {
            remove(path)?;
        }
        self.staged().iter().try_for_each(|path| remove(&disk::copying(path)))
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

    /// Gives the staged store its name, and replaces whatever has it. `check` reads it where it
    /// lies then: what it refuses is staged again. If this ends in the middle, the next attempt
    /// finds all parts staged again.
    pub(super) fn install(
        &self,
        check: impl FnOnce(&dyn Store) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        let placing = self.placing();
        self.check_closed()?;
        // There is none: acquiring the place removed what an earlier attempt had left.
        disk::write_new(&placing, &[]).map_err(|source| files("making", &placing, source))?;
        sync(parent(&placing))?;
        for ((_, path), staged) in self.place.parts.iter().zip(self.staged()) {
            self.install_part(path, &staged)?;
        }
        let checked = self.open_installed().map_err(RestoreError::from);
        if let Err(error) = checked.and_then(|store| check(&*store)) {
            self.undo_install()?;
            return Err(error);
        }
        self.step()?;
        // From here on it is installed, whatever else happens: nothing undoes it.
        remove(&placing)?;
        sync(parent(&placing))?;
        self.step()?;
        self.remove_replaced()?;
        // What is left of the staged store are locks. What it was made of is left too, if the
        // attempt that made it was killed directly after.
        self.clear()
    }

    fn check_closed(&self) -> Result<(), RestoreError> {
        for staged in self.staged() {
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
        }
        Ok(())
    }

    fn install_part(&self, path: &Path, staged: &Path) -> Result<(), RestoreError> {
        self.step()?;
        // The old store's side files first: they must never meet the new one.
        if is_taken(path) {
            let replaced = beside(path, "replaced");
            rename_side_files(path, &replaced)?;
            self.step()?;
            rename(path, &replaced)?;
        } else {
            // Without their file they are nothing: SQLite itself removes them then.
            for suffix in SIDE_FILES {
                let left = with_suffix(path, suffix);
                disk::remove(&left).map_err(|source| files("removing", &left, source))?;
            }
        }
        sync(parent(path))?;
        self.step()?;
        rename(staged, path)?;
        sync(parent(path))
    }

    /// Where a test ends the installation.
    #[cfg(test)]
    fn step(&self) -> Result<(), RestoreError> {
        use std::sync::atomic::Ordering::Relaxed;
        if self.steps.fetch_sub(1, Relaxed) == 0 {
            return Err(RestoreError::Cancelled { at: 0 });
        }
        Ok(())
    }

    #[cfg(not(test))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "tests end here")]
    fn step(&self) -> Result<(), RestoreError> {
        Ok(())
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

/// Whether it is a directory of another file system than the one that it is in.
#[cfg(unix)]
fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).ok().map(|found| found.dev());
    path.is_dir() && device(path) != device(parent(path))
}

#[cfg(not(unix))]
fn is_mount_point(_: &Path) -> bool {
    false
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

/// Moves what SQLite keeps beside a file, as far as it is there.
fn rename_side_files(from: &Path, to: &Path) -> Result<(), RestoreError> {
    for suffix in SIDE_FILES {
        let side = with_suffix(from, suffix);
        if side.exists() {
            rename(&side, &with_suffix(to, suffix))?;
        }
    }
    Ok(())
}

fn sync(path: &Path) -> Result<(), RestoreError> {
    disk::sync(path).map_err(|source| files("flushing", path, source))
}

pub(super) fn files(doing: &str, path: &Path, source: io::Error) -> RestoreError {
    RestoreError::Files { doing: format!("{doing} {}", path.display()), source }
}
