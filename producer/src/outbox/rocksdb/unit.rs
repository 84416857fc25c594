//! Units, the events that are committed in one write batch of the node's.

use std::fmt;
use std::sync::MutexGuard;

use rocksdb::{WriteBatch, WriteOptions};
use tipline_log::Clock;
use tipline_proto::{Event, Hash, Links, ProofsFrom};

use super::blocks::Blocks;
use super::db::DbError;
use super::error::{failed, wrong};
use super::keys::{self, Numbered};
use super::proven::{Change, Proven};
use super::row::{Head, Place, carries_payload};
use super::shared::{Shared, synced};
use super::state::{Newest, Trimmed};
use crate::outbox::{Limits, OutboxError};

/// Longest key of a payload that is kept elsewhere, with the name of its column family.
const MAX_REFERENCE_BYTES: usize = 4096;

/// Events that are committed together, in one write batch of the node's. It is the only one
/// until it is committed or dropped.
#[must_use = "dropped, its events are not enqueued"]
pub struct OutboxUnit<'a> {
    shared: &'a Shared,
    clock: &'a Clock,
    window: u64,
    limits: Limits,
    /// Rows up to here count against no limit.
    released: Trimmed,
    /// As it will be when the unit is committed.
    newest: Newest,
    blocks: Blocks,
    proven: Proven,
    /// Where in the batch the newest row is.
    mark: Option<Mark>,
    _turn: MutexGuard<'a, ()>,
}

impl fmt::Debug for OutboxUnit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let newest = self.newest.sequence;
        f.debug_struct("OutboxUnit").field("newest", &newest).finish_non_exhaustive()
    }
}

impl<'a> OutboxUnit<'a> {
    pub(super) fn begin(
        shared: &'a Shared,
        clock: &'a Clock,
        window: u64,
        turn: MutexGuard<'a, ()>,
    ) -> Result<Self, OutboxError> {
        // Always from the database. Whether the write of the unit before happened is known there.
        let newest = shared.newest()?;
        let released = shared.released(shared.trimmed()?)?;
        let next = newest.sequence + 1;
        let row = shared.db.get(&keys::row(next));
        if row.map_err(failed(&shared.place, "beginning a unit"))?.is_some() {
            let why = "a batch was written without its unit: commit every batch with its unit";
            return Err(wrong(&shared.place, format!("row {next}"), why.to_owned()));
        }
        let limits = shared.limits()?;
        Ok(Self {
            shared,
            clock,
            window,
            limits,
            released,
            newest,
            blocks: Blocks::default(),
            proven: Proven::default(),
            mark: None,
            _turn: turn,
        })
    }

    /// Enqueues an event into the node's batch. It will be published exactly if this unit commits
    /// that batch. Answers its sequence, by which its way can be followed from then on.
    ///
    /// All events of a unit go into one batch.
    ///
    /// # Errors
    /// [`OutboxError::DoesNotLink`], [`OutboxError::TooLarge`], [`OutboxError::Full`],
    /// [`OutboxError::Refused`], or [`OutboxError::Failed`] if RocksDB refused. The event is not
    /// enqueued then, and unit and batch continue without it.
    pub fn enqueue(&mut self, batch: &mut WriteBatch, event: &Event) -> Result<u64, OutboxError> {
        let length = event.payload().len() as u64;
        let place = if carries_payload(event) { Place::Own { length } } else { Place::None };
        self.insert(batch, event, place)
    }

    /// Enqueues an event whose payload the node keeps already, or puts into the same batch, as the
    /// value of `key` in `family`, a column family of its own. The row has its length and BLAKE3
    /// only. The value must stay until the row is removed, because it is read when the event is
    /// published, and anything else than the bytes that were enqueued stops the publisher.
    ///
    /// # Errors
    /// As [`OutboxUnit::enqueue`]; [`OutboxError::Refused`] for an event without payload, for a
    /// column family that is not open, and for a key that has over 4,096 bytes with its name.
    pub fn enqueue_reference(
        &mut self,
        batch: &mut WriteBatch,
        event: &Event,
        family: &str,
        key: &[u8],
    ) -> Result<u64, OutboxError> {
        if !carries_payload(event) {
            return Err(refused(event, "it has no payload to refer to"));
        }
        if family.len() + key.len() > MAX_REFERENCE_BYTES {
            return Err(refused(event, "the key of its payload is too long"));
        }
        if !self.shared.db.has(family) {
            return Err(refused(event, "the column family of its payload is not open"));
        }
        let length = event.payload().len() as u64;
        let blake3 = *blake3::hash(event.payload()).as_bytes();
        let place = Place::Elsewhere { length, blake3, family: family.into(), key: key.into() };
        self.insert(batch, event, place)
    }

    /// Writes the batch, with the node's changes and the events: all of it or nothing. Durable on
    /// return.
    ///
    /// # Errors
    /// [`OutboxError::Refused`] if it is not the batch that the events went into. Nothing was
    /// written. [`OutboxError::Failed`] if RocksDB refused, [`OutboxError::Corrupt`] if it
    /// found its files damaged. Whether the batch was written the next unit finds out, and so
    /// must the node. The database shows it, at the latest when it is opened again.
    pub fn commit(self, batch: WriteBatch) -> Result<(), OutboxError> {
        let shared = self.shared;
        if let Some(newest) = self.write(batch, &synced())? {
            shared.is_durable(newest);
        }
        Ok(())
    }

    /// Writes the batch as [`OutboxUnit::commit`] does, with the node's own options, and as durable
    /// on return as they say, but never without the write-ahead log. Rows that the machine
    /// could still lose are made durable before they are published.
    ///
    /// # Errors
    /// As [`OutboxUnit::commit`].
    pub fn commit_opt(
        self,
        batch: WriteBatch,
        mut options: WriteOptions,
    ) -> Result<(), OutboxError> {
        // Without it there is nothing that could be made durable in the order of the writes.
        options.disable_wal(false);
        self.write(batch, &options).map(drop)
    }

    fn insert(
        &mut self,
        batch: &mut WriteBatch,
        event: &Event,
        payload: Place,
    ) -> Result<u64, OutboxError> {
        event.check_limits()?;
        if matches!(event, Event::EpochStarted { .. }) {
            return Err(refused(event, "only the publisher writes it"));
        }
        if self.mark.is_some_and(|mark| !mark.is_in(batch)) {
            return Err(refused(event, OTHER_BATCH));
        }
        let mut next = self.newest.clone();
        next.sequence += 1;
        next.bytes += payload.length();
        let (links, change) = self.link(event)?;
        (next.base, next.tip) = (links.base().cloned(), links.tip().cloned());
        self.check_room(payload.length())?;

        let head = Head { time: (self.clock)(), bytes: next.bytes, payload, event: event.clone() };
        let mark = Mark::next(batch, next.sequence);
        self.put(batch, next.sequence, &head, &change)
            .map_err(failed(&self.shared.place, "enqueueing an event"))?;
        self.newest = next;
        self.mark = Some(mark);
        Ok(self.newest.sequence)
    }

    /// The chain with this event, and what changes about what is proven.
    fn link(&mut self, event: &Event) -> Result<(Links, Change), OutboxError> {
        let db = &*self.shared.db;
        let (genesis, proofs_from) = (self.shared.genesis.clone(), ProofsFrom::default());
        let mut links = Links::resume(genesis, proofs_from, self.newest.links());
        let referred = match links.refers_to(event) {
            None => None,
            Some(height) => self.blocks.find(db, height).map_err(failed(
                &self.shared.place,
                "looking for the block that an event refers to",
            ))?,
        };
        let referred = referred.and_then(|hash| Hash::new(hash).ok());
        let refused = |source| {
            let (event, source) = (event.to_string(), Box::new(source));
            OutboxError::DoesNotLink { event, source }
        };
        links.admit(event, referred.as_ref()).map_err(refused)?;
        let tip = self.newest.tip.as_ref().map(|tip| tip.height);
        let change = self.proven.change(db, event, tip)?.map_err(refused)?;
        Ok((links, change))
    }

    fn check_room(&self, length: u64) -> Result<(), OutboxError> {
        let events = self.newest.sequence.saturating_sub(self.released.sequence);
        let bytes = self.newest.bytes.saturating_sub(self.released.bytes);
        if !self.limits.are_reached(events, bytes, length) {
            return Ok(());
        }
        Err(OutboxError::Full { place: self.shared.place.clone(), events, bytes })
    }

    fn put(
        &mut self,
        batch: &mut WriteBatch,
        sequence: u64,
        head: &Head,
        change: &Change,
    ) -> Result<(), DbError> {
        let db = &*self.shared.db;
        db.put(batch, &keys::row(sequence), &head.encode())?;
        if matches!(head.payload, Place::Own { length: 1.. }) {
            db.put(batch, &keys::payload(sequence), head.event.payload())?;
        }
        let tip = self.newest.tip.as_ref().map(|tip| tip.height);
        self.blocks.admit(db, batch, &head.event, tip, self.window)?;
        self.proven.admit(db, batch, change)
    }

    /// Answers the sequence of the newest row if there are rows in the batch.
    fn write(
        self,
        mut batch: WriteBatch,
        options: &WriteOptions,
    ) -> Result<Option<u64>, OutboxError> {
        let newest = self.newest.sequence;
        if self.mark.is_some_and(|mark| !mark.is_in(&batch)) {
            let event = format!("row {newest}");
            return Err(OutboxError::Refused { event, why: OTHER_BATCH });
        }
        let write = || {
            if self.mark.is_some() {
                self.shared.db.put(&mut batch, keys::NEWEST, &self.newest.encode())?;
            }
            self.shared.db.write(batch, options)
        };
        write().map_err(failed(&self.shared.place, "writing the batch of a unit"))?;
        Ok(self.mark.map(|_| newest))
    }
}

const OTHER_BATCH: &str = "this is not the batch that the events of the unit before it went into";

fn refused(event: &Event, why: &'static str) -> OutboxError {
    OutboxError::Refused { event: event.to_string(), why }
}

/// A row in a batch, to know the batch again.
#[derive(Debug, Clone, Copy)]
struct Mark {
    offset: usize,
    key: Numbered,
}

impl Mark {
    /// The row of this sequence, which is put into the batch next.
    fn next(batch: &WriteBatch, sequence: u64) -> Self {
        Self { offset: batch.size_in_bytes(), key: keys::row(sequence) }
    }

    /// Batches only grow. In front of the key are what is done with it, the number of the column
    /// family and the length of the key: 3 to 7 bytes.
    fn is_in(&self, batch: &WriteBatch) -> bool {
        let record = batch.data().get(self.offset..).unwrap_or_default();
        record.windows(self.key.len()).take(8).any(|window| window == self.key)
    }
}
