//! The one writer: a batch is a synced write batch.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{DB, WriteBatch, WriteOptions};
use tipline_proto::{Cursor, LogIdentity, TransactionId};

use super::families::{
    BLOCK_HASHES, BLOCK_PAYLOADS, BLOCKS, MARKS, META, PROOF_PAYLOADS, PROOFS, RECORDS,
    TRANSACTION_PAYLOADS, TRANSACTIONS, TRANSACTIONS_BY_INDEX,
};
use super::fault::{damaged, fault};
use super::marker::Marker;
use super::open::{self, Opened};
use super::read::{self, RocksDbReader};
use super::rows::{self, BASE_KEY, CURSOR_KEY, IDENTITY_KEY, Row, number};
use super::shared::Shared;
use super::view::{View, family};
use crate::changes::Changes;
use crate::store::{Batch, Store, StoreError, StoreIdentity, StoreReader, StoredTransaction};

/// A store in a RocksDB directory, tuned for appending and for payloads of many megabytes.
///
/// # Layout, version 1
/// A file `TIPLINE` in the directory says `tipline store, version 1`. Numbers are 8 bytes,
/// big-endian; `option` is a byte 0, or a byte 1 and the number; `hash` at an end takes what is
/// left. Times are microseconds since 1970.
///
/// | column family | key | value |
/// |---|---|---|
/// | `default` | `identity` | lineage (16 bytes), length of the genesis hash (1 byte), genesis hash, chain name |
/// | | `cursor` | the message `Cursor` of the protobuf schema |
/// | | `base` | height, hash of the parent of the log's first block |
/// | `blocks` | height | index, epoch, time, bytes of the payload, length of the hash (1 byte), hash, parent hash |
/// | `block_payloads` | height | payload |
/// | `block_hashes` | hash | height |
/// | `proofs` | height | index, time, bytes of the payload, hash of the block |
/// | `proof_payloads` | height | payload |
/// | `transactions` | id | index, time, bytes of the payload, option of the block tip |
/// | `transaction_payloads` | id | payload |
/// | `transactions_by_index` | index | option of the block tip, id |
/// | `records` | key | index, time, value |
/// | `marks` | name | index, time, option of the block tip |
///
/// Headers are apart from payloads, so that looking up a hash never reads a block. Payloads and
/// values from 4 KiB on are in blob files, which compactions do not copy.
///
/// # How it is kept
/// - A batch and the cursor behind it are one `WriteBatch`, written with `sync`: a crash or a
///   power cut at any instant leaves all of it or nothing.
/// - Readers of this process see one snapshot for each call. Readers of other processes
///   ([`RocksDbReader`]) are secondary instances that catch up before each call; they write
///   only into a temporary directory of their own. Neither waits for the writer.
/// - There is one writer: it holds an advisory lock on `TIPLINE`, besides RocksDB's own.
/// - When the disk is full nothing of the batch is stored; the database is closed, and opened
///   again from what is on the disk when the call is repeated. After any other failed write or
///   fsync the handle refuses further work.
/// - New directories are for their owner only (0700).
///
/// # Memory
/// Write buffers take 64 MiB and once more the largest batch, the block cache 32 MiB, a batch
/// under way its own size twice. RocksDB keeps 512 files open at most.
///
/// It is not encrypted. RocksDB's own checksums find flipped bits when they are read.
pub struct RocksDbStore {
    place: String,
    path: PathBuf,
    shared: Arc<Shared>,
    identity: Option<StoreIdentity>,
    cursor: Option<Cursor>,
    health: Health,
    /// Let go of after the database, which readers may keep open for longer.
    _marker: Marker,
}

#[derive(Debug)]
enum Health {
    Well,
    /// The disk was full: what RocksDB has in memory is not to be trusted any more.
    ReopenFirst,
    /// It failed, for good.
    Poisoned(String),
}

impl fmt::Debug for RocksDbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, cursor, health, .. } = self;
        f.debug_tuple("RocksDbStore").field(place).field(cursor).field(health).finish()
    }
}

impl RocksDbStore {
    /// Opens the store in the directory at `path` for its one writer; a new, empty one if there
    /// is no such directory, or nothing in it. What is durable in an existing one stays as it is.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another handle writes to it; [`StoreError::Unusable`] if the
    /// directory is something else, of another version, or cannot be written: it is not changed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let Opened { place, path, db, marker } = open::for_writing(path.as_ref())?;
        let view = View::now(&db, &place);
        let (identity, cursor) = (read::identity(&view)?, read::cursor(&view)?);
        drop(view);
        let (shared, health) = (Arc::new(Shared::new(db)), Health::Well);
        Ok(Self { place, path, shared, identity, cursor, health, _marker: marker })
    }

    fn check_usable(&self) -> Result<(), StoreError> {
        match &self.health {
            Health::Poisoned(why) => Err(StoreError::Failed {
                place: self.place.clone(),
                what: format!("it stopped earlier ({why}): remove the cause and open it anew"),
                source: None,
            }),
            _ => Ok(()),
        }
    }

    /// Ready to write: opened again, if the disk was full.
    fn make_ready(&mut self) -> Result<(), StoreError> {
        self.check_usable()?;
        if matches!(self.health, Health::ReopenFirst) {
            let reopened = self.shared.reopen(|| open::database(&self.path, &self.place));
            reopened.map_err(|error| self.settle(error))?;
            self.cursor = self.view(read::cursor).map_err(|error| self.settle(error))?;
            self.health = Health::Well;
        }
        Ok(())
    }

    fn view<T>(
        &self,
        read: impl FnOnce(&View<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.shared.with(&self.place, |db| read(&View::now(db, &self.place)))
    }

    /// Writes it durably.
    fn write(
        &self,
        what: &str,
        fill: &dyn Fn(&mut Writes<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.shared.with(&self.place, |db| {
            let view = View::now(db, &self.place);
            let mut writes = Writes { db, view, place: &self.place, batch: WriteBatch::default() };
            fill(&mut writes)?;
            let mut options = WriteOptions::default();
            options.set_sync(true);
            let written = db.write_opt(writes.batch, &options);
            written.map_err(|e| fault(&self.place, what, e))
        })
    }

    /// After an error nothing of the batch is visible. Where it is not certain that the next
    /// attempt starts from what is durable, there is no next attempt.
    fn settle(&mut self, error: StoreError) -> StoreError {
        self.health = match error.is_retryable() {
            true => Health::ReopenFirst,
            false => Health::Poisoned(error.to_string()),
        };
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
        self.make_ready()?;
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
        let written = self.write("writing what it is for", &|writes| {
            writes.put(META, IDENTITY_KEY, rows::put_identity(&expected))?;
            writes.put(META, CURSOR_KEY, origin.encode())
        });
        written.map_err(|error| self.settle(error))?;
        self.identity = Some(expected);
        self.cursor = Some(origin);
        Ok(())
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.make_ready()?;
        let before = batch.check_behind(self.cursor.as_ref(), &self.place)?;
        let changes = Changes::of(batch, before.block_tip.as_ref().map(|tip| tip.height));
        let what = format!("writing the entries up to {}", batch.cursor.position.index);
        let written = self.write(&what, &|writes| writes.all(&changes, batch));
        written.map_err(|error| self.settle(error))?;
        self.cursor = Some(batch.cursor.clone());
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        self.check_usable()?;
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(RocksDbReader::shared(self.place.clone(), shared)))
    }
}

/// A write batch that is being filled, and the state that it goes on from.
struct Writes<'a> {
    db: &'a DB,
    view: View<'a>,
    place: &'a str,
    batch: WriteBatch,
}

impl Writes<'_> {
    fn put(
        &mut self,
        name: &str,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<(), StoreError> {
        self.batch.put_cf(family(self.db, self.place, name)?, key, value);
        Ok(())
    }

    fn delete(&mut self, name: &str, key: impl AsRef<[u8]>) -> Result<(), StoreError> {
        self.batch.delete_cf(family(self.db, self.place, name)?, key);
        Ok(())
    }

    fn all(&mut self, changes: &Changes, batch: &Batch) -> Result<(), StoreError> {
        if let Some(to_height) = changes.rolled_back_to {
            self.remove_blocks(to_height)?;
            self.remove_transactions(to_height)?;
        }
        for (height, block) in &changes.blocks {
            let key = number(*height);
            self.put(BLOCKS, key, rows::put_block(block))?;
            self.put(BLOCK_PAYLOADS, key, &block.payload)?;
            self.put(BLOCK_HASHES, &block.hash, key)?;
        }
        for (height, proof) in &changes.proofs {
            self.put(PROOFS, number(*height), rows::put_proof(proof))?;
            self.put(PROOF_PAYLOADS, number(*height), &proof.payload)?;
        }
        for (id, transaction) in &changes.transactions {
            self.transaction(id, transaction.as_ref())?;
        }
        for (key, record) in &changes.records {
            match record {
                Some(record) => self.put(RECORDS, key, rows::put_record(record))?,
                None => self.delete(RECORDS, key)?,
            }
        }
        for (name, mark) in &changes.marks {
            self.put(MARKS, name.as_str(), rows::put_mark(mark))?;
        }
        if let Some(base) = &batch.base {
            self.put(META, BASE_KEY, rows::put_tip(base))?;
        }
        self.put(META, CURSOR_KEY, batch.cursor.encode())
    }

    /// Puts a transaction in the place of the one of the same id, or removes that.
    fn transaction(
        &mut self,
        id: &TransactionId,
        transaction: Option<&StoredTransaction>,
    ) -> Result<(), StoreError> {
        if let Some((earlier, _)) = read::transaction_header(&self.view, id)? {
            self.delete(TRANSACTIONS_BY_INDEX, number(earlier.index))?;
        }
        let Some(transaction) = transaction else {
            self.delete(TRANSACTIONS, id)?;
            return self.delete(TRANSACTION_PAYLOADS, id);
        };
        self.put(TRANSACTIONS, id, rows::put_transaction(transaction))?;
        self.put(TRANSACTION_PAYLOADS, id, &transaction.payload)?;
        self.put(TRANSACTIONS_BY_INDEX, number(transaction.index), rows::put_by_index(transaction))
    }

    /// Blocks and proofs above a height.
    fn remove_blocks(&mut self, to_height: u64) -> Result<(), StoreError> {
        let Some(first) = to_height.checked_add(1).map(number) else { return Ok(()) };
        let mut heights = Vec::new();
        for family in [BLOCKS, PROOFS] {
            let mut walk = self.view.walk(family, |rows| rows.seek(first))?;
            while let Some((key, _)) = walk.here()? {
                heights.push((family, read::height(key, self.place)?));
                walk.forth();
            }
        }
        for (family, height) in heights {
            let key = number(height);
            if family == PROOFS {
                self.delete(PROOFS, key)?;
                self.delete(PROOF_PAYLOADS, key)?;
                continue;
            }
            if let Some((block, _)) = read::header(&self.view, height)? {
                self.delete(BLOCK_HASHES, &block.hash)?;
            }
            self.delete(BLOCKS, key)?;
            self.delete(BLOCK_PAYLOADS, key)?;
        }
        Ok(())
    }

    /// Transactions whose block tip was above a height: from the newest on, down to the first
    /// that stays. Along the index block tips never fall, because every rollback removed those
    /// that were higher.
    fn remove_transactions(&mut self, to_height: u64) -> Result<(), StoreError> {
        let mut removed = Vec::new();
        let mut walk = self.view.walk(TRANSACTIONS_BY_INDEX, |rows| rows.seek_to_last())?;
        while let Some((key, value)) = walk.here()? {
            let row = rows::by_index(Row::new(value.to_vec()));
            let (block_tip, id) =
                row.ok_or_else(|| damaged(self.place, "an index of transactions"))?;
            if block_tip.is_none_or(|tip| tip <= to_height) {
                break;
            }
            removed.push((key.to_vec(), id));
            walk.back();
        }
        drop(walk);
        for (key, id) in removed {
            self.delete(TRANSACTIONS_BY_INDEX, key)?;
            self.delete(TRANSACTIONS, &id)?;
            self.delete(TRANSACTION_PAYLOADS, &id)?;
        }
        Ok(())
    }
}
