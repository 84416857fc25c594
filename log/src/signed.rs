//! A log whose participants sign, and believe only whom they trust.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tipline_proto::{
    Announcement, ConsumerName, Entry, Head, LogIdentity, Receipt, SigningKey, Timestamp, Trust,
};
use tokio::time::Instant;

use crate::error::{AppendError, LogError};
use crate::preflight::Preflight;
use crate::spec::{
    Appender, Board, BoardFeed, Extent, Forged, ForgedBy, Log, Reader, Receipts, Subscription,
    Tail, Trimmer,
};

/// What a participant signs with, and whom it believes.
#[derive(Debug, Clone, Default)]
pub struct Signing {
    /// Signs the units that are appended, receipts and announcements; `None`: nothing is signed.
    pub key: Option<Arc<SigningKey>>,
    /// Whose signatures are required; by default, nobody's.
    pub trust: Trust,
}

/// Any log, with signatures. The last entry of every unit, every receipt and every announcement that
/// goes through it is signed, if there is a key. What is on the board counts only if who is trusted
/// signed it; the rest is in [`Board::forged`], and nowhere else. This is the one place that decides
/// so, for producers, retention, health and the verdict on a fleet.
///
/// A participant's messages on the board only get newer, by the clock that dates them. An older one
/// than was seen here before was put there again by somebody: the newest one stands in its place.
/// Whoever has just begun to look knows of none before: an old receipt that is put there then counts
/// until its consumer repeats the newest, a heartbeat later. It is an old truth, not a lie: what its
/// store has lost since is the only thing that it hides.
///
/// Entries come as they are. Their signatures are for whoever verifies that they chain:
/// [`Reader::trust`].
pub struct SignedLog {
    log: Arc<dyn Log>,
    key: Option<Arc<SigningKey>>,
    judge: Arc<Judge>,
}

impl SignedLog {
    /// The same log, with signatures.
    pub fn new(log: Arc<dyn Log>, signing: Signing) -> Self {
        let Signing { key, trust } = signing;
        Self { log, key, judge: Arc::new(Judge { trust, seen: Mutex::default() }) }
    }

    /// A message that is signed later is dated later, also if the clock went back.
    fn date(&self, time: &mut Timestamp, last: impl Fn(&mut Seen) -> &mut Timestamp) {
        let mut seen = self.judge.seen();
        let last = last(&mut seen);
        *time = (*time).max(Timestamp::from_micros(last.as_micros() + 1));
        *last = *time;
    }
}

impl fmt::Debug for SignedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.log.fmt(f)
    }
}

#[async_trait]
impl Appender for SignedLog {
    async fn tail(&self) -> Result<Tail, LogError> {
        self.log.tail().await
    }

    async fn append(&self, after: &Tail, unit: &[Entry]) -> Result<Tail, AppendError> {
        let (Some(key), Some((last, _))) = (&self.key, unit.split_last()) else {
            return self.log.append(after, unit).await;
        };
        let mut unit = unit.to_vec();
        let mut last = last.clone();
        key.sign_entry(self.identity().lineage, &mut last);
        if let Some(place) = unit.last_mut() {
            *place = last;
        }
        self.log.append(after, &unit).await
    }

    fn unit_len(&self, entries: &[Entry]) -> usize {
        self.log.unit_len(entries)
    }

    async fn preflight(&self) -> Result<Preflight, LogError> {
        self.log.preflight().await
    }
}

#[async_trait]
impl Reader for SignedLog {
    fn identity(&self) -> &LogIdentity {
        self.log.identity()
    }

    fn trust(&self) -> Option<&Trust> {
        Some(&self.judge.trust).filter(|trust| trust.requires_history())
    }

    async fn extent(&self) -> Result<Extent, LogError> {
        self.log.extent().await
    }

    async fn ping(&self) -> Result<(), LogError> {
        self.log.ping().await
    }

    async fn entry(&self, index: u64) -> Result<Entry, LogError> {
        self.log.entry(index).await
    }

    async fn head(&self, index: u64) -> Result<Head, LogError> {
        self.log.head(index).await
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
impl Trimmer for SignedLog {
    async fn trim(&self, first: u64) -> Result<Extent, LogError> {
        self.log.trim(first).await
    }
}

#[async_trait]
impl Receipts for SignedLog {
    async fn put_receipt(&self, receipt: &Receipt) -> Result<(), LogError> {
        let Some(key) = &self.key else { return self.log.put_receipt(receipt).await };
        let mut receipt = receipt.clone();
        self.date(&mut receipt.time, |seen| &mut seen.said_receipt);
        key.sign_receipt(&mut receipt);
        self.log.put_receipt(&receipt).await
    }

    async fn announce(&self, announcement: &Announcement) -> Result<(), LogError> {
        let Some(key) = &self.key else { return self.log.announce(announcement).await };
        let mut said = announcement.clone();
        self.date(&mut said.time, |seen| &mut seen.said_announcement);
        key.sign_announcement(&mut said);
        self.log.announce(&said).await
    }

    async fn forget(&self, consumer: &ConsumerName) -> Result<(), LogError> {
        self.log.forget(consumer).await
    }

    async fn board(&self) -> Result<Board, LogError> {
        Ok(self.judge.check(self.log.board().await?))
    }

    async fn follow_board(&self) -> Result<Box<dyn BoardFeed>, LogError> {
        let feed = self.log.follow_board().await?;
        Ok(Box::new(SignedFeed { feed, judge: Arc::clone(&self.judge) }))
    }
}

struct SignedFeed {
    feed: Box<dyn BoardFeed>,
    judge: Arc<Judge>,
}

#[async_trait]
impl BoardFeed for SignedFeed {
    async fn next(&mut self) -> Result<Board, LogError> {
        Ok(self.judge.check(self.feed.next().await?))
    }
}

/// Decides what on a board counts.
struct Judge {
    trust: Trust,
    seen: Mutex<Seen>,
}

/// The newest of each that counted, and since when the log has had it.
#[derive(Default)]
struct Seen {
    receipts: BTreeMap<ConsumerName, Newest<Receipt>>,
    primary: Option<Newest<Announcement>>,
    /// When what was signed here last was dated.
    said_receipt: Timestamp,
    said_announcement: Timestamp,
}

struct Newest<T> {
    message: T,
    at: Instant,
}

impl Judge {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        // It is changed by whole assignments: a panic elsewhere leaves nothing half done.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, mut board: Board) -> Board {
        let mut seen = self.seen();
        if self.trust.requires_receipts() {
            for receipt in std::mem::take(&mut board.receipts) {
                let name = receipt.consumer.clone();
                let heard = board.heard.remove(&name);
                let counts = self.receipt(&mut seen, receipt, heard);
                if let Err(why) = &counts {
                    let why = why.clone();
                    board.forged.push(Forged { consumer: Some(name.clone()), why });
                }
                // A receipt that was put there again hides none that was here before.
                let replayed = matches!(counts, Err(ForgedBy::Replayed { .. }));
                let newest = seen.receipts.get(&name).filter(|_| counts.is_ok() || replayed);
                if let Some(Newest { message, at }) = newest {
                    board.receipts.push(message.clone());
                    board.heard.insert(name, at.elapsed());
                }
            }
        }
        if self.trust.requires_history()
            && let Some(said) = board.primary.take()
        {
            let counts = self.announcement(&mut seen, said, board.primary_heard.take());
            let replayed = matches!(counts, Err(ForgedBy::Replayed { .. }));
            if let Some(newest) = seen.primary.as_ref().filter(|_| counts.is_ok() || replayed) {
                board.primary = Some(newest.message.clone());
                board.primary_heard = Some(newest.at.elapsed());
            }
            board.forged.extend(counts.err().map(|why| Forged { consumer: None, why }));
        }
        board
    }

    fn receipt(
        &self,
        seen: &mut Seen,
        receipt: Receipt,
        heard: Option<Duration>,
    ) -> Result<(), ForgedBy> {
        self.trust.check_receipt(&receipt)?;
        let before = seen.receipts.get(&receipt.consumer);
        let newest = before.map(|before| (before.message.time, before.message == receipt));
        if is_newer(newest, receipt.time)? {
            let newest = Newest { at: since(heard), message: receipt };
            seen.receipts.insert(newest.message.consumer.clone(), newest);
        }
        Ok(())
    }

    fn announcement(
        &self,
        seen: &mut Seen,
        said: Announcement,
        heard: Option<Duration>,
    ) -> Result<(), ForgedBy> {
        self.trust.check_announcement(&said)?;
        // Of a higher epoch it is of another primary, with another clock.
        let before = seen.primary.as_ref().map(|before| &before.message);
        let before = before.filter(|before| before.epoch >= said.epoch);
        let newest = before.map(|before| (before.time, *before == said));
        if let Some(before) = before.filter(|before| before.epoch > said.epoch) {
            return Err(ForgedBy::Replayed { found: said.time, newest: before.time });
        }
        if is_newer(newest, said.time)? {
            seen.primary = Some(Newest { at: since(heard), message: said });
        }
        Ok(())
    }
}

/// Whether it is a new one, given when the newest one was made and whether it is the same.
fn is_newer(newest: Option<(Timestamp, bool)>, found: Timestamp) -> Result<bool, ForgedBy> {
    match newest {
        None => Ok(true),
        Some((_, true)) => Ok(false),
        Some((newest, false)) if found > newest => Ok(true),
        Some((newest, false)) => Err(ForgedBy::Replayed { found, newest }),
    }
}

fn since(heard: Option<Duration>) -> Instant {
    let now = Instant::now();
    now.checked_sub(heard.unwrap_or_default()).unwrap_or(now)
}
