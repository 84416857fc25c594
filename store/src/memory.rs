//! A store in memory.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tipline_proto::{Cursor, Hash, Key, Label, LogIdentity, Tip, TransactionId};

use crate::batch::Batch;
use crate::changes::Changes;
use crate::error::{StoreError, is_created};
use crate::reader::{ChainView, StoreReader};
use crate::spec::{Sink, Store};
use crate::stored::{
    StoreIdentity, StoredBlock, StoredLinks, StoredMark, StoredProof, StoredRecord,
    StoredTransaction,
};

const PLACE: &str = "memory";

/// A store in memory. Nothing of it is durable: for tests, and for stores of one's own that
/// keep their content in memory and something else on the disk.
///
/// It takes as much memory as what it holds.
#[derive(Debug, Default)]
pub struct MemoryStore {
    content: Arc<RwLock<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    identity: Option<StoreIdentity>,
    cursor: Option<Cursor>,
    base: Option<Tip>,
    blocks: BTreeMap<u64, StoredBlock>,
    heights: BTreeMap<Hash, u64>,
    proofs: BTreeMap<u64, StoredProof>,
    transactions: BTreeMap<TransactionId, StoredTransaction>,
    records: BTreeMap<Key, StoredRecord>,
    marks: BTreeMap<Label, StoredMark>,
}

impl MemoryStore {
    /// A new, empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Sink for MemoryStore {
    fn place(&self) -> String {
        PLACE.to_owned()
    }

    fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        Ok(read(&self.content).identity.clone())
    }

    fn create(&mut self, log: &LogIdentity) -> Result<(), StoreError> {
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        let expected = StoreIdentity::from(log);
        if !is_created(PLACE, content.identity.as_ref(), &expected)? {
            (content.identity, content.cursor) = (Some(expected), Some(Cursor::origin(log)));
        }
        Ok(())
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        batch.check_follows(content.cursor.as_ref(), PLACE)?;
        content.apply(batch);
        Ok(())
    }

    /// Looks at nothing: memory does not go away.
    fn probe(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn view(&self) -> Result<Box<dyn ChainView>, StoreError> {
        Ok(self.reader()?)
    }
}

impl Store for MemoryStore {
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(MemoryReader { content: Arc::clone(&self.content) }))
    }
}

impl Content {
    fn apply(&mut self, batch: &Batch) {
        let tip = self.cursor.as_ref().and_then(|cursor| cursor.block_tip.as_ref());
        let changes = Changes::new(batch, tip.map(|tip| tip.height));
        if let Some(to_height) = changes.rolled_back_to {
            self.blocks.retain(|height, _| *height <= to_height);
            self.heights.retain(|_, height| *height <= to_height);
            self.proofs.retain(|height, _| *height <= to_height);
            self.transactions.retain(|_, found| found.block_tip.is_none_or(|tip| tip <= to_height));
        }
        let heights = changes.blocks.values().map(|block| (block.hash.clone(), block.height));
        self.heights.extend(heights);
        self.blocks.extend(changes.blocks);
        self.proofs.extend(changes.proofs);
        put(&mut self.transactions, changes.transactions);
        put(&mut self.records, changes.records);
        self.marks.extend(changes.marks);
        self.base.clone_from(&batch.base);
        self.cursor = Some(batch.cursor.clone());
    }
}

/// Puts what is there, and removes what is not.
fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, changes: BTreeMap<K, Option<V>>) {
    for (key, value) in changes {
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}

/// Changes are made whole under the lock, by code that does not panic in between.
fn read(content: &RwLock<Content>) -> RwLockReadGuard<'_, Content> {
    content.read().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct MemoryReader {
    content: Arc<RwLock<Content>>,
}

impl MemoryReader {
    fn content(&self) -> RwLockReadGuard<'_, Content> {
        read(&self.content)
    }
}

fn keys_after<K: Ord + Clone, V>(map: &BTreeMap<K, V>, last: Option<&K>, limit: usize) -> Vec<K> {
    let start = last.map_or(Unbounded, Excluded);
    map.range((start, Unbounded)).take(limit).map(|(key, _)| key.clone()).collect()
}

impl ChainView for MemoryReader {
    fn place(&self) -> String {
        PLACE.to_owned()
    }

    fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        Ok(self.content().cursor.clone())
    }

    fn links(&self) -> Result<StoredLinks, StoreError> {
        let content = self.content();
        let proof_tip = content.cursor.as_ref().and_then(|cursor| cursor.proof_tip);
        let above = content.proofs.range((proof_tip.map_or(Unbounded, Excluded), Unbounded));
        let proven_above = above.map(|(height, _)| *height).collect();
        Ok(StoredLinks { base: content.base.clone(), proven_above })
    }

    fn block_hash(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        Ok(self.content().blocks.get(&height).map(|block| block.hash.clone()))
    }

    fn block(&self, height: u64) -> Result<Option<StoredBlock>, StoreError> {
        Ok(self.content().blocks.get(&height).cloned())
    }

    fn heights(&self) -> Result<Option<(u64, u64)>, StoreError> {
        let content = self.content();
        let ends = content.blocks.first_key_value().zip(content.blocks.last_key_value());
        Ok(ends.map(|((lowest, _), (highest, _))| (*lowest, *highest)))
    }
}

impl StoreReader for MemoryReader {
    fn block_by_hash(&self, hash: &Hash) -> Result<Option<StoredBlock>, StoreError> {
        let content = self.content();
        let height = content.heights.get(hash);
        Ok(height.and_then(|height| content.blocks.get(height)).cloned())
    }

    fn proof(&self, height: u64) -> Result<Option<StoredProof>, StoreError> {
        Ok(self.content().proofs.get(&height).cloned())
    }

    fn transaction(&self, id: &TransactionId) -> Result<Option<StoredTransaction>, StoreError> {
        Ok(self.content().transactions.get(id).cloned())
    }

    fn record(&self, key: &Key) -> Result<Option<StoredRecord>, StoreError> {
        Ok(self.content().records.get(key).cloned())
    }

    fn keys(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, StoreError> {
        Ok(keys_after(&self.content().records, after, limit))
    }

    fn transaction_ids(
        &self,
        after: Option<&TransactionId>,
        limit: usize,
    ) -> Result<Vec<TransactionId>, StoreError> {
        Ok(keys_after(&self.content().transactions, after, limit))
    }

    fn marks(&self, after: Option<&Label>, limit: usize) -> Result<Vec<Label>, StoreError> {
        Ok(keys_after(&self.content().marks, after, limit))
    }

    fn mark(&self, name: &Label) -> Result<Option<StoredMark>, StoreError> {
        Ok(self.content().marks.get(name).cloned())
    }
}
