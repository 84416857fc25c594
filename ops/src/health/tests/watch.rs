//! What is asked of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tipline_consumer::Progress;
use tipline_log::memory::MemoryLog;
use tipline_log::{
    AppendError, Appender, Board, BoardFeed, Extent, LogError, Preflight, Reader, Receipts,
    Subscription, Tail, Trimmer, system_clock,
};
use tipline_proto::{Announcement, Chain, ConsumerName, Entry, Hash, LogIdentity, Receipt, Role};

use super::LINEAGE;
use crate::health::watch::first_look;
use crate::health::{Health, HealthLimits, WatchedConsumer};

/// A log whose receipts are away, so that nobody answers for them, and that never answers the first
/// ping.
#[derive(Debug)]
struct Half {
    log: MemoryLog,
    was_asked: AtomicBool,
    /// How often it was asked for the board.
    boards: AtomicUsize,
}

impl Half {
    fn new() -> Half {
        let chain = Chain::new("mainnet".parse().unwrap(), Hash::new([0; 32]).unwrap());
        let name = "mainnet".parse().unwrap();
        let log = MemoryLog::new(LogIdentity { name, chain, lineage: LINEAGE });
        Half { log, was_asked: AtomicBool::default(), boards: AtomicUsize::default() }
    }

    fn away() -> LogError {
        let place = "memory:mainnet".to_owned();
        LogError::Unavailable { place, what: "read the receipts".to_owned(), source: None }
    }
}

#[async_trait]
impl Reader for Half {
    fn identity(&self) -> &LogIdentity {
        self.log.identity()
    }
    async fn extent(&self) -> Result<Extent, LogError> {
        self.log.extent().await
    }
    async fn ping(&self) -> Result<(), LogError> {
        match self.was_asked.swap(true, Ordering::SeqCst) {
            false => std::future::pending().await,
            true => Ok(()),
        }
    }
    async fn entry(&self, index: u64) -> Result<Entry, LogError> {
        self.log.entry(index).await
    }
    async fn subscribe(
        &self,
        name: Option<&ConsumerName>,
        after: u64,
    ) -> Result<Box<dyn Subscription>, LogError> {
        self.log.subscribe(name, after).await
    }
}

#[async_trait]
impl Receipts for Half {
    async fn put_receipt(&self, _: &Receipt) -> Result<(), LogError> {
        Err(Self::away())
    }
    async fn announce(&self, _: &Announcement) -> Result<(), LogError> {
        Err(Self::away())
    }
    async fn forget(&self, _: &ConsumerName) -> Result<(), LogError> {
        Err(Self::away())
    }
    async fn board(&self) -> Result<Board, LogError> {
        self.boards.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
    async fn follow_board(&self) -> Result<Box<dyn BoardFeed>, LogError> {
        Err(Self::away())
    }
}

#[async_trait]
impl Appender for Half {
    async fn tail(&self) -> Result<Tail, LogError> {
        self.log.tail().await
    }
    async fn append(&self, after: &Tail, unit: &[Entry]) -> Result<Tail, AppendError> {
        self.log.append(after, unit).await
    }
    fn unit_len(&self, entries: &[Entry]) -> usize {
        self.log.unit_len(entries)
    }
    async fn preflight(&self) -> Result<Preflight, LogError> {
        self.log.preflight().await
    }
}

#[async_trait]
impl Trimmer for Half {
    async fn trim(&self, first: u64) -> Result<Extent, LogError> {
        self.log.trim(first).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_whose_receipts_are_away_is_heard() {
    let health = Health::new("replica", "replica-1", HealthLimits::default());
    let heard = first_look(&health, &Half::new(), &system_clock()).await.unwrap();
    assert_eq!(heard.tail, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_primary_asks_again_while_a_question_is_lost() {
    let health = Health::new("primary", "node-1", HealthLimits::default());
    health.with_primary(|_| {});
    let started = tokio::time::Instant::now();
    let _watch = health.watch_log_of_primary(Arc::new(Half::new()));
    let mut is_heard = false;
    while !is_heard {
        tokio::time::advance(Duration::from_millis(100)).await;
        tokio::task::yield_now().await;
        assert!(started.elapsed() < Duration::from_secs(2), "it waits for the first answer");
        health.with_primary(|state| is_heard = state.link.answered.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn the_board_is_asked_for_by_two_looks_at_once_at_most() {
    let health = Health::new("replica", "replica-1", HealthLimits::default());
    let (log, (_progress, progress)) =
        (Arc::new(Half::new()), tokio::sync::watch::channel(Progress::new()));
    let watched = WatchedConsumer {
        name: "replica-1".parse().unwrap(),
        role: Role::Replica,
        log: log.clone(),
        progress,
        store: None,
    };
    let _watch = health.watch_consumer(watched, system_clock());
    for _ in 0..40 {
        tokio::time::advance(Duration::from_millis(100)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(log.boards.load(Ordering::SeqCst), 2);
}
