//! The specification of reading, as two traits: what following a log asks, and everything.

use std::fmt::Debug;
use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::vec::IntoIter;

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

/// Blocks by height, each with its proof, if it has one.
pub type BlocksWithProofs<'a> =
    Box<dyn Iterator<Item = Result<(StoredBlock, Option<StoredProof>), StoreError>> + 'a>;

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

    /// The blocks from the lower end of a range of heights on, by height and without a gap, all of
    /// one state: as many as the store reads at once, at least one. Empty if there is no block at
    /// the lower end.
    ///
    /// One at a time by default. A store that overrides it bounds what it reads at once in bytes.
    fn block_page(&self, heights: RangeInclusive<u64>) -> Result<Vec<StoredBlock>, StoreError> {
        Ok(self.block(*heights.start())?.into_iter().collect())
    }

    /// The proofs of the blocks of a range of heights, by height, all of one state: as many as the
    /// store reads at once, from the lowest on, at least one. Empty if there is none in the range.
    ///
    /// One at a time by default. A store that overrides it bounds what it reads at once in bytes.
    fn proof_page(&self, heights: RangeInclusive<u64>) -> Result<Vec<StoredProof>, StoreError> {
        let first = heights.map(|height| self.proof(height)).find_map(Result::transpose);
        Ok(first.transpose()?.into_iter().collect())
    }

    /// The blocks of a range of heights that the store holds, by height, each page of them read when
    /// it is its turn. The range ends at the highest block of now; if it is rolled back meanwhile,
    /// the blocks end there.
    ///
    /// # Errors
    /// Those of every read; [`StoreError::Corrupt`] at a height that has no block although there
    /// are some below and above it. An error is the last item.
    fn blocks<'a>(
        &'a self,
        heights: RangeInclusive<u64>,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredBlock, StoreError>> + 'a>, StoreError> {
        Ok(Box::new(Blocks::new(self, heights)?))
    }

    /// The same, each block with its proof, if it has one. A block and its proof are of one state
    /// only while nothing is applied: a proof that names another hash is of a block that was
    /// replaced meanwhile.
    ///
    /// # Errors
    /// Those of [`StoreReader::blocks`].
    fn blocks_with_proofs<'a>(
        &'a self,
        heights: RangeInclusive<u64>,
    ) -> Result<BlocksWithProofs<'a>, StoreError> {
        Ok(Box::new(WithProofs::new(Blocks::new(self, heights)?)))
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

/// The blocks of a range, each page read when it is its turn. An error ends it.
struct Blocks<'a, R: ?Sized> {
    reader: &'a R,
    page: IntoIter<StoredBlock>,
    /// What is to be read yet.
    rest: Option<RangeInclusive<u64>>,
}

impl<'a, R: StoreReader + ?Sized> Blocks<'a, R> {
    /// Those of the range that there are now.
    fn new(reader: &'a R, heights: RangeInclusive<u64>) -> Result<Self, StoreError> {
        let within = |(lowest, highest): (u64, u64)| {
            lowest.max(*heights.start())..=highest.min(*heights.end())
        };
        let rest = reader.heights()?.map(within).filter(|rest| !rest.is_empty());
        Ok(Self { reader, page: Vec::new().into_iter(), rest })
    }

    fn end(&mut self) {
        (self.page, self.rest) = (Vec::new().into_iter(), None);
    }

    fn fill(&mut self) -> Result<(), StoreError> {
        let Some(rest) = self.rest.take() else { return Ok(()) };
        let (first, last) = (*rest.start(), *rest.end());
        let mut page = self.reader.block_page(rest)?;
        if page.is_empty() {
            page.extend(settled_block(self.reader, first)?);
        }
        let next = page.last().and_then(|block| block.height.checked_add(1));
        self.rest = next.map(|next| next..=last).filter(|rest| !rest.is_empty());
        self.page = page.into_iter();
        Ok(())
    }
}

impl<R: StoreReader + ?Sized> Iterator for Blocks<'_, R> {
    type Item = Result<StoredBlock, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0
            && let Err(error) = self.fill()
        {
            return Some(Err(error));
        }
        self.page.next().map(Ok)
    }
}

/// The same, each block with its proof.
struct WithProofs<'a, R: ?Sized> {
    blocks: Blocks<'a, R>,
    proofs: Peekable<IntoIter<StoredProof>>,
    /// Up to this height there are no more than those, as they were when they were read.
    read_to: Option<u64>,
}

impl<'a, R: StoreReader + ?Sized> WithProofs<'a, R> {
    fn new(blocks: Blocks<'a, R>) -> Self {
        Self { blocks, proofs: Vec::new().into_iter().peekable(), read_to: None }
    }

    fn proof(&mut self, height: u64) -> Result<Option<StoredProof>, StoreError> {
        // Those below were of blocks that were replaced meanwhile.
        while self.proofs.next_if(|proof| proof.height < height).is_some() {}
        if self.proofs.peek().is_none() && self.read_to.is_none_or(|read_to| read_to < height) {
            // No further than the blocks: later ones may get theirs meanwhile.
            let last = self.blocks.page.as_slice().last().map_or(height, |block| block.height);
            let page = self.blocks.reader.proof_page(height..=last)?;
            self.read_to = Some(page.last().map_or(last, |proof| proof.height));
            self.proofs = page.into_iter().peekable();
        }
        Ok(self.proofs.next_if(|proof| proof.height == height))
    }
}

impl<R: StoreReader + ?Sized> Iterator for WithProofs<'_, R> {
    type Item = Result<(StoredBlock, Option<StoredProof>), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let block = self.blocks.next()?;
        let found = block.and_then(|block| {
            let proof = self.proof(block.height)?;
            Ok((block, proof))
        });
        if found.is_err() {
            self.blocks.end();
        }
        Some(found)
    }
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
