//! Reading a range of blocks while it is rolled back and written again.

use std::array::IntoIter;
use std::cell::RefCell;
use std::iter::Cycle;

use tipline_proto::{Cursor, Entry, Hash, Key, Label, TransactionId};

use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::memory::MemoryStore;
use crate::reader::{ChainView, StoreReader};
use crate::spec::{Sink, Store};
use crate::stored::{
    StoredBlock, StoredLinks, StoredMark, StoredProof, StoredRecord, StoredTransaction,
};

/// A reader of a store that is applied to between any two of its reads: at each the next of these.
#[derive(Debug)]
struct Raced {
    reader: Box<dyn StoreReader>,
    state: RefCell<(MemoryStore, Model, Vec<Vec<Entry>>)>,
    /// How many batches come next, in turn: from ten blocks to six, to six again, to ten.
    steps: RefCell<Cycle<IntoIter<usize, 3>>>,
    /// A block that it does not find, although it is there.
    lost: Option<u64>,
}

impl Raced {
    fn step(&self) {
        let (store, model, batches) = &mut *self.state.borrow_mut();
        let count = self.steps.borrow_mut().next().unwrap();
        for _ in 0..count.min(batches.len()) {
            store.apply(&model.batch(&batches.remove(0))).unwrap();
        }
    }
}

impl ChainView for Raced {
    fn place(&self) -> String {
        self.reader.place()
    }
    fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        self.reader.cursor()
    }
    fn links(&self) -> Result<StoredLinks, StoreError> {
        self.reader.links()
    }
    fn block_hash(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        self.reader.block_hash(height)
    }
    fn block(&self, height: u64) -> Result<Option<StoredBlock>, StoreError> {
        let found = self.reader.block(height)?.filter(|block| Some(block.height) != self.lost);
        self.step();
        Ok(found)
    }
    fn heights(&self) -> Result<Option<(u64, u64)>, StoreError> {
        self.reader.heights()
    }
}

impl StoreReader for Raced {
    fn block_by_hash(&self, hash: &Hash) -> Result<Option<StoredBlock>, StoreError> {
        self.reader.block_by_hash(hash)
    }
    fn proof(&self, height: u64) -> Result<Option<StoredProof>, StoreError> {
        self.reader.proof(height)
    }
    fn transaction(&self, id: &TransactionId) -> Result<Option<StoredTransaction>, StoreError> {
        self.reader.transaction(id)
    }
    fn record(&self, key: &Key) -> Result<Option<StoredRecord>, StoreError> {
        self.reader.record(key)
    }
    fn keys(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.reader.keys(after, limit)
    }
    fn transaction_ids(
        &self,
        after: Option<&TransactionId>,
        limit: usize,
    ) -> Result<Vec<TransactionId>, StoreError> {
        self.reader.transaction_ids(after, limit)
    }
    fn marks(&self, after: Option<&Label>, limit: usize) -> Result<Vec<Label>, StoreError> {
        self.reader.marks(after, limit)
    }
    fn mark(&self, name: &Label) -> Result<Option<StoredMark>, StoreError> {
        self.reader.mark(name)
    }
}

/// Ten blocks, then six, other six, and ten again: after each read of a block it is another state.
fn raced() -> Raced {
    let mut history = History::blocks(10, 5);
    let (mut store, mut model) = (MemoryStore::new(), Model::new(&log()));
    store.create(&log()).unwrap();
    store.apply(&model.batch(&history.entries)).unwrap();
    let tip = history.model.cursor.block_tip.clone().unwrap().height;
    let mut batches = vec![];
    for _ in 0..20 {
        let from = history.entries.len();
        history.roll_back_to(tip - 4);
        batches.push(history.entries[from..].to_vec());
        (0..4).for_each(|_| history.block());
        batches.push(history.entries[from + 1..].to_vec());
    }
    let reader = store.reader().unwrap();
    let steps = RefCell::new([1, 2, 1].into_iter().cycle());
    Raced { reader, state: RefCell::new((store, model, batches)), steps, lost: None }
}

#[test]
fn blocks_that_are_rolled_back_and_written_again_meanwhile_are_not_missing() {
    let raced = raced();
    let blocks: Vec<_> = raced.blocks(0..=u64::MAX).unwrap().map(Result::unwrap).collect();
    assert!(blocks.windows(2).all(|two| two[0].height + 1 == two[1].height));
    assert!(blocks.len() >= 6, "{} blocks", blocks.len());
}

#[test]
fn a_block_that_is_missing_in_one_state_is_damage_even_so() {
    let mut raced = raced();
    let (lowest, _) = raced.heights().unwrap().unwrap();
    raced.lost = Some(lowest + 3);
    let found: Result<Vec<_>, _> = raced.blocks(0..=u64::MAX).unwrap().collect();
    let error = found.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("block {}", lowest + 3)), "{error}");
}
