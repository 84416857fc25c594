//! A moment of the file, by an open read transaction, copied by SQLite's backup API.

use std::fs::File;
#[cfg(feature = "files")]
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use tipline_proto::Cursor;

use super::error::store_error;
use super::open;
use super::read::{SqliteReader, read_store};
use super::schema::Role;
use crate::disk::failed;
use crate::error::StoreError;
use crate::reader::StoreReader;
use crate::snapshot::{Copied, NOTHING_TO_COPY, Snapshot, Throttle};
use crate::stored::StoreIdentity;

/// The file in a copy's directory.
const COPY: &str = "store.db";
/// Pages of one step: a MiB, so that it can be ended at once.
const STEP_PAGES: i32 = 128;
/// So much is flushed at a time: a flush cannot be ended.
const FLUSH_BYTES: u64 = 32 << 20;
/// What the copy keeps in memory before it writes it, in KiB.
const CACHE_KIB: i64 = 4 << 10;

/// The file as it was when the snapshot was taken. While it lives the WAL is not emptied. Writers continue,
/// and do not make the backup start again: the transaction is open before it begins.
#[derive(Debug)]
pub(crate) struct SqliteSnapshot {
    place: String,
    connection: Connection,
    identity: StoreIdentity,
    cursor: Cursor,
    page_bytes: u64,
    pages: u64,
}

/// What a payload is.
#[cfg(feature = "files")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadOf {
    Block,
    Proof,
}

impl SqliteSnapshot {
    pub(super) fn new(path: &Path, place: &str, role: Role) -> Result<Self, StoreError> {
        let (connection, _) = open::for_reading(path, place, role)?;
        let fail = |e| store_error(place, "taking a snapshot", e);
        connection.execute_batch("BEGIN").map_err(fail)?;
        // The first read is what takes hold of the state.
        let Some((identity, cursor)) = read_store(&connection, place)? else {
            return Err(StoreError::unusable(place, NOTHING_TO_COPY, None));
        };
        let number = |sql: &str| {
            connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
        };
        let page_bytes = number("PRAGMA page_size").map_err(fail)?;
        let pages = number("PRAGMA page_count").map_err(fail)?;
        let place = place.to_owned();
        Ok(Self { place, connection, identity, cursor, page_bytes, pages })
    }

    /// Gives every payload of a block or a proof as of the snapshot, with its height and the index of
    /// its entry, until `each` says that it is enough.
    #[cfg(feature = "files")]
    pub(crate) fn payloads(
        &self,
        mut each: impl FnMut(PayloadOf, u64, u64, &[u8]) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let fail = |e| store_error(&self.place, "listing what it refers to", e);
        for (of, sql) in [
            (PayloadOf::Block, "SELECT height, log_index, payload FROM blocks ORDER BY height"),
            (PayloadOf::Proof, "SELECT height, log_index, payload FROM proofs ORDER BY height"),
        ] {
            let mut statement = self.connection.prepare(sql).map_err(fail)?;
            let mut rows = statement.query([]).map_err(fail)?;
            while let Some(row) = rows.next().map_err(fail)? {
                let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
                let (height, index) = (number(0).map_err(fail)?, number(1).map_err(fail)?);
                let payload =
                    row.get_ref(2).and_then(|value| Ok(value.as_blob()?)).map_err(fail)?;
                if each(of, height, index, payload)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// How large the copy becomes.
    pub(crate) fn length(&self) -> u64 {
        self.page_bytes * self.pages
    }

    /// Copies into a new file. Its bytes are fsynced on return, its name is not.
    pub(crate) fn copy_to(&self, path: &Path, pace: &dyn Throttle) -> Result<Copied, StoreError> {
        let place = format!("sqlite:{}", path.display());
        let fail = |e| store_error(&place, "copying into it", e);
        open::make(path).map_err(|e| self.making(path, e))?;
        let file = File::open(path).map_err(|e| self.making(path, e))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut copy = Connection::open_with_flags(path, flags).map_err(fail)?;
        // Nobody trusts a copy before it is whole and fsynced below.
        copy.pragma_update(None, "synchronous", "off").map_err(fail)?;
        copy.pragma_update_and_check(None, "journal_mode", "off", |_| Ok(())).map_err(fail)?;
        copy.pragma_update(None, "cache_size", -CACHE_KIB).map_err(fail)?;
        let backup = Backup::new(&self.connection, &mut copy).map_err(fail)?;
        let mut unflushed = 0;
        loop {
            let step = backup.step(STEP_PAGES).map_err(fail)?;
            let moved = self.page_bytes * STEP_PAGES.unsigned_abs() as u64;
            if pace.moved(moved).is_break() {
                return Ok(Copied::Cancelled);
            }
            match step {
                StepResult::Done => break,
                StepResult::More => unflushed += moved,
                // The state is held, and the copy is nobody else's.
                _ => return Err(StoreError::InUse { place }),
            }
            if unflushed >= FLUSH_BYTES {
                file.sync_data().map_err(|e| failed(&place, "flushing the copy", e))?;
                unflushed = 0;
            }
        }
        drop(backup);
        copy.close().map_err(|(_, e)| fail(e))?;
        file.sync_all().map_err(|e| failed(&place, "flushing the copy", e))?;
        Ok(Copied::Whole)
    }

    fn making(&self, path: &Path, error: std::io::Error) -> StoreError {
        failed(&self.place, format!("making its copy {}", path.display()), error)
    }
}

impl Snapshot for SqliteSnapshot {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn identity(&self) -> &StoreIdentity {
        &self.identity
    }

    fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    fn versions(&self) -> Vec<(String, String)> {
        vec![("sqlite".to_owned(), rusqlite::version().to_owned())]
    }

    fn bytes(&self, _into: &Path) -> Result<u64, StoreError> {
        Ok(self.length())
    }

    fn copy(&mut self, into: &Path, pace: &dyn Throttle) -> Result<Copied, StoreError> {
        self.copy_to(&into.join(COPY), pace)
    }

    fn open(&self, copy: &Path) -> Result<Box<dyn StoreReader>, StoreError> {
        open_copy(copy).map(|reader| Box::new(reader) as Box<_>)
    }
}

/// Opens a copy in this directory for reading, without changing or adding any file.
pub(crate) fn open_copy(copy: &Path) -> Result<SqliteReader, StoreError> {
    let path: PathBuf = copy.join(COPY);
    SqliteReader::open_copy(&path, open::place(&path), Role::Store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_no_log_has_no_snapshot() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let store = crate::sqlite::SqliteStore::open(&path).unwrap();
        let error = store.pin_file().unwrap_err();
        assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
    }
}
