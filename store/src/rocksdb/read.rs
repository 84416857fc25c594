//! Handles for reading.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use tipline_proto::{Cursor, Hash, Key, Label, TransactionId};

use super::open;
use super::reopen::ReopeningReader;
use super::shared::SharedDatabase;
use super::view::View;
use crate::error::StoreError;
use crate::reader::{ChainView, StoreReader};
use crate::stored::{
    StoreIdentity, StoredBlock, StoredLinks, StoredMark, StoredProof, StoredRecord,
    StoredTransaction,
};

/// A handle for reading a store in a RocksDB directory, in this process or another, while it
/// is written or not: see [`crate::rocksdb::RocksDbStore`].
///
/// # What it costs
/// One that the writer gave shares all with it. One that was opened by its path reads the
/// files as they are, and each read looks first whether they changed since the one before: then
/// they are opened again, which reads the write-ahead log, at most 64 MiB and a batch, into
/// memory. It writes nothing, takes no lock, and holds nobody up.
pub struct RocksDbReader {
    place: String,
    source: Source,
}

enum Source {
    /// Of this process: the writer's.
    Shared(Arc<SharedDatabase>),
    ByPath(RefCell<ReopeningReader>),
}

impl RocksDbReader {
    /// Opens the store in the directory at `path` for reading.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if there is no store at this path, or one of another version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let place = open::place(path.as_ref());
        let path = open::resolve(path.as_ref(), &place)?;
        let reopening = RefCell::new(ReopeningReader::new(path, place.clone()));
        let reader = Self { place, source: Source::ByPath(reopening) };
        reader.identity()?;
        Ok(reader)
    }

    pub(super) fn shared(database: Arc<SharedDatabase>, place: String) -> Self {
        Self { place, source: Source::Shared(database) }
    }

    /// What the store was created for; `None` if it is new and empty.
    ///
    /// # Errors
    /// Those of every read.
    pub fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        self.read(|view| view.identity())
    }

    /// All that one call reads, it reads in one state of the store.
    fn read<T>(&self, read: impl Fn(&View<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match &self.source {
            Source::Shared(database) => database.read(read),
            Source::ByPath(reopening) => reopening.borrow_mut().read(read),
        }
    }
}

impl fmt::Debug for RocksDbReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksDbReader").field("place", &self.place).finish_non_exhaustive()
    }
}

impl ChainView for RocksDbReader {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        self.read(|view| view.cursor())
    }

    fn links(&self) -> Result<StoredLinks, StoreError> {
        self.read(|view| view.links())
    }

    fn block_hash(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        self.read(|view| view.block_hash(height))
    }

    fn block(&self, height: u64) -> Result<Option<StoredBlock>, StoreError> {
        self.read(|view| view.block(height))
    }

    fn heights(&self) -> Result<Option<(u64, u64)>, StoreError> {
        self.read(|view| view.heights())
    }
}

impl StoreReader for RocksDbReader {
    fn block_by_hash(&self, hash: &Hash) -> Result<Option<StoredBlock>, StoreError> {
        self.read(|view| view.block_by_hash(hash))
    }

    fn proof(&self, height: u64) -> Result<Option<StoredProof>, StoreError> {
        self.read(|view| view.proof(height))
    }

    fn block_page(&self, heights: RangeInclusive<u64>) -> Result<Vec<StoredBlock>, StoreError> {
        self.read(|view| view.block_page(heights.clone()))
    }

    fn proof_page(&self, heights: RangeInclusive<u64>) -> Result<Vec<StoredProof>, StoreError> {
        self.read(|view| view.proof_page(heights.clone()))
    }

    fn transaction(&self, id: &TransactionId) -> Result<Option<StoredTransaction>, StoreError> {
        self.read(|view| view.transaction(id))
    }

    fn record(&self, key: &Key) -> Result<Option<StoredRecord>, StoreError> {
        self.read(|view| view.record(key))
    }

    fn keys(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.read(|view| view.keys(after, limit))
    }

    fn transaction_ids(
        &self,
        after: Option<&TransactionId>,
        limit: usize,
    ) -> Result<Vec<TransactionId>, StoreError> {
        self.read(|view| view.transaction_ids(after, limit))
    }

    fn marks(&self, after: Option<&Label>, limit: usize) -> Result<Vec<Label>, StoreError> {
        self.read(|view| view.marks(after, limit))
    }

    fn mark(&self, name: &Label) -> Result<Option<StoredMark>, StoreError> {
        self.read(|view| view.mark(name))
    }
}
