//! An outbox in memory, for simulation and tests.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tipline_log::Clock;
use tipline_proto::limits::{OUTBOX_BYTES, OUTBOX_EVENTS};
use tipline_proto::{Event, Hash, Lineage, Links, OutboxId};

use super::{Outbox, OutboxError, Pending, Row};

/// Blocks more than this below the newest one are forgotten, as in the SQLite outbox.
const WINDOW: u64 = 100_000;

/// An outbox in memory: nothing about it is durable. It keeps every other rule of an outbox.
///
/// Clones share one outbox: one clone enqueues, another goes to the publisher, and a third
/// to the next publisher, as if the process had been restarted.
#[derive(Clone)]
pub struct MemoryOutbox {
    id: OutboxId,
    clock: Clock,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    links: Links,
    blocks: BTreeMap<u64, Hash>,
    rows: VecDeque<Row>,
    last: u64,
    bytes: u64,
    lineage: Option<Lineage>,
    max_events: u64,
    max_bytes: u64,
}

impl fmt::Debug for MemoryOutbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryOutbox").field("id", &self.id).finish_non_exhaustive()
    }
}

impl MemoryOutbox {
    /// An empty outbox. Commit times come from `clock`.
    pub fn new(id: OutboxId, genesis: Hash, clock: Clock) -> Self {
        let inner = Inner {
            links: Links::new(genesis),
            blocks: BTreeMap::new(),
            rows: VecDeque::new(),
            last: 0,
            bytes: 0,
            lineage: None,
            max_events: OUTBOX_EVENTS,
            max_bytes: OUTBOX_BYTES,
        };
        Self { id, clock, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Changes how much may wait: events, and bytes of their payloads.
    pub fn set_limits(&self, events: u64, bytes: u64) {
        let mut inner = self.lock();
        (inner.max_events, inner.max_bytes) = (events, bytes);
    }

    /// Enqueues an event and answers its sequence.
    ///
    /// # Errors
    /// [`OutboxError::DoesNotLink`], [`OutboxError::TooLarge`], [`OutboxError::Full`] or
    /// [`OutboxError::Refused`]; nothing was enqueued then.
    pub fn enqueue(&self, event: &Event) -> Result<u64, OutboxError> {
        event.check_limits()?;
        if matches!(event, Event::EpochStarted { .. }) {
            let why = "only the publisher writes it";
            return Err(OutboxError::Refused { event: event.to_string(), why });
        }
        let time = (self.clock)();
        let mut inner = self.lock();
        let length = event.payload().len() as u64;
        let (events, bytes) = (inner.rows.len() as u64, inner.bytes);
        let full = events >= inner.max_events || bytes + length > inner.max_bytes;
        // What does not link says so even if the outbox is full: waiting would not help.
        let mut links = inner.links.clone();
        let referred = links.refers_to(event).and_then(|height| inner.blocks.get(&height));
        links
            .admit(event, referred)
            .map_err(|source| OutboxError::DoesNotLink { event: event.to_string(), source })?;
        if full {
            return Err(OutboxError::Full { place: self.place(), events, bytes });
        }
        inner.links = links;
        inner.remember(event);
        inner.last += 1;
        inner.bytes += length;
        let sequence = inner.last;
        inner.rows.push_back(Row { sequence, time, event: event.clone() });
        Ok(sequence)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing between lock and unlock leaves the outbox half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remember(&mut self, event: &Event) {
        match event {
            Event::BlockCommitted { height, hash, .. } => {
                self.blocks.insert(*height, hash.clone());
                self.blocks = self.blocks.split_off(&height.saturating_sub(WINDOW));
            }
            Event::RolledBack { to_height, .. } => {
                self.blocks.split_off(&(to_height + 1));
            }
            _ => {}
        }
    }

    fn first(&self) -> u64 {
        self.last + 1 - self.rows.len() as u64
    }
}

impl Outbox for MemoryOutbox {
    fn id(&self) -> OutboxId {
        self.id
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn lineage(&mut self) -> Result<Option<Lineage>, OutboxError> {
        Ok(self.lock().lineage)
    }

    fn bind(&mut self, lineage: Lineage) -> Result<(), OutboxError> {
        self.lock().lineage = Some(lineage);
        Ok(())
    }

    fn pending(&mut self) -> Result<Pending, OutboxError> {
        let inner = self.lock();
        Ok(Pending { first: inner.first(), last: inner.last, bytes: inner.bytes })
    }

    fn read(
        &mut self,
        after: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<Row>, OutboxError> {
        let inner = self.lock();
        let first = inner.first();
        if after + 1 < first {
            return Err(OutboxError::Trimmed { place: self.place(), asked: after + 1, first });
        }
        // Rows are dense, and there may be many before the ones that are asked for.
        let skipped = usize::try_from(after + 1 - first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let rest = inner.rows.iter().skip(skipped).take(max_rows);
        let fitting = rest.enumerate().take_while(|(at, row)| {
            bytes += row.event.payload().len();
            *at == 0 || bytes <= max_bytes
        });
        Ok(fitting.map(|(_, row)| row.clone()).collect())
    }

    fn trim(&mut self, sequence: u64) -> Result<(), OutboxError> {
        let mut inner = self.lock();
        while inner.rows.front().is_some_and(|row| row.sequence <= sequence) {
            let length = inner.rows.pop_front().map_or(0, |row| row.event.payload().len());
            inner.bytes -= length as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tipline_proto::Timestamp;

    use super::*;
    use crate::outbox::conformance::{self, Subject};

    impl Subject for MemoryOutbox {
        fn enqueue(&mut self, event: &Event) -> Result<u64, OutboxError> {
            MemoryOutbox::enqueue(self, event)
        }

        fn set_limits(&mut self, events: u64, bytes: u64) {
            MemoryOutbox::set_limits(self, events, bytes);
        }

        fn outbox(&mut self) -> &mut dyn Outbox {
            self
        }
    }

    #[test]
    fn conforms() {
        conformance::conforms(|| {
            let now = AtomicU64::new(1);
            let clock =
                Arc::new(move || Timestamp::from_micros(now.fetch_add(1, Ordering::SeqCst)));
            MemoryOutbox::new(OutboxId::from_bytes([1; 16]), conformance::genesis(), clock)
        });
    }
}
