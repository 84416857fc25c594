//! The life of a consumer, as a machine of states.
//!
//! ```text
//!             ┌──────────────────────────────┐
//!             ▼                              │
//! Joining ──► Following ──► Joining (a gap)  │
//!    │            │                          │
//!    └────────────┴──────► Waiting (log away)┘
//!    └────────────┴──────► Ended
//! ```

use std::sync::Arc;

use tipline_log::{Backoff, Log, LogError, Subscription, error_chain};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::error::ConsumerError;
use crate::follow::{Context, Follow, StopReason, Timing};
use crate::join::{Joined, join};
use crate::progress::{Phase, Progress};
use crate::refusal::{Refusal, VerifyError};
use crate::settings::ConsumerSettings;
use crate::store_thread::StoreThread;
use crate::verifying::Checker;

/// Where a consumer is in its life.
enum State {
    /// Store and log are compared, and the log is asked for what comes after the cursor.
    Joining,
    /// Entries are pushed.
    Following(Box<Joined>, Box<dyn Subscription>),
    /// The log is unavailable, or the store has no space; it is tried again after a pause.
    Waiting(ConsumerError),
    /// It is over.
    Ended(Result<(), ConsumerError>),
}

/// One consumer at work.
pub(crate) struct Replicator {
    log: Arc<dyn Log>,
    settings: ConsumerSettings,
    progress: watch::Sender<Progress>,
    stop: CancellationToken,
    away: Backoff,
    /// The index that was missing when following ended with a gap the last time.
    gap: Option<u64>,
}

impl Replicator {
    pub(crate) fn new(
        log: Arc<dyn Log>,
        settings: ConsumerSettings,
        progress: watch::Sender<Progress>,
        stop: CancellationToken,
    ) -> Self {
        Self { log, settings, progress, stop, away: Backoff::default(), gap: None }
    }

    /// Replicates into the store until it is cancelled, or cannot continue.
    pub(crate) async fn run(mut self, store: &StoreThread) -> Result<(), ConsumerError> {
        let mut state = State::Joining;
        loop {
            state = match state {
                State::Joining => self.join(store).await,
                State::Following(joined, subscription) => {
                    self.follow(store, *joined, subscription).await
                }
                State::Waiting(error) => self.wait(error).await,
                State::Ended(result) => return result,
            }
        }
    }

    async fn join(&mut self, store: &StoreThread) -> State {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => State::Ended(Ok(())),
            joined = self.subscribe(store) => match joined {
                Ok((joined, subscription)) => {
                    State::Following(Box::new(joined), subscription)
                }
                Err(error) => Self::after_error(error),
            },
        }
    }

    async fn subscribe(
        &self,
        store: &StoreThread,
    ) -> Result<(Joined, Box<dyn Subscription>), ConsumerError> {
        let joined = join(&*self.log, store).await?;
        let (name, after) = (Some(&self.settings.name), joined.start.cursor.position.index);
        let subscription = self.log.subscribe(name, after).await.map_err(ConsumerError::Log)?;
        Ok((joined, subscription))
    }

    async fn follow(
        &mut self,
        store: &StoreThread,
        joined: Joined,
        subscription: Box<dyn Subscription>,
    ) -> State {
        if self.away.is_pausing() {
            tracing::info!(consumer = %self.settings.name, "following the log again");
        }
        let Joined { start, tail } = joined;
        let (cursor, applied) = (start.cursor.clone(), start.cursor.position.index);
        let genesis = self.log.identity().chain.genesis.clone();
        let checker = Checker::new(genesis, start);
        self.progress.send_modify(|progress| {
            progress.phase = Phase::Following;
            progress.cursor = Some(cursor);
            progress.tail = Some(tail);
        });
        let context =
            Context { store, progress: &self.progress, stop: &self.stop, timing: self.timing() };
        let follow = Follow::new(context, subscription, checker, applied);
        let reason = follow.run().await;
        if self.progress.borrow().cursor.as_ref().is_some_and(|now| now.position.index > applied) {
            self.away.reset();
        }
        self.after(reason)
    }

    fn timing(&self) -> Timing {
        Timing { linger: self.settings.linger, probe: self.settings.heartbeat }
    }

    fn after(&mut self, reason: StopReason) -> State {
        match reason {
            StopReason::Stopped => State::Ended(Ok(())),
            StopReason::Log(error) => Self::after_error(ConsumerError::Log(error)),
            StopReason::Refused(VerifyError::Refused(Refusal::Gap { expected, found }))
                if self.gap != Some(expected) =>
            {
                tracing::warn!(consumer = %self.settings.name, expected, found,
                    "entries are missing; asking for them once more");
                self.gap = Some(expected);
                State::Joining
            }
            // The store could not be asked, and may answer later.
            StopReason::Refused(VerifyError::Store(error)) => Self::after_error(error.into()),
            StopReason::Refused(error) => State::Ended(Err(error.into())),
            StopReason::Failed(error) => State::Ended(Err(error)),
        }
    }

    fn after_error(error: ConsumerError) -> State {
        let passes = match &error {
            // What is not there any more, or not yet, is judged when store and log meet again.
            ConsumerError::Log(LogError::OutOfRange { .. }) => true,
            ConsumerError::Log(error) => error.is_retryable(),
            ConsumerError::Store(error) => error.is_retryable(),
            _ => false,
        };
        if passes { State::Waiting(error) } else { State::Ended(Err(error)) }
    }

    async fn wait(&mut self, error: ConsumerError) -> State {
        let (consumer, text) = (&self.settings.name, error_chain(&error));
        let is_first = !self.away.is_pausing();
        let phase = if matches!(error, ConsumerError::Store(_)) {
            if is_first {
                tracing::error!(%consumer, error = text, "the store cannot be used; trying again");
            }
            Phase::StoreStalled(text)
        } else {
            if is_first {
                tracing::warn!(%consumer, error = text,
                    "the log is unavailable; trying again until it answers");
            }
            Phase::LogUnavailable(text)
        };
        self.progress.send_modify(|progress| progress.phase = phase);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => State::Ended(Ok(())),
            () = sleep(self.away.failed()) => State::Joining,
        }
    }
}
