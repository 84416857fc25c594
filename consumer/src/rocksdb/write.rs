//! The one writer: a batch is one synced write.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rocksdb::WriteBatch;
use tipline_proto::{Cursor, Entry, LogIdentity};

use super::families::Family;
use super::fault::{fault, is_stall};
use super::open::{self, Database};
use super::reader::RocksDbReader;
use super::view::View;
use super::{batch, rows};
use crate::changes::Changes;
use crate::store::{Batch, Store, StoreError, StoreIdentity, StoreReader};

/// While rows are written to files too slowly, it is looked this often whether there is room in
/// memory again, and the write is tried after so many looks in any case: it tells what is wrong.
const STALL: Duration = Duration::from_millis(1);
const STALLS: usize = 100;

/// DOC
#[derive(Debug)]
pub struct RocksDbStore {
    place: String,
    database: Arc<Database>,
    identity: Option<StoreIdentity>,
    cursor: Option<Cursor>,
    /// What failed, if the handle is poisoned.
    poisoned: Option<String>,
}

impl RocksDbStore {
    /// Opens the store in the directory at `path` for its one writer; makes a new, empty one if
    /// there is no directory, or an empty one. What is durable in an existing one stays as it is.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another handle writes to it; [`StoreError::Unusable`] if the
    /// directory is something else, of another version, or cannot be written: it is not changed;
    /// [`StoreError::Full`] if there is no room for what opening writes.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let place = open::place(path.as_ref());
        let database = open::for_writing(path.as_ref(), &place)?;
        let view = View::of(&database.db, &place);
        let (identity, cursor) = (view.identity()?, view.cursor()?);
        drop(view);
        Ok(Self { place, database: Arc::new(database), identity, cursor, poisoned: None })
    }

    /// For tests: to look into it, and to damage it.
    #[cfg(test)]
    pub(crate) fn db(&self) -> &super::view::Db {
        &self.database.db
    }

    fn check_usable(&self) -> Result<(), StoreError> {
        match &self.poisoned {
            None => Ok(()),
            Some(why) => Err(StoreError::Failed {
                place: self.place.clone(),
                what: format!("it stopped earlier ({why}): remove the cause and open it anew"),
                source: None,
            }),
        }
    }

    /// The cursor, if the batch is directly behind it.
    fn check_order(&self, batch: &Batch) -> Result<Cursor, StoreError> {
        let first = batch.entries.first().map_or(0, |entry| entry.index);
        let whole = batch.entries.last().map(Entry::position) == Some(batch.cursor.position);
        match &self.cursor {
            Some(cursor) if whole && first == cursor.position.index + 1 => Ok(cursor.clone()),
            Some(cursor) => Err(StoreError::OutOfOrder {
                place: self.place.clone(),
                cursor: cursor.position,
                first,
            }),
            None => Err(StoreError::Failed {
                place: self.place.clone(),
                what: "it was not created for a log before a batch came".to_owned(),
                source: None,
            }),
        }
    }

    fn view(&self) -> View<'_> {
        View::of(&self.database.db, &self.place)
    }

    /// Writes all of it, or nothing. On `Ok` it is on the medium.
    fn write(
        &self,
        what: &str,
        rows: impl Fn() -> Result<WriteBatch, StoreError>,
    ) -> Result<(), StoreError> {
        loop {
            match self.database.db.write_opt(rows()?, &open::durable()) {
                Ok(()) => return Ok(()),
                Err(e) if is_stall(&e) => self.wait_for_memory(),
                Err(e) => return Err(fault(&self.place, what, e)),
            }
        }
    }

    /// Rows that are in the log only are bounded; beyond that they must be in files first.
    fn wait_for_memory(&self) {
        let is_held =
            |property: &str| matches!(self.database.db.property_int_value(property), Ok(Some(1..)));
        for _ in 0..STALLS {
            if !is_held("rocksdb.is-write-stopped") && !is_held("rocksdb.actual-delayed-write-rate")
            {
                return;
            }
            thread::sleep(STALL);
        }
    }

    /// After an error nothing of the batch is visible. RocksDB comes back by itself from a full
    /// disk: it writes what it has in memory to new files, and begins a new log. After anything
    /// else there is no next attempt.
    fn settle(&mut self, error: StoreError) -> StoreError {
        if !error.is_retryable() {
            self.poisoned = Some(error.to_string());
        }
        error
    }
}

impl Store for RocksDbStore {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        self.check_usable()?;
        Ok(self.identity.clone())
    }

    fn create(&mut self, log: &LogIdentity) -> Result<(), StoreError> {
        self.check_usable()?;
        let expected = StoreIdentity::from(log);
        match &self.identity {
            Some(found) if *found == expected => return Ok(()),
            Some(found) => {
                return Err(StoreError::WrongLog {
                    place: self.place.clone(),
                    found: Box::new(found.clone()),
                    expected: Box::new(expected),
                });
            }
            None => {}
        }
        let origin = Cursor::origin(log);
        let rows = || {
            let (view, mut write) = (self.view(), WriteBatch::default());
            let family = view.family(Family::Store)?;
            write.put_cf(family, rows::IDENTITY, rows::identity(&expected));
            write.put_cf(family, rows::CURSOR, rows::cursor(&origin));
            Ok(write)
        };
        if let Err(error) = self.write("writing what it is for", rows) {
            return Err(self.settle(error));
        }
        self.identity = Some(expected);
        self.cursor = Some(origin);
        Ok(())
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.check_usable()?;
        let before = self.check_order(batch)?;
        let changes = Changes::of(batch, before.block_tip.as_ref().map(|tip| tip.height));
        let what = format!(
            "writing entries {} to {}",
            before.position.index + 1,
            batch.cursor.position.index
        );
        let rows = || batch::write(&self.view(), &before, batch, &changes);
        if let Err(error) = self.write(&what, rows) {
            return Err(self.settle(error));
        }
        self.cursor = Some(batch.cursor.clone());
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(RocksDbReader::shared(Arc::clone(&self.database), self.place.clone())))
    }
}
