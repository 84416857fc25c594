//! A log in memory, for simulation and tests. Nothing in it is durable.
//!
//! It keeps every promise of the traits except durability, has no I/O and no clock but tokio's, and
//! does nothing by chance. What goes wrong in a real log goes wrong here on demand:
//! [`MemoryLog::fail_append`], [`MemoryLog::set_available`], [`MemoryLog::truncate`],
//! [`MemoryLog::fail_delivery`].

mod faults;
#[cfg(feature = "conformance")]
pub mod rigged;
mod state;
mod subscription;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tipline_proto::{
    Announcement, ConsumerName, Entry, Lineage, LogIdentity, Position, Receipt, split,
};
use tokio::sync::watch;

use crate::error::{AppendError, LogError};
use crate::preflight::Preflight;
use crate::spec::{
    Appender, Board, BoardFeed, Extent, Reader, Receipts, Subscription, Tail, Trimmer,
};
use crate::unit::{check_unit, unit_len};

pub use faults::{AppendFault, DeliveryFault};
use state::State;
use subscription::{MemoryFeed, MemorySubscription};

/// Largest message of a log in memory: 1 MiB, the default of a NATS server. Only
/// [`Appender::unit_len`] and the fence depend on it.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// A log in memory. Clones are handles on the same log, as of different processes.
#[derive(Clone)]
pub struct MemoryLog {
    shared: Arc<Shared>,
}

struct Shared {
    identity: LogIdentity,
    state: Mutex<State>,
    /// Something changed that a subscription may wait for.
    entries: watch::Sender<()>,
    /// The board changed.
    board: watch::Sender<()>,
}

impl MemoryLog {
    /// A new, empty log.
    pub fn new(identity: LogIdentity) -> Self {
        let shared = Shared {
            state: Mutex::new(State::new(&identity)),
            identity,
            entries: watch::Sender::new(()),
            board: watch::Sender::new(()),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A state is changed by whole statements. A panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> String {
        format!("memory:{}", self.identity.name)
    }

    fn unavailable(&self, what: &str) -> LogError {
        LogError::Unavailable { place: self.place(), what: what.to_owned(), source: None }
    }

    /// The state, if the log is not made unavailable.
    fn reach(&self, what: &str) -> Result<MutexGuard<'_, State>, LogError> {
        let state = self.state();
        if let Some(found) = state.recreated {
            let expected = self.identity.lineage;
            return Err(LogError::WrongLog { place: self.place(), expected, found });
        }
        if state.available { Ok(state) } else { Err(self.unavailable(what)) }
    }

    fn check_lineage(&self, expected: Lineage) -> Result<(), LogError> {
        let found = self.identity.lineage;
        if found == expected {
            return Ok(());
        }
        Err(LogError::WrongLog { place: self.place(), expected, found })
    }

    fn out_of_range(extent: Extent, asked: u64) -> LogError {
        LogError::OutOfRange { asked, first: extent.first, last: extent.last }
    }
}

/// How many messages an entry takes, as with a broker that limits their size.
fn messages(entry: &Entry) -> usize {
    split(entry, MAX_MESSAGE_BYTES).len()
}

#[async_trait]
impl Appender for MemoryLog {
    async fn tail(&self) -> Result<Tail, LogError> {
        let state = self.shared.reach("reading the tail")?;
        let tail = state.tail();
        Ok(Tail { outbox_sequence: tail.outbox_sequence + state.raised, ..tail })
    }

    async fn append(&self, after: &Tail, unit: &[Entry]) -> Result<Tail, AppendError> {
        check_unit(&after.position, unit, messages).map_err(AppendError::Refused)?;
        let fault = self.shared.state().next_fault();
        if let Some(AppendFault::Delayed(delay)) = fault {
            tokio::time::sleep(delay).await;
        }
        let doubt =
            || AppendError::Doubt(self.shared.unavailable("appending; a fault was asked for"));
        let mut state = self.shared.reach("appending").map_err(|error| match error {
            error @ LogError::WrongLog { .. } => AppendError::Refused(error),
            error => AppendError::Doubt(error),
        })?;
        state.store_late();
        let result = match fault {
            None | Some(AppendFault::Delayed(_)) => state.store(after, unit),
            Some(AppendFault::LostInDoubt) => Err(doubt()),
            Some(AppendFault::StoredInDoubt) => state.store(after, unit).and(Err(doubt())),
            Some(AppendFault::LateInDoubt) => {
                state.late = Some((after.clone(), unit.to_vec()));
                Err(doubt())
            }
        };
        drop(state);
        self.shared.entries.send_replace(());
        result
    }

    fn unit_len(&self, entries: &[Entry]) -> usize {
        unit_len(entries, messages)
    }

    async fn preflight(&self) -> Result<Preflight, LogError> {
        let shortfalls = self.shared.reach("reading the settings")?.shortfalls.clone();
        let mut found = Preflight::default();
        found.note("order: every append names the tail it expects");
        let Some(shortfalls) = shortfalls else {
            found.shortfall(
                "memory-storage",
                "storage: memory",
                "everything is lost when the process ends",
                "use it for tests and simulation only",
            );
            return Ok(found);
        };
        for name in shortfalls {
            found.shortfall(name, format!("{name}: asked for"), "none", "do not ask for it");
        }
        Ok(found)
    }
}

#[async_trait]
impl Reader for MemoryLog {
    fn identity(&self) -> &LogIdentity {
        &self.shared.identity
    }

    async fn extent(&self) -> Result<Extent, LogError> {
        Ok(self.shared.reach("reading the extent")?.extent())
    }

    async fn entry(&self, index: u64) -> Result<Entry, LogError> {
        let delay = self.shared.state().read_delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let state = self.shared.reach("reading an entry")?;
        if state.corrupt.contains(&index) {
            let (place, at) = (self.shared.place(), format!("entry {index}"));
            return Err(LogError::Corrupt { place, at, source: None });
        }
        state.entry(index).cloned().ok_or_else(|| Shared::out_of_range(state.extent(), index))
    }

    async fn subscribe(
        &self,
        name: Option<&ConsumerName>,
        after: u64,
    ) -> Result<Box<dyn Subscription>, LogError> {
        let mut state = self.shared.reach("subscribing")?;
        let extent = state.extent();
        if after > extent.last || after + 1 < extent.first {
            return Err(Shared::out_of_range(extent, after.saturating_add(1)));
        }
        let subscription = MemorySubscription::new(&self.shared, &mut state, name, after);
        drop(state);
        self.shared.entries.send_replace(());
        Ok(Box::new(subscription))
    }
}

#[async_trait]
impl Trimmer for MemoryLog {
    async fn trim(&self, first: u64) -> Result<Extent, LogError> {
        let mut state = self.shared.reach("trimming")?;
        state.trim(first);
        Ok(state.extent())
    }
}

#[async_trait]
impl Receipts for MemoryLog {
    async fn put_receipt(&self, receipt: &Receipt) -> Result<(), LogError> {
        self.shared.check_lineage(receipt.lineage)?;
        self.shared.reach("putting a receipt")?.put_receipt(receipt);
        self.shared.board.send_replace(());
        Ok(())
    }

    async fn announce(&self, announcement: &Announcement) -> Result<(), LogError> {
        self.shared.check_lineage(announcement.lineage)?;
        self.shared.reach("announcing")?.announce(announcement);
        self.shared.board.send_replace(());
        Ok(())
    }

    async fn forget(&self, consumer: &ConsumerName) -> Result<(), LogError> {
        self.shared.reach("forgetting a consumer")?.forget(consumer);
        self.shared.board.send_replace(());
        Ok(())
    }

    async fn board(&self) -> Result<Board, LogError> {
        Ok(self.shared.reach("reading the board")?.board(self.shared.identity.lineage))
    }

    async fn follow_board(&self) -> Result<Box<dyn BoardFeed>, LogError> {
        drop(self.shared.reach("following the board")?);
        Ok(Box::new(MemoryFeed::new(&self.shared)))
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail: Position = self.shared.state().tail().position;
        f.debug_struct("MemoryLog")
            .field("name", &self.shared.identity.name)
            .field("tail", &tail)
            .finish()
    }
}
