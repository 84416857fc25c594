//! The one writer: a batch is a transaction.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};
use tipline_proto::{Cursor, LogIdentity};

use super::error::{commit_error, store_error};
use super::flusher::Flusher;
use super::journal::Journal;
use super::open::{self, Opened, check_journal, use_cache, use_journal};
use super::presence::Files;
use super::read::{SqliteReader, read_store};
use super::rows::{write_cursor, write_entry, write_identity};
use super::schema::Role;
use super::snapshot::SqliteSnapshot;
use super::wal::Wal;
use crate::batch::Batch;
use crate::disk::{Lock, Poison, failed};
use crate::error::{StoreError, is_created};
use crate::reader::{ChainView, StoreReader};
use crate::snapshot::Snapshot;
use crate::spec::{Sink, Store};
use crate::stored::StoreIdentity;

/// A store in one SQLite file, which can be read with plain SQL.
///
/// # Schema, version 1
/// `application_id` is `0x54495053` (`TIPS`), `user_version` is 1. All tables are `STRICT`.
/// A store of a chain that says from which height on proofs are expected has `user_version` 2, and
/// that height in the column `proofs_from` of `store`.
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
///   batches. They never wait for the writer.
/// - The pages in the WAL are carried into the file between two batches, about every 64 MiB, and an
///   error there stops the store as a failed commit does. A WAL of 192 MiB is begun again, for which
///   the writer waits up to 1 s for those who read from it: short reads do not make it grow, however
///   many there are. A statement or transaction that somebody keeps open for long does, and so does
///   a checkpoint that is being copied: then it grows for as long, with a warning each time that it
///   has doubled, see [`SqliteStore::wal_bytes`].
/// - Before each batch, and when it is probed, it checks that the path still leads to the file that
///   is open, and so for `-wal`, `-shm` and `.lock`, and that none of them was cut: SQLite would write on in
///   one that was removed or replaced, and what was cut away from `-shm` would end the process. A
///   snapshot and a reader are opened by the path, and check that, too. With each batch it checks that
///   nobody has switched the journal. The cursor is moved only from where this writer left it:
///   another one that goes past the lock is noticed with the next batch, which stops the store.
/// - During a bulk load, when nobody else reads it, a rollback journal takes the place
///   of the WAL, with `synchronous = FULL` as before: what is appended is written once, not twice.
///   The file is flushed while a batch is written to it, so that the commit has less to wait for.
/// - Opening it for writing writes the WAL again, if there is one, and fsyncs it: a writer that
///   was killed, or whose fsync failed, may have left a batch there that is whole, and not durable.
///   After a bulk load that was cut off it writes the file itself.
/// - There is one writer: it holds an advisory lock on `PATH.lock`, which the system releases
///   when the process ends however it ends. The file stays; it means nothing by itself. Two
///   names of one file (hard links) are not noticed when it is opened.
/// - A `-wal` or `-shm` without its file is what is left of a store: no new one is begun beside it.
/// - With no space left, or a disk quota that is used up, nothing of the batch stays, and the handle
///   continues once there is some. Only if it is the index of the WAL that has none when a batch is
///   committed, which is a matter of 32 KiB and rare, the handle stops: whether the batch is stored
///   is known when it is opened again.
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
    wal: Wal,
    /// Which one there is: a rollback journal during a bulk load.
    journal: Journal,
    poison: Poison,
    files: Files,
    /// During a bulk load. It ends after the connection is closed.
    flusher: Option<Flusher>,
    /// Released after the connection is closed: fields are dropped in their order.
    _lock: Lock,
}

impl SqliteStore {
    /// How long somebody else's transaction is waited for, where a test has one on purpose.
    #[cfg(test)]
    pub(super) fn wait_at_most(&self, wait: std::time::Duration) {
        self.connection.busy_timeout(wait).unwrap();
    }

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
        let Opened { place, path, role, connection, files, lock } =
            open::for_writing(path, place, role)?;
        let found = read_store(&connection, &place)?;
        let (identity, cursor) = found.unzip();
        let (wal, journal) = (Wal::of(&path), Journal::WriteAhead);
        Ok(Self {
            place,
            path,
            role,
            connection,
            identity,
            cursor,
            wal,
            journal,
            poison: Poison::default(),
            files,
            flusher: None,
            _lock: lock,
        })
    }

    /// Length of its WAL on the disk, in bytes: 64 MiB in the long run, more while somebody reads
    /// from it for long.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if it cannot be looked at.
    pub fn wal_bytes(&self) -> Result<u64, StoreError> {
        self.wal.bytes().map_err(|e| failed(&self.place, "looking at its WAL", e))
    }

    /// For tests: what is long with less.
    #[cfg(test)]
    pub(crate) fn limit_wal(&mut self, bytes: usize) {
        let set = self.connection.pragma_update_and_check(
            None,
            "journal_size_limit",
            bytes as i64,
            |_| Ok(()),
        );
        set.unwrap();
        self.wal.limit(bytes);
    }

    /// For tests: to make it fail as a full or broken medium does.
    #[cfg(test)]
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A snapshot of the file of this role.
    pub(crate) fn pin_file(&self) -> Result<SqliteSnapshot, StoreError> {
        self.poison.check(&self.place)?;
        self.by_name(|| SqliteSnapshot::new(&self.path, &self.place, self.role))
    }

    /// Opens something by the path, which must lead to what this handle writes to, before and after.
    fn by_name<T>(&self, open: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.files.check_names(&self.place)?;
        let opened = open();
        // First of all: it says why the other one failed.
        self.files.check_names(&self.place)?;
        opened
    }

    /// Makes sure that what it does not show is not there. A commit that failed may be whole in the
    /// WAL after all that counts, and count after a crash, until something is written over it. Durable on
    /// return.
    #[cfg(feature = "files")]
    pub(crate) fn settle(&mut self) -> Result<(), StoreError> {
        self.poison.check(&self.place)?;
        let version = "PRAGMA user_version";
        let settled = self
            .connection
            .query_row(version, [], |row| row.get::<_, i32>(0))
            .and_then(|version| self.connection.pragma_update(None, "user_version", version));
        settled.map_err(|e| {
            let error = commit_error(&self.place, e);
            self.poison_unless_retryable(error)
        })
    }

    /// Whether the handle is usable, and what it writes to still has its name.
    fn check_present(&mut self) -> Result<(), StoreError> {
        self.poison.check(&self.place)?;
        let present = self.files.check(&self.place, &self.connection);
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
            let ended = Flusher::end(&mut self.flusher, &mut self.connection, &self.place);
            ended.map_err(|error| self.poison_unless_retryable(error))?;
            use_journal(&self.connection, &self.place, journal)?;
            self.journal = journal;
            self.files = Files::of(&self.path, journal)
                .map_err(|e| failed(&self.place, "looking at its files", e))?;
            use_cache(&self.connection, journal)
                .map_err(|e| store_error(&self.place, "setting up the connection", e))?;
        }
        if journal == Journal::Rollback && self.flusher.is_none() {
            let flusher = Flusher::start(&self.path);
            self.flusher =
                Some(flusher.map_err(|e| failed(&self.place, "opening it to be flushed", e))?);
        }
        Ok(())
    }

    /// Keeps the WAL short, if there is one.
    fn checkpoint(&mut self) -> Result<(), StoreError> {
        match self.journal {
            Journal::Rollback => Ok(()),
            Journal::WriteAhead => self.wal.carry(&self.connection, &self.place),
        }
    }

    fn commit(&mut self, batch: &Batch, before: &Cursor) -> Result<(), StoreError> {
        let place = &self.place;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| store_error(place, "beginning a transaction", e))?;
        check_journal(&transaction, place, self.journal)?;
        let mut block_tip = before.block_tip.as_ref().map(|tip| tip.height);
        for entry in &batch.entries {
            write_entry(&transaction, entry, &mut block_tip).map_err(|e| {
                store_error(place, &format!("writing entry {} ({})", entry.index, entry.event), e)
            })?;
            if let Some(flusher) = &mut self.flusher {
                let wrote = flusher.wrote(entry.event.payload().len());
                wrote.map_err(|e| failed(place, "flushing it", e))?;
            }
        }
        let moved = write_cursor(&transaction, before, batch)
            .map_err(|e| store_error(place, "writing the cursor", e))?;
        if !moved {
            let what = format!(
                "its cursor is not at {} any more: another writer has changed it; stop that one, \
                 and open it again",
                before.position
            );
            return Err(StoreError::Failed { place: place.clone(), what, source: None });
        }
        transaction.commit().map_err(|e| commit_error(place, e))
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
        self.wal.wrote(batch);
        Ok(())
    }

    fn begin_bulk_load(&mut self) -> Result<(), StoreError> {
        self.switch(Journal::Rollback)
    }

    fn end_bulk_load(&mut self) -> Result<(), StoreError> {
        self.switch(Journal::WriteAhead)
    }

    /// Looks whether the file, its WAL, the index of that and its lock still have their names, and were
    /// not cut. So does [`Sink::apply`].
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
        let open = || SqliteReader::open_as(&self.path, self.place.clone(), self.role);
        let reader = self.by_name(open)?;
        if self.journal == Journal::Rollback {
            reader.wait_for_batches()?;
        }
        Ok(Box::new(reader))
    }
}
