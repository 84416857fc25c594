//! The transactions and marks of a store in the order of the log.

use std::path::Path;
use std::vec::IntoIter;

use rusqlite::{Connection, params};
use tipline_proto::{Label, TransactionId};
use tipline_store::StoreReader;

use super::stage::files;
use crate::error::RestoreError;

/// How many names are asked for at once.
const PAGE: usize = 1000;

/// A transaction or a mark.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) index: u64,
    pub(super) name: Name,
}

#[derive(Debug)]
pub(super) enum Name {
    Transaction(TransactionId),
    Mark(Label),
}

/// The transactions and marks of a store in the order of the log: a store gives them by name, and
/// there may be more of them than fit into memory.
pub(super) struct EntryOrder {
    connection: Connection,
    place: String,
}

impl EntryOrder {
    pub(super) fn read(from: &dyn StoreReader, scratch: &Path) -> Result<Self, RestoreError> {
        let place = scratch.display().to_string();
        let fail = |e| failed(&place, e);
        let connection = Connection::open(scratch).map_err(fail)?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = off; PRAGMA synchronous = off; BEGIN;
                 CREATE TABLE rows (at INTEGER PRIMARY KEY, mark INTEGER, name BLOB) STRICT;",
            )
            .map_err(fail)?;
        // Indices are dense, from 1: none is near 2⁶³.
        let put = |index: u64, mark: bool, name: &[u8]| {
            let sql = "INSERT INTO rows VALUES (?1, ?2, ?3)";
            let insert =
                || connection.prepare_cached(sql)?.execute(params![index as i64, mark, name]);
            insert().map_err(fail)
        };
        let mut ids = from.transaction_ids(None, PAGE)?;
        while let Some(last) = ids.last().cloned() {
            for id in &ids {
                if let Some(found) = from.transaction(id)? {
                    put(found.index, false, id.as_ref())?;
                }
            }
            ids = from.transaction_ids(Some(&last), PAGE)?;
        }
        let mut names = from.marks(None, PAGE)?;
        while let Some(last) = names.last().cloned() {
            for name in &names {
                if let Some(found) = from.mark(name)? {
                    put(found.index, true, name.as_str().as_bytes())?;
                }
            }
            names = from.marks(Some(&last), PAGE)?;
        }
        connection.execute_batch("COMMIT").map_err(fail)?;
        Ok(Self { connection, place })
    }

    pub(super) fn rows(&self) -> Rows<'_> {
        Rows { order: self, page: Vec::new().into_iter(), last: 0 }
    }

    fn page(&self, after: i64) -> Result<Vec<(i64, bool, Vec<u8>)>, RestoreError> {
        let sql = "SELECT at, mark, name FROM rows WHERE at > ?1 ORDER BY at LIMIT ?2";
        let read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![after, PAGE as i64], |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?))
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|e| failed(&self.place, e))
    }
}

pub(super) struct Rows<'a> {
    order: &'a EntryOrder,
    page: IntoIter<(i64, bool, Vec<u8>)>,
    last: i64,
}

impl Rows<'_> {
    fn unreadable(&self, error: impl std::error::Error + Send + Sync + 'static) -> RestoreError {
        files("reading", Path::new(&self.order.place), std::io::Error::other(error))
    }

    fn row(&self, (at, mark, name): (i64, bool, Vec<u8>)) -> Result<Row, RestoreError> {
        let name = if mark {
            let text = String::from_utf8(name).map_err(|e| self.unreadable(e))?;
            Name::Mark(Label::new(&text).map_err(|e| self.unreadable(e))?)
        } else {
            Name::Transaction(TransactionId::new(name).map_err(|e| self.unreadable(e))?)
        };
        Ok(Row { index: at.unsigned_abs(), name })
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, RestoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0 {
            match self.order.page(self.last) {
                Ok(page) => self.page = page.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
        let row = self.page.next()?;
        self.last = row.0;
        Some(self.row(row))
    }
}

fn failed(place: &str, error: rusqlite::Error) -> RestoreError {
    files("sorting in", Path::new(place), std::io::Error::other(error))
}
