//! One state of the database, for one call of a reader.

use bytes::Bytes;
use rocksdb::{ColumnFamily, DB, DBRawIterator, ReadOptions, Snapshot};

use super::fault::{damaged, fault};
use super::rows::Row;
use crate::store::StoreError;

/// One state of the database.
pub(super) struct View<'a> {
    db: &'a DB,
    place: &'a str,
    /// None if nobody writes to this handle's state.
    snapshot: Option<Snapshot<'a>>,
}

impl<'a> View<'a> {
    /// The state of now, whatever is written from now on.
    pub(super) fn now(db: &'a DB, place: &'a str) -> Self {
        Self { db, place, snapshot: Some(db.snapshot()) }
    }

    /// The state of a handle that changes only when it is told to.
    pub(super) fn at_rest(db: &'a DB, place: &'a str) -> Self {
        Self { db, place, snapshot: None }
    }

    pub(super) fn place(&self) -> &str {
        self.place
    }

    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        if let Some(snapshot) = &self.snapshot {
            options.set_snapshot(snapshot);
        }
        options
    }

    fn family(&self, name: &str) -> Result<&'a ColumnFamily, StoreError> {
        family(self.db, self.place, name)
    }

    /// The bytes at a key. `at` names them, for people.
    pub(super) fn bytes(
        &self,
        family: &str,
        key: &[u8],
        at: &dyn Fn() -> String,
    ) -> Result<Option<Bytes>, StoreError> {
        let found = self.db.get_cf_opt(self.family(family)?, key, &self.options());
        Ok(found.map_err(|e| fault(self.place, &at(), e))?.map(Bytes::from))
    }

    /// The row at a key, taken apart by `read`.
    pub(super) fn row<T>(
        &self,
        family: &str,
        key: &[u8],
        at: &dyn Fn() -> String,
        read: impl FnOnce(Row) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        match self.bytes(family, key, at)? {
            None => Ok(None),
            Some(bytes) => match read(Row::new(bytes)) {
                Some(found) => Ok(Some(found)),
                None => Err(damaged(self.place, &at())),
            },
        }
    }

    /// The payload that belongs to a row: it must be there, and as long as the row says.
    pub(super) fn payload(
        &self,
        family: &str,
        key: &[u8],
        length: u64,
        at: &dyn Fn() -> String,
    ) -> Result<Bytes, StoreError> {
        let found = self.bytes(family, key, at)?;
        let payload = found.filter(|payload| payload.len() as u64 == length);
        payload.ok_or_else(|| damaged(self.place, &format!("the payload of {}", at())))
    }

    /// The keys and values of a family, from a position on that `seek` goes to.
    pub(super) fn walk(
        &self,
        family: &str,
        seek: impl FnOnce(&mut DBRawIterator<'_>),
    ) -> Result<Walk<'_>, StoreError> {
        let mut rows = self.db.raw_iterator_cf_opt(self.family(family)?, self.options());
        seek(&mut rows);
        Ok(Walk { rows, place: self.place })
    }
}

type KeyAndValue<'a> = (&'a [u8], &'a [u8]);

/// Rows one after the other.
pub(super) struct Walk<'a> {
    rows: DBRawIterator<'a>,
    place: &'a str,
}

impl Walk<'_> {
    /// The row where it stands; none behind the last.
    pub(super) fn here(&self) -> Result<Option<KeyAndValue<'_>>, StoreError> {
        match self.rows.item() {
            Some(row) => Ok(Some(row)),
            None => {
                self.rows.status().map_err(|e| fault(self.place, "walking through rows", e))?;
                Ok(None)
            }
        }
    }

    pub(super) fn forth(&mut self) {
        self.rows.next();
    }

    pub(super) fn back(&mut self) {
        self.rows.prev();
    }
}

/// A family's handle.
pub(super) fn family<'a>(
    db: &'a DB,
    place: &str,
    name: &str,
) -> Result<&'a ColumnFamily, StoreError> {
    db.cf_handle(name).ok_or_else(|| damaged(place, &format!("the column family {name}")))
}
