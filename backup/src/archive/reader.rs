//! What an archive answers as a store.

use tipline_proto::{Cursor, Event, Hash, Key, Label, TransactionId};
use tipline_store::{
    StoreError, StoreReader, StoredBlock, StoredLinks, StoredMark, StoredProof, StoredRecord,
    StoredTransaction,
};
use tokio::runtime::Handle;

use super::error::store_error;
use super::head::{LocatedBlock, holding};
use super::state::{Opened, Shared, lock};

/// Reads from an archive while it is written to. What it does not remember it looks up at the
/// destination; what only a store knows it refuses to answer.
#[derive(Debug)]
pub(super) struct ArchiveReader {
    place: String,
    runtime: Handle,
    state: Shared,
}

impl ArchiveReader {
    pub(super) fn new(place: String, runtime: Handle, state: Shared) -> Self {
        Self { place, runtime, state }
    }

    fn get<T>(&self, what: impl FnOnce(&Opened) -> T) -> Option<T> {
        lock(&self.state).opened.as_ref().map(what)
    }

    fn find(&self, height: u64) -> Result<Option<LocatedBlock>, StoreError> {
        let known = self.get(|opened| match &opened.standing {
            standing if !standing.has_height(height) => Some(None),
            standing => standing.remembered(height).map(Some),
        });
        match known {
            None => return Ok(None),
            Some(Some(found)) => return Ok(found),
            Some(None) => {}
        }
        // Without the lock: applying must not wait for a search.
        let Some(Opened { archive, mut standing }) = self.get(Opened::clone) else {
            return Ok(None);
        };
        let found = self.runtime.block_on(archive.find_block(&mut standing, height));
        let found = found.map_err(|error| store_error(self.place.clone(), error))?;
        if let Some(opened) = lock(&self.state).opened.as_mut()
            && opened.standing.cursor == standing.cursor
        {
            opened.standing = standing;
        }
        Ok(found)
    }

    fn unanswered<T>(&self, what: &str) -> Result<T, StoreError> {
        let why = format!("an archive does not answer for {what}: restore it into a store");
        Err(StoreError::Unusable { place: self.place.clone(), why, source: None })
    }
}

impl StoreReader for ArchiveReader {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        Ok(self.get(|opened| opened.standing.cursor.clone()))
    }

    fn links(&self) -> Result<StoredLinks, StoreError> {
        Ok(self.get(|opened| opened.standing.links.clone()).unwrap_or_default())
    }

    fn block_hash(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        Ok(self.find(height)?.map(|found| found.hash))
    }

    fn block(&self, height: u64) -> Result<Option<StoredBlock>, StoreError> {
        let Some(found) = self.find(height)? else { return Ok(None) };
        let Some(archive) = self.get(|opened| opened.archive.clone()) else { return Ok(None) };
        let entries = self.runtime.block_on(async {
            let names = archive.segments().await?;
            match holding(&names, found.index) {
                Some(name) => Ok(archive.entries(name).await?.1),
                None => Ok(Vec::new()),
            }
        });
        let entries = entries.map_err(|error| store_error(self.place.clone(), error))?;
        let entry = entries.into_iter().find(|entry| entry.index == found.index);
        let missing = || StoreError::Corrupt {
            place: self.place.clone(),
            at: format!("entry {}: no segment holds block {height}", found.index),
            source: None,
        };
        let entry = entry.ok_or_else(missing)?;
        match entry.event {
            Event::BlockCommitted { height, hash, parent_hash, payload } => Ok(Some(StoredBlock {
                height,
                hash,
                parent_hash,
                index: entry.index,
                epoch: entry.epoch,
                time: entry.time,
                payload,
            })),
            _ => Err(missing()),
        }
    }

    fn heights(&self) -> Result<Option<(u64, u64)>, StoreError> {
        let Some(Opened { archive, standing }) = self.get(Opened::clone) else { return Ok(None) };
        let Some(highest) = standing.tip().map(|tip| tip.height) else { return Ok(None) };
        let lowest = match (standing.first, standing.links.base) {
            (0 | 1, base) => Some(base.map_or(0, |base| base.height.saturating_add(1))),
            // What was before has expired.
            _ => self
                .runtime
                .block_on(archive.first_height())
                .map_err(|error| store_error(self.place.clone(), error))?,
        };
        Ok(lowest.filter(|lowest| *lowest <= highest).map(|lowest| (lowest, highest)))
    }

    fn block_by_hash(&self, _hash: &Hash) -> Result<Option<StoredBlock>, StoreError> {
        self.unanswered("blocks by their hash")
    }

    fn proof(&self, _height: u64) -> Result<Option<StoredProof>, StoreError> {
        self.unanswered("proofs")
    }

    fn transaction(&self, _id: &TransactionId) -> Result<Option<StoredTransaction>, StoreError> {
        self.unanswered("transactions")
    }

    fn record(&self, _key: &Key) -> Result<Option<StoredRecord>, StoreError> {
        self.unanswered("records")
    }

    fn keys(&self, _after: Option<&Key>, _limit: usize) -> Result<Vec<Key>, StoreError> {
        self.unanswered("records")
    }

    fn transaction_ids(
        &self,
        _after: Option<&TransactionId>,
        _limit: usize,
    ) -> Result<Vec<TransactionId>, StoreError> {
        self.unanswered("transactions")
    }

    fn marks(&self, _after: Option<&Label>, _limit: usize) -> Result<Vec<Label>, StoreError> {
        self.unanswered("marks")
    }

    fn mark(&self, _name: &Label) -> Result<Option<StoredMark>, StoreError> {
        self.unanswered("marks")
    }
}
