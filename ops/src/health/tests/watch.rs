//! What is asked of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tipline_consumer::Progress;
use tipline_log::memory::MemoryLog;
use tipline_log::{
    AppendError, Appender, Board, BoardFeed, Extent, LogError, Preflight, Reader, Receipts,
    Subscription, Tail, Trimmer, system_clock,
};
use tipline_proto::{
    Announcement, Chain, ConsumerName, Cursor, Entry, Event, Hash, Level, LogIdentity, OutboxId,
    Position, Reached, Receipt, Role, Timestamp,
};

use super::{LINEAGE, receipt};
use crate::health::consumer::ConsumerState;
use crate::health::process::Situation;
use crate::health::watch::{Ear, first_look, hear};
use crate::health::{Health, HealthLimits, WatchedConsumer};

/// A log whose receipts are away, so that nobody answers for them, and that never answers the first
/// ping.
#[derive(Debug)]
struct Half {
    log: MemoryLog,
    was_asked: AtomicBool,
    /// How often it was asked for the board.
    boards: AtomicUsize,
    /// How often it was asked how far it is, and for single entries.
    extents: AtomicUsize,
    entries: AtomicUsize,
}

impl Half {
    fn new() -> Half {
        let chain = Chain::new("mainnet".parse().unwrap(), Hash::new([0; 32]).unwrap());
        let name = "mainnet".parse().unwrap();
        let log = MemoryLog::new(LogIdentity { name, chain, lineage: LINEAGE });
        let (boards, extents, entries) = Default::default();
        Half { log, was_asked: AtomicBool::default(), boards, extents, entries }
    }

    /// With so many events.
    async fn with_events(count: u64) -> (Half, Vec<Position>) {
        let (half, mut positions) = (Half::new(), Vec::new());
        for index in 1..=count {
            let tail = half.tail().await.unwrap();
            let outbox = OutboxId::from_bytes([1; 16]);
            let event = Event::EpochStarted { primary: "node-1".parse().unwrap(), outbox };
            let time = Timestamp::from_micros(index);
            let entry = Entry::seal(&tail.position, index, time, index, event);
            positions.push(entry.position());
            half.append(&tail, &[entry]).await.unwrap();
        }
        (half, positions)
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
        self.extents.fetch_add(1, Ordering::SeqCst);
        self.log.extent().await
    }
    async fn ping(&self) -> Result<(), LogError> {
        match self.was_asked.swap(true, Ordering::SeqCst) {
            false => std::future::pending().await,
            true => Ok(()),
        }
    }
    async fn entry(&self, index: u64) -> Result<Entry, LogError> {
        self.entries.fetch_add(1, Ordering::SeqCst);
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

/// A replica at the first of these positions, as it is watched.
fn watched(positions: &[Position]) -> Health {
    let health = Health::new("replica", "replica-1", HealthLimits::default());
    let name = "replica-1".parse().unwrap();
    let (position, epoch) = (positions[0], 1);
    let cursor = Cursor { position, epoch, block_tip: None, proof_tip: None };
    let now = Instant::now();
    let mut state = ConsumerState::new(name, Role::Replica, Progress::new(), now);
    let mut progress = Progress::new();
    progress.cursor = Some(cursor);
    state.note(progress, health.limits(), now);
    health.set(Situation::Consumer(Box::new(state)));
    health
}

fn peers(health: &Health) -> Vec<(String, u64)> {
    let mut peers = Vec::new();
    health.with_consumer(|state| {
        let each = state.fleet.peers.iter();
        peers.extend(each.map(|peer| (peer.name.to_string(), peer.index)));
    });
    peers
}

fn board(receipts: Vec<Receipt>) -> Board {
    Board { receipts, ..Board::default() }
}

fn at(name: &str, position: Position) -> Receipt {
    Receipt { reached: Reached::up_to(position, Level::Durable), ..receipt(name, 1) }
}

/// Whoever may put receipts would make every process ask the log as often as he likes.
#[tokio::test(start_paused = true)]
async fn the_log_is_asked_once_in_a_while_whatever_receipts_name() {
    let (log, positions) = Half::with_events(3).await;
    let (health, clock, mut ear) = (watched(&positions), system_clock(), Ear::default());
    log.extents.store(0, Ordering::SeqCst);
    for index in 1_000_000..1_000_100 {
        let receipts = vec![at("x", Position { index, ..positions[0] }), at("y", positions[2])];
        hear(&health, &log, &clock, &mut ear, board(receipts)).await.unwrap();
    }
    let asked = || [&log.extents, &log.entries].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(asked(), [1, 1]);
    tokio::time::advance(Duration::from_millis(500)).await;
    let receipts = vec![at("x", Position { index: u64::MAX, ..positions[0] })];
    hear(&health, &log, &clock, &mut ear, board(receipts)).await.unwrap();
    assert_eq!(asked(), [2, 1]);
}

#[tokio::test(start_paused = true)]
async fn who_is_further_counts_once_the_log_itself_says_that_it_agrees() {
    let (log, positions) = Half::with_events(20).await;
    let (health, clock, mut ear) = (watched(&positions), system_clock(), Ear::default());
    let other = Position { index: 19, ..positions[0] };
    let receipts = vec![at("forged", other), at("good", positions[18])];
    hear(&health, &log, &clock, &mut ear, board(receipts)).await.unwrap();
    assert_eq!(peers(&health), [("good".to_owned(), 19)]);
    // Between two questions to the log it stays what it was.
    let receipts = vec![at("good", positions[19])];
    hear(&health, &log, &clock, &mut ear, board(receipts.clone())).await.unwrap();
    assert_eq!(peers(&health), [("good".to_owned(), 19)]);
    tokio::time::advance(Duration::from_millis(500)).await;
    hear(&health, &log, &clock, &mut ear, board(receipts)).await.unwrap();
    assert_eq!(peers(&health), [("good".to_owned(), 20)]);
    // However many there are, few are asked for at once, the newest first.
    log.entries.store(0, Ordering::SeqCst);
    tokio::time::advance(Duration::from_millis(500)).await;
    let receipts = positions[1..].iter().map(|p| at(&format!("r-{}", p.index), *p)).collect();
    hear(&health, &log, &clock, &mut ear, board(receipts)).await.unwrap();
    assert_eq!(log.entries.load(Ordering::SeqCst), 8);
    assert_eq!(peers(&health).iter().map(|peer| peer.1).min(), Some(11));
}
