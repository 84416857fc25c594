//! Reading a store that changes between any two reads.

use std::cell::Cell;

use tipline_proto::{Cursor, Digest, Hash, Key, Label, Position, Timestamp, Tip, TransactionId};
use tipline_store::{
    ChainView, StoreError, StoreReader, StoredBlock, StoredLinks, StoredMark, StoredProof,
    StoredRecord, StoredTransaction,
};

use super::query::{What, Which};

/// The block at a height, in the history of a letter.
fn hash(height: u64, history: u8) -> Hash {
    Hash::new([height as u8, history]).unwrap()
}

/// A store that is at the next of these tips after each read, and stays at the last.
#[derive(Debug)]
struct Moving {
    tips: Vec<(u64, u8)>,
    reads: Cell<usize>,
}

impl Moving {
    fn step(&self) -> (u64, u8) {
        let at = self.reads.replace(self.reads.get() + 1);
        self.tips[at.min(self.tips.len() - 1)]
    }
}

impl ChainView for Moving {
    fn place(&self) -> String {
        "moving".to_owned()
    }
    fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        let (height, history) = self.step();
        let position = Position { index: 1, digest: Digest::from_bytes([history; 32]) };
        let block_tip = Some(Tip { height, hash: hash(height, history) });
        Ok(Some(Cursor { position, epoch: 1, block_tip, proof_tip: Some(height) }))
    }
    fn links(&self) -> Result<StoredLinks, StoreError> {
        Ok(StoredLinks::default())
    }
    fn block_hash(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        Ok(self.block(height)?.map(|block| block.hash))
    }
    fn block(&self, height: u64) -> Result<Option<StoredBlock>, StoreError> {
        let (tip, history) = self.step();
        let block = StoredBlock {
            height,
            hash: hash(height, history),
            parent_hash: hash(height - 1, history),
            index: 1,
            epoch: 1,
            time: Timestamp::default(),
            payload: "block".into(),
        };
        Ok((height <= tip).then_some(block))
    }
    fn heights(&self) -> Result<Option<(u64, u64)>, StoreError> {
        Ok(Some((1, self.step().0)))
    }
}

impl StoreReader for Moving {
    fn block_by_hash(&self, _hash: &Hash) -> Result<Option<StoredBlock>, StoreError> {
        Ok(None)
    }
    fn proof(&self, height: u64) -> Result<Option<StoredProof>, StoreError> {
        Ok(self.block(height)?.map(|block| StoredProof {
            height,
            block_hash: block.hash,
            index: 1,
            time: block.time,
            payload: "proof".into(),
        }))
    }
    fn transaction(&self, _id: &TransactionId) -> Result<Option<StoredTransaction>, StoreError> {
        Ok(None)
    }
    fn record(&self, _key: &Key) -> Result<Option<StoredRecord>, StoreError> {
        Ok(None)
    }
    fn keys(&self, _after: Option<&Key>, _limit: usize) -> Result<Vec<Key>, StoreError> {
        Ok(vec![])
    }
    fn transaction_ids(
        &self,
        _after: Option<&TransactionId>,
        _limit: usize,
    ) -> Result<Vec<TransactionId>, StoreError> {
        Ok(vec![])
    }
    fn marks(&self, _after: Option<&Label>, _limit: usize) -> Result<Vec<Label>, StoreError> {
        Ok(vec![])
    }
    fn mark(&self, _name: &Label) -> Result<Option<StoredMark>, StoreError> {
        Ok(None)
    }
}

/// The hash of what is found at the tip.
fn at_tip(tips: &[(u64, u8)], what: &What, field: &str) -> String {
    let moving = Moving { tips: tips.to_vec(), reads: Cell::new(0) };
    let found = what.find(&moving).unwrap_or_else(|error| panic!("{error:?}"));
    found.json()[field].as_str().unwrap().to_owned()
}

#[test]
fn the_tip_is_the_tip_of_one_state() {
    let block = What::Block { block: Which::Tip };
    let shown = |height, history| hash(height, history).to_string();
    assert_eq!(at_tip(&[(5, 1)], &block, "hash"), shown(5, 1));
    // Rolled back between the cursor and the block, and replaced.
    assert_eq!(at_tip(&[(5, 1), (4, 1)], &block, "hash"), shown(4, 1));
    assert_eq!(at_tip(&[(5, 1), (6, 2)], &block, "hash"), shown(6, 2));
    let proof = What::Proof { block: Which::Tip };
    assert_eq!(at_tip(&[(5, 1), (4, 1)], &proof, "block_hash"), shown(4, 1));
}
