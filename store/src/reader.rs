//! The specification of reading, as two traits: what following a log asks, and everything.

use std::fmt::Debug;
use std::iter::empty;
use std::ops::RangeInclusive;

use tipline_proto::{Cursor, Hash, Key, Label, TransactionId};

use crate::error::StoreError;
use crate::stored::{
    StoredBlock, StoredLinks, StoredMark, StoredProof, StoredRecord, StoredTransaction,
};

/// The chain as a [`Sink`](crate::Sink) holds it: what joining a log, verifying its entries and
/// comparing copies need.
///
/// Every call sees a state between two batches, at least as new as the last one whose `apply`
/// had returned. `None` means that it holds no such thing.
pub trait ChainView: Send + Debug {
    /// Kind and place, human-readable, the same as the sink's.
    fn place(&self) -> String;

    /// How far it is; `None` before it is created for a log.
    fn cursor(&self) -> Result<Option<Cursor>, StoreError>;

    /// What verification needs to continue: see [`tipline_proto::LinksState`].
    fn links(&self) -> Result<StoredLinks, StoreError>;

    /// Hash of the block at a height.
    fn block_hash(&self, height: u64) -> Result<Option<Hash>, StoreError>;

    /// The block at a height.
    fn block(&self, height: u64) -> Result<Option<StoredBlock>, StoreError>;

    /// Lowest and highest height of the blocks it holds; `None` if there is no block.
    fn heights(&self) -> Result<Option<(u64, u64)>, StoreError>;
}

/// Everything in a [`Store`](crate::Store), read while it is applied to. The rules are those of
/// [`ChainView`].
pub trait StoreReader: ChainView {
    /// The block with a hash.
    fn block_by_hash(&self, hash: &Hash) -> Result<Option<StoredBlock>, StoreError>;

    /// The proof of the block at a height.
    fn proof(&self, height: u64) -> Result<Option<StoredProof>, StoreError>;

    /// The proof of the block with a hash.
    fn proof_by_hash(&self, hash: &Hash) -> Result<Option<StoredProof>, StoreError> {
        let Some(block) = self.block_by_hash(hash)? else { return Ok(None) };
        // Meanwhile the block may have been replaced: then this is another one's proof.
        Ok(self.proof(block.height)?.filter(|proof| proof.block_hash == *hash))
    }

    /// The blocks of a range of heights that the store holds, by height, each read when it is
    /// its turn. The range ends at the highest block of now; if it is rolled back meanwhile,
    /// the blocks end there.
    ///
    /// # Errors
    /// Those of every read; [`StoreError::Corrupt`] at a height that has no block although there
    /// are some below and above it.
    fn blocks<'a>(
        &'a self,
        heights: RangeInclusive<u64>,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredBlock, StoreError>> + 'a>, StoreError> {
        let Some((lowest, highest)) = self.heights()? else { return Ok(Box::new(empty())) };
        let (first, last) = (lowest.max(*heights.start()), highest.min(*heights.end()));
        let read = move |height| settled_block(self, height).transpose();
        Ok(Box::new((first..=last).map_while(read)))
    }

    /// A validated transaction.
    fn transaction(&self, id: &TransactionId) -> Result<Option<StoredTransaction>, StoreError>;

    /// A recorded state.
    fn record(&self, key: &Key) -> Result<Option<StoredRecord>, StoreError>;

    /// The keys of all recorded states, after `after`, in order, at most `limit`.
    fn keys(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, StoreError>;

    /// The ids of all transactions, after `after`, in order, at most `limit`.
    fn transaction_ids(
        &self,
        after: Option<&TransactionId>,
        limit: usize,
    ) -> Result<Vec<TransactionId>, StoreError>;

    /// The names of all marks, after `after`, in the order of their bytes, at most `limit`.
    fn marks(&self, after: Option<&Label>, limit: usize) -> Result<Vec<Label>, StoreError>;

    /// A mark.
    fn mark(&self, name: &Label) -> Result<Option<StoredMark>, StoreError>;
}

/// How often in a row a store may be applied to in the middle of a look: a batch each time.
const ATTEMPTS: usize = 100;

/// The block at a height, of which there were blocks above and below a moment ago; `None` if the
/// blocks end below it now.
fn settled_block<R: ChainView + ?Sized>(
    reader: &R,
    height: u64,
) -> Result<Option<StoredBlock>, StoreError> {
    if let Some(block) = reader.block(height)? {
        return Ok(Some(block));
    }
    // That it is missing is found out by several reads, and may be told of one state only: by
    // themselves, a rollback before the one and new blocks before the next look the same.
    for _ in 0..ATTEMPTS {
        let before = reader.cursor()?;
        if let Some(block) = reader.block(height)? {
            return Ok(Some(block));
        }
        let Some((lowest, highest)) = reader.heights()?.filter(|(_, highest)| *highest > height)
        else {
            return Ok(None);
        };
        if reader.cursor()? == before {
            let at = format!("block {height}: it is missing between {lowest} and {highest}");
            return Err(StoreError::Corrupt { place: reader.place(), at, source: None });
        }
    }
    let what = format!("reading block {height}, which was replaced {ATTEMPTS} times meanwhile");
    Err(StoreError::Failed { place: reader.place(), what, source: None })
}
