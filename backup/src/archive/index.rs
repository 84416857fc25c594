//! What a segment says about its entries.

use bytes::Bytes;
use tipline_proto::{Cursor, Entry, Event, Hash, Kind, Position, Timestamp};
use tipline_store::{StoreIdentity, StoredLinks};

/// What can be known of a segment without reading its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentIndex {
    /// The log of the entries.
    pub log: StoreIdentity,
    /// Where the log was before the first entry.
    pub before: Position,
    /// The cursor after the last entry: that of a store which applied everything up to it.
    pub after: Cursor,
    /// What such a store remembers of its links.
    pub links: StoredLinks,
    /// The latest commit time of all entries before the first. Commit times may go back, this
    /// does not.
    pub latest_before: Timestamp,
    /// A row for each entry, in their order, without gaps.
    pub rows: Vec<Row>,
}

/// An entry, without what it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Index of the entry.
    pub index: u64,
    /// Which event it is.
    pub kind: Kind,
    /// Height of the block, of the proven block, or that remains after a rollback.
    pub height: Option<u64>,
    /// Commit time at the primary.
    pub time: Timestamp,
    /// Hash of the block, of the proven block or of the remaining block, id of the transaction,
    /// key, or name of the mark; empty for an epoch's start.
    pub label: Bytes,
}

impl From<&Entry> for Row {
    fn from(entry: &Entry) -> Self {
        let (height, label) = height_and_label(&entry.event);
        let label = Bytes::copy_from_slice(label);
        Self { index: entry.index, kind: entry.event.kind(), height, time: entry.time, label }
    }
}

impl Row {
    /// Whether it is that of the entry.
    pub(super) fn is_of(&self, entry: &Entry) -> bool {
        let (height, label) = height_and_label(&entry.event);
        let is_same =
            (self.index, self.kind, self.time) == (entry.index, entry.event.kind(), entry.time);
        is_same && self.height == height && self.label == label
    }
}

fn height_and_label(event: &Event) -> (Option<u64>, &[u8]) {
    match event {
        Event::EpochStarted { .. } => (None, &[]),
        Event::BlockCommitted { height, hash, .. } => (Some(*height), hash.as_ref()),
        Event::BlockProven { height, block_hash, .. } => (Some(*height), block_hash.as_ref()),
        Event::TransactionValidated { id, .. } => (None, id.as_ref()),
        Event::StateRecorded { key, .. } => (None, key.as_ref()),
        Event::RolledBack { to_height, to_hash } => (Some(*to_height), to_hash.as_ref()),
        Event::Marked { name } => (None, name.as_str().as_bytes()),
    }
}

impl SegmentIndex {
    /// The index of the first entry.
    pub fn first(&self) -> u64 {
        self.before.index.saturating_add(1)
    }

    /// The index of the last entry.
    pub fn last(&self) -> u64 {
        self.after.position.index
    }

    /// The latest commit time of all entries up to the last.
    pub fn latest(&self) -> Timestamp {
        self.rows.iter().map(|row| row.time).fold(self.latest_before, Timestamp::max)
    }

    /// The outline of it: what is readable without a key.
    pub(super) fn outline(&self) -> Outline {
        let blocks = self.rows.iter().filter(|row| row.kind == Kind::BlockCommitted);
        let block = |row: &Row| {
            let hash = Hash::new(&row.label).ok()?;
            Some(OutlineBlock { index: row.index, height: row.height?, hash })
        };
        Outline {
            log: self.log.clone(),
            before: self.before,
            after: self.after.clone(),
            links: self.links.clone(),
            latest_before: self.latest_before,
            latest: self.latest(),
            blocks: blocks.filter_map(block).collect(),
        }
    }
}

/// What an archiver must read to continue after a segment. It is never encrypted, so that an
/// archiver needs no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outline {
    pub(super) log: StoreIdentity,
    pub(super) before: Position,
    pub(super) after: Cursor,
    pub(super) links: StoredLinks,
    pub(super) latest_before: Timestamp,
    /// The latest commit time up to the last entry.
    pub(super) latest: Timestamp,
    /// Every commit of a block, in the order of the log.
    pub(super) blocks: Vec<OutlineBlock>,
}

/// The commit of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutlineBlock {
    pub(super) index: u64,
    pub(super) height: u64,
    pub(super) hash: Hash,
}
