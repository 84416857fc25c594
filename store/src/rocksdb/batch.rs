//! What a batch writes: one write of RocksDB, all of it or nothing.

use rocksdb::{Direction, WriteBatch};
use tipline_proto::{Cursor, Tip};

use super::families::Family;
use super::rows;
use super::values::is_apart;
use super::view::View;
use crate::batch::Batch;
use crate::changes::Changes;
use crate::error::StoreError;
use crate::stored::StoredTransaction;

/// More heights than these are removed as a range: a row for each would make the write large,
/// and a range for each few would make reading slow.
const SINGLY: u64 = 100;
/// About what an entry takes in a write besides its payload.
const ENTRY_BYTES: usize = 400;
/// Families whose key is a height.
const BY_HEIGHT: [Family; 4] =
    [Family::Blocks, Family::BlockPayloads, Family::Proofs, Family::ProofPayloads];

/// The write that brings a store in the state `view`, with the cursor `before`, to that after a batch.
pub(super) fn write(
    view: &View<'_>,
    before: &Cursor,
    batch: &Batch,
    changes: &Changes,
) -> Result<WriteBatch, StoreError> {
    let mut rows = Rows { view, write: WriteBatch::with_capacity_bytes(expected_bytes(batch)) };
    if let Some(to_height) = changes.rolled_back_to {
        rows.roll_back(before.block_tip.as_ref(), to_height)?;
    }
    rows.blocks(changes)?;
    rows.transactions(changes)?;
    rows.records(changes)?;
    for (name, mark) in &changes.marks {
        rows.put(Family::Marks, name.as_str().as_bytes(), &rows::mark(mark))?;
    }
    rows.put(Family::Store, rows::CURSOR, &rows::cursor(&batch.cursor))?;
    match &batch.base {
        Some(base) => rows.put(Family::Store, rows::BASE, &rows::tip(base))?,
        None => rows.delete(Family::Store, rows::BASE)?,
    }
    Ok(rows.write)
}

/// So that it need not grow, which copies it.
fn expected_bytes(batch: &Batch) -> usize {
    batch.entries.iter().map(|entry| entry.event.payload().len() + ENTRY_BYTES).sum()
}

struct Rows<'a> {
    view: &'a View<'a>,
    write: WriteBatch,
}

impl Rows<'_> {
    fn put(&mut self, family: Family, key: &[u8], row: &[u8]) -> Result<(), StoreError> {
        self.write.put_cf(self.view.family(family)?, key, row);
        Ok(())
    }

    fn delete(&mut self, family: Family, key: &[u8]) -> Result<(), StoreError> {
        self.write.delete_cf(self.view.family(family)?, key);
        Ok(())
    }

    /// Where there is no payload yet.
    fn put_if_apart(
        &mut self,
        family: Family,
        key: &[u8],
        payload: &[u8],
    ) -> Result<(), StoreError> {
        if is_apart(payload) { self.put(family, key, payload) } else { Ok(()) }
    }

    /// In the place of a payload that may be there.
    fn replace_if_apart(
        &mut self,
        family: Family,
        key: &[u8],
        payload: &[u8],
    ) -> Result<(), StoreError> {
        if is_apart(payload) { self.put(family, key, payload) } else { self.delete(family, key) }
    }

    fn roll_back(&mut self, tip: Option<&Tip>, to_height: u64) -> Result<(), StoreError> {
        let tip = tip.map(|tip| tip.height).filter(|height| *height > to_height);
        if let Some(tip) = tip {
            for family in BY_HEIGHT {
                self.remove_heights(family, to_height + 1, tip)?;
            }
        }
        // From the newest on, down to the first that stays: along the index the heights never
        // fall, because every rollback removed those that were higher.
        let (family, what) = (Family::TransactionsByIndex, "listing the newest transactions");
        for row in self.view.rows(family, &rows::number(u64::MAX), Direction::Reverse, what)? {
            let (key, row) = row?;
            let (tip, id) = self.view.transaction_by_index(&row)?;
            if tip.is_none_or(|tip| tip <= to_height) {
                break;
            }
            self.delete(Family::Transactions, &id)?;
            self.remove_transaction(&key)?;
        }
        Ok(())
    }

    /// Removes what is at these heights, both inclusive.
    fn remove_heights(&mut self, family: Family, from: u64, to: u64) -> Result<(), StoreError> {
        if to - from < SINGLY {
            return (from..=to).try_for_each(|height| self.delete(family, &rows::number(height)));
        }
        // The end is exclusive: the smallest key after the last.
        let end = [&rows::number(to)[..], &[0]].concat();
        let family = self.view.family(family)?;
        self.write.delete_range_cf(family, &rows::number(from)[..], &end[..]);
        Ok(())
    }

    fn blocks(&mut self, changes: &Changes) -> Result<(), StoreError> {
        for (height, block) in &changes.blocks {
            let key = rows::number(*height);
            // Whatever was at this height has been removed.
            self.put(Family::Blocks, &key, &rows::block(block))?;
            self.put_if_apart(Family::BlockPayloads, &key, &block.payload)?;
            self.put(Family::BlockHashes, block.hash.as_ref(), &key)?;
        }
        for (height, proof) in &changes.proofs {
            let key = rows::number(*height);
            self.put(Family::Proofs, &key, &rows::proof(proof))?;
            self.replace_if_apart(Family::ProofPayloads, &key, &proof.payload)?;
        }
        Ok(())
    }

    fn transactions(&mut self, changes: &Changes) -> Result<(), StoreError> {
        for (id, transaction) in &changes.transactions {
            if let Some(replaced) = self.view.transaction_header(id)? {
                self.remove_transaction(&rows::number(replaced.found.index))?;
            }
            match transaction {
                Some(transaction) => self.put_transaction(transaction)?,
                None => self.delete(Family::Transactions, id.as_ref())?,
            }
        }
        Ok(())
    }

    fn put_transaction(&mut self, transaction: &StoredTransaction) -> Result<(), StoreError> {
        let key = rows::number(transaction.index);
        self.put(Family::Transactions, transaction.id.as_ref(), &rows::transaction(transaction))?;
        self.put_if_apart(Family::TransactionPayloads, &key, &transaction.payload)?;
        self.put(Family::TransactionsByIndex, &key, &rows::by_index(transaction))
    }

    /// Removes what there is under a transaction's index.
    fn remove_transaction(&mut self, index: &[u8]) -> Result<(), StoreError> {
        self.delete(Family::TransactionPayloads, index)?;
        self.delete(Family::TransactionsByIndex, index)
    }

    fn records(&mut self, changes: &Changes) -> Result<(), StoreError> {
        for (key, record) in &changes.records {
            match record {
                Some(record) => {
                    self.put(Family::Records, key.as_ref(), &rows::record(record))?;
                    self.replace_if_apart(Family::RecordValues, key.as_ref(), &record.value)?;
                }
                None => {
                    self.delete(Family::Records, key.as_ref())?;
                    self.delete(Family::RecordValues, key.as_ref())?;
                }
            }
        }
        Ok(())
    }
}
