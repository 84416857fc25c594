//! The net effect of a batch, once its entries have cancelled each other out.

use std::collections::BTreeMap;

use tipline_proto::{Event, Key, Label, TransactionId};

use crate::batch::Batch;
use crate::stored::{StoredBlock, StoredMark, StoredProof, StoredRecord, StoredTransaction};

/// The net effect of a batch, for a store that writes it in one go: first it removes what is rolled
/// back, then it puts the rest.
///
/// Within a batch a block may be committed, rolled back and replaced. Only what is left of it
/// is here. Payloads are shared with the batch, not copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// If something is rolled back, the lowest height to which it is. Of what the store held
    /// before the batch, blocks and proofs above this height are to be removed, and
    /// transactions whose block tip was above it.
    pub rolled_back_to: Option<u64>,
    /// Blocks to put, by height. The store has none at that height, after the removal.
    pub blocks: BTreeMap<u64, StoredBlock>,
    /// Proofs to put, by height, in the place of one that the store may have.
    pub proofs: BTreeMap<u64, StoredProof>,
    /// Transactions to put, in the place of one that the store may have; `None` removes it.
    pub transactions: BTreeMap<TransactionId, Option<StoredTransaction>>,
    /// Records to put, in the place of one that the store may have; `None` removes it.
    pub records: BTreeMap<Key, Option<StoredRecord>>,
    /// Marks to put, in the place of one that the store may have.
    pub marks: BTreeMap<Label, StoredMark>,
}

impl Changes {
    /// The net effect of `batch` on a store whose block tip is at the height `block_tip`.
    pub fn new(batch: &Batch, block_tip: Option<u64>) -> Self {
        let mut changes = Self::default();
        let mut block_tip = block_tip;
        for entry in &batch.entries {
            let (index, epoch, time) = (entry.index, entry.epoch, entry.time);
            match entry.event.clone() {
                Event::EpochStarted { .. } => {}
                Event::BlockCommitted { height, hash, parent_hash, payload } => {
                    block_tip = Some(height);
                    let block =
                        StoredBlock { height, hash, parent_hash, index, epoch, time, payload };
                    changes.blocks.insert(height, block);
                }
                Event::BlockProven { height, block_hash, payload } => {
                    let proof = StoredProof { height, block_hash, index, time, payload };
                    changes.proofs.insert(height, proof);
                }
                Event::TransactionValidated { id, payload } => {
                    let found =
                        StoredTransaction { id: id.clone(), block_tip, index, time, payload };
                    changes.transactions.insert(id, Some(found));
                }
                Event::StateRecorded { key, value } => {
                    let record =
                        value.map(|value| StoredRecord { key: key.clone(), index, time, value });
                    changes.records.insert(key, record);
                }
                Event::RolledBack { to_height, .. } => {
                    changes.roll_back(to_height);
                    block_tip = Some(to_height);
                }
                Event::Marked { name } => {
                    let mark = StoredMark { name: name.clone(), index, block_tip, time };
                    changes.marks.insert(name, mark);
                }
            }
        }
        changes
    }

    fn roll_back(&mut self, to_height: u64) {
        self.rolled_back_to = Some(self.rolled_back_to.map_or(to_height, |to| to.min(to_height)));
        self.blocks.retain(|height, _| *height <= to_height);
        self.proofs.retain(|height, _| *height <= to_height);
        for transaction in self.transactions.values_mut() {
            let above =
                |found: &StoredTransaction| found.block_tip.is_some_and(|tip| tip > to_height);
            // It had taken the place of an earlier one, which does not come back.
            if transaction.as_ref().is_some_and(above) {
                *transaction = None;
            }
        }
    }
}
