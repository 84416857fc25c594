//! What a store must hold, as plainly as it can be said.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use tipline_proto::{
    Cursor, Entry, Event, Hash, Key, Label, LogIdentity, ProofsFrom, Tip, TransactionId,
};

use crate::batch::Batch;
use crate::reader::{ChainView, StoreReader};
use crate::stored::{StoredBlock, StoredMark, StoredProof, StoredRecord, StoredTransaction};

/// What a store holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The first block of its chain that needs a proof.
    pub proofs_from: ProofsFrom,
    /// Where it is.
    pub cursor: Cursor,
    /// Parent of the log's first block.
    pub base: Option<Tip>,
    /// Blocks by height.
    pub blocks: BTreeMap<u64, StoredBlock>,
    /// Proofs by height.
    pub proofs: BTreeMap<u64, StoredProof>,
    /// Transactions by id.
    pub transactions: BTreeMap<TransactionId, StoredTransaction>,
    /// Records by key.
    pub records: BTreeMap<Key, StoredRecord>,
    /// Marks by name.
    pub marks: BTreeMap<Label, StoredMark>,
    /// Hashes of blocks that were rolled back, and are not there again: a store finds nothing by
    /// them.
    pub orphans: BTreeSet<Hash>,
}

impl Model {
    /// Of a new store of the log.
    pub fn new(log: &LogIdentity) -> Self {
        Self {
            proofs_from: log.chain.proofs_from,
            cursor: Cursor::origin(log),
            base: None,
            blocks: BTreeMap::new(),
            proofs: BTreeMap::new(),
            transactions: BTreeMap::new(),
            records: BTreeMap::new(),
            marks: BTreeMap::new(),
            orphans: BTreeSet::new(),
        }
    }

    /// Of a store of the log that has applied these entries.
    pub fn of(log: &LogIdentity, entries: &[Entry]) -> Self {
        let mut model = Self::new(log);
        entries.iter().for_each(|entry| model.apply(entry));
        model
    }

    /// Hash of the block at a height.
    pub fn block_hash(&self, height: u64) -> Option<Hash> {
        self.blocks.get(&height).map(|block| block.hash.clone())
    }

    /// Applies an entry that follows.
    pub fn apply(&mut self, entry: &Entry) {
        let (index, epoch, time) = (entry.index, entry.epoch, entry.time);
        let payload = entry.event.payload().clone();
        let block_tip = self.cursor.block_tip.as_ref().map(|tip| tip.height);
        match entry.event.clone() {
            Event::EpochStarted { .. } => {}
            Event::BlockCommitted { height, hash, parent_hash, .. } => {
                if block_tip.is_none() && height > 0 {
                    self.base = Some(Tip { height: height - 1, hash: parent_hash.clone() });
                }
                self.cursor.block_tip = Some(Tip { height, hash: hash.clone() });
                self.orphans.remove(&hash);
                let block = StoredBlock { height, hash, parent_hash, index, epoch, time, payload };
                self.blocks.insert(height, block);
            }
            Event::BlockProven { height, block_hash, .. } => {
                let proof = StoredProof { height, block_hash, index, time, payload };
                self.proofs.insert(height, proof);
            }
            Event::TransactionValidated { id, .. } => {
                let found = StoredTransaction { id: id.clone(), block_tip, index, time, payload };
                self.transactions.insert(id, found);
            }
            Event::StateRecorded { key, value: Some(value) } => {
                self.records.insert(key.clone(), StoredRecord { key, index, time, value });
            }
            Event::StateRecorded { key, value: None } => {
                self.records.remove(&key);
            }
            Event::RolledBack { to_height, to_hash } => {
                let above = self.blocks.split_off(&to_height.saturating_add(1));
                self.orphans.extend(above.into_values().map(|block| block.hash));
                self.proofs.retain(|height, _| *height <= to_height);
                self.transactions.retain(|_, t| t.block_tip.is_none_or(|tip| tip <= to_height));
                self.cursor.block_tip = Some(Tip { height: to_height, hash: to_hash });
            }
            Event::Marked { name } => {
                self.marks.insert(name.clone(), StoredMark { name, index, block_tip, time });
            }
        }
        self.cursor.position = entry.position();
        self.cursor.epoch = epoch;
        self.cursor.proof_tip = self.proof_tip();
    }

    /// The entries as one batch after what the model has; it takes them in.
    pub fn batch(&mut self, entries: &[Entry]) -> Batch {
        entries.iter().for_each(|entry| self.apply(entry));
        let (cursor, base) = (self.cursor.clone(), self.base.clone());
        Batch { entries: entries.to_vec(), cursor, base }
    }

    /// The definition itself: the highest height at or below which every block that needs a proof
    /// has it. The genesis needs none, and none below the first that does.
    fn proof_tip(&self) -> Option<u64> {
        let tip = self.cursor.block_tip.as_ref()?.height;
        let start = self.base.as_ref().map_or(0, |base| base.height);
        let is_free = |height: &u64| *height < self.proofs_from.height();
        let proven = (start + 1..=tip).take_while(|h| is_free(h) || self.proofs.contains_key(h));
        Some(proven.last().unwrap_or(start))
    }

    /// Compares the chain with that of a sink.
    pub fn assert_chain(&self, view: &dyn ChainView, context: &str) {
        assert_eq!(view.cursor().unwrap().as_ref(), Some(&self.cursor), "{context}");
        let links = view.links().unwrap();
        assert_eq!(links.base, self.base, "{context}");
        let above = |height: &&u64| self.cursor.proof_tip.is_none_or(|tip| **height > tip);
        let proven_above = self.proofs.keys().filter(above).copied().collect();
        assert_eq!(links.proven_above, proven_above, "{context}");

        assert_eq!(view.heights().unwrap(), self.heights(), "{context}");
        for height in self.heights_and_beyond() {
            assert_eq!(view.block(height).unwrap().as_ref(), self.blocks.get(&height), "{context}");
            assert_eq!(view.block_hash(height).unwrap(), self.block_hash(height), "{context}");
        }
    }

    /// Lowest and highest height of the blocks.
    fn heights(&self) -> Option<(u64, u64)> {
        let ends = self.blocks.first_key_value().zip(self.blocks.last_key_value());
        ends.map(|((lowest, _), (highest, _))| (*lowest, *highest))
    }

    /// These, all between them, and some that have no block.
    fn heights_and_beyond(&self) -> RangeInclusive<u64> {
        let (lowest, highest) = self.heights().unwrap_or((5, 5));
        lowest.saturating_sub(2)..=highest + 2
    }

    /// Compares everything with a store.
    pub fn assert_is(&self, reader: &dyn StoreReader, context: &str) {
        self.assert_chain(reader, context);
        for height in self.heights_and_beyond() {
            let proof = reader.proof(height).unwrap();
            assert_eq!(proof.as_ref(), self.proofs.get(&height), "{context}");
        }
        let (lowest, highest) = self.heights().unwrap_or((5, 5));
        let range = lowest + 1..=highest.saturating_sub(1);
        let found: Vec<_> = reader.blocks(range.clone()).unwrap().map(Result::unwrap).collect();
        let within = self.blocks.values().filter(|block| range.contains(&block.height));
        let expected: Vec<_> = within.cloned().collect();
        assert_eq!(found, expected, "{context}");
        let found = reader.blocks_with_proofs(0..=u64::MAX).unwrap().map(Result::unwrap);
        let proof_of = |block: &StoredBlock| self.proofs.get(&block.height).cloned();
        let expected = self.blocks.values().map(|block| (block.clone(), proof_of(block)));
        assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{context}");
        for block in self.blocks.values() {
            let proof = reader.proof_by_hash(&block.hash).unwrap();
            assert_eq!(proof.as_ref(), self.proofs.get(&block.height), "{context}");
            assert_eq!(
                reader.block_by_hash(&block.hash).unwrap().as_ref(),
                Some(block),
                "{context}"
            );
        }
        for hash in &self.orphans {
            let found = reader.block_by_hash(hash).unwrap();
            assert_eq!(found, None, "{context}: block {hash} was rolled back");
            let found = reader.proof_by_hash(hash).unwrap();
            assert_eq!(found, None, "{context}: block {hash} was rolled back");
        }
        let ids: Vec<_> = self.transactions.keys().cloned().collect();
        assert_eq!(reader.transaction_ids(None, usize::MAX).unwrap(), ids, "{context}");
        for (id, transaction) in &self.transactions {
            let found = reader.transaction(id).unwrap();
            assert_eq!(found.as_ref(), Some(transaction), "{context}");
        }
        let keys: Vec<_> = self.records.keys().cloned().collect();
        assert_eq!(reader.keys(None, usize::MAX).unwrap(), keys, "{context}");
        for (key, record) in &self.records {
            assert_eq!(reader.record(key).unwrap().as_ref(), Some(record), "{context}");
        }
        let names: Vec<_> = self.marks.keys().cloned().collect();
        assert_eq!(reader.marks(None, usize::MAX).unwrap(), names, "{context}");
        for (name, mark) in &self.marks {
            assert_eq!(reader.mark(name).unwrap().as_ref(), Some(mark), "{context}");
        }
    }
}
