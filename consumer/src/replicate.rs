//! The life of a consumer, as a machine of states.
//!
//! ```text
//!             ┌──────────────────────────────┐
//!             ▼                              │
//! Joining ──► Following ──► Joining (a gap)  │
//!    │            │                          │
//!    └────────────┴──────► Waiting (log away, or it ends before the cursor)
//!    └────────────┴──────► Ended
//! ```

use std::convert::Infallible;
use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use tipline_log::{Backoff, Log, LogError, Subscription, error_chain};
use tipline_proto::{InstanceId, Receipt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::error::ConsumerError;
use crate::follow::{Context, Follow, StopReason, Timing};
use crate::join::{Joined, JoiningStore, join};
use crate::progress::{Phase, Progress};
use crate::refusal::{Refusal, VerifyError};
use crate::settings::ConsumerSettings;
use crate::store_thread::StoreThread;
use crate::telemetry::Telemetry;
use crate::verifying::Checker;
use crate::vouch::Vouching;

/// For how many heartbeats the store may be at one call before it counts as stalled. With the
/// default, 30 s: a full batch on a slow disk takes less.
const STUCK: u32 = 6;
/// For how many heartbeats what has arrived may wait for the signature that vouches for it. With the
/// default, 30 s: a publisher needs 15 s until it publishes again what a log has lost of a unit.
const UNSIGNED: u32 = 6;
/// How often a name whose subscription was ended is taken up again without anything coming of it.
const TAKEN_UP: u32 = 3;
/// How much longer than a heartbeat another run that has taken the name over has to show on the board.
const SHOWS: Duration = Duration::from_secs(2);
/// How often the board is looked at for it.
const LOOK: Duration = Duration::from_millis(200);
/// After how many looks, of about a second each, a log that stays too short is an alarm: a
/// publisher needs 15 s until it publishes again what was lost.
const ALARM: u32 = 30;

/// Where a consumer is in its life.
enum State {
    /// Store and log are compared, and the log is asked for what comes after the cursor.
    Joining,
    /// Entries are pushed.
    Following(Box<Joined>, Box<dyn Subscription>),
    /// The log is unavailable or too short, or the store has no space; it is tried again after a
    /// pause.
    Waiting(ConsumerError),
    /// The log ended the subscription of this name.
    Dropped(LogError),
    /// It is over.
    Ended(Result<(), ConsumerError>),
}

/// One consumer at work.
pub(crate) struct Replicator {
    log: Arc<dyn Log>,
    settings: ConsumerSettings,
    progress: watch::Sender<Progress>,
    stop: CancellationToken,
    instance: InstanceId,
    telemetry: Arc<Telemetry>,
    away: Backoff,
    /// How often in a row the log was too short.
    short: u32,
    /// How often the name was taken up again since anything came of it.
    taken_up: u32,
    /// The index that was missing when following ended with a gap the last time.
    gap: Option<u64>,
    /// Another run whose receipt is on the board without having the name: one from before this one.
    /// `None` until the board was read.
    earlier: Option<Option<InstanceId>>,
}

impl Replicator {
    pub(crate) fn new(
        log: Arc<dyn Log>,
        settings: ConsumerSettings,
        progress: watch::Sender<Progress>,
        stop: CancellationToken,
        instance: InstanceId,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        Self {
            log,
            settings,
            progress,
            stop,
            instance,
            telemetry,
            away: Backoff::default(),
            short: 0,
            taken_up: 0,
            gap: None,
            earlier: None,
        }
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
                State::Dropped(error) => self.take_up(error).await,
                State::Ended(result) => return result,
            }
        }
    }

    async fn join(&mut self, store: &StoreThread) -> State {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => State::Ended(Ok(())),
            state = self.subscribe_unless_overtaken(store) => state,
        }
    }

    async fn subscribe_unless_overtaken(&mut self, store: &StoreThread) -> State {
        if self.is_overtaken().await {
            let (place, name) = (self.log.identity().name.to_string(), &self.settings.name);
            let why = format!(
                "another run took the name {name} while the log was away; give each consumer its own"
            );
            let error = LogError::Unusable { place, why, source: None };
            return State::Ended(Err(ConsumerError::Log(error)));
        }
        match self.subscribe(store).await {
            Ok((joined, subscription)) => State::Following(Box::new(joined), subscription),
            Err(error) => Self::after_error(error),
        }
    }

    /// Whether another run has taken the name while this one had no subscription that could tell: it
    /// is the newer one, and subscribing would end it. Whoever is on the board when this one starts was
    /// there before. Of another one it is found out whether it lives, as in [`Self::take_up`]. A board
    /// that cannot be read says nothing: entries do not wait for receipts.
    async fn is_overtaken(&mut self) -> bool {
        let Ok(board) = self.log.board().await else { return false };
        let mut receipts = board.receipts.iter();
        let other = receipts.find(|receipt| self.is_of_another_run(receipt));
        let other = other.map(|receipt| receipt.instance);
        let earlier = *self.earlier.get_or_insert(other);
        if other.is_none() || other == earlier {
            return false;
        }
        self.progress.send_modify(|progress| progress.is_dropped = true);
        let is_displaced = self.is_displaced().await;
        if !is_displaced {
            self.earlier = Some(other);
            self.progress.send_modify(|progress| progress.is_dropped = false);
        }
        is_displaced
    }

    fn is_of_another_run(&self, receipt: &Receipt) -> bool {
        receipt.consumer == self.settings.name && receipt.instance != self.instance
    }

    async fn subscribe(
        &self,
        store: &StoreThread,
    ) -> Result<(Joined, Box<dyn Subscription>), ConsumerError> {
        let stuck = self.timing().stuck;
        let joining = JoiningStore { thread: store, progress: &self.progress, stuck };
        let joined = join(&*self.log, joining, &self.settings).await?;
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
        let of = self.log.identity();
        let vouching = self.log.trust().map(|trust| Vouching::new(trust.clone(), of.lineage));
        let checker = Checker::new(&of.chain, start, vouching);
        self.progress.send_modify(|progress| {
            progress.phase = Phase::Following;
            progress.cursor = Some(cursor);
            progress.tail = Some(tail);
        });
        let telemetry = Some(Arc::clone(&self.telemetry));
        let context = Context {
            store,
            progress: &self.progress,
            stop: &self.stop,
            timing: self.timing(),
            telemetry,
        };
        let follow = Follow::new(context, subscription, checker, applied);
        let reason = tokio::select! {
            reason = follow.run() => reason,
            never = self.watch_tail() => match never {},
        };
        if self.progress.borrow().cursor.as_ref().is_some_and(|now| now.position.index > applied) {
            self.away.reset();
            self.taken_up = 0;
        }
        self.progress.send_modify(|progress| progress.applying = None);
        self.after(reason)
    }

    fn timing(&self) -> Timing {
        let (linger, heartbeat) = (self.settings.linger, self.settings.heartbeat);
        let (stuck, unsigned) = (heartbeat * STUCK, heartbeat * UNSIGNED);
        Timing { linger, probe: heartbeat, stuck, unsigned }
    }

    fn after(&mut self, reason: StopReason) -> State {
        match reason {
            StopReason::Stopped => State::Ended(Ok(())),
            StopReason::Log(error @ LogError::Unusable { .. }) => State::Dropped(error),
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
            // What was lost may be published again; then the digests decide.
            ConsumerError::Ahead { .. } => true,
            _ => false,
        };
        if passes { State::Waiting(error) } else { State::Ended(Err(error)) }
    }

    async fn wait(&mut self, error: ConsumerError) -> State {
        let phase = waiting_for(&error);
        self.short = if matches!(phase, Phase::StoreAhead(_)) { self.short + 1 } else { 0 };
        self.tell(&phase, &error_chain(&error));
        self.progress.send_modify(|progress| progress.phase = phase);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => State::Ended(Ok(())),
            () = sleep(self.away.failed()) => State::Joining,
        }
    }

    /// Logs what is waited for, once.
    fn tell(&self, phase: &Phase, error: &str) {
        let consumer = &self.settings.name;
        let was_told = discriminant(&self.progress.borrow().phase) == discriminant(phase);
        match phase {
            Phase::StoreAhead(_) if self.short == ALARM => tracing::error!(%consumer, error,
                "the log still ends before the store's cursor: see what became of its newest \
                 entries, and whether the primary publishes them again"),
            _ if was_told => {}
            Phase::StoreAhead(_) => tracing::warn!(%consumer, error,
                "the log ends before the store's cursor; looking again until it reaches it"),
            Phase::StoreStalled(_) => {
                tracing::error!(%consumer, error, "the store cannot be used; trying again");
            }
            _ => tracing::warn!(%consumer, error,
                "the log is unavailable; trying again until it answers"),
        }
    }

    /// The log has no subscription of this name any more, or does not serve it. Another run may
    /// have taken the name over, or a server lost it, or somebody deleted it.
    ///
    /// The newest subscription has the name. Whoever loses it says nothing for a heartbeat and 2 s,
    /// and so cannot hide what another run says, which repeats its receipt within that time. If one
    /// is heard, it has the name, and this one ends. If none is, the name is taken up again, a few
    /// times.
    async fn take_up(&mut self, error: LogError) -> State {
        let (stop, why) = (self.stop.clone(), error_chain(&error));
        self.progress.send_modify(|progress| {
            progress.is_dropped = true;
            progress.phase = Phase::LogUnavailable(why.clone());
        });
        let displaced = tokio::select! {
            biased;
            () = stop.cancelled() => return State::Ended(Ok(())),
            displaced = self.is_displaced() => displaced,
        };
        if displaced {
            return State::Ended(Err(ConsumerError::Log(error)));
        }
        self.progress.send_modify(|progress| progress.is_dropped = false);
        if self.taken_up == TAKEN_UP {
            return State::Ended(Err(ConsumerError::Log(error)));
        }
        self.taken_up += 1;
        tracing::warn!(consumer = %self.settings.name, error = why,
            "the log ended the subscription, and nobody else has taken the name; subscribing again");
        State::Joining
    }

    /// Whether another run of this name is heard of from now on, for as long as one has to show. A
    /// board that cannot be read says nothing: it is asked until it can.
    async fn is_displaced(&self) -> bool {
        let (since, shows) = (Instant::now(), self.settings.heartbeat + SHOWS);
        let name = &self.settings.name;
        loop {
            let silence = since.elapsed();
            if let Ok(board) = self.log.board().await {
                // Where the log does not say since when it has a receipt, it may be a new one.
                let is_new = || board.heard.get(name).is_none_or(|age| *age <= since.elapsed());
                let is_other = |receipt: &Receipt| self.is_of_another_run(receipt);
                if board.receipts.iter().any(is_other) && is_new() {
                    return true;
                }
                if silence >= shows {
                    return false;
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Keeps the progress at the log's tail: of what waits in the log, no more is taken in than
    /// there is room for.
    async fn watch_tail(&self) -> Infallible {
        loop {
            sleep(self.settings.heartbeat).await;
            // If the log does not answer, the subscription says so.
            let Ok(extent) = self.log.extent().await else { continue };
            self.progress.send_if_modified(|progress| {
                let has_more = progress.tail < Some(extent.last);
                progress.tail = progress.tail.max(Some(extent.last));
                has_more
            });
        }
    }
}

/// What a consumer is doing that waits because of this error.
fn waiting_for(error: &ConsumerError) -> Phase {
    let text = error_chain(error);
    match error {
        ConsumerError::Store(_) => Phase::StoreStalled(text),
        ConsumerError::Ahead { .. } => Phase::StoreAhead(text),
        _ => Phase::LogUnavailable(text),
    }
}
