//! A moment of the directory, by RocksDB's own checkpoint of hard links.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::checkpoint::Checkpoint;
use tipline_proto::Cursor;

use super::backup_engine::{self, ShareError};
use super::copy::{is_of_rows, link_or_copy, own_prefix};
use super::error::store_error;
use super::read::RocksDbReader;
use super::view::Db;
use crate::disk::{changing, is_one_file_system, listing};
use crate::error::StoreError;
use crate::reader::StoreReader;
use crate::snapshot::{Copied, SharedCopy, Snapshot, Throttle};
use crate::stored::StoreIdentity;

/// Tells the directories of one process apart. Its number tells it from others: a snapshot may
/// outlive its writer, and then leaves alone what another process has made since.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The files of the store as of the snapshot, in a directory of their own. Files of
/// rows are written once and never changed, so a link to one is a copy.
#[derive(Debug)]
pub(super) struct RocksDbSnapshot {
    place: String,
    directory: PathBuf,
    identity: StoreIdentity,
    cursor: Cursor,
}

impl RocksDbSnapshot {
    /// Writes what is in memory only into files, and links all files.
    pub(super) fn new(
        db: &Db,
        place: &str,
        identity: StoreIdentity,
        cursor: Cursor,
    ) -> Result<Self, StoreError> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = db.path().join(format!("{}{number}", own_prefix()));
        let place = place.to_owned();
        let made =
            Checkpoint::new(db).and_then(|checkpoint| checkpoint.create_checkpoint(&directory));
        // From here on it is removed with the handle.
        let snapshot = Self { place, directory, identity, cursor };
        made.map_err(|e| store_error(&snapshot.place, "taking a snapshot", e))?;
        Ok(snapshot)
    }

    fn files(&self) -> Result<Vec<(PathBuf, u64)>, StoreError> {
        let file = |file: io::Result<fs::DirEntry>| {
            let file = file?;
            Ok((file.path(), file.metadata()?.len()))
        };
        let list = || fs::read_dir(&self.directory)?.map(file).collect::<io::Result<_>>();
        list().map_err(|e| listing(&self.place, "looking at its files", e))
    }

    fn copy_files(
        &self,
        files: &[(PathBuf, u64)],
        into: &Path,
        pace: &dyn Throttle,
    ) -> io::Result<Copied> {
        for (from, _) in files {
            let Some(name) = from.file_name() else { continue };
            if link_or_copy(from, &into.join(name), pace)?.is_break() {
                return Ok(Copied::Cancelled);
            }
        }
        Ok(Copied::Whole)
    }

    fn failed(&self, what: &str, error: io::Error) -> StoreError {
        changing(&self.place, what, error)
    }
}

impl Drop for RocksDbSnapshot {
    fn drop(&mut self) {
        // What stays is removed when the store is opened the next time.
        fs::remove_dir_all(&self.directory).ok();
    }
}

impl Snapshot for RocksDbSnapshot {
    fn kind(&self) -> &'static str {
        "rocksdb"
    }

    fn identity(&self) -> &StoreIdentity {
        &self.identity
    }

    fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    fn bytes(&self, into: &Path) -> Result<u64, StoreError> {
        let is_linked = is_one_file_system(&self.directory, into)
            .map_err(|e| self.failed("looking at its files", e))?;
        let files = self.files()?;
        let copied = files.iter().filter(|(path, _)| !is_linked || !is_of_rows(path));
        Ok(copied.map(|(_, bytes)| bytes).sum())
    }

    fn copy(&mut self, into: &Path, pace: &dyn Throttle) -> Result<Copied, StoreError> {
        let files = self.files()?;
        self.copy_files(&files, into, pace).map_err(|e| self.failed("copying its files", e))
    }

    fn bytes_to_share(&self, engine: &Path, _into: &Path) -> Result<u64, StoreError> {
        backup_engine::new_bytes(&self.files()?, engine)
            .map_err(|e| listing(&self.place, "looking at the files of earlier copies", e))
    }

    fn share(
        &mut self,
        engine: &Path,
        into: &Path,
        pace: &dyn Throttle,
    ) -> Result<Option<SharedCopy>, StoreError> {
        match backup_engine::share(&self.directory, engine, into, pace) {
            Ok(shared) => Ok(Some(shared)),
            Err(ShareError::Engine(error)) => {
                Err(store_error(&self.place, "copying its files", error))
            }
            Err(ShareError::File(error)) => Err(self.failed("copying its files", error)),
        }
    }

    fn open(&self, copy: &Path) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(RocksDbReader::open(copy)?))
    }
}
