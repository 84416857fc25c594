//! A log in memory that delivers what a test wants.

#![expect(
    clippy::unwrap_used,
    reason = "a log in memory fails only on demand; tests alone use this"
)]

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tipline_proto::{Announcement, ConsumerName, Entry, LogIdentity, Receipt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::MemoryLog;
use crate::error::{AppendError, LogError};
use crate::preflight::Preflight;
use crate::spec::{
    Appender, Board, BoardFeed, Extent, Reader, Receipts, Subscription, Tail, Trimmer,
};

/// What is delivered in the place of an entry.
pub type Rig = Box<dyn Fn(Entry) -> Vec<Entry> + Send + Sync>;

/// What happens once it has looked what it holds, before it answers.
pub type Meanwhile = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// A log in memory with other deliveries.
pub struct RiggedLog {
    /// The log itself.
    pub inner: MemoryLog,
    rig: Rig,
    meanwhile: Option<Meanwhile>,
    /// Most entries of one delivery.
    chunk: usize,
    /// Index of the oldest entry that it says to hold.
    pub first: Arc<AtomicU64>,
    /// Whether it takes no receipts.
    pub shut: Arc<AtomicBool>,
    /// Whether nobody can subscribe, and it takes no receipts and shows none.
    pub away: Arc<AtomicBool>,
    /// How many receipts it has refused.
    pub refused: watch::Sender<usize>,
    /// How many entries it has delivered.
    pub delivered: watch::Sender<usize>,
    /// The receipts that arrived, and when.
    pub receipts: Arc<Mutex<Vec<(Instant, Receipt)>>>,
}

impl RiggedLog {
    /// A log of these entries, which are delivered as they are.
    ///
    /// # Panics
    /// The entries do not chain from the log's origin.
    pub async fn new(identity: LogIdentity, entries: &[Entry]) -> Self {
        let inner = MemoryLog::new(identity);
        for unit in entries.chunks(100) {
            append(&inner, unit).await;
        }
        let (rig, chunk) = (Box::new(|entry| vec![entry]) as Rig, usize::MAX);
        let first = Arc::new(AtomicU64::new(1));
        let delivered = watch::Sender::new(0);
        let (shut, away, receipts) = (Arc::default(), Arc::default(), Arc::default());
        let refused = watch::Sender::new(0);
        let meanwhile = None;
        Self { inner, rig, meanwhile, chunk, first, shut, away, refused, delivered, receipts }
    }

    /// Delivers, in the place of each entry, what `rig` makes of it.
    #[must_use]
    pub fn rigged(self, rig: impl Fn(Entry) -> Vec<Entry> + Send + Sync + 'static) -> Self {
        Self { rig: Box::new(rig), ..self }
    }

    /// Whenever it is asked what it holds, this happens after it has looked.
    #[must_use]
    pub fn meanwhile(
        self,
        happens: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        Self { meanwhile: Some(Box::new(happens)), ..self }
    }

    /// Delivers at most `chunk` entries at once.
    #[must_use]
    pub fn chunked(self, chunk: usize) -> Self {
        Self { chunk, ..self }
    }

    fn reach(&self) -> Result<(), LogError> {
        if !self.away.load(Ordering::SeqCst) {
            return Ok(());
        }
        let (place, what) = ("rigged".to_owned(), "it is away".to_owned());
        Err(LogError::Unavailable { place, what, source: None })
    }

    /// Claims to hold nothing before the entry `first`.
    #[must_use]
    pub fn trimmed(self, first: u64) -> Self {
        self.first.store(first, Ordering::SeqCst);
        self
    }
}

/// Appends a unit at the tail.
///
/// # Panics
/// The unit does not follow the tail.
pub async fn append(log: &MemoryLog, unit: &[Entry]) {
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
    fn unit_len(&self, entries: &[Entry]) -> usize {
        self.inner.unit_len(entries)
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
        let extent = self.inner.extent().await?;
        if let Some(meanwhile) = &self.meanwhile {
            meanwhile().await;
        }
        Ok(Extent { first: self.first.load(Ordering::SeqCst), ..extent })
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
        self.reach()?;
        // The rig is asked for every entry again; it is cheap.
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
        if self.shut.load(Ordering::SeqCst) || self.away.load(Ordering::SeqCst) {
            self.refused.send_modify(|count| *count += 1);
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
        self.reach()?;
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
