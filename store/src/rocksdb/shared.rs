//! The writer's database, which its readers share.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use tipline_proto::Cursor;

use super::lock::DirectoryLock;
use super::open;
use super::view::{Db, View};
use crate::error::StoreError;

/// The database of a writer and of the readers that it gave.
///
/// It is open until the last of them is gone, unless the writer failed: who lets go of a failed
/// writer must be able to open the directory again, whoever still has a reader.
#[derive(Debug)]
pub(super) struct SharedDatabase {
    place: String,
    path: PathBuf,
    /// The write-ahead log, before rows are written to files so that its beginning can go.
    log_bytes: u64,
    open: RwLock<Opened>,
}

/// Fields are dropped in their order: first RocksDB is closed.
#[derive(Debug)]
struct Opened {
    /// None once the writer failed and is gone, and while it cannot be opened again.
    db: Option<Db>,
    /// None once the writer failed and is gone.
    lock: Option<DirectoryLock>,
}

impl SharedDatabase {
    /// Opens the directory for its one writer.
    pub(super) fn open(path: &Path, place: &str, log_bytes: u64) -> Result<Self, StoreError> {
        let (path, lock) = open::acquire(path, place)?;
        let db = open::for_writing(&path, place, log_bytes)?;
        let open = RwLock::new(Opened { db: Some(db), lock: Some(lock) });
        Ok(Self { place: place.to_owned(), path, log_bytes, open })
    }

    /// The directory, by its one name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Uses it, beside others who do.
    ///
    /// # Errors
    /// Those of `work`; [`StoreError::NoSpace`] while there is no space to open it again, and it
    /// cannot be read as it was; [`StoreError::Failed`] once it is closed.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Db) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // Whoever panicked has left nothing half done.
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let Some(db) = &open.db else {
            if open.lock.is_some() {
                return Err(StoreError::NoSpace { place: self.place.clone(), source: None });
            }
            let what = "its writer failed and has closed it: open the store again, and take a new \
                reader from it";
            let (place, what) = (self.place.clone(), what.to_owned());
            return Err(StoreError::Failed { place, what, source: None });
        };
        work(db)
    }

    /// Reads in one state of the store.
    ///
    /// # Errors
    /// The same errors as [`SharedDatabase::with`].
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&View<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with(|db| read(&View::new(db, &self.place)))
    }

    /// Closes it and lets go of the directory, once the reads that are under way have ended.
    pub(super) fn close(&self) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.db.take();
        open.lock.take();
    }

    /// Closes it and opens it again, from what is on the medium. If that fails it can be read at
    /// most, where it was.
    ///
    /// # Errors
    /// Those of opening.
    pub(super) fn reopen(&self, cursor: Option<&Cursor>) -> Result<(), StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.db.take();
        let opened = open::for_writing(&self.path, &self.place, self.log_bytes);
        let (db, result) = match opened {
            Ok(db) => (Some(db), Ok(())),
            Err(error) => {
                let readable = open::for_reading(&self.path, &self.place).ok();
                let is_there = |db: &Db| {
                    let found = View::new(db, &self.place).cursor();
                    found.is_ok_and(|found| found.as_ref() == cursor)
                };
                // A batch that was refused may be whole in the log. It is not shown before it is
                // applied: until then it cannot be read.
                (readable.filter(is_there), Err(error))
            }
        };
        open.db = db;
        result
    }
}
