//! An outbox in memory, for simulation and tests.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tipline_log::Clock;
use tipline_proto::{Event, Hash, Lineage, Links, OutboxId, ProofsFrom};

use super::{Limits, Outbox, OutboxError, Pending, Row, Waiting};

/// Blocks more than this below the newest one are forgotten, as in the SQLite outbox.
const WINDOW: u64 = 100_000;

/// An outbox in memory: nothing about it is durable. It keeps every other rule of an outbox.
///
/// Clones share one outbox: one clone enqueues, another goes to the publisher, and a third
/// to the next publisher, as if the process had been restarted.
#[derive(Clone)]
pub struct MemoryOutbox {
    id: OutboxId,
    genesis: Hash,
    clock: Clock,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    links: Links,
    blocks: BTreeMap<u64, Hash>,
    rows: VecDeque<Row>,
    last: u64,
    bytes: u64,
    released: u64,
    lineage: Option<Lineage>,
    limits: Limits,
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
            links: Links::new(genesis.clone(), ProofsFrom::default()),
            blocks: BTreeMap::new(),
            rows: VecDeque::new(),
            last: 0,
            bytes: 0,
            released: 0,
            lineage: None,
            limits: Limits::default(),
        };
        Self { id, genesis, clock, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Changes how much may wait: events, and bytes of their payloads.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] for 0, with which nothing could be enqueued.
    pub fn set_limits(&self, events: u64, bytes: u64) -> Result<(), OutboxError> {
        let limits = Limits { events, bytes };
        limits.check(&self.place())?;
        self.lock().limits = limits;
        Ok(())
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
        let Waiting { events, bytes, .. } = inner.after(inner.released());
        let full = inner.limits.are_reached(events, bytes, length);
        // What does not link says so even if the outbox is full: waiting would not help.
        let mut links = inner.links.clone();
        let referred = links.refers_to(event).and_then(|height| inner.blocks.get(&height));
        links.admit(event, referred).map_err(|source| OutboxError::DoesNotLink {
            event: event.to_string(),
            source: Box::new(source),
        })?;
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

    fn released(&self) -> u64 {
        self.released.max(self.first() - 1)
    }

    fn after(&self, sequence: u64) -> Waiting {
        let newest_first = self.rows.iter().rev().take_while(|row| row.sequence > sequence);
        newest_first.fold(Waiting::default(), |waiting, row| Waiting {
            events: waiting.events + 1,
            bytes: waiting.bytes + row.event.payload().len() as u64,
            oldest: Some(row.time),
        })
    }
}

impl Outbox for MemoryOutbox {
    fn id(&self) -> OutboxId {
        self.id
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn genesis(&self) -> Hash {
        self.genesis.clone()
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
        let released = inner.released();
        Ok(Pending {
            first: inner.first(),
            last: inner.last,
            bytes: inner.bytes,
            released,
            counted_bytes: inner.after(released).bytes,
            max_events: inner.limits.events,
            max_bytes: inner.limits.bytes,
        })
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

    fn waiting(&mut self, after: u64) -> Result<Waiting, OutboxError> {
        Ok(self.lock().after(after))
    }

    fn release(&mut self, sequence: u64) -> Result<(), OutboxError> {
        let mut inner = self.lock();
        inner.released = sequence.min(inner.last).max(inner.released);
        Ok(())
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

    use proptest::prelude::*;
    use tipline_proto::Timestamp;

    use super::*;
    use crate::outbox::conformance::{self, Subject};
    use crate::outbox::tests::room;

    impl Subject for MemoryOutbox {
        fn enqueue(&mut self, event: &Event) -> Result<u64, OutboxError> {
            MemoryOutbox::enqueue(self, event)
        }

        fn set_limits(&mut self, events: u64, bytes: u64) -> Result<(), OutboxError> {
            MemoryOutbox::set_limits(self, events, bytes)
        }

        fn outbox(&mut self) -> &mut dyn Outbox {
            self
        }
    }

    fn new() -> MemoryOutbox {
        let now = AtomicU64::new(1);
        let clock = Arc::new(move || Timestamp::from_micros(now.fetch_add(1, Ordering::SeqCst)));
        MemoryOutbox::new(OutboxId::from_bytes([1; 16]), conformance::genesis(), clock)
    }

    #[test]
    fn conforms() {
        conformance::conforms(new);
    }

    proptest! {
        #[test]
        fn follows_the_rule(steps in room::steps()) {
            room::follows_the_rule(&mut new(), &steps);
        }
    }
}
