//! Following the log: what has arrived is verified while the store applies what arrived before.
//!
//! ```text
//! subscription ──► checking ──► queue ──► applying ──► receipt, acknowledgement
//! ```
//! Each of the four holds one batch at most, the queue two: that bounds what is in memory.

use std::sync::Arc;
use std::time::Duration;

use tipline_log::{Backoff, LogError, Subscription, error_chain};
use tipline_proto::{Entry, Timestamp};
use tipline_store::{Batch, StoreError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::error::ConsumerError;
use crate::progress::{Phase, Progress, report_stuck};
use crate::queue::Queue;
use crate::refusal::{Refusal, VerifyError};
use crate::store_thread::{Answer, StoreThread};
use crate::telemetry::Telemetry;
use crate::verifying::{Checked, Checker, Checking};

/// Why following a subscription ended. Everything good before that is applied by then, unless
/// the store failed.
#[derive(Debug)]
pub enum StopReason {
    /// It was cancelled.
    Stopped,
    /// The subscription is over.
    Log(LogError),
    /// An entry is not good.
    Refused(VerifyError),
    /// It cannot continue.
    Failed(ConsumerError),
}

/// The store's side.
#[derive(Debug)]
enum Applying {
    /// It has nothing to do.
    Idle,
    /// It applies a batch.
    Busy(Arc<Batch>, Answer<Result<(), StoreError>>),
    /// It could not take the batch, and gets it again at this time.
    Stalled(Arc<Batch>, Instant),
    /// It checks whether its medium is still there.
    Probing(Answer<Result<(), StoreError>>),
}

/// What woke the loop.
enum Event {
    Stop,
    Arrived(Result<Vec<Entry>, LogError>),
    Checked(Result<Checked, ConsumerError>),
    Applied(Result<Result<(), StoreError>, ConsumerError>),
    Probed(Result<Result<(), StoreError>, ConsumerError>),
    TryAgain,
    /// What has arrived has waited for long enough.
    Lingered,
    /// It is time to check whether the store is still there.
    Probe,
    /// The store has been at one call for too long.
    Stuck,
    /// Nobody has vouched for what has arrived, for too long.
    Unsigned(Refusal),
}

/// What a subscription is followed with.
pub(crate) struct Context<'a> {
    pub(crate) store: &'a StoreThread,
    pub(crate) progress: &'a watch::Sender<Progress>,
    pub(crate) stop: &'a CancellationToken,
    pub(crate) timing: Timing,
    pub(crate) telemetry: Option<Arc<Telemetry>>,
}

/// When the store gets something to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// How long what has arrived may wait for more.
    pub(crate) linger: Duration,
    /// How long a store that has nothing to do is not asked whether it is still there.
    pub(crate) probe: Duration,
    /// How long the store may be at one call before it counts as stalled.
    pub(crate) stuck: Duration,
    /// How long entries may wait for the signature that vouches for them. They come with it, unless the
    /// log is storing a unit, or has lost the end of one.
    pub(crate) unsigned: Duration,
}

/// One subscription being followed.
pub(crate) struct Follow<'a> {
    store: &'a StoreThread,
    progress: &'a watch::Sender<Progress>,
    stop: &'a CancellationToken,
    timing: Timing,
    telemetry: Option<Arc<Telemetry>>,
    /// When what is checked came, and when what is applied began to be, by the clock that dates things.
    since: [Timestamp; 2],
    subscription: Box<dyn Subscription>,
    checking: Checking,
    queue: Queue,
    /// When the oldest batch has waited for long enough.
    ready_at: Instant,
    applying: Applying,
    /// When the store is asked whether it is still there, unless it shows by itself.
    probe: Instant,
    backoff: Backoff,
    /// When the call that the store is at takes too long; `None` once that was said.
    stuck: Option<Instant>,
    /// What has arrived and nobody has vouched for yet, and when it is refused for that.
    unsigned: Option<(Refusal, Instant)>,
    /// Whether more was being taken in.
    took_in: bool,
    /// Index up to which the store is durable.
    applied: u64,
    /// Why nothing more is taken in: it ends when everything taken in is applied.
    leaving: Option<StopReason>,
}

impl<'a> Follow<'a> {
    /// Follows the subscription, which starts after `applied`, as the checker does.
    pub(crate) fn new(
        context: Context<'a>,
        subscription: Box<dyn Subscription>,
        checker: Checker,
        applied: u64,
    ) -> Self {
        let Context { store, progress, stop, timing, telemetry } = context;
        let now = Instant::now();
        Self {
            store,
            progress,
            stop,
            timing,
            telemetry,
            since: Default::default(),
            subscription,
            checking: Checking::Idle(Box::new(checker)),
            queue: Queue::default(),
            ready_at: now,
            applying: Applying::Idle,
            probe: now + timing.probe,
            backoff: Backoff::default(),
            stuck: None,
            unsigned: None,
            took_in: false,
            applied,
            leaving: None,
        }
    }

    /// Follows until something ends it.
    pub(crate) async fn run(mut self) -> StopReason {
        loop {
            self.apply_next();
            if self.is_drained()
                && let Some(left) = self.leaving.take()
            {
                return left;
            }
            match self.next_event().await {
                Event::Stop => self.leave(StopReason::Stopped),
                Event::Arrived(Ok(entries)) => self.arrived(entries),
                Event::Arrived(Err(error)) => self.leave(StopReason::Log(error)),
                Event::Checked(Ok(checked)) => self.checked(checked),
                Event::Applied(Ok(Ok(()))) => self.applied().await,
                Event::Applied(Ok(Err(error))) if error.is_retryable() => self.stalled(&error),
                Event::Applied(Ok(Err(error))) => return StopReason::Failed(error.into()),
                Event::Checked(Err(error)) | Event::Applied(Err(error)) => {
                    return StopReason::Failed(error);
                }
                Event::Probed(Ok(Ok(()))) => self.probed(),
                Event::Probed(Ok(Err(error))) if error.is_retryable() => self.probe_failed(&error),
                Event::Probed(Ok(Err(error))) => return StopReason::Failed(error.into()),
                Event::Probed(Err(error)) => return StopReason::Failed(error),
                Event::TryAgain => self.try_again(),
                Event::Lingered => {}
                Event::Probe => self.probe(),
                Event::Stuck => self.report_stuck(),
                Event::Unsigned(refusal) => self.leave(StopReason::Refused(refusal.into())),
            }
        }
    }

    async fn next_event(&mut self) -> Event {
        let takes_in = self.leaving.is_none() && self.checking.is_idle() && self.queue.has_room();
        let stopping = matches!(self.leaving, Some(StopReason::Stopped));
        let is_idle = matches!(self.applying, Applying::Idle);
        let at_a_call = matches!(self.applying, Applying::Busy(..) | Applying::Probing(_));
        let stuck = self.stuck.filter(|_| at_a_call);
        if takes_in && !self.took_in {
            self.wait_for_signature();
        }
        self.took_in = takes_in;
        tokio::select! {
            biased;
            () = self.stop.cancelled(), if !stopping => Event::Stop,
            applied = self.applying.done() => applied,
            checked = self.checking.done() => Event::Checked(checked),
            () = sleep_until(self.ready_at), if is_idle && !self.queue.is_empty() => Event::Lingered,
            () = sleep_until(self.probe), if is_idle => Event::Probe,
            () = sleep_until(stuck.unwrap_or(self.probe)), if stuck.is_some() => Event::Stuck,
            arrived = self.subscription.next(), if takes_in => Event::Arrived(arrived),
            refusal = unsigned(self.unsigned.as_ref()), if takes_in => Event::Unsigned(refusal),
        }
    }

    /// What nobody has vouched for may wait from now on.
    fn wait_for_signature(&mut self) {
        let until = Instant::now() + self.timing.unsigned;
        self.unsigned = self.unsigned.take().map(|(refusal, _)| (refusal, until));
    }

    fn leave(&mut self, why: StopReason) {
        self.leaving = Some(why);
    }

    /// Whether everything that was taken in is applied. What waits for room in the store is
    /// not waited for when the consumer is told to stop: the log has it.
    fn is_drained(&self) -> bool {
        match &self.applying {
            Applying::Idle => self.checking.is_idle() && self.queue.is_empty(),
            Applying::Stalled(..) => matches!(self.leaving, Some(StopReason::Stopped)),
            Applying::Busy(..) | Applying::Probing(_) => false,
        }
    }

    fn arrived(&mut self, entries: Vec<Entry>) {
        if let Some(newest) = entries.iter().map(|entry| entry.index).max() {
            self.progress.send_if_modified(|progress| {
                let is_new = progress.tail.is_none_or(|tail| tail < newest);
                progress.tail = progress.tail.max(Some(newest));
                is_new
            });
        }
        self.since[0] = self.now();
        self.checking.begin(entries, self.applied);
    }

    fn now(&self) -> Timestamp {
        self.telemetry.as_ref().map(|telemetry| telemetry.now()).unwrap_or_default()
    }

    fn checked(&mut self, checked: Checked) {
        let Checked { batches, duplicates, void, error, unsigned, .. } = checked;
        let is_same = self.unsigned.as_ref().map(|(refusal, _)| refusal) == unsigned.as_ref();
        if !is_same {
            let until = Instant::now() + self.timing.unsigned;
            self.unsigned = unsigned.map(|refusal| (refusal, until));
        }
        if let Some(telemetry) = &self.telemetry {
            batches.iter().for_each(|batch| telemetry.verified(&batch.entries, self.since[0]));
            telemetry.ignored(duplicates + void);
        }
        if duplicates + void > 0 {
            self.progress.send_modify(|progress| {
                progress.duplicates += duplicates;
                progress.void += void;
            });
        }
        for batch in batches {
            if self.queue.is_empty() {
                self.ready_at = Instant::now() + self.timing.linger;
            }
            self.queue.push(batch);
        }
        if let (Some(error), None) = (error, &self.leaving) {
            self.leave(StopReason::Refused(error));
        }
    }

    fn apply_next(&mut self) {
        if matches!(self.applying, Applying::Idle)
            && self.is_ready()
            && let Some(batch) = self.queue.pop()
        {
            self.apply(Arc::new(batch));
        }
    }

    /// Whether what is there waits for nothing more.
    fn is_ready(&self) -> bool {
        self.leaving.is_some() || self.queue.is_full() || self.ready_at <= Instant::now()
    }

    fn apply(&mut self, batch: Arc<Batch>) {
        self.since[1] = self.now();
        let job = Arc::clone(&batch);
        let answer = self.store.call(move |store| store.apply(&job));
        self.applying = Applying::Busy(batch, answer);
        self.called();
        let since = std::time::Instant::now();
        self.progress.send_modify(|progress| progress.applying = Some(since));
    }

    /// The store is durable up to the end of the batch.
    async fn applied(&mut self) {
        let Applying::Busy(batch, _) = std::mem::replace(&mut self.applying, Applying::Idle) else {
            return;
        };
        self.resumed();
        self.applied = batch.cursor.position.index;
        // Before the progress, which the next receipt is made of.
        if let Some(telemetry) = &self.telemetry {
            telemetry.applied(&batch, self.since[1]);
        }
        self.progress.send_modify(|progress| {
            progress.phase = Phase::Following;
            progress.applying = None;
            progress.cursor = Some(batch.cursor.clone());
            progress.committed = batch.entries.last().map(|entry| entry.time);
            progress.applied += batch.entries.len() as u64;
        });
        if let Err(error) = self.subscription.acknowledge(self.applied).await
            && self.leaving.is_none()
        {
            self.leave(StopReason::Log(error));
        }
    }

    /// Nothing of the batch was stored. It is kept, and tried again.
    fn stalled(&mut self, error: &StoreError) {
        let Applying::Busy(batch, _) = std::mem::replace(&mut self.applying, Applying::Idle) else {
            return;
        };
        self.progress.send_modify(|progress| progress.applying = None);
        self.report_stall(error);
        self.applying = Applying::Stalled(batch, Instant::now() + self.backoff.failed());
    }

    fn report_stall(&self, error: &StoreError) {
        let error = error_chain(error);
        if !self.backoff.is_pausing() {
            tracing::error!(error, "the store is stalled; nothing is lost, it is tried again");
        }
        self.progress.send_modify(|progress| progress.phase = Phase::StoreStalled(error));
    }

    fn resumed(&mut self) {
        let was_stuck = self.stuck.take().is_none();
        if self.backoff.is_pausing() || was_stuck {
            tracing::info!(store = self.store.place(), "store resumed");
            self.backoff.reset();
        }
        self.probe = Instant::now() + self.timing.probe;
    }

    /// The store is at a call now.
    fn called(&mut self) {
        self.stuck = Some(Instant::now() + self.timing.stuck);
    }

    /// The store does not answer.
    fn report_stuck(&mut self) {
        if self.progress.borrow().frozen.is_some() {
            // It thaws by itself, and is asked for its answer again then.
            return self.called();
        }
        self.stuck = None;
        let what = match &self.applying {
            Applying::Busy(batch, _) => format!("applying up to {}", batch.cursor.position),
            _ => "checking whether it is there".to_owned(),
        };
        report_stuck(self.progress, self.store.place(), &what, self.timing.stuck);
    }

    fn probe(&mut self) {
        self.applying = Applying::Probing(self.store.call(|store| store.probe()));
        self.called();
    }

    /// The store's medium is there.
    fn probed(&mut self) {
        self.applying = Applying::Idle;
        let is_stalled = |progress: &Progress| matches!(progress.phase, Phase::StoreStalled(_));
        self.progress.send_if_modified(|progress| {
            let was_stalled = is_stalled(progress);
            if was_stalled {
                progress.phase = Phase::Following;
            }
            was_stalled
        });
        self.resumed();
    }

    /// The store's medium is not there, which is shown before it is needed.
    fn probe_failed(&mut self, error: &StoreError) {
        self.applying = Applying::Idle;
        self.report_stall(error);
        self.probe = Instant::now() + self.backoff.failed();
    }

    fn try_again(&mut self) {
        if let Applying::Stalled(batch, _) = std::mem::replace(&mut self.applying, Applying::Idle) {
            self.apply(batch);
        }
    }
}

/// The refusal of what nobody has vouched for, when its time is over; never if there is none.
async fn unsigned(waiting: Option<&(Refusal, Instant)>) -> Refusal {
    match waiting {
        Some((refusal, until)) => {
            sleep_until(*until).await;
            refusal.clone()
        }
        None => std::future::pending().await,
    }
}

impl Applying {
    /// Waits for what is next on the store's side; for ever while it has nothing to do.
    /// Cancelling loses nothing.
    async fn done(&mut self) -> Event {
        match self {
            Applying::Idle => std::future::pending().await,
            Applying::Busy(_, answer) => Event::Applied(answer.get().await),
            Applying::Probing(answer) => Event::Probed(answer.get().await),
            Applying::Stalled(_, until) => {
                sleep_until(*until).await;
                Event::TryAgain
            }
        }
    }
}
