//! Reading: a connection of its own, one statement for each call.

use std::fs;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Params, Row};
use tipline_proto::{
    Chain, Cursor, Digest, Hash, Key, Label, Lineage, Position, ProofsFrom, Timestamp, Tip,
    TransactionId,
};

use super::error::store_error;
use super::payloads::Payloads;
use super::schema::Role;
use super::{open, schema};
use crate::disk::{Presence, with_suffix};
use crate::error::StoreError;
use crate::page::{Page, ROWS};
use crate::reader::{ChainView, StoreReader};
use crate::stored::{
    StoreIdentity, StoredBlock, StoredLinks, StoredMark, StoredProof, StoredRecord,
    StoredTransaction,
};

/// Longer than three batches take, which is what a reader may wait for while a store is filled.
const WHILE_FILLING: Duration = Duration::from_secs(600);

/// A handle for reading a store in one SQLite file, in this process or another, while it is
/// written or not: see [`crate::sqlite::SqliteStore`].
///
/// It makes `-wal` and `-shm` beside the file if they are not there. Where it cannot, as on a medium
/// that is read-only, it reads the file alone, if there is nothing else to be read; if somebody
/// begins to write to it, its calls fail.
#[derive(Debug)]
pub struct SqliteReader {
    place: String,
    connection: Connection,
    /// The WAL that nobody may begin while it is open, if it can follow none.
    no_wal: Option<PathBuf>,
    /// The index of the WAL, which SQLite has in memory; none if there is none.
    shared: Option<Presence>,
}

impl SqliteReader {
    /// Opens the store in the file at `path` for reading.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if there is no store at this path, or one of another version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_as(path.as_ref(), open::place(path.as_ref()), Role::Store)
    }

    /// Opens a file of this role, as a part of the store `place`.
    pub(crate) fn open_as(path: &Path, place: String, role: Role) -> Result<Self, StoreError> {
        // The files beside it are beside what a link leads to. What is not there is refused below.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let (connection, is_still) = open::for_reading(&path, &place, role)?;
        let no_wal = is_still.then(|| with_suffix(&path, "-wal"));
        let shared = Presence::of(&with_suffix(&path, "-shm")).ok().filter(|_| !is_still);
        Ok(Self { place, connection, no_wal, shared })
    }

    /// Has it wait for batches that are being written, however slow the medium is.
    pub(super) fn wait_for_batches(&self) -> Result<(), StoreError> {
        let set = self.connection.busy_timeout(WHILE_FILLING);
        set.map_err(|e| store_error(&self.place, "setting up the connection", e))
    }

    /// Opens a copy of this role that nobody writes to, without changing or adding any file.
    pub(crate) fn open_copy(path: &Path, place: String, role: Role) -> Result<Self, StoreError> {
        let connection = open::copy_for_reading(path, &place, role)?;
        Ok(Self { place, connection, no_wal: None, shared: None })
    }

    /// What the store was created for; `None` if it is new and empty.
    ///
    /// # Errors
    /// Those of every read.
    pub fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        self.check_shared()?;
        Ok(read_store(&self.connection, &self.place)?.map(|(identity, _)| identity))
    }

    /// Whether it may be read: SQLite has the index of the WAL in memory, and to read there what was
    /// cut away from the file would end the process.
    fn check_shared(&self) -> Result<(), StoreError> {
        self.shared.as_ref().map_or(Ok(()), |shared| shared.check_not_cut_if_there(&self.place))
    }

    /// Whether what was just read is right.
    fn check_still(&self) -> Result<(), StoreError> {
        match &self.no_wal {
            Some(wal) if wal.exists() => {
                let what = "somebody writes to it since it was opened: open it again".to_owned();
                Err(StoreError::Failed { place: self.place.clone(), what, source: None })
            }
            _ => Ok(()),
        }
    }

    fn one<T>(
        &self,
        what: impl Fn() -> String,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.check_shared()?;
        let query = || self.connection.prepare_cached(sql)?.query_row(params, read).optional();
        let found = query().map_err(|e| store_error(&self.place, &what(), e))?;
        self.check_still().map(|()| found)
    }

    fn many<T>(
        &self,
        what: &str,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.check_shared()?;
        let query = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_map(params, read)?.collect::<rusqlite::Result<Vec<T>>>()
        };
        let found = query().map_err(|e| store_error(&self.place, what, e))?;
        self.check_still().map(|()| found)
    }

    /// The rows of a range of heights, until `read` ends the page or it is full.
    fn page<T>(
        &self,
        sql: &str,
        heights: RangeInclusive<u64>,
        read: impl Fn(&Row<'_>, &mut Page<T>, &mut Payloads) -> rusqlite::Result<ControlFlow<()>>,
    ) -> Result<Vec<T>, StoreError> {
        let (first, last) = (*heights.start(), *heights.end());
        // There are none that SQLite cannot have.
        let Ok(from) = i64::try_from(first) else { return Ok(Vec::new()) };
        let to = i64::try_from(last).unwrap_or(i64::MAX);
        self.check_shared()?;
        let query = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query((from, to, rows(ROWS)))?;
            let (mut page, mut payloads) = (Page::default(), Payloads::default());
            while let Some(row) = rows.next()?
                && read(row, &mut page, &mut payloads)?.is_continue()
            {}
            Ok(page.into_rows())
        };
        let what = || format!("blocks {first} to {last}");
        let found = query().map_err(|e| store_error(&self.place, &what(), e))?;
        self.check_still().map(|()| found)
    }
}

impl ChainView for SqliteReader {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        self.check_shared()?;
        let found = read_store(&self.connection, &self.place)?;
        self.check_still().map(|()| found.map(|(_, cursor)| cursor))
    }

    fn links(&self) -> Result<StoredLinks, StoreError> {
        let sql = "SELECT base_height, base_hash, proofs.height FROM store \
            LEFT JOIN proofs ON proofs.height > coalesce(store.proof_tip, -1)";
        self.check_shared()?;
        // One row for each height, of which there may be millions: nothing of one is kept.
        let query = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let (mut rows, mut links) = (statement.query([])?, StoredLinks::default());
            let mut is_first = true;
            while let Some(row) = rows.next()? {
                if std::mem::take(&mut is_first) {
                    links.base = tip(row, 0)?;
                }
                links.proven_above.extend(optional(row, 2)?);
            }
            Ok(links)
        };
        let links = query().map_err(|e| store_error(&self.place, "reading the links", e))?;
        self.check_still().map(|()| links)
    }

    fn block_hash(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        let sql = "SELECT hash FROM blocks WHERE height = ?";
        self.one(|| format!("block {height}"), sql, [key(height)], |row| hash(row, 0))
    }

    fn block(&self, height: u64) -> Result<Option<StoredBlock>, StoreError> {
        let sql = "SELECT height, hash, parent_hash, log_index, epoch, time_us, payload \
            FROM blocks WHERE height = ?";
        self.one(|| format!("block {height}"), sql, [key(height)], block)
    }

    fn heights(&self) -> Result<Option<(u64, u64)>, StoreError> {
        // Two look-ups at the ends of the tree; min and max in one would read all of it.
        let sql = "SELECT lowest, (SELECT max(height) FROM blocks) \
            FROM (SELECT min(height) AS lowest FROM blocks) WHERE lowest IS NOT NULL";
        self.one(
            || "the heights of the blocks".to_owned(),
            sql,
            [],
            |row| Ok((number(row, 0)?, number(row, 1)?)),
        )
    }
}

impl StoreReader for SqliteReader {
    fn block_by_hash(&self, hash: &Hash) -> Result<Option<StoredBlock>, StoreError> {
        let sql = schema::BLOCK_BY_HASH;
        self.one(|| format!("block {hash}"), sql, [hash.as_ref()], block)
    }

    fn proof(&self, height: u64) -> Result<Option<StoredProof>, StoreError> {
        let sql =
            "SELECT height, block_hash, log_index, time_us, payload FROM proofs WHERE height = ?";
        self.one(|| format!("proof of block {height}"), sql, [key(height)], proof)
    }

    fn block_page(&self, heights: RangeInclusive<u64>) -> Result<Vec<StoredBlock>, StoreError> {
        let sql = "SELECT height, hash, parent_hash, log_index, epoch, time_us, payload \
            FROM blocks WHERE height BETWEEN ? AND ? ORDER BY height LIMIT ?";
        let first = *heights.start();
        self.page(sql, heights, |row, page: &mut Page<StoredBlock>, payloads| {
            // It ends before the first that is missing.
            if number(row, 0)? != first + page.len() as u64 {
                return Ok(ControlFlow::Break(()));
            }
            let found = block_of(row, |payload| payloads.copy(payload))?;
            let bytes = found.payload.len();
            Ok(page.push(found, bytes))
        })
    }

    fn proof_page(&self, heights: RangeInclusive<u64>) -> Result<Vec<StoredProof>, StoreError> {
        let sql = "SELECT height, block_hash, log_index, time_us, payload \
            FROM proofs WHERE height BETWEEN ? AND ? ORDER BY height LIMIT ?";
        self.page(sql, heights, |row, page: &mut Page<StoredProof>, payloads| {
            let found = proof_of(row, |payload| payloads.copy(payload))?;
            let bytes = found.payload.len();
            Ok(page.push(found, bytes))
        })
    }

    fn transaction(&self, id: &TransactionId) -> Result<Option<StoredTransaction>, StoreError> {
        let sql =
            "SELECT id, block_tip, log_index, time_us, payload FROM transactions WHERE id = ?";
        self.one(
            || format!("transaction {id}"),
            sql,
            [id.as_ref()],
            |row| {
                Ok(StoredTransaction {
                    id: TransactionId::new(blob(row, 0)?).map_err(|e| wrong(0, e))?,
                    block_tip: optional(row, 1)?,
                    index: number(row, 2)?,
                    time: time(row, 3)?,
                    payload: payload(row, 4)?,
                })
            },
        )
    }

    fn record(&self, key: &Key) -> Result<Option<StoredRecord>, StoreError> {
        let sql = "SELECT key, log_index, time_us, value FROM records WHERE key = ?";
        self.one(
            || format!("record {key}"),
            sql,
            [key.as_ref()],
            |row| {
                Ok(StoredRecord {
                    key: Key::new(blob(row, 0)?).map_err(|e| wrong(0, e))?,
                    index: number(row, 1)?,
                    time: time(row, 2)?,
                    value: payload(row, 3)?,
                })
            },
        )
    }

    fn keys(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, StoreError> {
        // No key is empty, so all of them are after the empty one.
        let after = after.map_or(&[][..], AsRef::as_ref);
        let sql = "SELECT key FROM records WHERE key > ? ORDER BY key LIMIT ?";
        let read = |row: &Row<'_>| Key::new(blob(row, 0)?).map_err(|e| wrong(0, e));
        self.many("listing the records", sql, (after, rows(limit)), read)
    }

    fn transaction_ids(
        &self,
        after: Option<&TransactionId>,
        limit: usize,
    ) -> Result<Vec<TransactionId>, StoreError> {
        let after = after.map_or(&[][..], AsRef::as_ref);
        let sql = "SELECT id FROM transactions WHERE id > ? ORDER BY id LIMIT ?";
        let read = |row: &Row<'_>| TransactionId::new(blob(row, 0)?).map_err(|e| wrong(0, e));
        self.many("listing the transactions", sql, (after, rows(limit)), read)
    }

    fn marks(&self, after: Option<&Label>, limit: usize) -> Result<Vec<Label>, StoreError> {
        let after = after.map_or("", Label::as_str);
        let sql = "SELECT name FROM marks WHERE name > ? ORDER BY name LIMIT ?";
        self.many("listing the marks", sql, (after, rows(limit)), |row| label(row, 0))
    }

    fn mark(&self, name: &Label) -> Result<Option<StoredMark>, StoreError> {
        let sql = "SELECT name, log_index, block_tip, time_us FROM marks WHERE name = ?";
        self.one(
            || format!("mark {name}"),
            sql,
            [name.as_str()],
            |row| {
                Ok(StoredMark {
                    name: label(row, 0)?,
                    index: number(row, 1)?,
                    block_tip: optional(row, 2)?,
                    time: time(row, 3)?,
                })
            },
        )
    }
}

/// What the store is for and how far it is; `None` before it was created for a log.
pub(super) fn read_store(
    connection: &Connection,
    place: &str,
) -> Result<Option<(StoreIdentity, Cursor)>, StoreError> {
    // Not every store has the column that is read by its name.
    let sql = "SELECT lineage, chain, genesis, cursor_index, cursor_digest, epoch, \
        block_tip, block_tip_hash, proof_tip, * FROM store";
    let read = |row: &Row<'_>| {
        let name: String = row.get(1)?;
        let name = name.parse().map_err(|e| wrong(1, e))?;
        let chain = Chain { name, genesis: hash(row, 2)?, proofs_from: proofs_from(row)? };
        let identity = StoreIdentity { lineage: Lineage::from_bytes(row.get(0)?), chain };
        let digest = Digest::from_bytes(row.get(4)?);
        let cursor = Cursor {
            position: Position { index: number(row, 3)?, digest },
            epoch: number(row, 5)?,
            block_tip: tip(row, 6)?,
            proof_tip: optional(row, 8)?,
        };
        Ok((identity, cursor))
    };
    let query = || connection.prepare_cached(sql)?.query_row([], read).optional();
    query().map_err(|e| store_error(place, "the cursor", e))
}

fn proofs_from(row: &Row<'_>) -> rusqlite::Result<ProofsFrom> {
    match row.get::<_, i64>(schema::PROOFS_FROM) {
        Err(Error::InvalidColumnName(_)) => Ok(ProofsFrom::default()),
        height => ProofsFrom::new(height?.cast_unsigned()).map_err(|e| wrong(0, e)),
    }
}

fn block(row: &Row<'_>) -> rusqlite::Result<StoredBlock> {
    block_of(row, Bytes::copy_from_slice)
}

fn block_of(row: &Row<'_>, keep: impl FnOnce(&[u8]) -> Bytes) -> rusqlite::Result<StoredBlock> {
    Ok(StoredBlock {
        height: number(row, 0)?,
        hash: hash(row, 1)?,
        parent_hash: hash(row, 2)?,
        index: number(row, 3)?,
        epoch: number(row, 4)?,
        time: time(row, 5)?,
        payload: keep(blob(row, 6)?),
    })
}

fn proof(row: &Row<'_>) -> rusqlite::Result<StoredProof> {
    proof_of(row, Bytes::copy_from_slice)
}

fn proof_of(row: &Row<'_>, keep: impl FnOnce(&[u8]) -> Bytes) -> rusqlite::Result<StoredProof> {
    Ok(StoredProof {
        height: number(row, 0)?,
        block_hash: hash(row, 1)?,
        index: number(row, 2)?,
        time: time(row, 3)?,
        payload: keep(blob(row, 4)?),
    })
}

/// A height to look for. One that SQLite cannot have is in no store: -1 finds nothing.
fn key(height: u64) -> i64 {
    i64::try_from(height).unwrap_or(-1)
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let found: i64 = row.get(column)?;
    u64::try_from(found).map_err(|_| Error::IntegralValueOutOfRange(column, found))
}

fn optional(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    match row.get::<_, Option<i64>>(column)? {
        None => Ok(None),
        Some(_) => number(row, column).map(Some),
    }
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    number(row, column).map(Timestamp::from_micros)
}

fn payload(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    blob(row, column).map(Bytes::copy_from_slice)
}

fn blob<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a [u8]> {
    row.get_ref(column)?.as_blob().map_err(|e| wrong(column, e))
}

fn hash(row: &Row<'_>, column: usize) -> rusqlite::Result<Hash> {
    Hash::new(blob(row, column)?).map_err(|e| wrong(column, e))
}

fn label(row: &Row<'_>, column: usize) -> rusqlite::Result<Label> {
    Label::new(&row.get::<_, String>(column)?).map_err(|e| wrong(column, e))
}

/// A block by its height in this column and its hash in the next.
fn tip(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Tip>> {
    optional(row, column)?
        .map(|height| Ok(Tip { height, hash: hash(row, column + 1)? }))
        .transpose()
}

/// A value that the contract does not allow.
fn wrong(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error))
}
