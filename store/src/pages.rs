//! Reading many rows: a page at a time, each of one state of the store.

use std::iter::Peekable;
use std::ops::{ControlFlow, RangeInclusive};
use std::vec::IntoIter;

use bytes::{Bytes, BytesMut};

use crate::error::StoreError;
use crate::reader::{ChainView, StoreReader};
use crate::stored::{StoredBlock, StoredProof};

/// How many rows a page has at most.
pub(crate) const ROWS: usize = 1000;
/// At how many payload bytes a page is full: what is in the processor's cache is not fetched again.
const BYTES: usize = 1 << 20;

/// Up to this length payloads share memory: allocating takes longer than reading what is so short.
const SHORT: usize = 4 << 10;
/// How much they share, and so how much is kept by whoever keeps one of them.
const SHARED: usize = 64 << 10;

/// A page that is being read: at least one row, whatever its length.
#[derive(Debug)]
pub(crate) struct Page<T> {
    rows: Vec<T>,
    bytes: usize,
    memory: BytesMut,
}

impl<T> Page<T> {
    /// Takes a row. Breaks once it is full.
    pub(crate) fn push(&mut self, row: T, payload: usize) -> ControlFlow<()> {
        self.rows.push(row);
        self.bytes += payload;
        let is_full = self.rows.len() >= ROWS || self.bytes >= BYTES;
        if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// A copy of a payload.
    pub(crate) fn keep(&mut self, payload: &[u8]) -> Bytes {
        if payload.len() > SHORT {
            return Bytes::copy_from_slice(payload);
        }
        if payload.len() > self.memory.capacity() {
            self.memory = BytesMut::with_capacity(SHARED);
        }
        self.memory.extend_from_slice(payload);
        self.memory.split().freeze()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn into_rows(self) -> Vec<T> {
        self.rows
    }
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), bytes: 0, memory: BytesMut::new() }
    }
}

/// The blocks of a range, each page read when it is its turn. An error ends it.
pub(crate) struct Blocks<'a, R: ?Sized> {
    reader: &'a R,
    page: IntoIter<StoredBlock>,
    /// What is to be read yet.
    rest: Option<RangeInclusive<u64>>,
}

impl<'a, R: StoreReader + ?Sized> Blocks<'a, R> {
    /// Those of the range that there are now.
    pub(crate) fn new(reader: &'a R, heights: RangeInclusive<u64>) -> Result<Self, StoreError> {
        let within = |(lowest, highest): (u64, u64)| {
            lowest.max(*heights.start())..=highest.min(*heights.end())
        };
        let rest = reader.heights()?.map(within).filter(|rest| !rest.is_empty());
        Ok(Self { reader, page: Vec::new().into_iter(), rest })
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
pub(crate) struct WithProofs<'a, R: ?Sized> {
    blocks: Blocks<'a, R>,
    proofs: Peekable<IntoIter<StoredProof>>,
    /// Up to this height there are no more than those, as they were when they were read.
    read_to: Option<u64>,
}

impl<'a, R: StoreReader + ?Sized> WithProofs<'a, R> {
    pub(crate) fn new(blocks: Blocks<'a, R>) -> Self {
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
        Some(block.and_then(|block| {
            let proof = self.proof(block.height)?;
            Ok((block, proof))
        }))
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
