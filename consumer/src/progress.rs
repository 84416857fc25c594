//! Progress and health of a consumer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tipline_proto::{Cursor, Timestamp};
use tokio::sync::watch;

use crate::error::ConsumerError;

/// How far a consumer is, and how it fares. The newest one replaces all before it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// How far the store is durable; `None` until it was found to belong to the log.
    pub cursor: Option<Cursor>,
    /// Index of the newest entry that is known to be in the log, whether it was taken in or not:
    /// asked for at every heartbeat. The log may have more while it is unavailable.
    pub tail: Option<u64>,
    /// Since when the store is at the batch that it is applying; `None` if it is at none.
    pub applying: Option<Instant>,
    /// Since when the store is frozen for a snapshot of its medium; `None` unless it is: see
    /// [`crate::StoreHandle::freeze`].
    pub frozen: Option<Instant>,
    /// Commit time, at the primary, of the newest entry applied in this run.
    pub committed: Option<Timestamp>,
    /// Entries applied in this run.
    pub applied: u64,
    /// Entries of this run that had been applied before, and were ignored.
    pub duplicates: u64,
    /// Entries of this run that a fenced primary wrote, and that were ignored.
    pub void: u64,
    /// The log has ended the subscription of this name, and it is not known yet whether another run
    /// has taken the name over: meanwhile this one says nothing.
    pub(crate) is_dropped: bool,
}

/// What a consumer is doing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Phase {
    /// It compares the store with the log.
    Joining,
    /// Entries are pushed to it, and it applies them.
    Following,
    /// The log is unavailable, for the reason given. It tries again, for ever.
    LogUnavailable(String),
    /// The log ends before the store's cursor, as the text says: the log lost its newest entries,
    /// or a server answers that is cut off. It looks again every second, for ever. Once the log
    /// reaches the cursor again, their digests decide.
    StoreAhead(String),
    /// The store has no space, is in use by another process, or has not answered for several
    /// heartbeats, for the reason given: while it applies, is asked whether it is there, or is compared
    /// with the log. It tries again, for ever, and loses nothing.
    StoreStalled(String),
    /// It was shut down.
    Stopped,
    /// It stopped for good.
    Failed(Arc<ConsumerError>),
}

impl Phase {
    /// Whether nothing is wrong.
    pub fn is_healthy(&self) -> bool {
        matches!(self, Phase::Joining | Phase::Following | Phase::Stopped)
    }

    /// Whether it has ended.
    pub fn is_ended(&self) -> bool {
        matches!(self, Phase::Stopped | Phase::Failed(_))
    }
}

impl Progress {
    /// Of a consumer that has just started.
    #[expect(clippy::new_without_default, reason = "a default would say nothing")]
    pub fn new() -> Self {
        Self {
            phase: Phase::Joining,
            cursor: None,
            tail: None,
            applying: None,
            frozen: None,
            committed: None,
            applied: 0,
            duplicates: 0,
            void: 0,
            is_dropped: false,
        }
    }

    /// How many known entries the store does not have yet; `None` while that is not known.
    pub fn behind(&self) -> Option<u64> {
        Some(self.tail?.saturating_sub(self.cursor.as_ref()?.position.index))
    }

    /// How old the newest applied entry is while there are newer ones; zero when there are none.
    /// `None` while that is not known: it has not joined the log yet, or is behind and has applied
    /// nothing in this run.
    pub fn lag(&self, now: Timestamp) -> Option<Duration> {
        match self.behind()? {
            0 => Some(Duration::ZERO),
            _ => self.committed.map(|committed| now.since(committed)),
        }
    }
}

/// The store has been `what` for longer than `limit`, and nobody can make it answer: all that is left
/// is to say so. One that is frozen does as it was told.
pub(crate) fn report_stuck(
    progress: &watch::Sender<Progress>,
    store: &str,
    what: &str,
    limit: Duration,
) {
    if progress.borrow().frozen.is_some() {
        return;
    }
    let text = format!(
        "the store {store} has been {what} for over {} s and does not answer: its disk hangs, or it is \
         too slow",
        limit.as_secs_f32()
    );
    tracing::error!(error = text, "the store does not answer; waiting for it");
    progress.send_modify(|progress| progress.phase = Phase::StoreStalled(text));
}
