//! What the publisher's tasks share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tipline_log::{Clock, Log, LogError, Shortfall, Tail, error_chain};
use tipline_proto::{Announcement, Position, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::measured::Measured;
use super::traces::Tracing;
use super::worker::{OutboxWorker, Tidied, Tidying};
use crate::outbox::OutboxError;
use crate::progress::{HeldUp, Progress, Stage};
use crate::settings::{Keep, ProducerSettings, Trim};
use crate::status::BackupStatus;

/// Everything a publisher works with.
pub(crate) struct Publisher {
    pub(crate) outbox: OutboxWorker,
    pub(crate) settings: ProducerSettings,
    pub(crate) clock: Clock,
    pub(crate) wake: Arc<Notify>,
    /// Another primary was heard of.
    pub(crate) challenge: Notify,
    pub(crate) drain: CancellationToken,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) status: watch::Sender<BackupStatus>,
    /// What is wrong with the source of the events.
    pub(crate) source_failure: watch::Receiver<Option<String>>,
    /// The log was found to be one that can lose what it acknowledged. What is in it from then on
    /// stays in the outbox for longer, until the next start.
    pub(crate) is_lossy: AtomicBool,
    /// Publishing was held up, and is no more.
    pub(crate) returned: Notify,
    /// Rows up to here the log has just been found to hold: only those are ever trimmed. 0 while its
    /// tail is in doubt, before the claim, and after a trim, because what it held then it may have
    /// lost by now.
    pub(crate) held: Arc<AtomicU64>,
    /// What a primary of this log has announced in the highest epoch.
    pub(crate) announced: Mutex<Option<Announcement>>,
    /// Since when the outbox does not let go of what may leave it; and why, once that was for so long
    /// that it was told as an error.
    pub(crate) untidied: Mutex<Option<(Instant, Option<String>)>>,
    /// That publishing is held up was told as an error.
    pub(crate) alarmed: AtomicBool,
    pub(crate) traces: Arc<Tracing>,
    pub(crate) measured: Measured,
}

/// What holds publishing up for this long is told to the operator once more, as an error.
const HELD_UP: Duration = Duration::from_secs(60);

impl Publisher {
    pub(super) fn retrying(&self, attempt: u32, why: String) {
        self.measured.retrying();
        let now = (self.clock)();
        let held_up = self.progress.borrow().held_up.clone();
        let since = held_up.as_ref().map_or(now, |held_up| held_up.since);
        let primary = &self.settings.primary;
        // The first of a row is news; the ones after it are in the progress.
        if held_up.is_none() {
            tracing::warn!(%primary, "publishing is held up, trying again: {why}");
        } else if now.since(since) >= HELD_UP && !self.alarmed.swap(true, Ordering::Relaxed) {
            let seconds = now.since(since).as_secs();
            tracing::error!(%primary, "publishing has been held up for {seconds} s: {why}");
        }
        self.progress.send_modify(|progress| {
            progress.held_up = Some(HeldUp { why: why.clone(), since });
            progress.stage = Stage::Retrying { attempt, why };
        });
    }

    /// In which ways the log can lose data, as it was found just now. Gives those that were not
    /// accepted.
    pub(super) fn note_shortfalls(&self, found: Vec<Shortfall>) -> Vec<Shortfall> {
        if !found.is_empty() {
            self.is_lossy.store(true, Ordering::Release);
        }
        let unaccepted = self.settings.accept_shortfalls.open(&found);
        let unaccepted: Vec<_> = unaccepted.into_iter().cloned().collect();
        self.status.send_if_modified(|status| {
            let is_new = status.shortfalls != found || status.unaccepted != unaccepted;
            (status.shortfalls, status.unaccepted) = (found, unaccepted.clone());
            is_new
        });
        unaccepted
    }

    /// The log ends here, before a claim. What receipts were compared with when it was longer is
    /// gone.
    pub(super) fn found(&self, tail: Position) {
        let goes_on = |known: Position| known.index < tail.index || known == tail;
        let is_shorter = !self.progress.borrow().tail.is_none_or(goes_on);
        self.progress.send_modify(|progress| {
            progress.tail = Some(tail);
            progress.shortened += u64::from(is_shorter);
        });
        if is_shorter {
            self.status.send_modify(|status| status.lost_after(tail.index.saturating_sub(1)));
        }
    }

    /// A primary of this log has announced itself.
    pub(crate) fn heard_of(&self, said: &Announcement) {
        let mut announced = self.announced();
        if announced.as_ref().is_none_or(|before| before.epoch < said.epoch) {
            *announced = Some(said.clone());
        }
    }

    /// The highest epoch that a primary of this log has announced; 0 if none has.
    pub(crate) fn announced_epoch(&self) -> u64 {
        self.announced().as_ref().map_or(0, |said| said.epoch)
    }

    /// The epoch that a claim after this tail starts.
    pub(super) fn next_epoch(&self, log: &dyn Log, tail: &Tail) -> Result<u64, LogError> {
        tipline_log::next_epoch(log, tail, self.announced().as_ref())
    }

    fn announced(&self) -> MutexGuard<'_, Option<Announcement>> {
        // It is changed by one assignment: a panic elsewhere leaves nothing half done.
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log was found to hold all that it has acknowledged.
    pub(super) fn log_holds(&self) {
        let held = self.progress.borrow().logged_here().unwrap_or(0);
        self.held.store(held, Ordering::Release);
    }

    /// What the log holds is not known any more, until it is asked.
    pub(super) fn log_in_doubt(&self) {
        self.held.store(0, Ordering::Release);
    }

    /// Nothing holds publishing up any more.
    pub(super) fn publishing(&self, progress: &mut Progress) {
        if progress.held_up.take().is_some() {
            self.returned.notify_one();
            if self.alarmed.swap(false, Ordering::Relaxed) {
                tracing::info!(primary = %self.settings.primary, "publishing continues");
            }
        }
        progress.stage = Stage::Publishing;
    }

    /// Waits until it is to stop and nothing in the outbox waits for the log.
    pub(super) async fn drained(&self) {
        self.drain.cancelled().await;
        if !self.has_nothing_waiting().await {
            std::future::pending().await
        }
    }

    /// Whether the log has everything, as far as it is known here.
    pub(super) async fn has_nothing_waiting(&self) -> bool {
        let logged = self.progress.borrow().certain();
        self.outbox.waiting(logged).await.is_ok_and(|waiting| waiting.events == 0)
    }

    /// Tells the outbox what is logged, trims it, and looks how much waits in it. `at_once`: tell
    /// it however little that is.
    pub(crate) async fn tidy(&self, at_once: bool) {
        match self.outbox.tidy(self.tidying(at_once)).await {
            Ok(tidied) => {
                self.note_untidied(tidied.failure.as_ref());
                let Tidied { pending, waiting, .. } = tidied;
                self.progress.send_if_modified(|progress| {
                    let before = gauge(progress);
                    progress.waiting_events = waiting.events;
                    progress.waiting_bytes = waiting.bytes;
                    progress.oldest = waiting.oldest;
                    progress.max_events = pending.max_events;
                    progress.max_bytes = pending.max_bytes;
                    progress.held_bytes = pending.bytes;
                    before != gauge(progress)
                });
            }
            // Whatever is really wrong with the outbox shows when rows are read.
            Err(obstacle) => tracing::debug!("the outbox was not looked at: {obstacle:?}"),
        }
    }

    /// Rows stay a little longer if the node is writing. If they stay for good, the outbox is full in
    /// the end, although the log takes everything.
    fn note_untidied(&self, failure: Option<&OutboxError>) {
        let mut untidied = self.untidied.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(failure) = failure else {
            *untidied = None;
            return;
        };
        let now = Instant::now();
        let (since, was) = untidied.take().unwrap_or((now, None));
        let why = was.or_else(|| {
            (now.duration_since(since) >= HELD_UP).then(|| {
                let why = format!(
                    "its outbox does not let go of what is logged, and will be full: {}",
                    error_chain(failure)
                );
                tracing::error!(primary = %self.settings.primary, "{why}");
                why
            })
        });
        *untidied = Some((since, why));
    }

    /// What is wrong with where the events come from.
    pub(crate) fn source_failure(&self) -> Option<String> {
        let told = self.source_failure.borrow().clone();
        told.or_else(|| {
            let untidied = self.untidied.lock().unwrap_or_else(PoisonError::into_inner);
            untidied.as_ref().and_then(|(_, why)| why.clone())
        })
    }

    fn tidying(&self, at_once: bool) -> Tidying {
        // Before the progress: nobody holds that one and then asks for the status.
        let backed_up = match &self.settings.trim {
            Trim::Logged => None,
            Trim::BackedUp(policy) => Some(self.status.borrow().backed_up(policy)),
        };
        let progress = self.progress.borrow();
        let (held, losses) = (Arc::clone(&self.held), progress.losses);
        // The runtime's clock, for the ages of rows: a test can set it.
        let now = Instant::now().into_std();
        let Some(logged) = progress.logged_here() else {
            let logged = progress.certain();
            return Tidying { logged, may_leave: None, held, losses, now, at_once };
        };
        let upto = match backed_up {
            None => logged,
            Some(index) => progress.sequence_at(index).min(logged),
        };
        let found = if self.is_lossy.load(Ordering::Acquire) { Keep::LOSSY } else { Keep::DURABLE };
        let may_leave = Some((upto, self.settings.keep.unwrap_or(found)));
        Tidying { logged: Some(logged), may_leave, held, losses, now, at_once }
    }
}

fn gauge(progress: &Progress) -> (u64, u64, Option<Timestamp>, u64, u64, u64) {
    let Progress {
        waiting_events, waiting_bytes, oldest, max_events, max_bytes, held_bytes, ..
    } = progress;
    (*waiting_events, *waiting_bytes, *oldest, *max_events, *max_bytes, *held_bytes)
}
