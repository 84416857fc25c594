//! Taking complete files into the outbox, some at a time.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tipline_log::error_chain;
use tipline_producer::OutboxError;
use tipline_proto::limits::{MAX_PAYLOAD_BYTES, MAX_UNIT_BYTES};
use tipline_proto::{Event, Hash, PayloadTooLarge, Timestamp, Tip};

use super::layout::{Key, Part, epoch};
use super::scan::{DirectoryScan, Known, WINDOW, forget, record};
use crate::files::{
    Completeness, FileChanges, Item, Look, Stamp, damaged, io_failed, reference, sync_failed,
};

/// Most files that are enqueued in one transaction. Then one fsync of the index is for all.
const MOST_FILES: usize = 64;

/// A file that changed while it was read is read again after this time.
const AGAIN: Duration = Duration::from_millis(100);

/// Whoever writes a file writes to it more often.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file that was read, complete and durable.
pub(super) struct Content {
    pub(super) key: Key,
    pub(super) known: Known,
    pub(super) bytes: Bytes,
}

/// What came of reading a file.
pub(super) enum Reading {
    Ready(Content),
    NotYet,
    Missing,
}

impl DirectoryScan {
    /// Enqueues the next blocks; answers whether there may be more.
    pub(super) fn take_blocks(
        &mut self,
        changes: &mut FileChanges,
        look: &mut Look,
    ) -> Result<bool, OutboxError> {
        let Some(mut height) = self.next_height() else {
            return Ok(false);
        };
        let mut parent = self.tip.as_ref().map(|tip| tip.hash.clone());
        let mut batch = Batch::default();
        while batch.has_room() {
            let (content, hash, event) = match self.next(height, parent.as_ref(), changes, look) {
                Ok(Some(next)) => next,
                Ok(None) => break,
                // What comes before it is enqueued first; then it is met again.
                Err(_) if !batch.items.is_empty() => break,
                Err(error) => return Err(error),
            };
            batch.add(self, content, event);
            parent = Some(hash);
            let Some(next) = height.checked_add(1) else {
                break;
            };
            height = next;
        }
        if batch.items.is_empty() {
            self.say_if_empty(height, look);
        }
        self.drop_what_changed(&mut batch, look);
        if !batch.items.is_empty() && self.is_tip_replaced() {
            look.within(AGAIN);
            return Ok(false);
        }
        let more = match self.enqueue(batch, None, changes, look) {
            Err(OutboxError::DoesNotLink { .. }) if self.doubt_tip() => {
                look.within(AGAIN);
                return Ok(false);
            }
            enqueued => enqueued?,
        };
        let tip = self.tip.as_ref().map_or(0, |tip| tip.height);
        if self.surveyed.is_some_and(|surveyed| epoch(tip) >= surveyed) {
            self.survey(false)?;
        }
        Ok(more)
    }

    /// The block of a height, if its file is complete.
    fn next(
        &self,
        height: u64,
        parent: Option<&Hash>,
        changes: &FileChanges,
        look: &mut Look,
    ) -> Result<Option<(Content, Hash, Event)>, OutboxError> {
        let Reading::Ready(content) = self.read(Key::block(height), changes, look)? else {
            return Ok(None);
        };
        match self.block(&content, parent) {
            Ok((hash, event)) => Ok(Some((content, hash, event))),
            Err(error) if self.format.proves_whole() && !self.has_successor(height) => {
                look.wrong(|| format!("{}; it is waited for", error_chain(&error)));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A node replaces its newest block, and then writes the next one: whoever has read that one
    /// looks at the newest block once more before the two are linked.
    fn is_tip_replaced(&self) -> bool {
        let tip = self.tip.as_ref().map(|tip| Key::block(tip.height));
        let known = tip.and_then(|key| Some((key, self.files.get(&key)?)));
        known.is_some_and(|(key, known)| {
            Stamp::read(&self.layout.path(key)).is_ok_and(|now| now != known.stamp)
        })
    }

    /// The next block is not on top of the newest one. That may have been replaced without a trace,
    /// within a tick of the file system's clock, so it is read again; answered once for each.
    fn doubt_tip(&mut self) -> bool {
        let Some(tip) = self.tip.clone().filter(|tip| self.doubted.as_ref() != Some(tip)) else {
            return false;
        };
        if let Some(known) = self.files.get_mut(&Key::block(tip.height)) {
            known.stamp.inode = !known.stamp.inode;
        }
        self.doubted = Some(tip);
        true
    }

    /// A node that went on has forgotten to write this one; it is waited for.
    fn say_if_empty(&self, height: u64, look: &mut Look) {
        let path = self.layout.path(Key::block(height));
        let is_empty = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == 0);
        if is_empty && self.has_successor(height) {
            let path = path.display();
            look.wrong(|| {
                format!("{path} is empty: the blocks above wait until the block is in it")
            });
        }
    }

    /// Whether the node has moved on to the next block.
    pub(super) fn has_successor(&self, height: u64) -> bool {
        self.layout.path(Key::block(height.saturating_add(1))).exists()
    }

    /// Enqueues proofs of blocks that are enqueued; answers whether there may be more.
    pub(super) fn take_proofs(
        &mut self,
        changes: &mut FileChanges,
        look: &mut Look,
    ) -> Result<bool, OutboxError> {
        let Some(tip) = self.tip.as_ref().map(|tip| tip.height) else {
            return Ok(false);
        };
        let mut batch = Batch::default();
        let heights: Vec<u64> = self.proofs.range(..=tip).copied().collect();
        for height in heights {
            if !batch.has_room() {
                break;
            }
            let key = Key::proof(height);
            let Some(block_hash) = self.provable(height)? else {
                let path = self.layout.path(key);
                tracing::warn!(path = %path.display(), "a proof of a block that is not published, or too far below the newest one, is left out");
                self.proofs.remove(&height);
                continue;
            };
            match self.read(key, changes, look)? {
                Reading::Ready(content) => {
                    let payload = content.bytes.clone();
                    batch.add(self, content, Event::BlockProven { height, block_hash, payload });
                }
                Reading::NotYet => {}
                Reading::Missing => {
                    self.proofs.remove(&height);
                }
            }
        }
        self.enqueue(batch, None, changes, look)
    }

    /// The block that a proof of this height is for, if it is part of what is published.
    pub(super) fn provable(&self, height: u64) -> Result<Option<Hash>, OutboxError> {
        // The parent of the first block is known, but it was not published.
        if !self.files.contains_key(&Key::block(height)) {
            return Ok(None);
        }
        self.index.block(height)
    }

    /// The event of a block file on top of this parent.
    pub(super) fn block(
        &self,
        content: &Content,
        below: Option<&Hash>,
    ) -> Result<(Hash, Event), OutboxError> {
        let height = content.key.height;
        let path = self.layout.path(content.key);
        let header = self.format.read(height, &content.bytes);
        let header = header.map_err(|why| damaged(&self.place, &path, why))?;
        let below = match below {
            Some(hash) => hash.clone(),
            None if height == 1 => self.genesis.clone(),
            // Of the first block, if it is not the chain's first, the parent is not known.
            None => Hash::new([0; 32]).map_err(|why| damaged(&self.place, &path, why))?,
        };
        let parent_hash = header.parent.unwrap_or(below);
        let (hash, payload) = (header.hash, content.bytes.clone());
        Ok((hash.clone(), Event::BlockCommitted { height, hash, parent_hash, payload }))
    }

    /// Reads a file if it is complete, and makes it durable.
    pub(super) fn read(
        &self,
        key: Key,
        changes: &FileChanges,
        look: &mut Look,
    ) -> Result<Reading, OutboxError> {
        let path = self.layout.path(key);
        let failed = |error| io_failed(&self.place, "reading", &path)(error);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Reading::Missing),
            Err(error) => return Err(failed(error)),
        };
        let before = file.metadata().map_err(failed)?;
        if before.len() == 0 && key.part == Part::Block {
            return Ok(Reading::NotYet);
        }
        let modified = before.modified().map(Timestamp::from).map_err(failed)?;
        let is_block = key.part == Part::Block;
        let proven = is_block && self.format.proves_whole();
        let succeeded = || is_block && self.has_successor(key.height);
        match changes.completeness(&path, modified, (self.clock)(), proven, succeeded) {
            Completeness::Complete => {}
            Completeness::Writing => {
                if (self.clock)().since(modified) >= PATIENCE {
                    look.wrong(|| {
                        format!(
                            "{} was not written to for a minute, but its writer still has it \
                             open: it is waited for until it is closed",
                            path.display()
                        )
                    });
                }
                return Ok(Reading::NotYet);
            }
            Completeness::Settles(left) => {
                look.within(left);
                if modified > (self.clock)() {
                    look.wrong(|| {
                        let path = path.display();
                        format!(
                            "{path} was changed in the future: see to the clocks; it is waited for"
                        )
                    });
                }
                return Ok(Reading::NotYet);
            }
        }
        if before.len() > MAX_PAYLOAD_BYTES as u64 {
            let what = format!("the file {}", path.display());
            return Err(PayloadTooLarge::new(what, before.len()).into());
        }
        let mut bytes = Vec::new();
        (&mut file).take(before.len() + 1).read_to_end(&mut bytes).map_err(failed)?;
        file.sync_data().map_err(sync_failed(&self.place, &path))?;
        let after = file.metadata().map_err(failed)?;
        if Stamp::new(&before) != Stamp::new(&after) || bytes.len() as u64 != before.len() {
            // Somebody writes after all.
            look.within(AGAIN);
            return Ok(Reading::NotYet);
        }
        let known = Known { stamp: Stamp::new(&after), hash: *blake3::hash(&bytes).as_bytes() };
        Ok(Reading::Ready(Content { key, known, bytes: bytes.into() }))
    }

    /// A block that was replaced while the ones above it were read is not what they build on.
    fn drop_what_changed(&self, batch: &mut Batch, look: &mut Look) {
        let unchanged = |key: Key, known: &Known| {
            let now = fs::metadata(self.layout.path(key));
            now.is_ok_and(|metadata| Stamp::new(&metadata) == known.stamp)
        };
        let count = batch.files.iter().take_while(|(key, known)| unchanged(*key, known)).count();
        if count < batch.files.len() {
            look.within(AGAIN);
        }
        batch.files.truncate(count);
        batch.items.truncate(count);
    }

    /// Enqueues a batch; answers whether all of it was, and there may be more.
    pub(super) fn enqueue(
        &mut self,
        batch: Batch,
        replaced: Option<&str>,
        changes: &mut FileChanges,
        look: &mut Look,
    ) -> Result<bool, OutboxError> {
        if batch.items.is_empty() {
            return Ok(false);
        }
        self.sync_directories(&batch.files)?;
        let (files, notes) = (&batch.files, &batch.notes);
        let lead = batch.items.len() - files.len();
        let mut heights = files.iter().filter(|(key, _)| key.part == Part::Block);
        let below = heights.next_back().map(|(key, _)| key.height.saturating_sub(WINDOW));
        let taken = self.index.enqueue(&batch.items, replaced, |tx, count| {
            let taken = files.iter().take(count - lead);
            taken.chain(notes).try_for_each(|(key, known)| record(tx, *key, known))?;
            below.map_or(Ok(()), |below| forget(tx, below))
        })?;
        let complete = taken.count == batch.items.len();
        for (item, (key, known)) in batch.items.iter().take(taken.count).skip(lead).zip(files) {
            if let Event::BlockCommitted { height, hash, .. } = &item.event {
                self.tip = Some(Tip { height: *height, hash: hash.clone() });
            }
            self.learn(*key, *known);
            changes.done(&self.layout.path(*key));
        }
        for (key, known) in batch.notes.iter().filter(|_| taken.count > 0) {
            self.learn(*key, *known);
            self.changed.insert(*key);
        }
        if let Some(below) = below {
            self.files = self.files.split_off(&Key::block(below));
        }
        match taken.refused {
            None => self.warned_full = false,
            Some(error @ OutboxError::Full { .. }) => self.wait_for_room(&error, look),
            Some(OutboxError::DoesNotLink { event, source }) => {
                let refused = batch.files.get(taken.count.saturating_sub(lead));
                let path = refused.map(|(key, _)| self.layout.path(*key)).unwrap_or_default();
                let format = self.format.name();
                let event = format!("{event} in the file {} (format={format})", path.display());
                return Err(OutboxError::DoesNotLink { event, source });
            }
            Some(error) => return Err(error),
        }
        Ok(complete)
    }

    fn wait_for_room(&mut self, full: &OutboxError, look: &mut Look) {
        if !std::mem::replace(&mut self.warned_full, true) {
            tracing::warn!(error = %full, "new files wait until there is room");
        }
        look.retry();
    }

    /// The names of the files are as durable as their content.
    fn sync_directories(&self, files: &[(Key, Known)]) -> Result<(), OutboxError> {
        let epochs: BTreeSet<u64> = files.iter().map(|(key, _)| epoch(key.height)).collect();
        let sync = |path: &Path| {
            let synced = File::open(path).and_then(|directory| directory.sync_all());
            synced.map_err(sync_failed(&self.place, path))
        };
        epochs.into_iter().try_for_each(|number| sync(&self.layout.epoch(number)))?;
        sync(&self.layout.base())
    }
}

/// Files that are enqueued together, each with its event; events without a file come first.
#[derive(Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    files: Vec<(Key, Known)>,
    /// What else becomes known of files if all of it is enqueued.
    pub(super) notes: Vec<(Key, Known)>,
    bytes: usize,
}

impl Batch {
    fn has_room(&self) -> bool {
        self.items.len() < MOST_FILES && self.bytes < MAX_UNIT_BYTES
    }

    /// An event without a file.
    pub(super) fn lead(event: Event) -> Self {
        Self { items: vec![Item { event, reference: None }], ..Self::default() }
    }

    pub(super) fn add(&mut self, scan: &DirectoryScan, content: Content, event: Event) {
        let Content { key, known, bytes } = content;
        // A node may replace a proof before it is logged, so the row holds it.
        let reference = (key.part == Part::Block)
            .then(|| reference(&scan.layout.relative(key), 0, bytes.len() as u64));
        self.bytes += bytes.len();
        self.items.push(Item { event, reference });
        self.files.push((key, known));
    }
}
