//! The one writer: a batch is a transaction.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSql, ToSqlOutput};
use rusqlite::{Connection, TransactionBehavior, params};
use tipline_proto::{Cursor, Entry, Event, LogIdentity, Tip};

use super::error::store_error;
use super::open::{self, Journal, Opened, WAL_BYTES, use_journal};
use super::read::{SqliteReader, read_store};
use super::schema::{self, Role};
use super::snapshot::SqliteSnapshot;
use crate::batch::Batch;
use crate::disk::{Lock, Poison, Presence};
use crate::error::{StoreError, is_created};
use crate::reader::{ChainView, StoreReader};
use crate::snapshot::Snapshot;
use crate::spec::{Sink, Store};
use crate::stored::StoreIdentity;

/// What an entry may add to the WAL besides its payload: a page for its row, and one of an index.
const ENTRY_WAL_BYTES: usize = 16 << 10;

/// A store in one SQLite file, which can be read with plain SQL.
///
/// # Schema, version 1
/// `application_id` is `0x54495053` (`TIPS`), `user_version` is 1. All tables are `STRICT`.
/// Numbers are SQLite integers, so heights, indices, epochs and times are limited to 2⁶³ − 1;
/// times are microseconds since 1970; hashes, keys, ids and payloads are blobs (`hex(hash)`).
///
/// | table | one row is | columns |
/// |---|---|---|
/// | `store` | the store itself, one row | `lineage`, `chain`, `genesis`: what it is for, never changed. `cursor_index`, `cursor_digest`, `epoch`, `block_tip`, `block_tip_hash`, `proof_tip`: the cursor. `base_height`, `base_hash`: the parent of the log's first block |
/// | `blocks` | the block at a height | `height` (key), `hash`, `parent_hash`, `log_index`, `epoch`, `time_us`, `payload` |
/// | `proofs` | the proof of the block at a height | `height` (key), `block_hash`, `log_index`, `time_us`, `payload` |
/// | `transactions` | a validated transaction | `log_index` (key), `id` (unique), `block_tip`, `time_us`, `payload` |
/// | `records` | a recorded state | `log_index` (key), `key` (unique), `time_us`, `value` |
/// | `marks` | a named restore point | `log_index` (key), `name` (unique), `block_tip`, `time_us` |
///
/// `log_index` is the index of the entry that a row came with, `time_us` that entry's commit
/// time at the primary, `block_tip` the height of the block tip at that entry.
///
/// ```sql
/// -- Blocks without a proof:
/// SELECT height, hex(hash) FROM blocks WHERE height NOT IN (SELECT height FROM proofs);
/// -- A block by its hash: the index is on 8 bytes out of the middle of it.
/// SELECT height FROM blocks WHERE hash = :hash
///     AND substr(hash, length(hash) / 2 + 1, 8) = substr(:hash, length(:hash) / 2 + 1, 8);
/// ```
///
/// # How it is kept
/// - A batch and the cursor after it are one transaction, in WAL mode with
///   `synchronous = FULL`: a crash or a power cut at any instant leaves all of it or nothing.
/// - Readers have connections of their own; each read is one statement and sees whole
///   batches. They never wait for the writer. A statement that somebody else keeps open
///   for long keeps the WAL file from being emptied: it grows for as long.
/// - The pages in the WAL are carried into the file between two batches, and an error there
///   stops the store as a failed commit does.
/// - Before each batch, and when it is probed, it checks that the path still leads to the file that
///   is open: SQLite would write on in one that was removed or replaced.
/// - During a bulk load, when nobody else reads it, a rollback journal takes the place
///   of the WAL, with `synchronous = FULL` as before: what is appended is written once, not twice.
/// - Opening it for writing writes the WAL again, if there is one, and fsyncs it: a writer that
///   was killed, or whose fsync failed, may have left a batch there that is whole, and not durable.
///   After a bulk load that was cut off it writes the file itself.
/// - There is one writer: it holds an advisory lock on `PATH.lock`, which the system releases
///   when the process ends however it ends. The file stays; it means nothing by itself. Two
///   names of one file (hard links) are not noticed.
/// - New files are readable for their owner only (0600).
///
/// It is not encrypted, and payloads have no checksum of their own here: a flipped bit inside a
/// payload is found by comparing with the log or with another store ([`crate::content::content_digest`]).
#[derive(Debug)]
pub struct SqliteStore {
    place: String,
    path: PathBuf,
    role: Role,
    connection: Connection,
    identity: Option<StoreIdentity>,
    cursor: Option<Cursor>,
    /// At most this many bytes of the WAL are not in the file yet.
    wal_bytes: usize,
    /// Which one there is: a rollback journal during a bulk load.
    journal: Journal,
    poison: Poison,
    presence: Presence,
    /// Released after the connection is closed: fields are dropped in their order.
    _lock: Lock,
}

impl SqliteStore {
    /// Opens the store in the file at `path` for its one writer; a new, empty one if there is
    /// no file. What is durable in an existing one stays as it is.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another handle writes to it; [`StoreError::Unusable`] if the
    /// file is something else, of another version, or cannot be written: it is not changed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_as(path.as_ref(), open::place(path.as_ref()), Role::Store)
    }

    /// Opens a file of this role, as a part of the store `place`.
    pub(crate) fn open_as(path: &Path, place: String, role: Role) -> Result<Self, StoreError> {
        let Opened { place, path, role, connection, presence, lock } =
            open::for_writing(path, place, role)?;
        let found = read_store(&connection, &place)?;
        let (identity, cursor) = found.unzip();
        let (wal_bytes, journal) = (WAL_BYTES, Journal::WriteAhead);
        Ok(Self {
            place,
            path,
            role,
            connection,
            identity,
            cursor,
            wal_bytes,
            journal,
            poison: Poison::default(),
            presence,
            _lock: lock,
        })
    }

    /// For tests: to make it fail as a full or broken medium does.
    #[cfg(test)]
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A snapshot of the file of this role.
    pub(crate) fn pin_file(&self) -> Result<SqliteSnapshot, StoreError> {
        self.poison.check(&self.place)?;
        SqliteSnapshot::new(&self.path, &self.place, self.role)
    }

    /// Whether the handle is usable, and what it writes to still has its name.
    fn check_present(&mut self) -> Result<(), StoreError> {
        self.poison.check(&self.place)?;
        let present = self.presence.check(&self.place);
        present.map_err(|error| self.poison_unless_retryable(error))
    }

    /// The cursor, if the handle is usable and the batch starts directly after it.
    pub(crate) fn ready_for(&self, batch: &Batch) -> Result<Cursor, StoreError> {
        self.poison.check(&self.place)?;
        batch.check_follows(self.cursor.as_ref(), &self.place).cloned()
    }

    /// Switches the journal, if it is another one.
    fn switch(&mut self, journal: Journal) -> Result<(), StoreError> {
        self.poison.check(&self.place)?;
        if self.journal != journal {
            use_journal(&self.connection, &self.place, journal)?;
            self.journal = journal;
        }
        Ok(())
    }

    /// Carries what is in the WAL into the file, if it has become much.
    fn checkpoint(&mut self) -> Result<(), StoreError> {
        if self.journal == Journal::Rollback || self.wal_bytes < WAL_BYTES {
            return Ok(());
        }
        self.connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
            .map_err(|e| store_error(&self.place, "carrying the WAL into the file", e))?;
        self.wal_bytes = 0;
        Ok(())
    }

    fn commit(&mut self, batch: &Batch, before: &Cursor) -> Result<(), StoreError> {
        let place = &self.place;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| store_error(place, "beginning a transaction", e))?;
        let mut block_tip = before.block_tip.as_ref().map(|tip| tip.height);
        for entry in &batch.entries {
            write_entry(&transaction, entry, &mut block_tip).map_err(|e| {
                store_error(place, &format!("writing entry {} ({})", entry.index, entry.event), e)
            })?;
        }
        write_cursor(&transaction, &batch.cursor, batch.base.as_ref())
            .map_err(|e| store_error(place, "writing the cursor", e))?;
        transaction.commit().map_err(|e| store_error(place, "committing", e))
    }

    /// After an error nothing of the batch is visible. Where it is not certain that the next
    /// attempt starts from what is durable, there is no next attempt.
    fn poison_unless_retryable(&mut self, error: StoreError) -> StoreError {
        let rolled_back = self.connection.is_autocommit();
        if rolled_back && error.is_retryable() {
            return error;
        }
        // Recovery is for the next one to open it, from what is on the medium then. If this
        // fails, closing recovers: as safe, only sooner.
        let config = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        self.connection.set_db_config(config, true).ok();
        self.poison.by(error)
    }
}

impl Sink for SqliteStore {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        self.poison.check(&self.place)?;
        Ok(self.identity.clone())
    }

    fn create(&mut self, log: &LogIdentity) -> Result<(), StoreError> {
        self.poison.check(&self.place)?;
        let expected = StoreIdentity::from(log);
        if is_created(&self.place, self.identity.as_ref(), &expected)? {
            return Ok(());
        }
        let origin = Cursor::origin(log);
        if let Err(e) = write_identity(&self.connection, &expected, &origin) {
            let error = store_error(&self.place, "writing what it is for", e);
            return Err(self.poison_unless_retryable(error));
        }
        self.identity = Some(expected);
        self.cursor = Some(origin);
        Ok(())
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.check_present()?;
        let before = self.ready_for(batch)?;
        if let Err(error) = self.checkpoint().and_then(|()| self.commit(batch, &before)) {
            return Err(self.poison_unless_retryable(error));
        }
        self.cursor = Some(batch.cursor.clone());
        self.wal_bytes += wal_bytes(batch);
        Ok(())
    }

    fn begin_bulk_load(&mut self) -> Result<(), StoreError> {
        self.switch(Journal::Rollback)
    }

    fn end_bulk_load(&mut self) -> Result<(), StoreError> {
        self.switch(Journal::WriteAhead)
    }

    /// Looks whether the file still has its name. So does [`Sink::apply`].
    fn probe(&mut self) -> Result<(), StoreError> {
        self.check_present()
    }

    fn view(&self) -> Result<Box<dyn ChainView>, StoreError> {
        Ok(self.reader()?)
    }

    fn snapshot(&self) -> Result<Vec<Box<dyn Snapshot>>, StoreError> {
        Ok(vec![Box::new(self.pin_file()?)])
    }
}

impl Store for SqliteStore {
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        let reader = SqliteReader::open_as(&self.path, self.place.clone(), self.role)?;
        if self.journal == Journal::Rollback {
            reader.wait_for_batches()?;
        }
        Ok(Box::new(reader))
    }
}

fn wal_bytes(batch: &Batch) -> usize {
    batch.entries.iter().map(|entry| entry.event.payload().len() + ENTRY_WAL_BYTES).sum()
}

/// A number of the contract as SQLite has it: up to 2⁶³ − 1. A higher one is an error.
struct Number(u64);

impl ToSql for Number {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        i64::try_from(self.0).map(ToSqlOutput::from).map_err(|_| {
            let why =
                format!("{} is over 9223372036854775807, the highest number SQLite has", self.0);
            rusqlite::Error::ToSqlConversionFailure(why.into())
        })
    }
}

fn write_identity(
    connection: &Connection,
    identity: &StoreIdentity,
    origin: &Cursor,
) -> rusqlite::Result<()> {
    let (chain, genesis) = (identity.chain.name.as_str(), identity.chain.genesis.as_ref());
    let (lineage, digest) = (identity.lineage.as_bytes(), origin.position.digest);
    let origin = params![
        lineage,
        chain,
        genesis,
        Number(origin.position.index),
        digest.as_bytes(),
        Number(origin.epoch)
    ];
    connection.execute(schema::PUT_STORE, origin).map(|_| ())
}

fn write_cursor(
    connection: &Connection,
    cursor: &Cursor,
    base: Option<&Tip>,
) -> rusqlite::Result<()> {
    let tip = cursor.block_tip.as_ref();
    connection
        .prepare_cached(schema::PUT_CURSOR)?
        .execute(params![
            Number(cursor.position.index),
            cursor.position.digest.as_bytes(),
            Number(cursor.epoch),
            tip.map(|tip| Number(tip.height)),
            tip.map(|tip| tip.hash.as_ref()),
            cursor.proof_tip.map(Number),
            base.map(|base| Number(base.height)),
            base.map(|base| base.hash.as_ref()),
        ])
        .map(|_| ())
}

/// Writes one entry; `block_tip` is the height of the tip before it, and then after it.
fn write_entry(
    connection: &Connection,
    entry: &Entry,
    block_tip: &mut Option<u64>,
) -> rusqlite::Result<()> {
    let (index, time) = (Number(entry.index), Number(entry.time.as_micros()));
    let put = |sql: &str, row: &[&dyn ToSql]| -> rusqlite::Result<()> {
        connection.prepare_cached(sql)?.execute(row).map(|_| ())
    };
    match &entry.event {
        Event::BlockCommitted { height, hash, parent_hash, payload } => {
            *block_tip = Some(*height);
            let (height, epoch) = (Number(*height), Number(entry.epoch));
            let (hash, parent) = (hash.as_ref(), parent_hash.as_ref());
            put(
                schema::PUT_BLOCK,
                params![height, hash, parent, index, epoch, time, payload.as_ref()],
            )
        }
        Event::BlockProven { height, block_hash, payload } => {
            let (height, hash) = (Number(*height), block_hash.as_ref());
            put(schema::PUT_PROOF, params![height, hash, index, time, payload.as_ref()])
        }
        Event::TransactionValidated { id, payload } => {
            let (id, tip) = (id.as_ref(), block_tip.map(Number));
            put(schema::PUT_TRANSACTION, params![index, id, tip, time, payload.as_ref()])
        }
        Event::StateRecorded { key, value: Some(value) } => {
            put(schema::PUT_RECORD, params![index, key.as_ref(), time, value.as_ref()])
        }
        Event::StateRecorded { key, value: None } => {
            put(schema::ERASE_RECORD, params![key.as_ref()])
        }
        Event::RolledBack { to_height, .. } => {
            *block_tip = Some(*to_height);
            schema::ROLL_BACK.iter().try_for_each(|sql| put(sql, params![Number(*to_height)]))
        }
        Event::Marked { name } => {
            let tip = block_tip.map(Number);
            put(schema::PUT_MARK, params![index, name.as_str(), tip, time])
        }
        Event::EpochStarted { .. } => Ok(()),
    }
}
