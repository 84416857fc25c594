//! Following the log: what has arrived is verified while the store applies what arrived before.
//!
//! ```text
//! subscription ──► checking ──► queue ──► applying ──► receipt, acknowledgement
//! ```
//! Each of the four holds one batch at most, the queue two: that bounds what is in memory.

use std::sync::Arc;

use tipline_log::{LogError, Subscription};
use tipline_proto::Entry;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::apply::{Answer, StoreThread};
use crate::backoff::Backoff;
use crate::check::{Checked, Checker, Checking};
use crate::error::{ConsumerError, chain};
use crate::progress::{Phase, Progress};
use crate::queue::Queue;
use crate::refusal::VerifyError;
use crate::store::{Batch, StoreError};

/// Why following ended. Whatever was good before is applied by then, unless the store failed.
#[derive(Debug)]
pub(crate) enum Left {
    /// It was told to stop.
    Stopped,
    /// The subscription is over.
    Log(LogError),
    /// An entry is not good.
    Refused(VerifyError),
    /// It cannot go on.
    Failed(ConsumerError),
}

/// The store's side.
#[derive(Debug)]
enum Applying {
    /// It has nothing to do.
    Idle,
    /// It applies a batch.
    Busy(Arc<Batch>, Answer<Result<(), StoreError>>),
    /// It had no room for the batch, and gets it again at this time.
    Held(Arc<Batch>, Instant),
}

/// What woke the loop.
enum Event {
    Stop,
    Arrived(Result<Vec<Entry>, LogError>),
    Checked(Result<Checked, ConsumerError>),
    Applied(Result<Result<(), StoreError>, ConsumerError>),
    TryAgain,
}

/// One subscription being followed.
pub(crate) struct Follow<'a> {
    store: &'a StoreThread,
    progress: &'a watch::Sender<Progress>,
    stop: &'a CancellationToken,
    subscription: Box<dyn Subscription>,
    checking: Checking,
    queue: Queue,
    applying: Applying,
    held: Backoff,
    /// Index up to which the store is durable.
    applied: u64,
    /// Why nothing more is taken in: it ends when everything taken in is applied.
    leaving: Option<Left>,
}

impl<'a> Follow<'a> {
    /// Follows the subscription, which starts behind `applied`, as the checker does.
    pub(crate) fn new(
        store: &'a StoreThread,
        progress: &'a watch::Sender<Progress>,
        stop: &'a CancellationToken,
        subscription: Box<dyn Subscription>,
        checker: Checker,
        applied: u64,
    ) -> Self {
        Self {
            store,
            progress,
            stop,
            subscription,
            checking: Checking::Idle(Box::new(checker)),
            queue: Queue::default(),
            applying: Applying::Idle,
            held: Backoff::default(),
            applied,
            leaving: None,
        }
    }

    /// Follows until something ends it.
    pub(crate) async fn run(mut self) -> Left {
        loop {
            self.apply_next();
            if self.is_drained()
                && let Some(left) = self.leaving.take()
            {
                return left;
            }
            match self.next_event().await {
                Event::Stop => self.leave(Left::Stopped),
                Event::Arrived(Ok(entries)) => self.arrived(entries),
                Event::Arrived(Err(error)) => self.leave(Left::Log(error)),
                Event::Checked(Ok(checked)) => self.checked(checked),
                Event::Applied(Ok(Ok(()))) => self.applied().await,
                Event::Applied(Ok(Err(error))) if error.is_retryable() => self.hold(&error),
                Event::Applied(Ok(Err(error))) => return Left::Failed(error.into()),
                Event::Checked(Err(error)) | Event::Applied(Err(error)) => {
                    return Left::Failed(error);
                }
                Event::TryAgain => self.try_again(),
            }
        }
    }

    async fn next_event(&mut self) -> Event {
        let takes_in = self.leaving.is_none() && self.checking.is_idle() && self.queue.has_room();
        let stopping = matches!(self.leaving, Some(Left::Stopped));
        tokio::select! {
            biased;
            () = self.stop.cancelled(), if !stopping => Event::Stop,
            applied = self.applying.done() => applied,
            checked = self.checking.done() => Event::Checked(checked),
            arrived = self.subscription.next(), if takes_in => Event::Arrived(arrived),
        }
    }

    fn leave(&mut self, why: Left) {
        self.leaving = Some(why);
    }

    /// Whether everything that was taken in is applied. What waits for room in the store is
    /// not waited for when the consumer is told to stop: the log has it.
    fn is_drained(&self) -> bool {
        match &self.applying {
            Applying::Idle => self.checking.is_idle(),
            Applying::Held(..) => matches!(self.leaving, Some(Left::Stopped)),
            Applying::Busy(..) => false,
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
        self.checking.begin(entries, self.applied);
    }

    fn checked(&mut self, checked: Checked) {
        let Checked { batch, duplicates, void, error } = checked;
        if duplicates + void > 0 {
            self.progress.send_modify(|progress| {
                progress.duplicates += duplicates;
                progress.void += void;
            });
        }
        if let Some(batch) = batch {
            self.queue.push(batch);
        }
        if let (Some(error), None) = (error, &self.leaving) {
            self.leave(Left::Refused(error));
        }
    }

    fn apply_next(&mut self) {
        if matches!(self.applying, Applying::Idle)
            && let Some(batch) = self.queue.pop()
        {
            self.apply(Arc::new(batch));
        }
    }

    fn apply(&mut self, batch: Arc<Batch>) {
        let job = Arc::clone(&batch);
        let answer = self.store.call(move |store| store.apply(&job));
        self.applying = Applying::Busy(batch, answer);
    }

    /// The store is durable behind the batch.
    async fn applied(&mut self) {
        let Applying::Busy(batch, _) = std::mem::replace(&mut self.applying, Applying::Idle) else {
            return;
        };
        if self.held.is_pausing() {
            tracing::info!(store = self.store.place(), "the store goes on");
            self.held.reset();
        }
        self.applied = batch.cursor.position.index;
        self.progress.send_modify(|progress| {
            progress.phase = Phase::Following;
            progress.cursor = Some(batch.cursor.clone());
            progress.committed = batch.entries.last().map(|entry| entry.time);
            progress.applied += batch.entries.len() as u64;
        });
        if let Err(error) = self.subscription.acknowledge(self.applied).await
            && self.leaving.is_none()
        {
            self.leave(Left::Log(error));
        }
    }

    /// Nothing of the batch was stored. It is kept, and tried again.
    fn hold(&mut self, error: &StoreError) {
        let Applying::Busy(batch, _) = std::mem::replace(&mut self.applying, Applying::Idle) else {
            return;
        };
        let error = chain(error);
        if !self.held.is_pausing() {
            tracing::error!(error, "the store cannot go on; nothing is lost, it is tried again");
        }
        self.progress.send_modify(|progress| progress.phase = Phase::StoreHeld(error));
        self.applying = Applying::Held(batch, Instant::now() + self.held.next());
    }

    fn try_again(&mut self) {
        if let Applying::Held(batch, _) = std::mem::replace(&mut self.applying, Applying::Idle) {
            self.apply(batch);
        }
    }
}

impl Applying {
    /// Waits for what is next on the store's side; for ever while it has nothing to do.
    /// Cancelling loses nothing.
    async fn done(&mut self) -> Event {
        match self {
            Applying::Idle => std::future::pending().await,
            Applying::Busy(_, answer) => Event::Applied(answer.get().await),
            Applying::Held(_, until) => {
                sleep_until(*until).await;
                Event::TryAgain
            }
        }
    }
}
