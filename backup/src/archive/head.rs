//! How far an archive reaches. Its destination is asked, and the answer kept while an archiver
//! writes.

use std::collections::BTreeMap;

use tipline_proto::{Cursor, Hash, Position, Timestamp, Tip};
use tipline_store::StoredLinks;

use super::coverage::{self, PathError};
use super::index::{Outline, OutlineBlock, SegmentIndex};
use super::listing::{Newest, Within};
use super::{Archive, ArchiveError, SegmentName};

/// How many of the newest blocks are remembered: 2 days of a block every 3 s, 10 MiB at most.
const REMEMBERED: usize = 65_536;

/// What the archive holds, from its first segment on without a gap.
#[derive(Debug, Clone)]
pub(super) struct ArchiveHead {
    pub(super) cursor: Cursor,
    pub(super) links: StoredLinks,
    /// The latest commit time of all entries.
    pub(super) latest: Timestamp,
    /// The newest segment; none in a new archive.
    pub(super) newest: Option<SegmentName>,
    /// Index of the first entry that is there; 0 in a new archive.
    pub(super) first: u64,
    recent: Recent,
}

/// A block of the chain as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocatedBlock {
    /// Index of its entry.
    pub(super) index: u64,
    pub(super) hash: Hash,
}

impl ArchiveHead {
    pub(super) fn tip(&self) -> Option<&Tip> {
        self.cursor.block_tip.as_ref()
    }

    /// Whether there can be a block at a height: above the base, and not above the tip.
    pub(super) fn has_height(&self, height: u64) -> bool {
        let base = self.links.base.as_ref();
        self.tip().is_some_and(|tip| height <= tip.height)
            && base.is_none_or(|base| height > base.height)
    }

    /// The block at a height, if it is one of the newest.
    pub(super) fn remembered(&self, height: u64) -> Option<LocatedBlock> {
        self.recent.blocks.get(&height).cloned()
    }

    /// Moves past a segment that was written.
    pub(super) fn advance(&mut self, index: &SegmentIndex, name: SegmentName) {
        let outline = index.outline();
        if self.newest.is_none() {
            self.first = name.first;
        }
        self.recent.push(&outline.blocks);
        self.cursor = outline.after;
        self.links = outline.links;
        self.latest = outline.latest;
        self.newest = Some(name);
    }
}

impl Archive {
    /// How far the archive reaches, as the destination says. Of many segments the newest hundreds are
    /// listed, which are looked for near the entry `near` first.
    ///
    /// # Errors
    /// [`ArchiveError::Gap`], [`ArchiveError::Fork`], among what is listed; those of
    /// [`Archive::index`] of the newest segment.
    pub(super) async fn head(&self, near: u64) -> Result<ArchiveHead, ArchiveError> {
        let Newest { mut names, mut is_all } = self.newest(near).await?;
        if !is_all && coverage::path(&names).is_err() {
            // It may be so because the others were not listed.
            (names, is_all) = (self.segments().await?, true);
        }
        let path = coverage::path(&names).map_err(|error| self.path_error(error))?;
        let Some(&newest) = path.last() else { return Ok(self.origin()) };
        // Its writer may have been killed before its name was durable.
        self.destination.sync_existing(&newest.to_string()).await?;
        let outline = self.outline(newest).await?;
        self.check_before(&names, newest, &outline.before)?;
        let Outline { after: cursor, links, latest, blocks, before, .. } = outline;
        let mut recent = Recent { from: before.index + 1, blocks: BTreeMap::new() };
        recent.push(&blocks);
        let first = match path.first() {
            Some(first) if is_all => first.first,
            _ => self.first().await?,
        };
        Ok(ArchiveHead { cursor, links, latest, newest: Some(newest.clone()), first, recent })
    }

    /// Whether the segments that end where this one begins have its history.
    fn check_before(
        &self,
        names: &[SegmentName],
        newest: &SegmentName,
        before: &Position,
    ) -> Result<(), ArchiveError> {
        let mut ends = names.iter().filter(|name| name.last == before.index);
        match ends.find(|name| !name.ends_at(before)) {
            None => Ok(()),
            Some(other) => Err(self.path_error(PathError::Fork(other.clone(), newest.clone()))),
        }
    }

    fn origin(&self) -> ArchiveHead {
        ArchiveHead {
            cursor: Cursor::origin(&self.log),
            links: StoredLinks::default(),
            latest: Timestamp::default(),
            newest: None,
            first: 0,
            recent: Recent { from: 1, blocks: BTreeMap::new() },
        }
    }

    pub(super) fn path_error(&self, error: PathError) -> ArchiveError {
        let place = self.place().to_owned();
        match error {
            PathError::Gap(first, last) => ArchiveError::Gap { place, first, last },
            PathError::Fork(one, other) => {
                ArchiveError::Fork { place, one: one.to_string(), other: other.to_string() }
            }
        }
    }

    /// The block at a height of the chain that ends at `head`, which remembers what was read.
    pub(super) async fn find_block(
        &self,
        head: &mut ArchiveHead,
        height: u64,
    ) -> Result<Option<LocatedBlock>, ArchiveError> {
        if !head.has_height(height) {
            return Ok(None);
        }
        if let Some(found) = head.remembered(height) {
            return Ok(Some(found));
        }
        let mut back = self.back();
        // The newest commit of a height at or below the tip is the block there: a block that
        // was rolled back has been committed again since.
        let mut from = head.recent.from;
        while from > head.first.max(1) {
            let found = back.up_to(from - 1).await?;
            let Some(name) = found.filter(|name| name.last >= from - 1) else {
                return Err(self.path_error(PathError::Gap(from - 1, from - 1)));
            };
            let outline = self.outline(&name).await?;
            let blocks = outline.blocks.iter().filter(|block| block.index < from);
            let found = blocks.clone().rev().find(|block| block.height == height);
            let found = found.map(|b| LocatedBlock { index: b.index, hash: b.hash.clone() });
            if head.recent.from == from {
                let blocks: Vec<OutlineBlock> = blocks.cloned().collect();
                head.recent.push_below(&blocks, name.first);
            }
            if found.is_some() {
                return Ok(found);
            }
            from = name.first;
        }
        match head.first {
            0 | 1 => Ok(None),
            // It was there: the answer must not be that there is none.
            first => Err(self.path_error(PathError::Gap(1, first - 1))),
        }
    }

    /// The height of the first block that is there.
    ///
    /// # Errors
    /// Those of [`Archive::head`].
    pub(super) async fn first_height(&self) -> Result<Option<u64>, ArchiveError> {
        let mut next = Some(0);
        while let Some(from) = next {
            let stretch = self.stretch(from, u64::MAX, 1, Within::Skipped).await?;
            for name in coverage::path(&stretch.names).map_err(|error| self.path_error(error))? {
                if let Some(block) = self.outline(name).await?.blocks.first() {
                    return Ok(Some(block.height));
                }
            }
            next = stretch.next;
        }
        Ok(None)
    }
}

/// The newest commit of each height, of all entries from one index on; within bounds.
#[derive(Debug, Clone)]
struct Recent {
    /// The commits of this and all later entries were seen.
    from: u64,
    blocks: BTreeMap<u64, LocatedBlock>,
}

impl Recent {
    /// Commits after all that were seen.
    fn push(&mut self, blocks: &[OutlineBlock]) {
        for OutlineBlock { index, height, hash } in blocks {
            self.blocks.insert(*height, LocatedBlock { index: *index, hash: hash.clone() });
        }
        self.bound();
    }

    /// Commits directly before all that were seen, from the entry `from` on.
    fn push_below(&mut self, blocks: &[OutlineBlock], from: u64) {
        if self.blocks.len() + blocks.len() > REMEMBERED {
            return;
        }
        for OutlineBlock { index, height, hash } in blocks.iter().rev() {
            let found = || LocatedBlock { index: *index, hash: hash.clone() };
            self.blocks.entry(*height).or_insert_with(found);
        }
        self.from = from;
    }

    /// Forgets the lowest heights, and that their entries were seen.
    fn bound(&mut self) {
        while self.blocks.len() > REMEMBERED {
            if let Some((_, lowest)) = self.blocks.pop_first() {
                self.from = self.from.max(lowest.index + 1);
            }
        }
    }
}
