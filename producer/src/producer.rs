//! The handle that a node holds.

use std::future::Future;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tipline_log::{Clock, Log, LogError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::end_reason::EndReason;
use crate::outbox::Outbox;
use crate::progress::{Progress, Stage};
use crate::publisher::{self, LetGo, Measured, OutboxWorker, Publisher, Tracing, WeakOutbox};
use crate::settings::ProducerSettings;
use crate::status::BackupStatus;
use crate::ticket::Ticket;

/// For so long a call to the outbox that hangs is waited for.
const LET_GO: Duration = Duration::from_secs(5);

/// A running producer: one task and one thread that move the outbox into the log. Only what is
/// awaited here waits for the network. The node's commits never do.
///
/// Dropping it stops publishing without draining. Nothing is lost. What is not in the log is in
/// the outbox, and the next start continues there.
#[derive(Debug)]
pub struct Producer {
    wake: Arc<Notify>,
    drain: CancellationToken,
    progress: watch::Receiver<Progress>,
    status: watch::Receiver<BackupStatus>,
    source_failure: watch::Sender<Option<String>>,
    outbox: WeakOutbox,
    /// Taken by the shutdown.
    let_go: Option<LetGo>,
    traces: Arc<Tracing>,
    task: JoinHandle<()>,
}

impl Producer {
    /// Starts publishing what is in `outbox`. Returns at once and does not need the log to be
    /// there. `connect` opens it, and is called again, with a pause of 50 ms to 1 s, for as
    /// long as its error is retryable. Ask [`Producer::ready`] for the outcome.
    ///
    /// Before anything is published the receipts of all consumers are read, and the log's
    /// durability is checked. Then this primary claims the log, which fences every other one.
    ///
    /// Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// The thread for the outbox could not be started.
    pub fn start<C, F>(
        mut connect: C,
        outbox: Box<dyn Outbox>,
        settings: ProducerSettings,
        clock: Clock,
    ) -> std::io::Result<Self>
    where
        C: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<Arc<dyn Log>, LogError>> + Send + 'static,
    {
        let (progress_sender, progress) = watch::channel(Progress::default());
        let (status_sender, status) = watch::channel(BackupStatus::default());
        let wake = Arc::new(Notify::new());
        let drain = CancellationToken::new();
        let (source_failure, source_failures) = watch::channel(None);
        let (outbox, let_go) = OutboxWorker::spawn(outbox)?;
        let weak = outbox.downgrade();
        let traces = Arc::new(Tracing::begin(Arc::clone(&clock)));
        let publisher = Publisher {
            outbox,
            settings,
            clock,
            wake: Arc::clone(&wake),
            challenge: Notify::new(),
            drain: drain.clone(),
            progress: progress_sender,
            status: status_sender,
            source_failure: source_failures,
            is_lossy: AtomicBool::new(false),
            returned: Notify::new(),
            held: Arc::default(),
            announced: Mutex::default(),
            untidied: Mutex::default(),
            alarmed: AtomicBool::new(false),
            traces: Arc::clone(&traces),
            measured: Measured::begin(),
        };
        let connect = Box::new(move || Box::pin(connect()) as _);
        let task = tokio::spawn(publisher::run(publisher, connect));
        let let_go = Some(let_go);
        let outbox = weak;
        Ok(Self { wake, drain, progress, status, source_failure, outbox, let_go, traces, task })
    }

    /// Says that events were committed to the outbox, and gives a ticket for the one of this
    /// sequence. Call it after the commit; it neither waits nor fails.
    ///
    /// If the program has an OpenTelemetry SDK, the event's trace continues the span in which this is
    /// called. See [`Producer::committing`].
    pub fn committed(&self, sequence: u64) -> Ticket {
        self.traces.committed(sequence);
        self.wake.notify_one();
        Ticket::new(sequence, self.progress.clone(), self.status.clone())
    }

    /// Says that the event of this sequence is about to be committed, for its trace only: it continues the
    /// span in which this is called. Under load the publisher may read a row before the node has come to
    /// say [`Producer::committed`], and then its trace would begin at the publisher. What is not
    /// committed after all does no harm. Without an OpenTelemetry SDK in the program this does nothing.
    pub fn committing(&self, sequence: u64) {
        self.traces.committed(sequence);
    }

    /// What wakes the publisher, for an outbox that notices new events by itself.
    pub fn waker(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Says what is wrong with the source of the events, for example a file that cannot be read, so
    /// that no more come; `None` when nothing is any more. The primary announces it at once, and
    /// goes on publishing what is in the outbox.
    pub fn set_source_failure(&self, failure: Option<String>) {
        self.source_failure.send_if_modified(|before| {
            let changed = *before != failure;
            *before = failure;
            changed
        });
    }

    /// Waits until this primary holds the log.
    ///
    /// # Errors
    /// It ended before that: fenced, refused, or shut down.
    pub async fn ready(&self) -> Result<(), EndReason> {
        let mut progress = self.progress.clone();
        let done = |p: &Progress| p.claim.is_some() || matches!(p.stage, Stage::Ended(_));
        match progress.wait_for(done).await.as_ref().map(|progress| &progress.stage) {
            Ok(Stage::Ended(ended)) => Err(ended.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(EndReason::Panicked),
        }
    }

    /// How far publishing is, and how it is going.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// What is backed up, where, and up to which event. Pushed by every receipt.
    pub fn backup_status(&self) -> watch::Receiver<BackupStatus> {
        self.status.clone()
    }

    /// Waits until publishing has ended, for whatever reason.
    pub async fn ended(&self) -> EndReason {
        let mut progress = self.progress.clone();
        let ended = |progress: &Progress| matches!(progress.stage, Stage::Ended(_));
        match progress.wait_for(ended).await.as_ref().map(|progress| &progress.stage) {
            Ok(Stage::Ended(ended)) => ended.clone(),
            _ => EndReason::Panicked,
        }
    }

    /// Publishes what is in the outbox, then stops; after `deadline` it stops in any case. While the
    /// log is away this waits for it, unless nothing waits in the outbox.
    ///
    /// Returns how many events were left in the outbox, for the next start. By then everything has
    /// let go of the outbox, so that its database can be closed and opened again; only a call to it
    /// that hangs for more than 5 s is not waited for.
    ///
    /// # Errors
    /// It had ended before, for another reason.
    pub async fn shutdown(mut self, deadline: Duration) -> Result<u64, EndReason> {
        self.drain.cancel();
        let ended = tokio::time::timeout(deadline, self.ended()).await;
        let until = tokio::time::Instant::now() + LET_GO;
        // Before the task lets go of it.
        let outbox = self.outbox.upgrade().filter(|_| ended.is_err());
        let mut left = None;
        if ended.is_err() {
            self.task.abort();
            left = tokio::time::timeout_at(until, self.left(outbox)).await.ok().flatten();
        }
        if let Some(let_go) = self.let_go.take()
            && tokio::time::timeout_at(until, let_go).await.is_err()
        {
            tracing::warn!("the outbox is still being read from; its database is not free yet");
        }
        match ended {
            Ok(EndReason::Stopped) | Err(_) => {
                Ok(left.unwrap_or_else(|| self.progress.borrow().waiting_events))
            }
            Ok(ended) => Err(ended),
        }
    }

    /// How many events wait in the outbox, as it says itself: what was last looked at may be old, or
    /// from before anything was looked at.
    async fn left(&self, outbox: Option<OutboxWorker>) -> Option<u64> {
        let logged = self.progress.borrow().certain();
        outbox?.waiting(logged).await.ok().map(|waiting| waiting.events)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
