//! The files of a store, as its one writer changes them.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

use super::flush::Flush;
use super::layout::{Key, Layout, Staged};
use super::retained::{RetainGuard, RetainedFiles};
#[cfg(unix)]
use crate::disk::is_one_file_system;
use crate::disk::{Presence, changing, failed, listing, make_directory, private, sync_directory};
use crate::error::StoreError;

/// The one writer's view of the files below a store's directory.
#[derive(Debug)]
pub(super) struct Tree {
    place: String,
    layout: Layout,
    retained: Arc<RetainedFiles>,
    flush: Flush,
    /// The directories that every write goes through.
    presence: [Presence; 3],
    /// Epochs whose directory is there, durably.
    epochs: BTreeSet<u64>,
    /// Epochs in whose directory something was changed since it was flushed.
    changed: BTreeSet<u64>,
}

impl Tree {
    pub(super) fn new(place: String, layout: Layout) -> Result<Self, StoreError> {
        check_one_file_system(&place, &layout)?;
        let flush = Flush::of(&layout.staging())
            .map_err(|e| failed(&place, "inspecting its file system", e))?;
        let present = |path: &Path| {
            Presence::of(path).map_err(|e| failed(&place, "looking at its directories", e))
        };
        let (blocks, staging) = (present(&layout.blocks())?, present(&layout.staging())?);
        let presence = [present(layout.root())?, blocks, staging];
        let retained = RetainedFiles::new(layout.clone());
        let (epochs, changed) = (BTreeSet::new(), BTreeSet::new());
        Ok(Self { place, layout, retained, flush, presence, epochs, changed })
    }

    /// For tests: as on a file system on which a flush of all of it tells everything.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn flush_all(&mut self) -> Result<(), StoreError> {
        self.flush = Flush::always(&self.layout.staging())
            .map_err(|e| failed(&self.place, "opening its directory", e))?;
        Ok(())
    }

    /// While it lives, what is replaced and removed can still be read.
    pub(super) fn retain_replaced(&self) -> RetainGuard {
        self.retained.guard()
    }

    /// Whether all of it still has its names.
    pub(super) fn check_present(&self) -> Result<(), StoreError> {
        self.presence.iter().try_for_each(|presence| presence.check(&self.place))
    }

    /// What is in a directory, as far as the names are text.
    pub(super) fn names(&self, directory: &Path) -> Result<Vec<String>, StoreError> {
        let list = || {
            let name = |file: io::Result<fs::DirEntry>| Ok(file?.file_name().into_string().ok());
            let names = fs::read_dir(directory)?.map(name).collect::<io::Result<Vec<_>>>()?;
            Ok(names.into_iter().flatten().collect())
        };
        let what = || format!("listing {}", self.layout.relative(directory));
        list().map_err(|e| listing(&self.place, &what(), e))
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Writes files into `staging`, in the place of whatever has their names, and makes the
    /// directories of their epochs. On `Ok` all of it is durable, and so is whatever was changed
    /// before.
    pub(super) fn stage(&mut self, files: &[(Staged, &[u8])]) -> Result<(), StoreError> {
        let epochs = self.make_epochs(files)?;
        let whole = self.flush.whole_for(files.len());
        for (staged, bytes) in files {
            let path = self.layout.staged(staged);
            let file = write(&path, bytes).map_err(|e| self.changing("writing", &path, e))?;
            match &whole {
                Some(whole) => whole.begin(&file, bytes.len()),
                None => file.sync_all().map_err(|e| self.flushing(&path, e))?,
            }
        }
        match whole {
            Some(whole) => whole.run().map_err(|e| self.flushing(self.layout.root(), e))?,
            None => {
                if !epochs.is_empty() {
                    self.flush_directory(&self.layout.blocks())?;
                }
                // What was taken out of `staging` is first known to be where it was put.
                self.flush_epochs()?;
                self.flush_directory(&self.layout.staging())?;
            }
        }
        self.changed.clear();
        self.epochs.extend(epochs);
        Ok(())
    }

    /// Removes staged files of a batch that was not committed, as far as they are there.
    pub(super) fn discard(&self, files: &[(Staged, &[u8])]) {
        for (staged, _) in files {
            // What stays is written over by the next attempt, or removed at the next opening.
            fs::remove_file(self.layout.staged(staged)).ok();
        }
    }

    /// Makes the directories of epochs that are not known to be there, and says which.
    fn make_epochs(&self, files: &[(Staged, &[u8])]) -> Result<BTreeSet<u64>, StoreError> {
        let epoch = |(staged, _): &(Staged, &[u8])| match staged {
            Staged::Payload { key, .. } => Some(key.epoch()),
            Staged::RolledBack { .. } | Staged::Retained { .. } => None,
        };
        let missing = |epoch: &u64| !self.epochs.contains(epoch);
        let epochs: BTreeSet<u64> = files.iter().filter_map(epoch).filter(missing).collect();
        for epoch in &epochs {
            let path = self.layout.epoch(*epoch);
            make_directory(&path).map_err(|e| self.changing("making", &path, e))?;
        }
        Ok(epochs)
    }

    /// Gives a staged payload its final name, in the place of whatever has it.
    pub(super) fn put(&mut self, key: Key, index: u64) -> Result<(), StoreError> {
        self.retain(key)?;
        let from = self.layout.staged(&Staged::Payload { key, index });
        let to = self.layout.file(key);
        fs::rename(&from, &to).map_err(|e| self.changing("renaming into place", &to, e))?;
        self.changed.insert(key.epoch());
        Ok(())
    }

    /// Removes a payload if it is there.
    pub(super) fn remove(&mut self, key: Key) -> Result<(), StoreError> {
        if !self.retain(key)? && self.remove_file(&self.layout.file(key))? {
            self.changed.insert(key.epoch());
        }
        Ok(())
    }

    /// Whether there was a file, and a snapshot holds it.
    fn retain(&mut self, key: Key) -> Result<bool, StoreError> {
        let put = self.retained.retain(key);
        let put = put.map_err(|e| self.changing("retaining", &self.layout.file(key), e))?;
        if put {
            self.changed.insert(key.epoch());
        }
        Ok(put)
    }

    /// Removes a file in `staging` if it is there.
    pub(super) fn remove_staged(&self, staged: &Staged) -> Result<(), StoreError> {
        self.remove_file(&self.layout.staged(staged)).map(|_| ())
    }

    fn remove_file(&self, path: &Path) -> Result<bool, StoreError> {
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(self.changing("removing", path, e)),
        }
    }

    /// Makes durable what was put and removed.
    pub(super) fn flush_epochs(&mut self) -> Result<(), StoreError> {
        while let Some(epoch) = self.changed.first().copied() {
            self.flush_directory(&self.layout.epoch(epoch))?;
            self.changed.remove(&epoch);
        }
        Ok(())
    }

    pub(super) fn flush_directory(&self, path: &Path) -> Result<(), StoreError> {
        sync_directory(path).map_err(|e| self.flushing(path, e))
    }

    fn changing(&self, doing: &str, path: &Path, error: io::Error) -> StoreError {
        changing(&self.place, format!("{doing} {}", self.layout.relative(path)), error)
    }

    fn flushing(&self, path: &Path, error: io::Error) -> StoreError {
        let what = match self.layout.relative(path).to_string() {
            root if root.is_empty() => "flushing its file system".to_owned(),
            path => format!("flushing {path}"),
        };
        failed(&self.place, what, error)
    }
}

/// What is staged is renamed into place after the commit, which leads to no other file system.
#[cfg(unix)]
fn check_one_file_system(place: &str, layout: &Layout) -> Result<(), StoreError> {
    for other in [layout.blocks(), layout.root().to_owned()] {
        let is_one = is_one_file_system(&layout.staging(), &other);
        if !is_one.map_err(|e| failed(place, "looking at its directories", e))? {
            let why = format!(
                "staging and {} are on two file systems: all of it is to be on one, mount that at \
                 the store's own directory",
                other.display()
            );
            return Err(StoreError::unusable(place, &why, None));
        }
    }
    Ok(())
}

/// Found out by the first rename, where the system does not tell.
#[cfg(not(unix))]
fn check_one_file_system(_place: &str, _layout: &Layout) -> Result<(), StoreError> {
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file =
        private(OpenOptions::new().write(true).create(true).truncate(true)).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}
