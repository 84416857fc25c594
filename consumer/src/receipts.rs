//! Receipts: a task of its own, which applying never waits for.

use std::sync::Arc;
use std::time::Duration;

use tipline_log::{Backoff, Clock, Log, LogError, error_chain};
use tipline_proto::limits::MAX_RECEIPTS_PER_SECOND;
use tipline_proto::{Cursor, InstanceId, Level, Reached, Receipt, Trust};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::error::ConsumerError;
use crate::progress::{Phase, Progress};
use crate::settings::ConsumerSettings;
use crate::telemetry::Telemetry;

/// Time between two receipts, on average.
const SPACING: Duration = Duration::from_micros(1_000_000 / MAX_RECEIPTS_PER_SECOND as u64);
/// This many may be sent early, after a pause. Without them one late receipt would make all
/// after it late, for as long as events come as fast as receipts may.
pub(crate) const EARLY: u32 = 20;
/// How long a consumer that stops tries to send its last receipt. The next run repeats it.
const LAST: Duration = Duration::from_secs(2);

/// The task that sends receipts: the newest at once, a limited number per second on average at
/// most, and repeated while nothing happens.
#[derive(Debug)]
pub(crate) struct Receipts {
    task: JoinHandle<()>,
    last: oneshot::Sender<Option<LastWord>>,
}

/// Who sends receipts, of what, and where to.
pub(crate) struct Issuer {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) settings: ConsumerSettings,
    pub(crate) instance: InstanceId,
    pub(crate) store: String,
    pub(crate) clock: Clock,
    pub(crate) telemetry: Arc<Telemetry>,
}

impl Receipts {
    /// Starts the task, which sends what `progress` says.
    pub(crate) fn start(issuer: Issuer, progress: watch::Receiver<Progress>) -> Self {
        let (last, end) = oneshot::channel();
        let now = Instant::now();
        let (sent, backoff) = (None, Backoff::default());
        let next = early(now);
        let sending =
            Sending { issuer, progress, sent, has_sent: false, next, repeat: now, backoff };
        Self { task: tokio::spawn(sending.run(end)), last }
    }

    /// Sends the last receipt, if that is possible within 2 s, and ends the task.
    pub(crate) async fn finish(self, error: Option<&ConsumerError>) {
        let Self { mut task, last } = self;
        let word = |error: &ConsumerError| LastWord {
            failure: error_chain(error),
            lost: error.is_store_in_doubt(),
        };
        // If the task is gone there is nothing to finish.
        last.send(error.map(word)).ok();
        if timeout(LAST, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// What a receipt tells. A new one is due when it differs from what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct News {
    cursor: Option<Cursor>,
    failure: Option<String>,
    /// The store may have lost what it had: what it held is known, and not vouched for.
    lost: bool,
    /// Since when the store is frozen.
    frozen: Option<std::time::Instant>,
}

/// What stopped a consumer.
#[derive(Debug)]
struct LastWord {
    failure: String,
    lost: bool,
}

struct Sending {
    issuer: Issuer,
    progress: watch::Receiver<Progress>,
    sent: Option<News>,
    /// Whether any was sent.
    has_sent: bool,
    /// Not before this.
    next: Instant,
    /// Not after this.
    repeat: Instant,
    backoff: Backoff,
}

impl Sending {
    async fn run(mut self, mut end: oneshot::Receiver<Option<LastWord>>) {
        loop {
            tokio::select! {
                biased;
                last = &mut end => return self.finish(last).await,
                () = self.due() => {}
            }
            let news = {
                let progress = self.progress.borrow_and_update();
                may_speak(&self.backoff, &progress).then(|| News::of(&progress))
            };
            if let Some(news) = news {
                self.send(news).await;
            }
        }
    }

    /// The consumer has stopped; without a word if it was dropped.
    async fn finish(mut self, last: Result<Option<LastWord>, oneshot::error::RecvError>) {
        let Ok(last) = last else {
            return;
        };
        let is_dropped = self.progress.borrow().is_dropped;
        if is_dropped || self.has_sent && self.is_displaced().await {
            return;
        }
        let cursor = self.progress.borrow().cursor.clone();
        let (failure, lost) = last.map_or((None, false), |last| (Some(last.failure), last.lost));
        self.send(News { cursor, failure, lost, frozen: None }).await;
    }

    /// Whether another run has taken the name over: what the board says of it is its own.
    async fn is_displaced(&self) -> bool {
        let Issuer { log, settings, instance, .. } = &self.issuer;
        let board = log.board().await;
        let is_other =
            |receipt: &Receipt| receipt.consumer == settings.name && receipt.instance != *instance;
        // If the board cannot be read, the receipt will hardly be sent either.
        board.is_ok_and(|board| board.receipts.iter().any(is_other))
    }

    /// Waits until a receipt is due: there is news, or the newest one is to be repeated; and
    /// until the next one may be sent. Nothing is due before the store belongs to the log, but
    /// that it cannot be asked whether it does; and nothing while another run may have the name.
    async fn due(&self) {
        let (mut progress, mut again) = (self.progress.clone(), self.progress.clone());
        let is_news = |progress: &Progress| {
            let news = News::of(progress);
            let says_something = news.cursor.is_some() || news.failure.is_some();
            may_speak(&self.backoff, progress)
                && says_something
                && self.sent.as_ref() != Some(&news)
        };
        let repeated = async {
            sleep_until(self.repeat).await;
            wait_until(&mut again, |progress| may_speak(&self.backoff, progress)).await;
        };
        tokio::select! {
            () = wait_until(&mut progress, is_news) => {}
            () = repeated, if self.sent.is_some() => {}
        }
        sleep_until(self.next).await;
    }

    async fn send(&mut self, news: News) {
        let started = Instant::now();
        let consumer = &self.issuer.settings.name;
        let applying = self.progress.borrow().applying.map(|since| since.elapsed());
        match self.issuer.put(&news, applying).await {
            Ok(()) => {
                if self.backoff.is_pausing() {
                    tracing::info!(%consumer, "receipts are sent again");
                }
                self.backoff.reset();
                let reached = news.cursor.as_ref().map_or(0, |cursor| cursor.position.index);
                self.issuer.telemetry.receipt_sent(reached, started.elapsed());
                (self.sent, self.has_sent) = (Some(news), true);
                self.next = self.next.max(early(started)) + SPACING;
                self.repeat = started + self.issuer.settings.heartbeat;
            }
            Err(error) => {
                if !self.backoff.is_pausing() {
                    let error = error_chain(&error);
                    tracing::warn!(%consumer, error,
                        "a receipt cannot be sent; applying continues, and it is tried again");
                }
                self.sent = None;
                self.next = started + self.backoff.failed();
            }
        }
    }
}

/// Not while another run may have the name: after a drop, and after the log was away for receipts too,
/// until it is followed again. Before that it was looked for another run.
fn may_speak(backoff: &Backoff, progress: &Progress) -> bool {
    let was_away = backoff.is_pausing() && matches!(progress.phase, Phase::LogUnavailable(_));
    !progress.is_dropped && !was_away
}

/// Waits until the progress is so; for ever if it does not change any more.
async fn wait_until(progress: &mut watch::Receiver<Progress>, is: impl FnMut(&Progress) -> bool) {
    if progress.wait_for(is).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// As long before `now` as [`EARLY`] receipts take.
fn early(now: Instant) -> Instant {
    now.checked_sub(SPACING * EARLY).unwrap_or(now)
}

impl News {
    fn of(progress: &Progress) -> Self {
        let failure = match &progress.phase {
            Phase::StoreStalled(why) | Phase::StoreAhead(why) => Some(why.clone()),
            _ => None,
        };
        Self { cursor: progress.cursor.clone(), failure, lost: false, frozen: progress.frozen }
    }
}

impl Issuer {
    /// Nothing is known of a store that could not be asked: what an earlier run said of it stays,
    /// beside the failure. A receipt replaces the one before it, and one that says nothing would
    /// take back what is there; an archive would take itself for a new one. Of a store that may be
    /// lost only *applied* is said: a new one is not taken for a first day by that, and no policy
    /// counts it as durable. Who signs takes up only what it has signed itself: its signature would
    /// vouch for whatever somebody else has put there under its name.
    async fn put(&self, news: &News, applying: Option<Duration>) -> Result<(), LogError> {
        let mut receipt = Receipt { applying, ..self.receipt(news) };
        if news.cursor.is_none() {
            let before = self.log.board().await?.receipts.into_iter();
            let mut before = before.filter(|before| before.consumer == receipt.consumer);
            if let Some(before) = before.next().filter(|before| self.has_sealed(before)) {
                receipt.reached = at_most(self.level(news), &before.reached);
                receipt.block_tip = before.block_tip;
                receipt.proof_tip = before.proof_tip;
            }
        }
        self.log.put_receipt(&receipt).await
    }

    /// What a store says it has applied is durable, that is what [`tipline_store::Store::apply`] promises;
    /// or more, as the settings say.
    fn receipt(&self, news: &News) -> Receipt {
        let cursor = news.cursor.as_ref();
        let reached = cursor.map(|cursor| Reached::up_to(cursor.position, self.level(news)));
        Receipt {
            applying: None,
            frozen: news.frozen.map(|since| since.elapsed()),
            seal: None,
            lineage: self.log.identity().lineage,
            consumer: self.settings.name.clone(),
            role: self.settings.role,
            instance: self.instance,
            reached: reached.unwrap_or_default(),
            block_tip: cursor.and_then(|cursor| cursor.block_tip.clone()),
            proof_tip: cursor.and_then(|cursor| cursor.proof_tip),
            time: (self.clock)(),
            failure: news.failure.clone(),
            store: self.store.clone(),
        }
    }

    /// The highest level that may be said of anything.
    fn level(&self, news: &News) -> Level {
        if news.lost { Level::Applied } else { self.settings.level }
    }

    /// Whether a receipt of this name is its own, as far as that can be known: without a key it is
    /// whose name it has.
    fn has_sealed(&self, receipt: &Receipt) -> bool {
        let keys = self.settings.keys.iter().map(|key| (self.settings.name.clone(), *key));
        Trust::new(Vec::new(), keys).check_receipt(receipt).is_ok()
    }
}

/// The same, without what is above this level.
fn at_most(level: Level, reached: &Reached) -> Reached {
    let lower = Level::ALL.into_iter().filter(|lower| *lower < level);
    let lower = lower.filter_map(|lower| Some((lower, reached.reported(lower)?)));
    let mut most = Reached::default();
    lower.for_each(|(lower, position)| most.set(lower, position));
    reached.at(level).into_iter().for_each(|position| most.set(level, position));
    most
}
