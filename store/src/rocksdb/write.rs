//! The one writer: a batch is one synced write.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rocksdb::WriteBatch;
use tipline_proto::{Cursor, LogIdentity};

use super::error::{is_stall, store_error};
use super::families::Family;
use super::open::{self, Database};
use super::presence::Files;
use super::read::RocksDbReader;
use super::snapshot::RocksDbSnapshot;
use super::view::View;
use super::{batch, rows};
use crate::batch::Batch;
use crate::changes::Changes;
use crate::disk::{Poison, failed};
use crate::error::{StoreError, is_created};
use crate::reader::{ChainView, StoreReader};
use crate::snapshot::{NOTHING_TO_COPY, Snapshot};
use crate::spec::{Sink, Store};
use crate::stored::StoreIdentity;

/// While rows are written to files too slowly, this is how often to check for room in
/// memory, and after how many checks the write is tried in any case: it says what is wrong.
const STALL: Duration = Duration::from_millis(1);
const STALLS: usize = 100;
/// For so long it is tried by itself. After that somebody is to know.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store in a RocksDB directory, for large payloads and for those who run RocksDB anyway.
///
/// # Format, version 1
/// A directory is a store if it has the column family `tipline.store.v1`; the number is that of
/// the format. Numbers are 8 bytes, big-endian; times are microseconds since 1970. A `hash` is
/// its length in one byte, and then itself. An `option` is a byte 0, or a byte 1 and then the
/// value. A `payload` is a byte 0, its length, and then itself; if it has 4 KiB or more, it is a
/// byte 1 and its length alone, and itself is the row of the same entry in the family named
/// after it. Values of a row stand one after the other, with nothing in between.
///
/// | column family | key | row |
/// |---|---|---|
/// | `tipline.store.v1` | `identity` | what it is for, never changed: lineage (16 bytes), genesis (hash), the chain's name (to the end). If proofs are expected from a later height than 1 on, the name is followed by a zero byte and `proofs from HEIGHT` |
/// | | `cursor` | index, digest (32 bytes), epoch, option of the block tip (height, hash), option of the proof tip |
/// | | `base` | parent of the log's first block (height, hash); no row before there is one |
/// | `blocks` | height | hash, parent's hash, index, epoch, time, payload (`block_payloads` by height) |
/// | `block_hashes` | hash, without its length | height. What was rolled back stays listed: check that the block there has this hash |
/// | `proofs` | height | the block's hash, index, time, payload (`proof_payloads` by height) |
/// | `transactions` | id | index, time, option of the block tip, payload (`transaction_payloads` by index) |
/// | `transactions_by_index` | index | option of the block tip, id (to the end) |
/// | `records` | key | index, time, value as a payload (`record_values` by key) |
/// | `marks` | name | index, time, option of the block tip |
///
/// A directory `pinned-…` in it is of a checkpoint under way; what is left of one is removed when
/// the store is opened for writing.
///
/// `index` is the index of the entry that a row came with, `time` that entry's commit time at the
/// primary, the block tip the height of it at that entry. `default` is empty.
/// ```sh
/// ldb --db=PATH --column_family=blocks --hex scan --max_keys=1
/// ```
///
/// # How it is kept
/// - A batch and the cursor after it are one write, synced: a crash or a power cut at any
///   instant leaves all of it or nothing. What is damaged at the end of RocksDB's write-ahead log
///   looks the same as a write that was cut off, and is left out with everything after it; then the
///   store is as after an earlier batch, and asks the log for the rest again.
/// - A power cut is survived where a file's new length is durable only with what it covers: on ext4
///   with `data=ordered`, which is its default, XFS, Btrfs and ZFS. RocksDB reads its list of files
///   (`MANIFEST`) so: elsewhere, as on ext4 with `data=writeback`, a power cut while a file is
///   being added to the list can leave a directory that RocksDB refuses to open as corrupt.
///   Nothing wrong is read then; restore it, or fill it again from the log.
/// - After a failed write the handle is poisoned. A full disk is different: RocksDB then gives
///   up its log, looks every 5 s whether at least 32 MiB are free, writes what it has in memory
///   to new files, and continues. Until then each batch is refused with [`StoreError::NoSpace`], and
///   reading continues. A disk quota that is used up is a failed write.
/// - Before each batch, and when it is probed, it checks that the directory still has its name, and
///   `CURRENT`, `LOCK` and the newest log of writes, which must not be shorter than it was: RocksDB
///   itself would notice only when it makes its next file. Files of rows that are removed meanwhile
///   come up when they are read, or when it is opened again.
/// - A batch that waits for more than 30 s because rows are written to files too slowly is refused
///   with [`StoreError::Unavailable`], and can be tried again: nothing of it was written.
/// - What is in files has checksums, payloads included, and each read checks them.
/// - Readers of the writer share its memory. Each read is of one state between two batches, and
///   waits for nobody. They keep the directory open, and locked, until the last of them is gone.
///   For readers by path, in any process, see [`RocksDbReader`].
/// - There is one writer: it holds an advisory lock on the directory, and RocksDB's on `LOCK` in it.
/// - A new directory, or an empty one, becomes one for its owner only (0700); files in it have no
///   permissions of their own.
///
/// # What it takes
/// - Memory: 96 MiB for rows that are in the write-ahead log only, 32 MiB for what was read, and
///   twice the largest batch. Beyond that writing waits. With 64 MiB blocks it was 200 MiB.
/// - The write-ahead log: 64 MiB and two of the largest batches. Opening reads it.
/// - 512 open files, of about 32 MiB each; 16 MiB of RocksDB's own notes (`LOG*`).
/// - A payload of 4 KiB or more is written twice, to the log and to a blob file, and not again
///   until half of that file was replaced or rolled back. Space of what is removed comes back
///   when RocksDB compacts.
/// - A rollback holds the keys of the transactions that it removes in memory.
///
/// It is not encrypted.
#[derive(Debug)]
pub struct RocksDbStore {
    place: String,
    database: Arc<Database>,
    files: Files,
    identity: Option<StoreIdentity>,
    cursor: Option<Cursor>,
    poison: Poison,
    /// How long a write may be held up.
    patience: Duration,
}

impl RocksDbStore {
    /// Opens the store in the directory at `path` for its one writer; makes a new, empty one if
    /// there is no directory, or an empty one. What is durable in an existing one stays as it is.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another handle writes to it; [`StoreError::Unusable`] if the
    /// directory is something else, of another version, or cannot be written: it is not changed;
    /// [`StoreError::NoSpace`] if there is no space for what opening writes.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let place = open::place(path.as_ref());
        let database = open::for_writing(path.as_ref(), &place)?;
        let view = View::new(&database.db, &place);
        let (identity, cursor) = (view.identity()?, view.cursor()?);
        drop(view);
        let files =
            Files::of(database.db.path()).map_err(|e| failed(&place, "looking at its files", e))?;
        Ok(Self {
            place,
            database: Arc::new(database),
            files,
            identity,
            cursor,
            poison: Poison::default(),
            patience: PATIENCE,
        })
    }

    /// For tests: a write that is held up is given up at once.
    #[cfg(test)]
    pub(crate) fn be_impatient(&mut self) {
        self.patience = Duration::ZERO;
    }

    /// For tests: to look into it, and to damage it.
    #[cfg(test)]
    pub(crate) fn db(&self) -> &super::view::Db {
        &self.database.db
    }

    fn view(&self) -> View<'_> {
        View::new(&self.database.db, &self.place)
    }

    /// Writes all of it, or nothing. On `Ok` it is on the medium.
    fn write(
        &self,
        what: &str,
        rows: impl Fn() -> Result<WriteBatch, StoreError>,
    ) -> Result<(), StoreError> {
        let begun = Instant::now();
        loop {
            match self.database.db.write_opt(rows()?, &open::durable()) {
                Ok(()) => return Ok(()),
                Err(e) if is_stall(&e) && begun.elapsed() < self.patience => self.wait_for_memory(),
                Err(e) if is_stall(&e) => {
                    let (place, source) = (self.place.clone(), Some(Box::new(e) as Box<_>));
                    return Err(StoreError::Unavailable { place, source });
                }
                Err(e) => return Err(store_error(&self.place, what, e)),
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
}

impl Sink for RocksDbStore {
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
        let rows = || {
            let (view, mut write) = (self.view(), WriteBatch::default());
            let family = view.family(Family::Store)?;
            write.put_cf(family, rows::IDENTITY, rows::identity(&expected));
            write.put_cf(family, rows::CURSOR, rows::cursor(&origin));
            Ok(write)
        };
        if let Err(error) = self.write("writing what it is for", rows) {
            return Err(self.poison.unless_retryable(error));
        }
        self.identity = Some(expected);
        self.cursor = Some(origin);
        Ok(())
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.poison.check(&self.place)?;
        let present = self.files.check(&self.place);
        present.map_err(|error| self.poison.unless_retryable(error))?;
        let before = batch.check_follows(self.cursor.as_ref(), &self.place)?.clone();
        let changes = Changes::new(batch, before.block_tip.as_ref().map(|tip| tip.height));
        let what = format!(
            "writing entries {} to {}",
            before.position.index + 1,
            batch.cursor.position.index
        );
        let rows = || batch::write(&self.view(), &before, batch, &changes);
        if let Err(error) = self.write(&what, rows) {
            return Err(self.poison.unless_retryable(error));
        }
        self.cursor = Some(batch.cursor.clone());
        Ok(())
    }

    /// Looks whether the directory still has its name, its list of files, its lock and its newest log
    /// of writes.
    fn probe(&mut self) -> Result<(), StoreError> {
        self.poison.check(&self.place)?;
        let present = self.files.check_all(&self.place);
        present.map_err(|error| self.poison.unless_retryable(error))
    }

    fn view(&self) -> Result<Box<dyn ChainView>, StoreError> {
        Ok(self.reader()?)
    }

    fn snapshot(&self) -> Result<Vec<Box<dyn Snapshot>>, StoreError> {
        self.poison.check(&self.place)?;
        let Some((identity, cursor)) = self.identity.clone().zip(self.cursor.clone()) else {
            return Err(StoreError::unusable(&self.place, NOTHING_TO_COPY, None));
        };
        let snapshot = RocksDbSnapshot::new(&self.database.db, &self.place, identity, cursor)?;
        Ok(vec![Box::new(snapshot)])
    }
}

impl Store for RocksDbStore {
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(RocksDbReader::shared(Arc::clone(&self.database), self.place.clone())))
    }
}
