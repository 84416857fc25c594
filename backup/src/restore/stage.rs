//! The place to restore to: everything is made beside it, and takes its name last.
//!
//! | name | what it is |
//! |---|---|
//! | `STORE.restoring` | the store being restored: a store at every moment, from which a later attempt goes on |
//! | `STORE.fetching` | a checkpoint that is not there as a whole yet; removed by the next attempt |
//! | `STORE.carrying` | a store that gets the content of a checkpoint of another kind; likewise |
//! | `STORE.replaced` | what was in the way, until the restored store has its name |
//! | `STORE.placing` | empty: parts are being given their names, and not all of them may have theirs |
//! | `STORE.restoring-lock` | locked while a restore is at work; by itself it means nothing |

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tipline_store::{Store, StoreError, StoreIdentity};

use crate::checkpoint::{Manifest, free};
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

/// The one restore at work for a place.
#[derive(Debug)]
pub(super) struct Stage {
    place: StorePlace,
    force: bool,
    _lock: File,
}

impl Stage {
    /// Takes the place for this restore.
    ///
    /// # Errors
    /// `InUse`; `NotEmpty` without `force`.
    pub(super) fn take(place: StorePlace, force: bool) -> Result<Self, RestoreError> {
        let Some((_, first)) = place.parts.first().cloned() else {
            let what = "the store to restore into has no parts".to_owned();
            return Err(RestoreError::Internal { what, source: None });
        };
        let lock = beside(&first, LOCK);
        let parent = parent(&first).to_owned();
        let make = || {
            fs::create_dir_all(&parent)?;
            File::create(&lock)
        };
        let file = make().map_err(|source| files("making", &lock, source))?;
        file.try_lock().map_err(|_| RestoreError::InUse { place: place.name() })?;
        if !is_at(&file, &lock) {
            // Whoever had it is just done, and has removed it.
            return Err(RestoreError::InUse { place: place.name() });
        }
        let stage = Self { place, force, _lock: file };
        stage.take_back()?;
        stage.check_target()?;
        Ok(stage)
    }

    /// Whether there is room for what is read; a store is not smaller. What is staged already
    /// counts.
    pub(super) fn check_room(&self, bytes: u64) -> Result<(), RestoreError> {
        let first = parent(&self.paths()[0]).to_owned();
        let needed = bytes.saturating_mul(self.place.parts.len() as u64);
        let staged: u64 = self.staged().iter().map(|path| size(path)).sum();
        match free(&first) {
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
        // Whoever has it open must let go first.
        match (self.place.open)(&self.paths()) {
            Err(error @ StoreError::InUse { .. }) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Undoes the placing that an earlier attempt did not come to the end of: what has its name
    /// is staged again, so that a store is never half in place.
    fn take_back(&self) -> Result<(), RestoreError> {
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

    /// Where a checkpoint of another kind is carried over to.
    fn carrying(&self) -> Vec<PathBuf> {
        self.place.parts.iter().map(|(_, path)| beside(path, "carrying")).collect()
    }

    /// Opens a new store for the content of a checkpoint of another kind.
    #[cfg(feature = "sqlite")]
    pub(super) fn open_carrying(&self) -> Result<Box<dyn Store>, StoreError> {
        (self.place.open)(&self.carrying())
    }

    /// A file beside it.
    #[cfg(feature = "sqlite")]
    pub(super) fn scratch(&self) -> PathBuf {
        self.fetching().join("order")
    }

    /// Makes the store that was carried over to, which is closed, the staged one.
    #[cfg(feature = "sqlite")]
    pub(super) fn take_over_carried(&self) -> Result<(), RestoreError> {
        for (carrying, staged) in self.carrying().iter().zip(self.staged()) {
            rename(carrying, &staged)?;
            sync(parent(&staged))?;
            // What is left are locks.
            remove(carrying)?;
        }
        remove(&self.fetching())
    }

    /// Opens the staged store.
    pub(super) fn open(&self) -> Result<Box<dyn Store>, StoreError> {
        (self.place.open)(&self.staged())
    }

    /// How far the staged store of an earlier attempt is, if it is of this log and not too far.
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
        for path in self.staged().iter().chain(&self.carrying()).chain([&self.fetching()]) {
            remove(path)?;
        }
        Ok(())
    }

    /// Makes a fetched checkpoint the staged store.
    pub(super) fn take_over(&self, manifest: &Manifest) -> Result<(), RestoreError> {
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

    /// Gives the staged store its name, in the place of whatever has it. Of an attempt that ends
    /// in the middle the next one finds all parts staged again.
    pub(super) fn put_in_place(&self) -> Result<(), RestoreError> {
        let placing = self.placing();
        File::create(&placing)
            .and_then(|file| file.sync_all())
            .map_err(|source| files("making", &placing, source))?;
        sync(parent(&placing))?;
        for ((_, path), staged) in self.place.parts.iter().zip(self.staged()) {
            for suffix in ["-wal", "-journal"] {
                let left = with_suffix(&staged, suffix);
                if fs::metadata(&left).is_ok_and(|found| found.len() > 0) {
                    let what = format!("{} was left behind by closing it", left.display());
                    return Err(RestoreError::Verification { what });
                }
            }
            if staged.is_file() {
                sync(&staged)?;
            }
            let replaced = beside(path, "replaced");
            if is_taken(path) {
                remove(&replaced)?;
                // First what belongs to the old one: it must never meet the new one.
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
            // What is left of the staged store are locks.
            remove(&staged)?;
        }
        remove(&placing)?;
        sync(parent(&placing))
    }
}

/// With nothing to go on from, nothing stays.
impl Drop for Stage {
    fn drop(&mut self) {
        let (staged, carrying) = (self.staged(), self.carrying());
        let alone = [self.fetching(), self.placing()];
        if !staged.iter().chain(&carrying).chain(&alone).any(|path| path.exists()) {
            // It means nothing by itself.
            drop(fs::remove_file(beside(&self.paths()[0], LOCK)));
        }
    }
}

/// Whether the file has this path still.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |found: fs::Metadata| (found.dev(), found.ino());
    let (file, path) = (file.metadata().map(place), fs::metadata(path).map(place));
    matches!((file, path), (Ok(file), Ok(path)) if file == path)
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// A store, or anything else that is not to be lost.
fn is_taken(path: &Path) -> bool {
    match fs::metadata(path) {
        Err(_) => false,
        Ok(found) if found.is_dir() => fs::read_dir(path).is_ok_and(|found| {
            found.into_iter().flatten().any(|entry| entry.file_name() != "lost+found")
        }),
        Ok(found) => found.len() > 0,
    }
}

/// Bytes in a file, or in all files below a directory.
fn size(path: &Path) -> u64 {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| size(&entry.path())).sum()
        }
        Ok(found) => found.len(),
        Err(_) => 0,
    }
}

fn beside(path: &Path, what: &str) -> PathBuf {
    with_suffix(path, &format!(".{what}"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes a file or directory, and what SQLite keeps beside a file.
fn remove(path: &Path) -> Result<(), RestoreError> {
    for suffix in ["", "-wal", "-shm", "-journal", ".lock"] {
        let path = with_suffix(path, suffix);
        let removed = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        };
        removed.map_err(|source| files("removing", &path, source))?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<(), RestoreError> {
    match fs::rename(from, to) {
        Err(e) if e.kind() == ErrorKind::CrossesDevices => {
            copy(from, to).map_err(|source| files("copying to", to, source))
        }
        renamed => renamed.map_err(|source| files("renaming to", to, source)),
    }
}

/// To another file system, durably.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        fs::copy(from, to)?;
        return File::open(to)?.sync_all();
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    File::open(to)?.sync_all()
}

fn sync(path: &Path) -> Result<(), RestoreError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|source| files("flushing", path, source))
}

pub(super) fn files(doing: &str, path: &Path, source: io::Error) -> RestoreError {
    RestoreError::Files { doing: format!("{doing} {}", path.display()), source }
}
