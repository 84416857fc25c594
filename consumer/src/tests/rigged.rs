//! A log that delivers what a test wants, and a store that waits for a test.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tipline_log::memory::MemoryLog;
use tipline_log::{
    AppendError, Appender, Board, BoardFeed, Extent, LogError, Preflight, Reader, Receipts,
    Subscription, Tail, Trimmer,
};
use tipline_proto::{Announcement, ConsumerName, Entry, LogIdentity, Receipt};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::conformance::history::log;
use crate::store::{Batch, Store, StoreError, StoreIdentity, StoreReader};

/// What is delivered in the place of an entry.
pub(super) type Rig = Box<dyn Fn(Entry) -> Vec<Entry> + Send + Sync>;

/// A log in memory with other deliveries.
pub(super) struct RiggedLog {
    pub(super) inner: MemoryLog,
    rig: Rig,
    /// Most entries of one delivery.
    chunk: usize,
    /// Index of the oldest entry that it says to hold.
    first: u64,
    /// Whether it takes no receipts.
    pub(super) shut: Arc<AtomicBool>,
    /// How many entries it has delivered.
    pub(super) delivered: watch::Sender<usize>,
    /// The receipts that arrived, and when.
    pub(super) receipts: Arc<Mutex<Vec<(Instant, Receipt)>>>,
}

impl RiggedLog {
    /// A log of these entries, which are delivered as they are.
    pub(super) async fn of(entries: &[Entry]) -> Self {
        let inner = MemoryLog::new(log());
        for unit in entries.chunks(100) {
            append(&inner, unit).await;
        }
        let (rig, chunk, first) = (Box::new(|entry| vec![entry]) as Rig, usize::MAX, 1);
        let delivered = watch::Sender::new(0);
        Self { inner, rig, chunk, first, shut: Arc::default(), delivered, receipts: Arc::default() }
    }

    pub(super) fn rigged(self, rig: impl Fn(Entry) -> Vec<Entry> + Send + Sync + 'static) -> Self {
        Self { rig: Box::new(rig), ..self }
    }

    pub(super) fn chunked(self, chunk: usize) -> Self {
        Self { chunk, ..self }
    }

    pub(super) fn trimmed(self, first: u64) -> Self {
        Self { first, ..self }
    }
}

pub(super) async fn append(log: &MemoryLog, unit: &[Entry]) {
    let tail = log.tail().await.unwrap();
    log.append(&tail, unit).await.unwrap();
}

impl fmt::Debug for RiggedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl Appender for RiggedLog {
    async fn tail(&self) -> Result<Tail, LogError> {
        self.inner.tail().await
    }
    async fn append(&self, after: &Tail, unit: &[Entry]) -> Result<Tail, AppendError> {
        self.inner.append(after, unit).await
    }
    fn messages(&self, entry: &Entry) -> usize {
        self.inner.messages(entry)
    }
    async fn preflight(&self) -> Result<Preflight, LogError> {
        self.inner.preflight().await
    }
}

#[async_trait]
impl Reader for RiggedLog {
    fn identity(&self) -> &LogIdentity {
        self.inner.identity()
    }
    async fn extent(&self) -> Result<Extent, LogError> {
        Ok(Extent { first: self.first, ..self.inner.extent().await? })
    }
    async fn entry(&self, index: u64) -> Result<Entry, LogError> {
        let Extent { first, last } = self.extent().await?;
        if index < first {
            return Err(LogError::OutOfRange { asked: index, first, last });
        }
        self.inner.entry(index).await
    }
    async fn subscribe(
        &self,
        name: Option<&ConsumerName>,
        after: u64,
    ) -> Result<Box<dyn Subscription>, LogError> {
        // The rig is asked for every entry anew; it is cheap.
        let entries = self.inner.extent().await?.last;
        let mut rigged = Vec::new();
        for index in 1..=entries {
            let made = (self.rig)(self.inner.entry(index).await?);
            rigged.extend(made.into_iter().filter(|entry| entry.index > after));
        }
        let live = self.inner.subscribe(name, entries.max(after)).await?;
        rigged.reverse();
        let (chunk, delivered) = (self.chunk, self.delivered.clone());
        Ok(Box::new(RiggedSubscription { rigged, live, chunk, delivered }))
    }
}

#[async_trait]
impl Trimmer for RiggedLog {
    async fn trim(&self, first: u64) -> Result<Extent, LogError> {
        self.inner.trim(first).await
    }
}

#[async_trait]
impl Receipts for RiggedLog {
    async fn put_receipt(&self, receipt: &Receipt) -> Result<(), LogError> {
        if self.shut.load(Ordering::SeqCst) {
            let (place, what) = ("rigged".to_owned(), "it is shut".to_owned());
            return Err(LogError::Unavailable { place, what, source: None });
        }
        self.inner.put_receipt(receipt).await?;
        self.receipts.lock().unwrap().push((Instant::now(), receipt.clone()));
        Ok(())
    }
    async fn announce(&self, announcement: &Announcement) -> Result<(), LogError> {
        self.inner.announce(announcement).await
    }
    async fn forget(&self, consumer: &ConsumerName) -> Result<(), LogError> {
        self.inner.forget(consumer).await
    }
    async fn board(&self) -> Result<Board, LogError> {
        self.inner.board().await
    }
    async fn follow_board(&self) -> Result<Box<dyn BoardFeed>, LogError> {
        self.inner.follow_board().await
    }
}

/// First what the rig made of the entries that were there, then what is appended.
struct RiggedSubscription {
    rigged: Vec<Entry>,
    live: Box<dyn Subscription>,
    chunk: usize,
    delivered: watch::Sender<usize>,
}

#[async_trait]
impl Subscription for RiggedSubscription {
    async fn next(&mut self) -> Result<Vec<Entry>, LogError> {
        if self.rigged.is_empty() {
            return self.live.next().await;
        }
        let from = self.rigged.len().saturating_sub(self.chunk.min(1000));
        self.delivered.send_modify(|count| *count += self.rigged.len() - from);
        Ok(self.rigged.drain(from..).rev().collect())
    }
    async fn acknowledge(&mut self, index: u64) -> Result<(), LogError> {
        self.live.acknowledge(index).await
    }
}

/// A store whose every batch is announced, and then waits for what the test says.
#[derive(Debug)]
pub(super) struct GatedStore<S> {
    inner: S,
    arrived: SyncSender<Vec<u64>>,
    go: Receiver<Go>,
}

#[derive(Debug)]
pub(super) enum Go {
    Apply,
    Full,
    Panic,
}

/// The test's side of a gated store.
pub(super) struct Gate {
    arrived: Receiver<Vec<u64>>,
    go: SyncSender<Go>,
}

impl<S: Store> GatedStore<S> {
    pub(super) fn new(inner: S) -> (Self, Gate) {
        let (arrived, test) = sync_channel(1);
        let (go, store) = sync_channel(1);
        (Self { inner, arrived, go: store }, Gate { arrived: test, go })
    }
}

impl Gate {
    /// Waits for the next batch; its indices.
    pub(super) fn batch(&self) -> Vec<u64> {
        self.arrived.recv_timeout(std::time::Duration::from_secs(20)).expect("a batch")
    }

    pub(super) fn go(&self, go: Go) {
        self.go.send(go).unwrap();
    }

    /// Answers the store if it may be asking; goes on without if not.
    pub(super) fn try_go(&self, go: Go) {
        drop(self.arrived.try_recv());
        drop(self.go.try_send(go));
    }
}

impl<S: Store> Store for GatedStore<S> {
    fn place(&self) -> String {
        self.inner.place()
    }
    fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        self.inner.identity()
    }
    fn create(&mut self, log: &LogIdentity) -> Result<(), StoreError> {
        self.inner.create(log)
    }
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let indices = batch.entries.iter().map(|entry| entry.index).collect();
        // When the test has gone, so has the gate.
        let go = self.arrived.send(indices).ok().and_then(|()| self.go.recv().ok());
        match go {
            None | Some(Go::Apply) => self.inner.apply(batch),
            Some(Go::Full) => Err(StoreError::Full { place: self.place(), source: None }),
            Some(Go::Panic) => panic!("as the test says"),
        }
    }
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        self.inner.reader()
    }
}
