//! The publisher's side.

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use rocksdb::{WriteBatch, WriteOptions};
use tipline_proto::{Hash, Lineage, OutboxId};

use super::error::{damaged, failed, opens_with, wrong};
use super::keys;
use super::row::{Head, Place};
use super::shared::Shared;
use super::state::Trimmed;
use crate::outbox::{Outbox, OutboxError, Pending, Row, Waiting};

/// Most rows that one write removes.
const STEP_ROWS: u64 = 1000;

/// The publisher's side of the outbox in a node's RocksDB. The node's side is
/// [`super::OutboxFamily`], which gives it out. It holds the database open.
#[derive(Debug)]
pub struct RocksDbOutbox {
    shared: Arc<Shared>,
}

impl RocksDbOutbox {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The rows `after + 1..=last`, as many as may be, without their payloads.
    fn heads(
        &self,
        after: u64,
        last: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Head)>, OutboxError> {
        let place = &self.shared.place;
        let end = last.min(after.saturating_add(max_rows as u64));
        let mut heads = Vec::new();
        let (mut bytes, mut broken) = (0_u64, None);
        let mut each = |key: &[u8], value: &[u8]| {
            let sequence = after + 1 + heads.len() as u64;
            if key != keys::row(sequence) {
                return ControlFlow::Break(());
            }
            match Head::decode(value) {
                Ok(head) => {
                    bytes = bytes.saturating_add(head.payload.length());
                    if bytes > max_bytes as u64 && !heads.is_empty() {
                        return ControlFlow::Break(());
                    }
                    heads.push((sequence, head));
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    broken = Some(damaged(place, &format!("row {sequence}"))(error));
                    ControlFlow::Break(())
                }
            }
        };
        let scan = self.shared.db.scan(&keys::row(after + 1), &keys::row(end + 1), &mut each);
        scan.map_err(failed(place, &format!("reading the rows after {after}")))?;
        let next = after + 1 + heads.len() as u64;
        match broken {
            Some(error) if heads.is_empty() => Err(error),
            None if heads.is_empty() && next <= end => {
                let why = "it is missing: something else than the publisher wrote here";
                Err(wrong(place, format!("row {next}"), why.to_owned()))
            }
            // What is before it is whole; asking for the row itself gives the error.
            _ => Ok(heads),
        }
    }

    fn complete(&self, sequence: u64, head: Head) -> Result<Row, OutboxError> {
        let payload = match &head.payload {
            Place::None | Place::Own { length: 0 } => Bytes::new(),
            Place::Own { length } => self.own_payload(sequence, *length)?,
            Place::Elsewhere { length, blake3, family, key } => {
                self.referred(sequence, *length, blake3, family, key)?
            }
        };
        Ok(Row { sequence, time: head.time, event: head.with(payload) })
    }

    fn own_payload(&self, sequence: u64, length: u64) -> Result<Bytes, OutboxError> {
        let place = &self.shared.place;
        let at = format!("the payload of row {sequence}");
        let payload = self.shared.db.get(&keys::payload(sequence));
        let payload = payload.map_err(failed(place, &format!("reading {at}")))?;
        match payload {
            Some(payload) if payload.len() as u64 == length => Ok(payload.into()),
            Some(payload) => {
                let why = format!("it has {} bytes, {length} were enqueued", payload.len());
                Err(wrong(place, at, why))
            }
            None => Err(wrong(place, at, "it is missing".to_owned())),
        }
    }

    fn referred(
        &self,
        sequence: u64,
        length: u64,
        blake3: &[u8; 32],
        family: &str,
        key: &[u8],
    ) -> Result<Bytes, OutboxError> {
        let place = &self.shared.place;
        if !self.shared.db.has(family) {
            let (place, why) = (place.clone(), opens_with(family));
            return Err(OutboxError::Unusable { place, why, source: None });
        }
        let at = format!("row {sequence}, whose payload is in {family} at {}", hex(key));
        let payload = self.shared.db.get_from(family, key);
        let Some(payload) = payload.map_err(failed(place, &format!("reading {at}")))? else {
            let why = "it is not there: restore what was there";
            return Err(wrong(place, at, why.to_owned()));
        };
        if payload.len() as u64 == length && blake3::hash(&payload) == *blake3 {
            return Ok(payload.into());
        }
        let why = format!(
            "it has {} bytes, {length} were enqueued, or their BLAKE3 is not the same: restore \
             what was there",
            payload.len()
        );
        Err(wrong(place, at, why))
    }

    /// A row that must be there, without its payload.
    fn head(&self, sequence: u64) -> Result<Head, OutboxError> {
        let place = &self.shared.place;
        let at = format!("row {sequence}");
        let row = self.shared.db.get(&keys::row(sequence));
        let row = row.map_err(failed(place, &format!("reading {at}")))?;
        let row = row.ok_or_else(|| wrong(place, at.clone(), "it is missing".to_owned()))?;
        Head::decode(&row).map_err(damaged(place, &at))
    }

    /// One step of trimming; answers whether there is more to do.
    fn step(&self, sequence: u64) -> Result<bool, OutboxError> {
        let Shared { db, place, .. } = &*self.shared;
        let what = "removing rows that are logged";
        let trimmed = self.shared.trimmed()?;
        let goal = sequence.min(self.shared.newest()?.sequence);
        if goal <= trimmed.sequence {
            return Ok(false);
        }
        let end = goal.min(trimmed.sequence.saturating_add(STEP_ROWS));
        let bytes = self.head(end)?.bytes;
        let write = || {
            let mut batch = WriteBatch::default();
            // Not a range, because a database with a row cache refuses batches with ranges.
            for sequence in trimmed.sequence + 1..=end {
                db.delete(&mut batch, &keys::row(sequence))?;
                db.delete(&mut batch, &keys::payload(sequence))?;
            }
            db.put(&mut batch, keys::TRIMMED, &Trimmed { sequence: end, bytes }.encode())?;
            db.write(batch, &WriteOptions::default())
        };
        write().map_err(failed(place, what))?;
        Ok(end < goal)
    }
}

impl Outbox for RocksDbOutbox {
    fn id(&self) -> OutboxId {
        self.shared.id
    }

    fn place(&self) -> String {
        self.shared.place.clone()
    }

    fn genesis(&self) -> Hash {
        self.shared.genesis.clone()
    }

    fn lineage(&mut self) -> Result<Option<Lineage>, OutboxError> {
        let Shared { db, place, .. } = &*self.shared;
        let what = "its log's lineage";
        let value = db.get(keys::LINEAGE).map_err(failed(place, &format!("reading {what}")))?;
        let Some(value) = value else { return Ok(None) };
        let lineage = <[u8; 16]>::try_from(value.as_slice()).map_err(|_| {
            wrong(place, what.to_owned(), format!("it has {} bytes, not 16", value.len()))
        })?;
        Ok(Some(Lineage::from_bytes(lineage)))
    }

    fn bind(&mut self, lineage: Lineage) -> Result<(), OutboxError> {
        let Shared { db, place, .. } = &*self.shared;
        let mut batch = WriteBatch::default();
        db.put(&mut batch, keys::LINEAGE, lineage.as_bytes())
            .and_then(|()| db.write(batch, &WriteOptions::default()))
            .map_err(failed(place, "binding it to its log"))
    }

    fn pending(&mut self) -> Result<Pending, OutboxError> {
        // In this order: rows that come in between count as waiting, so nothing is negative.
        let trimmed = self.shared.trimmed()?;
        let (released, newest) = (self.shared.released(trimmed)?, self.shared.newest()?);
        let limits = self.shared.limits()?;
        Ok(Pending {
            first: trimmed.sequence + 1,
            last: newest.sequence,
            bytes: newest.bytes.saturating_sub(trimmed.bytes),
            released: released.sequence,
            counted_bytes: newest.bytes.saturating_sub(released.bytes),
            max_events: limits.events,
            max_bytes: limits.bytes,
        })
    }

    fn read(
        &mut self,
        after: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<Row>, OutboxError> {
        let Pending { first, last, .. } = self.pending()?;
        if after + 1 < first {
            let place = self.shared.place.clone();
            return Err(OutboxError::Trimmed { place, asked: after + 1, first });
        }
        if after >= last || max_rows == 0 {
            return Ok(Vec::new());
        }
        // What is published must survive a crash of the machine here, too.
        self.shared.make_durable(last)?;
        let mut rows = Vec::new();
        for (sequence, head) in self.heads(after, last, max_rows, max_bytes)? {
            match self.complete(sequence, head) {
                Ok(row) => rows.push(row),
                Err(error) if rows.is_empty() => return Err(error),
                // What is before it is whole; asking for the row itself gives the error.
                Err(_) => break,
            }
        }
        Ok(rows)
    }

    fn waiting(&mut self, after: u64) -> Result<Waiting, OutboxError> {
        let (trimmed, newest) = (self.shared.trimmed()?, self.shared.newest()?);
        let after = after.max(trimmed.sequence);
        if after >= newest.sequence {
            return Ok(Waiting::default());
        }
        let oldest = self.head(after + 1)?;
        let before = oldest.bytes.saturating_sub(oldest.payload.length());
        Ok(Waiting {
            events: newest.sequence - after,
            bytes: newest.bytes.saturating_sub(before),
            oldest: Some(oldest.time),
        })
    }

    fn release(&mut self, sequence: u64) -> Result<(), OutboxError> {
        let _trimming = self.shared.trimming.lock().unwrap_or_else(PoisonError::into_inner);
        let Shared { db, place, .. } = &*self.shared;
        let released = self.shared.released(self.shared.trimmed()?)?;
        let sequence = sequence.min(self.shared.newest()?.sequence);
        if sequence <= released.sequence {
            return Ok(());
        }
        let released = Trimmed { sequence, bytes: self.head(sequence)?.bytes };
        let mut batch = WriteBatch::default();
        db.put(&mut batch, keys::RELEASED, &released.encode())
            .and_then(|()| db.write(batch, &WriteOptions::default()))
            .map_err(failed(place, "releasing rows that are logged"))
    }

    fn trim(&mut self, sequence: u64) -> Result<(), OutboxError> {
        // Another publisher may be ending still.
        let _trimming = self.shared.trimming.lock().unwrap_or_else(PoisonError::into_inner);
        while self.step(sequence)? {}
        Ok(())
    }
}

/// A key of the node's, as text.
fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}
