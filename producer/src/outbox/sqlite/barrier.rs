//! Makes what the node has committed durable before it is published.
//!
//! With `synchronous = NORMAL` a commit is visible before it is on the disk. If it were published at
//! once, a power cut could leave the node's database behind the log, for good.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::outbox::OutboxError;

/// Syncs a file, and with `true` its directory too.
type Sync = fn(&File, &Path, bool) -> io::Result<()>;

/// Syncs the write-ahead log of a database, on the thread of the publisher.
///
/// Its frames are all there is to sync: what a checkpoint has moved from there into the database
/// was synced by the checkpoint, unless `synchronous` is `OFF`. SQLite holds no lock on this file that
/// closing it here could drop, as it would drop those on the database itself.
#[derive(Debug)]
pub(super) struct Barrier {
    wal: PathBuf,
    /// Rows up to here are on the disk.
    durable: u64,
    /// The name of the file is on the disk.
    is_named: bool,
    /// A sync failed. What it should have written another one takes for written.
    doubtful: bool,
    sync: Sync,
}

impl Barrier {
    pub(super) fn new(database: &Path) -> Self {
        let mut wal = database.as_os_str().to_owned();
        wal.push("-wal");
        Self { wal: wal.into(), durable: 0, is_named: false, doubtful: false, sync }
    }

    /// Rows up to `sequence`, which were read, are on the disk on return.
    pub(super) fn make_durable(&mut self, place: &str, sequence: u64) -> Result<(), OutboxError> {
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
        let file = File::open(&self.wal).map_err(|error| OutboxError::Failed {
            place: place.to_owned(),
            what: format!("opening {} to sync it", self.wal.display()),
            source: Some(error.into()),
        })?;
        (self.sync)(&file, &self.wal, !self.is_named).map_err(|error| {
            self.doubtful = true;
            let (place, source) = (place.to_owned(), Some(error.into()));
            OutboxError::Corrupt { place, at: at(), source }
        })?;
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
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        static SYNCED: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) };
    }

    fn wal() -> (tempfile::TempDir, Barrier) {
        let directory = tempfile::tempdir().unwrap();
        let barrier = Barrier::new(&directory.path().join("node.db"));
        std::fs::write(directory.path().join("node.db-wal"), "frames").unwrap();
        (directory, barrier)
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

    #[test]
    fn a_file_that_cannot_be_opened_may_pass() {
        let (directory, mut barrier) = wal();
        std::fs::remove_file(directory.path().join("node.db-wal")).unwrap();
        let failed = barrier.make_durable("test", 1).unwrap_err();
        assert!(matches!(failed, OutboxError::Failed { .. }), "{failed:?}");
    }
}
