//! The database, shared by the writer and its readers, and closed and opened again under them.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use rocksdb::DB;

use crate::store::StoreError;

/// The open database; none while it could not be opened again.
pub(super) struct Shared {
    db: RwLock<Option<DB>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    pub(super) fn new(db: DB) -> Self {
        Self { db: RwLock::new(Some(db)) }
    }

    /// Uses the database.
    pub(super) fn with<T>(
        &self,
        place: &str,
        use_it: impl FnOnce(&DB) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &*self.read() {
            Some(db) => use_it(db),
            None => Err(StoreError::Full { place: place.to_owned(), source: None }),
        }
    }

    /// Closes the database, and opens it again from what is on the disk. Readers wait meanwhile.
    pub(super) fn reopen(
        &self,
        open: impl FnOnce() -> Result<DB, StoreError>,
    ) -> Result<(), StoreError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        drop(db.take());
        *db = Some(open()?);
        Ok(())
    }

    /// A panic leaves nothing half done: the only change is that of the whole database.
    fn read(&self) -> RwLockReadGuard<'_, Option<DB>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }
}
