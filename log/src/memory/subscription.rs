//! Subscriptions to a log in memory, and to its board.

use std::sync::Arc;

use async_trait::async_trait;
use tipline_proto::{ConsumerName, Entry};
use tokio::sync::watch;

use super::Shared;
use super::faults::DeliveryFault;
use super::state::State;
use crate::error::LogError;
use crate::spec::{Board, BoardFeed, Subscription};

pub(super) struct MemorySubscription {
    log: Arc<Shared>,
    changed: watch::Receiver<()>,
    /// Name, and the number of this subscription among those of the name.
    name: Option<(ConsumerName, u64)>,
    /// Index of the newest entry that was returned.
    after: u64,
    /// How many delivery faults it has had.
    faults: usize,
    over: bool,
}

impl MemorySubscription {
    pub(super) fn new(
        log: &Arc<Shared>,
        state: &mut State,
        name: Option<&ConsumerName>,
        after: u64,
    ) -> Self {
        let name = name.map(|name| (name.clone(), state.take_over(name)));
        let (changed, faults) = (log.entries.subscribe(), state.delivery_faults.len());
        Self { log: Arc::clone(log), changed, name, after, faults, over: false }
    }

    /// What is there now; empty if nothing is.
    fn look(&mut self) -> Result<Vec<Entry>, LogError> {
        let log = Arc::clone(&self.log);
        let state = log.state();
        self.check(&state)?;
        for fault in state.delivery_faults.iter().skip(self.faults) {
            self.faults += 1;
            match fault {
                DeliveryFault::Repeat(n) => self.after = self.after.saturating_sub(*n),
                DeliveryFault::Skip(n) => self.after = self.after.saturating_add(*n),
                DeliveryFault::End => {
                    return Err(log.unavailable("following; a fault was asked for"));
                }
            }
        }
        if !state.available {
            return Ok(Vec::new());
        }
        let extent = state.extent();
        if self.after + 1 < extent.first {
            return Err(Shared::out_of_range(extent, self.after + 1));
        }
        let batch = state.batch(self.after);
        self.after = batch.last().map_or(self.after, |entry| entry.index);
        Ok(batch)
    }

    fn check(&self, state: &State) -> Result<(), LogError> {
        let unusable =
            |why: String| Err(LogError::Unusable { place: self.log.place(), why, source: None });
        if self.over {
            return unusable("this subscription has ended; subscribe again".to_owned());
        }
        match &self.name {
            Some((name, generation)) if state.generation(name) != Some(*generation) => unusable(
                format!("another subscription took the name {name}; give each consumer its own"),
            ),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Result<Vec<Entry>, LogError> {
        loop {
            self.changed.mark_unchanged();
            let found = self.look();
            self.over |= found.is_err();
            if !matches!(&found, Ok(batch) if batch.is_empty()) {
                return found;
            }
            // The sender lives in `self.log`, so it is never gone.
            let _still_there = self.changed.changed().await;
        }
    }

    async fn acknowledge(&mut self, _index: u64) -> Result<(), LogError> {
        self.check(&self.log.state())
    }
}

pub(super) struct MemoryFeed {
    log: Arc<Shared>,
    changed: watch::Receiver<()>,
    shown: Option<Board>,
}

impl MemoryFeed {
    pub(super) fn new(log: &Arc<Shared>) -> Self {
        Self { log: Arc::clone(log), changed: log.board.subscribe(), shown: None }
    }
}

#[async_trait]
impl BoardFeed for MemoryFeed {
    async fn next(&mut self) -> Result<Board, LogError> {
        loop {
            self.changed.mark_unchanged();
            assert!(!self.log.state().feeds_panic, "a feed that panics was asked for");
            let board = match self.log.reach("follow the board") {
                Ok(state) => Some(state.board(self.log.identity.lineage)),
                // It waits until the log is there again.
                Err(error) if error.is_retryable() => None,
                Err(error) => return Err(error),
            };
            let is_new =
                |board: &Board| !self.shown.as_ref().is_some_and(|b| b.says_the_same(board));
            if let Some(board) = board.filter(is_new) {
                self.shown = Some(board.clone());
                return Ok(board);
            }
            // The sender lives in `self.log`, so it is never gone.
            let _still_there = self.changed.changed().await;
        }
    }
}
