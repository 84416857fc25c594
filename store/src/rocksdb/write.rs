//! The one writer: a batch is one synced write.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rocksdb::WriteBatch;
use tipline_proto::{Cursor, LogIdentity};

use super::error::{is_stall, store_error};
use super::families::Family;
use super::open;
use super::presence::Files;
use super::read::RocksDbReader;
use super::shared::SharedDatabase;
use super::snapshot::RocksDbSnapshot;
use super::view::{Db, View};
use super::{batch, rows};
use crate::batch::Batch;
use crate::changes::Changes;
use crate::disk::{Poison, failed, listing};
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
/// While there is no space it is opened again so often: that reads the log.
const PAUSE: Duration = Duration::from_secs(5);

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
/// - RocksDB's list of files (`MANIFEST`) is written anew, whole, each time that it changes, and
///   fsynced before `CURRENT` names it. One that is added to can be left with part of a record, by a
///   power cut or a failed fsync, and RocksDB would refuse to open the directory.
/// - After a failed write the handle is poisoned, and RocksDB does nothing more in the background.
///   A full disk is different, and so is a disk quota that is used up. The batch is refused with
///   [`StoreError::NoSpace`]; with the next one, at most every 5 s, the directory is closed and opened
///   again, from what is on the medium. That needs space for what is in the log. While it has none,
///   batches are refused, and reading continues; for the time of opening it waits. If the refused
///   batch is whole in the log, reading is refused with [`StoreError::NoSpace`] too, until it is
///   applied.
/// - Before each batch, and when it is probed, it checks that the directory still has its name, and
///   `CURRENT`, `LOCK` and the newest log of writes, which must not be shorter than it was: RocksDB
///   itself would notice only when it makes its next file. When it is probed, and every 5 s between
///   batches, it also checks that the list of files that `CURRENT` names is what RocksDB wrote, and
///   the files of rows: that none is gone, and of 1,000 of them, in turn, that they are as long as they
///   were, and not replaced. What is changed in its place in one of those comes up when it is read.
/// - A batch that waits for more than 30 s because rows are written to files too slowly is refused
///   with [`StoreError::Unavailable`], and can be tried again: nothing of it was written.
/// - What is in files has checksums, payloads included, and each read checks them.
/// - Readers of the writer share its memory. Each read is of one state between two batches, and
///   waits for nobody. They keep the directory open, and locked, until the last of them is gone. If
///   the writer failed they do so no longer than it: then they refuse, and it can be opened again.
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
    database: Arc<SharedDatabase>,
    files: Files,
    identity: Option<StoreIdentity>,
    cursor: Option<Cursor>,
    poison: Poison,
    /// RocksDB stopped for want of space, and is to be opened again.
    stopped: Option<Stopped>,
    /// When that was last tried.
    reopened: Option<Instant>,
    /// How long a write may be held up.
    patience: Duration,
}

#[derive(Debug)]
struct Stopped {
    /// What it said.
    why: String,
    /// Where the write that was refused would have brought it. It may be whole in the log: RocksDB
    /// also refuses what it has logged, if it finds no space to write that down.
    refused: Option<Cursor>,
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
        Self::open_with(path.as_ref(), open::LOG_BYTES)
    }

    /// With rows written to files when the log has so many bytes. For tests: what is done once for
    /// many batches, done for a few.
    pub(crate) fn open_with(path: &Path, log_bytes: u64) -> Result<Self, StoreError> {
        let place = open::place(path);
        let database = SharedDatabase::open(path, &place, log_bytes)?;
        let (identity, cursor) = database.read(|view| Ok((view.identity()?, view.cursor()?)))?;
        let files = Files::of(database.path());
        let files = files.map_err(|e| failed(&place, "looking at its files", e))?;
        database.with(|db| files.check_payloads(&place, db))?;
        Ok(Self {
            place,
            database: Arc::new(database),
            files,
            identity,
            cursor,
            poison: Poison::default(),
            stopped: None,
            reopened: None,
            patience: PATIENCE,
        })
    }

    /// For tests: a write that is held up is given up at once.
    #[cfg(test)]
    pub(crate) fn be_impatient(&mut self) {
        self.patience = Duration::ZERO;
    }

    /// For tests: the next batch looks at all files.
    #[cfg(test)]
    pub(crate) fn look_now(&mut self) {
        self.files.be_due();
    }

    /// For tests: to look into it, and to damage it.
    #[cfg(test)]
    pub(crate) fn with_db<T>(&self, work: impl FnOnce(&Db) -> T) -> T {
        self.database.with(|db| Ok(work(db))).unwrap()
    }

    /// Writes all of it, or nothing. On `Ok` it is on the medium, and the store is at `after`.
    fn write(
        &mut self,
        what: &str,
        after: &Cursor,
        rows: impl Fn(&View<'_>) -> Result<WriteBatch, StoreError>,
    ) -> Result<(), StoreError> {
        let (place, patience) = (&self.place, self.patience);
        let written = self.database.with(|db| {
            let begun = Instant::now();
            loop {
                let view = View::new(db, place);
                let write = rows(&view)?;
                drop(view);
                match db.write_opt(write, &open::durable()) {
                    Ok(()) => return Ok(()),
                    Err(e) if is_stall(&e) && begun.elapsed() < patience => wait_for_memory(db),
                    Err(e) if is_stall(&e) => {
                        let (place, source) = (place.clone(), Some(Box::new(e) as Box<_>));
                        return Err(StoreError::Unavailable { place, source });
                    }
                    Err(e) => return Err(store_error(place, what, e)),
                }
            }
        });
        written.map_err(|error| {
            let error = self.failed(error);
            if let Some(stopped) = &mut self.stopped {
                stopped.refused = Some(after.clone());
            }
            error
        })
    }

    /// Takes an error in, and gives it back. After one that is final nothing more is written, not by
    /// what RocksDB does in the background either.
    fn failed(&mut self, error: StoreError) -> StoreError {
        if self.stopped.is_none() && matches!(error, StoreError::NoSpace { .. }) {
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            self.stopped = Some(Stopped { why, refused: None });
        }
        let error = self.poison.unless_retryable(error);
        if self.poison.is_set() {
            // Once it is closed there is nothing to end.
            let end = |db: &Db| {
                db.cancel_all_background_work(false);
                Ok(())
            };
            self.database.with(end).ok();
        }
        error
    }

    /// Whether its files are there: all of them if that is asked for, or due.
    fn check_files(&mut self, all: bool) -> Result<(), StoreError> {
        let Self { place, database, files, stopped, .. } = &mut *self;
        // One that stopped may be closed.
        let present = match stopped.is_none() && (all || files.is_due()) {
            true => database.with(|db| files.check_all(place, db)),
            false => files.check(place),
        };
        present.map_err(|error| self.failed(error))
    }

    /// Opens it again if RocksDB stopped for want of space.
    fn resume(&mut self) -> Result<(), StoreError> {
        self.try_to_resume().map_err(|error| self.failed(error))
    }

    fn try_to_resume(&mut self) -> Result<(), StoreError> {
        let Some(stopped) = &self.stopped else { return Ok(()) };
        if self.reopened.is_some_and(|at| at.elapsed() < PAUSE) {
            let (place, source) = (self.place.clone(), Some(stopped.why.clone().into()));
            return Err(StoreError::NoSpace { place, source });
        }
        self.reopened = Some(Instant::now());
        let reopened = self.database.reopen(self.cursor.as_ref());
        // An attempt that failed may have cut the end of the log off, too.
        self.files = Files::of(self.database.path())
            .map_err(|e| listing(&self.place, "looking at its files", e))?;
        reopened?;
        let (identity, cursor) =
            self.database.read(|view| Ok((view.identity()?, view.cursor()?)))?;
        let refused = self.stopped.take().and_then(|stopped| stopped.refused);
        if cursor != self.cursor && cursor != refused {
            let what = "it is not where it was, opened again after there was no space: somebody \
                else has changed it"
                .to_owned();
            return Err(StoreError::Failed { place: self.place.clone(), what, source: None });
        }
        (self.identity, self.cursor) = (identity, cursor);
        Ok(())
    }
}

impl Drop for RocksDbStore {
    /// Whoever still has a reader must not keep the store from being opened again after a failure.
    fn drop(&mut self) {
        if self.poison.is_set() {
            self.database.close();
        }
    }
}

/// Rows that are in the log only are bounded; beyond that they must be in files first.
fn wait_for_memory(db: &Db) {
    let is_held = |property: &str| matches!(db.property_int_value(property), Ok(Some(1..)));
    for _ in 0..STALLS {
        if !is_held("rocksdb.is-write-stopped") && !is_held("rocksdb.actual-delayed-write-rate") {
            return;
        }
        thread::sleep(STALL);
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
        self.resume()?;
        let expected = StoreIdentity::from(log);
        if is_created(&self.place, self.identity.as_ref(), &expected)? {
            return Ok(());
        }
        let origin = Cursor::origin(log);
        let rows = |view: &View<'_>| {
            let (family, mut write) = (view.family(Family::Store)?, WriteBatch::default());
            write.put_cf(family, rows::IDENTITY, rows::identity(&expected));
            write.put_cf(family, rows::CURSOR, rows::cursor(&origin));
            Ok(write)
        };
        self.write("writing what it is for", &origin, rows)?;
        self.identity = Some(expected);
        self.cursor = Some(origin);
        Ok(())
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.poison.check(&self.place)?;
        self.check_files(false)?;
        let before = self.cursor.clone();
        self.resume()?;
        if self.cursor != before && self.cursor.as_ref() == Some(&batch.cursor) {
            // It was refused, and is there, whole and durable since the store was opened again.
            return Ok(());
        }
        let before = batch.check_follows(self.cursor.as_ref(), &self.place)?.clone();
        let changes = Changes::new(batch, before.block_tip.as_ref().map(|tip| tip.height));
        let what = format!(
            "writing entries {} to {}",
            before.position.index + 1,
            batch.cursor.position.index
        );
        let rows = |view: &View<'_>| batch::write(view, &before, batch, &changes);
        self.write(&what, &batch.cursor, rows)?;
        self.cursor = Some(batch.cursor.clone());
        Ok(())
    }

    /// Looks whether the directory still has its name, its list of files, its lock, its newest log of
    /// writes, and the files of rows.
    fn probe(&mut self) -> Result<(), StoreError> {
        self.poison.check(&self.place)?;
        self.check_files(true)
    }

    fn view(&self) -> Result<Box<dyn ChainView>, StoreError> {
        Ok(self.reader()?)
    }

    fn snapshot(&self) -> Result<Vec<Box<dyn Snapshot>>, StoreError> {
        self.poison.check(&self.place)?;
        let Some((identity, cursor)) = self.identity.clone().zip(self.cursor.clone()) else {
            return Err(StoreError::unusable(&self.place, NOTHING_TO_COPY, None));
        };
        let snapshot =
            self.database.with(|db| RocksDbSnapshot::new(db, &self.place, identity, cursor))?;
        Ok(vec![Box::new(snapshot)])
    }
}

impl Store for RocksDbStore {
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(RocksDbReader::shared(Arc::clone(&self.database), self.place.clone())))
    }
}
