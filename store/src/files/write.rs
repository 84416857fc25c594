//! The one writer: payloads first, the index is the commit, then the final names.

use std::error::Error;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use bytes::Bytes;
use tipline_proto::{Cursor, Entry, Event, LogIdentity};
use tracing::warn;

use super::install::{PendingInstall, RolledBack};
use super::layout::{Layout, Staged};
use super::open::{self, Opened};
use super::read::FileReader;
use super::recover::clear;
use super::reference::Reference;
use super::snapshot::FilesSnapshot;
use super::tree::Tree;
use super::watch::PayloadWatch;
use crate::batch::Batch;
use crate::changes::Changes;
use crate::disk::Poison;
use crate::error::StoreError;
use crate::reader::{ChainView, StoreReader};
use crate::snapshot::Snapshot;
use crate::spec::{Sink, Store};
use crate::sqlite::SqliteStore;
use crate::stored::StoreIdentity;

/// A store that keeps every block and every proof as a file, laid out as a node does: a node can
/// use the directory as its own block store. Everything else is in an index beside them.
///
/// # The directory, version 1
/// | name | what it is |
/// |---|---|
/// | `blocks/EEEE/block_HHHHHHHH.dat` | the block at a height: its payload, byte for byte |
/// | `blocks/EEEE/proof_HHHHHHHH.dat` | the proof of that block: its payload, byte for byte |
/// | `index.db` | the index: hashes, transactions, records, marks, and the cursor |
/// | `index.db-wal`, `index.db-shm` | belong to `index.db`; never remove them, and copy them with it |
/// | `index.db.lock` | the writer's lock; it means nothing by itself |
/// | `staging/block_HHHHHHHH.IIIIIIIIIIIIIIIIIIII` | a block on its way to its place, and likewise `proof_…` |
/// | `staging/rollback_HHHHHHHH-HHHHHHHH` | empty: blocks from the one height to the other are being rolled back |
/// | `staging/aside_block_HHHHHHHH.N` | a block that was replaced or rolled back while a checkpoint is made of what was before, and likewise `aside_proof_…` |
///
/// `HHHHHHHH` is the height in 8 hexadecimal digits, lower case, and `EEEE` its epoch, the height
/// divided by 65,536, in 4; there are more digits where the number needs more. `I…I` is the index
/// of the entry that the payload came with, in 20 decimal digits.
///
/// The index is an SQLite file of the schema of [`crate::sqlite::SqliteStore`], except that its
/// `application_id` is `0x54495046` (`TIPF`), and that in `blocks` and `proofs` the column
/// `payload` has a reference of 40 bytes to the file: its length (8 bytes, big-endian) and its
/// BLAKE3. One is never opened as the other.
///
/// # How it is kept
/// - A batch is first written to `staging` and flushed, then committed by the transaction in the
///   index that moves the cursor, and then its files are renamed into place, and what was rolled
///   back is removed. A crash or a power cut at any instant leaves all of it or nothing: what
///   it interrupted is finished or cleared away by [`FileStore::open`], which looks at `staging`,
///   and at the names in those epochs of which a rollback was interrupted. The final names are durable with the next batch; until then a
///   power cut may put a file back into `staging`, where it is read as well.
/// - Up to three files of a batch are flushed one by one (`fsync`), and then the directories; if
///   there are more, all by one flush of the file system (`syncfs`). That also writes what
///   others have written to it and can take as long. It is used where it is known to tell of
///   every failed write: ext4, XFS and Btrfs on Linux 5.8 or newer. Elsewhere each file is
///   flushed by itself.
/// - A payload is read from its file, and is what was written: length and BLAKE3 are compared
///   with the index. A file that is missing or changed is [`StoreError::Corrupt`] with its name.
/// - Readers never wait for the writer. Who reads the files without the index may meet a
///   block of a batch whose other blocks are not in place yet, or one that is being rolled back.
/// - With no space left, nothing of the batch stays, and the handle continues once there is some.
///   After any other failed write, flush or rename it is poisoned. Whatever was staged stays if the
///   index may have been committed; opening finds out, and writes to the index before it removes
///   what does not count.
/// - Before each batch, and when it is probed, it checks that the directories and the index still
///   have their names. When it is opened or probed, and every 5 s between batches, it also checks that
///   the files of 1,000 heights, in turn, and of the newest, are there and as long as they must be.
///   Those that are not stop it. What is changed in its place comes up when it is read.
/// - There is one writer: see [`crate::sqlite::SqliteStore`].
/// - New files and directories are for their owner only (0600, 0700).
///
/// All of it is on one file system, which is checked when it is opened. Nobody else may change anything below `blocks`; files of other
/// names are left alone.
#[derive(Debug)]
pub struct FileStore {
    place: String,
    tree: Tree,
    /// For the one who writes: what the index says before a batch.
    reader: FileReader,
    /// What the newest batch still has to do, after its commit.
    pending: PendingInstall,
    /// What an earlier writer left in `staging`, as long as there is no space to clear it away.
    left: Vec<Staged>,
    watch: PayloadWatch,
    poison: Poison,
    /// Has the lock. Released last: fields are dropped in their order.
    index: SqliteStore,
}

impl FileStore {
    /// Opens the store in `directory` for its one writer; makes a new, empty one if there is no
    /// such directory, or nothing in it. What is durable in an existing one stays as it is; what
    /// a crash left undone is done.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another handle writes to it; [`StoreError::Unusable`] if the
    /// directory is something else, of another version, or cannot be written: it is not changed.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, StoreError> {
        let Opened { place, index, tree, reader, left } = open::for_writing(directory.as_ref())?;
        let watch = PayloadWatch::start(&reader)?;
        Ok(Self {
            place,
            tree,
            reader,
            pending: PendingInstall::default(),
            left,
            watch,
            poison: Poison::default(),
            index,
        })
    }

    /// For tests: as on a file system on which a flush of all of it tells everything.
    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn flush_all(&mut self) -> Result<(), StoreError> {
        self.tree.flush_all()
    }

    fn layout(&self) -> &Layout {
        self.tree.layout()
    }

    fn check_present(&mut self) -> Result<(), StoreError> {
        self.poison.check(&self.place)?;
        let present = self.tree.check_present().and_then(|()| self.index.probe());
        present.map_err(|error| self.poison.unless_retryable(error))
    }

    /// Makes what survives of the batch durable, under names that mean nothing yet, and commits
    /// it.
    pub(crate) fn commit(&mut self, batch: &Batch, before: &Cursor) -> Result<(), StoreError> {
        let changes = Changes::new(batch, before.block_tip.as_ref().map(|tip| tip.height));
        let rolled_back = self.rolled_back(&changes, before)?;
        let pending = PendingInstall::new(&changes, rolled_back);
        let staged = pending.staged(&changes);
        let committed = if staged.is_empty() {
            self.index.apply(&referring(batch))
        } else {
            let (durable, referring) = self.stage(&staged, batch);
            durable.and_then(|()| self.index.apply(&referring))
        };
        if let Err(error) = committed {
            // Otherwise it may have been committed: then these are its payloads, and opening decides.
            if error.is_retryable() {
                self.tree.discard(&staged);
            }
            return Err(error);
        }
        self.pending = pending;
        Ok(())
    }

    /// Stages the files while the batch for the index is made: hashing beside the disk. Where
    /// there is no thread to be had, one after the other.
    fn stage(
        &mut self,
        staged: &[(Staged, &[u8])],
        batch: &Batch,
    ) -> (Result<(), StoreError>, Batch) {
        thread::scope(|scope| {
            let hashing = thread::Builder::new().spawn_scoped(scope, || referring(batch));
            let durable = self.tree.stage(staged);
            let referring = match hashing {
                Ok(hashing) => hashing.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(_) => referring(batch),
            };
            (durable, referring)
        })
    }

    /// The heights at which the store has blocks that the batch removes.
    fn rolled_back(&self, changes: &Changes, before: &Cursor) -> Result<RolledBack, StoreError> {
        let Some((to_height, tip)) = changes.rolled_back_to.zip(before.block_tip.as_ref()) else {
            return Ok(None);
        };
        let Some((lowest, _)) = self.reader.heights()? else {
            return Ok(None);
        };
        let heights = lowest.max(to_height.saturating_add(1))..=tip.height;
        Ok(Some(heights).filter(|heights| !heights.is_empty()))
    }

    /// Looks at some of the files: in any case, or if it is time for that.
    fn look(&mut self, in_any_case: bool) -> Result<(), StoreError> {
        match in_any_case || self.watch.is_due() {
            true => self.watch.look(&self.reader),
            false => Ok(()),
        }
    }

    /// Gives what is committed its final names, and removes what was rolled back.
    pub(crate) fn install(&mut self) -> Result<(), StoreError> {
        self.pending.run(&mut self.tree)
    }
}

impl Sink for FileStore {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        self.poison.check(&self.place)?;
        self.index.identity()
    }

    fn create(&mut self, log: &LogIdentity) -> Result<(), StoreError> {
        self.poison.check(&self.place)?;
        self.index.create(log)
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.check_present()?;
        let before = self.index.ready_for(batch)?;
        let cleared = clear(&self.tree, &mut self.index, &mut self.left);
        // What the batch before left undone, when there was no space even for names.
        let applied = cleared.and_then(|()| self.install()).and_then(|()| self.look(false));
        if let Err(error) = applied.and_then(|()| self.commit(batch, &before)) {
            return Err(self.poison.unless_retryable(error));
        }
        // It is durable and visible, whatever happens now: an error is for the next call. If that is
        // long in coming, `probe` comes first.
        if let Err(error) = self.install().map_err(|error| self.poison.unless_retryable(error)) {
            let error: &dyn Error = &error;
            warn!(
                store = self.place,
                error, "the batch is stored, but not all of its files are in place yet"
            );
        }
        Ok(())
    }

    /// Looks whether the directories and the index still have their names, puts into place what the
    /// last batch found no space for, and looks at some of the files.
    fn probe(&mut self) -> Result<(), StoreError> {
        self.check_present()?;
        let present = self.install().and_then(|()| self.look(true));
        present.map_err(|error| self.poison.unless_retryable(error))
    }

    fn view(&self) -> Result<Box<dyn ChainView>, StoreError> {
        Ok(self.reader()?)
    }

    fn snapshot(&self) -> Result<Vec<Box<dyn Snapshot>>, StoreError> {
        self.poison.check(&self.place)?;
        self.tree.check_present()?;
        let index = self.index.pin_file()?;
        let (place, layout) = (self.place.clone(), self.layout().clone());
        let snapshot = FilesSnapshot::new(place, layout, index, self.tree.retain_replaced())?;
        Ok(vec![Box::new(snapshot)])
    }
}

impl Store for FileStore {
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(FileReader::connect(self.layout().clone(), self.place.clone())?))
    }
}

/// The batch as the index keeps it: with references in the place of the payloads that are files.
fn referring(batch: &Batch) -> Batch {
    let entries = batch.entries.iter().map(|entry| {
        let refer = |payload: &Bytes| Reference::to(payload).encode();
        let event = match &entry.event {
            Event::BlockCommitted { height, hash, parent_hash, payload } => Event::BlockCommitted {
                height: *height,
                hash: hash.clone(),
                parent_hash: parent_hash.clone(),
                payload: refer(payload),
            },
            Event::BlockProven { height, block_hash, payload } => Event::BlockProven {
                height: *height,
                block_hash: block_hash.clone(),
                payload: refer(payload),
            },
            other => other.clone(),
        };
        Entry { event, ..entry.clone() }
    });
    Batch { entries: entries.collect(), cursor: batch.cursor.clone(), base: batch.base.clone() }
}
