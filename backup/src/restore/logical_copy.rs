//! A logical copy: a store is filled with the content of a checkpoint of another kind.
//!
//! A store takes batches of entries, so it gets what has survived in that form: each block, proof,
//! transaction, record and mark as its entry, at that entry's index, in the order of the log. What is gone (rolled back, replaced, erased) leaves gaps within a batch. Each
//! batch begins and ends with an entry that changes nothing. The content digests
//! of both stores show whether everything arrived unchanged.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use super::entry_order::{EntryOrder, Name, Row};
use tipline_proto::limits::{MAX_APPLY_BYTES, MAX_APPLY_EVENTS};
use tipline_proto::{
    Cursor, Digest, Entry, Event, Hash, Headers, Label, LogIdentity, OutboxId, Position, Timestamp,
    Tip,
};
use tipline_store::{
    Batch, Store, StoreIdentity, StoreReader, StoredLinks, Throttle as _, content_digest_while,
};

use super::stage::files;
use crate::error::RestoreError;
use crate::throttle::Throttle;

/// How many names are asked for at once.
const PAGE: usize = 1000;
/// The digest of an entry that was read from a store, which keeps none.
const NONE: Digest = Digest::from_bytes([0; 32]);
const NO_OUTBOX: OutboxId = OutboxId::from_bytes([0; 16]);

/// Fills a new store with everything that `from` holds, durably, and compares the two. `scratch` is
/// a file that is made and removed. `throttle` counts entries, not bytes.
pub(super) fn copy(
    from: &dyn StoreReader,
    of: &StoreIdentity,
    into: &mut dyn Store,
    scratch: &Path,
    throttle: &Throttle,
) -> Result<(), RestoreError> {
    let Some(cursor) = from.cursor()? else {
        return Err(RestoreError::Verification { what: format!("{} is empty", from.place()) });
    };
    let log = identity(of)?;
    into.create(&log)?;
    into.begin_bulk_load()?;
    let order = EntryOrder::read(from, scratch)?;
    let links = from.links()?;
    let nobody =
        Label::new("restore").map_err(|e| RestoreError::internal("a label was refused", e))?;
    let mut copy = LogicalCopy {
        into: &mut *into,
        nobody,
        genesis: of.chain.genesis.clone(),
        at: Cursor::origin(&log),
        links,
        tip: None,
        entries: Vec::new(),
        bytes: 0,
        throttle,
    };
    copy.everything(from, &order)?;
    // Of an empty store there is nothing.
    if cursor.position.index > 0 {
        copy.apply(cursor)?;
    }
    drop(copy);
    drop(order);
    fs::remove_file(scratch).map_err(|source| files("removing", scratch, source))?;
    into.end_bulk_load()?;
    compare(from, into, throttle)
}

fn compare(
    from: &dyn StoreReader,
    into: &dyn Store,
    throttle: &Throttle,
) -> Result<(), RestoreError> {
    let proceed =
        || if throttle.is_cancelled() { Err(RestoreError::Cancelled { at: 0 }) } else { Ok(()) };
    let copy = into.reader()?;
    let found = content_digest_while(&*copy, proceed)?;
    let expected = content_digest_while(from, proceed)?;
    if found == expected && copy.links()? == from.links()? {
        return Ok(());
    }
    let place = from.place();
    let what = format!("the copy of {place} has content digest {found}, not {expected}");
    Err(RestoreError::Verification { what })
}

/// A store does not keep the name of its log.
fn identity(of: &StoreIdentity) -> Result<LogIdentity, RestoreError> {
    let name = "restored".parse();
    let name = name.map_err(|e| RestoreError::internal("the name of a log was refused", e))?;
    Ok(LogIdentity { name, chain: of.chain.clone(), lineage: of.lineage })
}

struct LogicalCopy<'a> {
    into: &'a mut dyn Store,
    nobody: Label,
    genesis: Hash,
    /// Where it is.
    at: Cursor,
    links: StoredLinks,
    /// The block tip after the entries.
    tip: Option<Tip>,
    entries: Vec<Entry>,
    bytes: usize,
    throttle: &'a Throttle,
}

impl LogicalCopy<'_> {
    fn everything(
        &mut self,
        from: &dyn StoreReader,
        order: &EntryOrder,
    ) -> Result<(), RestoreError> {
        let mut between = order.rows().peekable();
        for block in from.blocks(0..=u64::MAX)? {
            let block = block?;
            let is_before =
                |row: &Result<Row, _>| row.as_ref().map_or(true, |row| row.index < block.index);
            while let Some(row) = between.next_if(is_before) {
                self.between(from, row?)?;
            }
            let (height, hash) = (block.height, block.hash);
            let (parent_hash, payload) = (block.parent_hash, block.payload);
            let event = Event::BlockCommitted { height, hash, parent_hash, payload };
            self.push(block.index, block.epoch, block.time, event)?;
            if let Some(proof) = from.proof(height)? {
                let (block_hash, payload) = (proof.block_hash, proof.payload);
                let event = Event::BlockProven { height, block_hash, payload };
                self.push(proof.index, block.epoch, proof.time, event)?;
            }
        }
        between.try_for_each(|row| self.between(from, row?))?;
        let mut keys = from.keys(None, PAGE)?;
        while let Some(last) = keys.last().cloned() {
            for key in keys {
                let Some(record) = from.record(&key)? else { continue };
                let event = Event::StateRecorded { key, value: Some(record.value) };
                self.push(record.index, 0, record.time, event)?;
            }
            keys = from.keys(Some(&last), PAGE)?;
        }
        Ok(())
    }

    /// A transaction or a mark.
    fn between(&mut self, from: &dyn StoreReader, row: Row) -> Result<(), RestoreError> {
        let (index, time, block_tip, event) = match row.name {
            Name::Transaction(id) => {
                let Some(found) = from.transaction(&id)? else { return Ok(()) };
                let event = Event::TransactionValidated { id, payload: found.payload };
                (found.index, found.time, found.block_tip, event)
            }
            Name::Mark(name) => {
                let Some(found) = from.mark(&name)? else { return Ok(()) };
                (found.index, found.time, found.block_tip, Event::Marked { name })
            }
        };
        self.stand_at(block_tip, index)?;
        self.push(index, 0, time, event)
    }

    /// The block tip at an entry is that of the newest block before it, as a rule. But a mark stays
    /// when its block is rolled back, and a chain may have been rolled back to before its first
    /// block. Then a rollback says it, which removes nothing: no block before the entry was higher.
    fn stand_at(&mut self, block_tip: Option<u64>, index: u64) -> Result<(), RestoreError> {
        match block_tip {
            tip if tip == self.tip.as_ref().map(|tip| tip.height) => Ok(()),
            Some(to_height) => {
                let to_hash = self.genesis.clone();
                let event = Event::RolledBack { to_height, to_hash };
                self.push(index, 0, Timestamp::default(), event)
            }
            None => {
                let what = format!("entry {index} was applied before the first block, and is not");
                Err(RestoreError::Verification { what })
            }
        }
    }

    fn push(
        &mut self,
        index: u64,
        epoch: u64,
        time: Timestamp,
        event: Event,
    ) -> Result<(), RestoreError> {
        let bytes = event.payload().len();
        // With the two that change nothing.
        let full =
            self.entries.len() + 3 > MAX_APPLY_EVENTS || self.bytes + bytes > MAX_APPLY_BYTES;
        if full && !self.entries.is_empty() {
            let index = self.at.position.index + 1;
            let (position, block_tip) = (Position { index, digest: NONE }, self.tip.clone());
            self.apply(Cursor { position, block_tip, ..self.at.clone() })?;
        }
        match &event {
            Event::BlockCommitted { height, hash, .. }
            | Event::RolledBack { to_height: height, to_hash: hash } => {
                self.tip = Some(Tip { height: *height, hash: hash.clone() });
            }
            _ => {}
        }
        self.bytes += bytes;
        let (outbox_sequence, digest, headers) = (0, NONE, Headers::default());
        let signature = None;
        self.entries.push(Entry {
            index,
            epoch,
            time,
            outbox_sequence,
            digest,
            event,
            signature,
            headers,
        });
        Ok(())
    }

    /// Applies what has been collected as one batch, after which the store is at `cursor`.
    fn apply(&mut self, cursor: Cursor) -> Result<(), RestoreError> {
        let end = |position: Position| Entry {
            index: position.index,
            epoch: 0,
            time: Timestamp::default(),
            outbox_sequence: 0,
            digest: position.digest,
            event: Event::EpochStarted { primary: self.nobody.clone(), outbox: NO_OUTBOX },
            signature: None,
            headers: Headers::default(),
        };
        let first = end(Position { index: self.at.position.index + 1, digest: NONE });
        let last = end(cursor.position);
        let collected = std::mem::take(&mut self.entries);
        let entries = [first].into_iter().chain(collected).chain([last]).collect();
        let batch = Batch { entries, cursor: cursor.clone(), base: self.links.base.clone() };
        self.into.apply(&batch)?;
        (self.at, self.bytes) = (cursor, 0);
        match self.throttle.moved(batch.entries.len() as u64 - 2) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(RestoreError::Cancelled { at: 0 }),
        }
    }
}
