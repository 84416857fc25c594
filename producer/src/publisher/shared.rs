//! What the publisher's tasks share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tipline_log::Clock;
use tipline_proto::Timestamp;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::worker::{OutboxWorker, Tidying};
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
    /// What stays in the outbox with a log such as this one.
    pub(crate) keep: OnceLock<Keep>,
    /// Highest epoch that a primary of this log has announced.
    pub(crate) announced: AtomicU64,
    /// That publishing is held up was told as an error.
    pub(crate) alarmed: AtomicBool,
}

/// What holds publishing up for this long is told to the operator once more, as an error.
const HELD_UP: Duration = Duration::from_secs(60);

impl Publisher {
    pub(super) fn retrying(&self, attempt: u32, why: String) {
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

    /// Nothing holds publishing up any more.
    pub(super) fn publishing(&self, progress: &mut Progress) {
        if progress.held_up.take().is_some() && self.alarmed.swap(false, Ordering::Relaxed) {
            tracing::info!(primary = %self.settings.primary, "publishing continues");
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
        let logged = {
            let progress = self.progress.borrow();
            if progress.claim.is_some() { progress.logged } else { 0 }
        };
        let pending = self.outbox.pending().await;
        pending.is_ok_and(|pending| pending.last <= logged.max(pending.released))
    }

    /// Tells the outbox what is logged, trims it, and looks how much waits in it. `at_once`: tell
    /// it however little that is.
    pub(crate) async fn tidy(&self, at_once: bool) {
        match self.outbox.tidy(self.tidying(at_once)).await {
            Ok((pending, waiting)) => drop(self.progress.send_if_modified(|progress| {
                let before = gauge(progress);
                progress.waiting_events = waiting.events;
                progress.waiting_bytes = waiting.bytes;
                progress.oldest = waiting.oldest;
                progress.max_events = pending.max_events;
                progress.max_bytes = pending.max_bytes;
                progress.held_bytes = pending.bytes;
                before != gauge(progress)
            })),
            // Rows stay a little longer, because the node is writing; the gauge shows it.
            // Whatever is really wrong with the outbox shows when rows are read.
            Err(obstacle) => tracing::debug!("the outbox was not tidied: {obstacle:?}"),
        }
    }

    fn tidying(&self, at_once: bool) -> Tidying {
        // Before the progress: nobody holds that one and then asks for the status.
        let backed_up = match &self.settings.trim {
            Trim::Logged => None,
            Trim::BackedUp(policy) => Some(self.status.borrow().backed_up(policy)),
        };
        let progress = self.progress.borrow();
        if progress.claim.is_none() {
            return Tidying { logged: None, may_leave: None, at_once };
        }
        let upto = match backed_up {
            None => progress.logged,
            Some(index) => progress.sequence_at(index).min(progress.logged),
        };
        let keep = self.settings.keep.or(self.keep.get().copied());
        let logged = Some(progress.logged);
        Tidying { logged, may_leave: keep.map(|keep| (upto, keep)), at_once }
    }
}

fn gauge(progress: &Progress) -> (u64, u64, Option<Timestamp>, u64, u64, u64) {
    let Progress {
        waiting_events, waiting_bytes, oldest, max_events, max_bytes, held_bytes, ..
    } = progress;
    (*waiting_events, *waiting_bytes, *oldest, *max_events, *max_bytes, *held_bytes)
}
