//! Makes what the node has committed durable before it is published.
//!
//! With `synchronous = NORMAL` a commit is visible before it is on the disk. If it were published at
//! once, a power cut could leave the node's database behind the log, for good.

use std::fs::File;
use std::io;
use std::path::Path;

use super::presence::Files;
use crate::outbox::OutboxError;

/// Syncs a file, and with `true` its directory too.
pub(super) type Sync = fn(&File, &Path, bool) -> io::Result<()>;

/// Syncs the write-ahead log of a database, on the thread of the publisher.
///
/// Its frames are all there is to sync: what a checkpoint has moved from there into the database
/// was synced by the checkpoint, unless `synchronous` is `OFF`. SQLite holds no lock on this file that
/// closing it here could drop, as it would drop those on the database itself.
#[derive(Debug)]
pub(super) struct Barrier {
    files: Files,
    /// Rows up to here are on the disk.
    durable: u64,
    /// The name of the file is on the disk.
    is_named: bool,
    /// A sync failed. What it should have written another one takes for written.
    doubtful: bool,
    pub(super) sync: Sync,
}

impl Barrier {
    pub(super) fn new(files: Files) -> Self {
        Self { files, durable: 0, is_named: false, doubtful: false, sync }
    }

    /// Whether the files are still the ones that were opened. See [`Files::check`].
    pub(super) fn check(&self, place: &str) -> Result<(), OutboxError> {
        self.files.check(place)
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// Rows up to `sequence`, which were read, are on the disk on return, in the files that have
    /// the names of the database.
    pub(super) fn make_durable(&mut self, place: &str, sequence: u64) -> Result<(), OutboxError> {
        self.files.check(place)?;
        if sequence <= self.durable {
            return Ok(());
        }
        let at = || format!("the rows up to {sequence}, which could not be synced");
        if self.doubtful {
            let why = "syncing them has failed before: start the node again".to_owned();
            return Err(OutboxError::Corrupt {
                place: place.to_owned(),
                at: at(),
                source: Some(why.into()),
            });
        }
        let file = self.files.open_log(place)?;
        (self.sync)(&file, self.files.log_path(), !self.is_named).map_err(|error| {
            self.doubtful = true;
            let (place, source) = (place.to_owned(), Some(error.into()));
            OutboxError::Corrupt { place, at: at(), source }
        })?;
        // What was synced may have lost its name meanwhile.
        self.files.check(place)?;
        self.is_named = true;
        self.durable = sequence;
        Ok(())
    }
}

fn sync(file: &File, path: &Path, with_directory: bool) -> io::Result<()> {
    file.sync_all()?;
    match path.parent() {
        Some(directory) if with_directory => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    type Change = fn(&Path);

    thread_local! {
        static SYNCED: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) };
        /// What becomes of a file while another one is synced.
        static MEANWHILE: Cell<Option<(PathBuf, Change)>> = const { Cell::new(None) };
    }

    fn wal() -> (tempfile::TempDir, Barrier) {
        let directory = tempfile::tempdir().unwrap();
        for name in ["node.db", "node.db-wal", "node.db-shm"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let files = Files::of(&directory.path().join("node.db"), "test").unwrap();
        (directory, Barrier::new(files))
    }

    #[test]
    fn each_row_is_synced_once_and_the_name_of_the_file_with_the_first() {
        let (_directory, mut barrier) = wal();
        barrier.sync = |_, path, with_directory| {
            assert!(path.ends_with("node.db-wal"));
            SYNCED.with_borrow_mut(|synced| synced.push(with_directory));
            Ok(())
        };
        for sequence in [3, 2, 3, 4, 4] {
            barrier.make_durable("test", sequence).unwrap();
        }
        assert_eq!(SYNCED.take(), [true, false]);
    }

    #[test]
    fn after_a_failed_sync_nothing_more_is_given_out() {
        let (_directory, mut barrier) = wal();
        barrier.make_durable("test", 1).unwrap();
        barrier.sync = |_, _, _| Err(io::ErrorKind::StorageFull.into());
        let failed = barrier.make_durable("test", 2).unwrap_err();
        assert!(matches!(failed, OutboxError::Corrupt { .. }), "{failed:?}");
        barrier.sync = sync;
        let doubtful = barrier.make_durable("test", 2).unwrap_err();
        assert!(matches!(doubtful, OutboxError::Corrupt { .. }), "{doubtful:?}");
        barrier.make_durable("test", 1).unwrap();
    }

    /// Each file, removed or replaced by another of its name: before rows are synced, and while
    /// they are.
    #[test]
    fn what_has_another_name_or_none_is_not_durable() {
        let removed: Change = |path| fs::remove_file(path).unwrap();
        let replaced: Change = |path| {
            let aside = path.with_extension("aside");
            fs::copy(path, &aside).unwrap();
            fs::rename(&aside, path).unwrap();
        };
        for (change, how) in [(removed, "was removed"), (replaced, "was replaced")] {
            for name in ["node.db", "node.db-wal", "node.db-shm"] {
                let (directory, mut barrier) = wal();
                barrier.make_durable("test", 1).unwrap();
                let path = directory.path().join(name);
                change(&path);
                let says = format!("{} {how} while it was open", path.display());
                // Also of rows that were synced before.
                for sequence in [1, 2] {
                    let gone = barrier.make_durable("test", sequence).unwrap_err();
                    assert!(matches!(gone, OutboxError::Unusable { .. }), "{name}: {gone:?}");
                    assert!(gone.to_string().contains(&says), "{gone}");
                }
                let (directory, mut barrier) = wal();
                MEANWHILE.set(Some((directory.path().join(name), change)));
                barrier.sync = |_, _, _| {
                    let (path, change) = MEANWHILE.take().unwrap();
                    change(&path);
                    Ok(())
                };
                let gone = barrier.make_durable("test", 1).unwrap_err();
                assert!(gone.to_string().contains(how), "{name}: {gone}");
            }
        }
    }

    /// What is synced is what SQLite has open, not what somebody has put there.
    #[test]
    fn another_write_ahead_log_is_not_synced_in_its_place() {
        let (directory, mut barrier) = wal();
        let path = directory.path().join("node.db-wal");
        let (aside, other) = (path.with_extension("aside"), path.with_extension("other"));
        fs::rename(&path, &aside).unwrap();
        fs::write(&other, "others").unwrap();
        fs::rename(&other, &path).unwrap();
        let wrong = barrier.files.open_log("test").unwrap_err();
        assert!(wrong.to_string().contains("node.db-wal was replaced"), "{wrong}");
        fs::rename(&aside, &path).unwrap();
        barrier.make_durable("test", 1).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_cannot_be_looked_at_may_pass() {
        let (directory, mut barrier) = wal();
        let path = directory.path().join("node.db-wal");
        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let failed = barrier.make_durable("test", 1).unwrap_err();
        assert!(matches!(failed, OutboxError::Failed { .. }), "{failed:?}");
        fs::rename(&aside, &path).unwrap();
        barrier.make_durable("test", 1).unwrap();
    }
}
