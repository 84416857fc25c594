//! Calling the store of a running consumer between two batches.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use tipline_proto::Cursor;
use tipline_store::{Sink, Snapshot, StoreError};
use tokio::sync::{Mutex, oneshot, watch};

use crate::error::ConsumerError;
use crate::store_thread::{Jobs, StoreThread, push};

/// What is said of a store that thawed by itself.
const UNUSABLE: &str = "the store was frozen for longer than it was to be, and has thawed by itself: \
     a snapshot that was not finished by now must not be used";

/// A store that is frozen. Dropping it thaws the store.
#[derive(Debug)]
pub struct Frozen {
    /// Where the store is; none if it was never created.
    pub cursor: Option<Cursor>,
    late: Arc<AtomicBool>,
    /// Nothing is sent: that it is gone is what the store waits for.
    _thaw: SyncSender<()>,
}

impl Frozen {
    /// Whether it is frozen still, and was without a break.
    pub fn holds(&self) -> bool {
        !self.late.load(Ordering::SeqCst)
    }

    /// Thaws the store; whether it was frozen until now.
    pub fn thaw(self) -> bool {
        self.holds()
    }
}

/// Reaches a store that has a thread of its own, a running consumer's ([`crate::Consumer::store`])
/// or one that nobody applies to. Cheap to clone. It does not keep the store open.
#[derive(Debug, Clone)]
pub struct StoreHandle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    place: String,
    /// Set when the store is on its thread.
    jobs: OnceLock<Weak<Jobs>>,
    /// One call at a time: the thread's queue has one place for it.
    turn: Arc<Mutex<()>>,
    /// Since when it is frozen.
    frozen: watch::Sender<Option<Instant>>,
    /// Keeps the thread of a store that nobody applies to.
    own: OnceLock<StoreThread>,
}

impl StoreHandle {
    /// A handle to a store that nobody applies to. It is closed with the last clone.
    ///
    /// # Errors
    /// [`ConsumerError::Panicked`] if there is no thread to be had.
    pub fn new(store: Box<dyn Sink>) -> Result<Self, ConsumerError> {
        let handle = Self::unattached(store.place());
        let thread = StoreThread::start(store)?;
        handle.attach(&thread);
        handle.inner.own.set(thread).ok();
        Ok(handle)
    }

    /// A handle to a store that has no thread yet: every call fails until one is attached.
    pub fn unattached(place: String) -> Self {
        let (jobs, own) = (OnceLock::new(), OnceLock::new());
        let (turn, frozen) = (Arc::default(), watch::Sender::new(None));
        Self { inner: Arc::new(Inner { place, jobs, turn, frozen, own }) }
    }

    /// Reaches the store on this thread from now on.
    pub fn attach(&self, thread: &StoreThread) {
        // There is one thread in the life of a consumer.
        self.inner.jobs.set(thread.jobs()).ok();
    }

    /// Kind and place of the store, human-readable.
    pub fn place(&self) -> &str {
        &self.inner.place
    }

    /// Takes a snapshot between two batches: see [`Sink::snapshot`].
    ///
    /// # Errors
    /// Those of the store; [`StoreError::Failed`] if it is not open, or not any more.
    pub async fn snapshot(&self) -> Result<Vec<Box<dyn Snapshot>>, StoreError> {
        let turn = Arc::clone(&self.inner.turn).lock_owned().await;
        let jobs = self.inner.jobs.get().and_then(Weak::upgrade).ok_or_else(|| self.closed())?;
        let take = move |store: &mut dyn Sink| {
            let snapshot = store.snapshot();
            // Not before, although the caller may have stopped waiting.
            drop(turn);
            snapshot
        };
        let mut answer = push(&jobs, &self.inner.place, take);
        drop(jobs);
        answer.get().await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Asks the store whether its medium is still there, once the batch under way is applied: see
    /// [`Sink::probe`]. An answer also shows that the store's thread is at work: one that is stuck
    /// gives none. Dropping the future does not take the question back.
    ///
    /// # Errors
    /// The same errors as [`StoreHandle::snapshot`].
    pub async fn probe(&self) -> Result<(), StoreError> {
        let turn = Arc::clone(&self.inner.turn).lock_owned().await;
        let jobs = self.inner.jobs.get().and_then(Weak::upgrade).ok_or_else(|| self.closed())?;
        let ask = move |store: &mut dyn Sink| {
            let there = store.probe();
            drop(turn);
            there
        };
        let mut answer = push(&jobs, &self.inner.place, ask);
        drop(jobs);
        answer.get().await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Holds the store still between two batches, for a snapshot of its medium: everything up to
    /// its cursor is durable there, and nothing is applied until what this gives is dropped. After
    /// `most`, by a clock that is never set, the store thaws by itself. Checkpoints wait for as long.
    ///
    /// # Errors
    /// The same errors as [`StoreHandle::snapshot`].
    pub async fn freeze(&self, most: Duration) -> Result<Frozen, StoreError> {
        let turn = Arc::clone(&self.inner.turn).lock_owned().await;
        let jobs = self.inner.jobs.get().and_then(Weak::upgrade).ok_or_else(|| self.closed())?;
        let (thaw, thawed) = sync_channel(0);
        let (sender, receiver) = oneshot::channel();
        let late = Arc::new(AtomicBool::new(false));
        let (is_late, frozen) = (Arc::clone(&late), self.inner.frozen.clone());
        let hold = move |store: &mut dyn Sink| {
            let cursor = store.view().and_then(|view| view.cursor());
            let is_there = cursor.is_ok();
            frozen.send_replace(is_there.then(Instant::now));
            // The caller may have stopped waiting.
            if sender.send(cursor).is_ok() && is_there {
                let waited: Result<(), _> = thawed.recv_timeout(most);
                if waited == Err(RecvTimeoutError::Timeout) {
                    // Before anything is applied: whoever thaws it later learns it.
                    is_late.store(true, Ordering::SeqCst);
                    let after = most.as_secs_f32();
                    tracing::warn!(after, "{UNUSABLE}");
                }
            }
            frozen.send_replace(None);
            drop(turn);
        };
        drop(push(&jobs, &self.inner.place, hold));
        drop(jobs);
        let cursor = receiver.await.map_err(|_| self.closed())??;
        Ok(Frozen { cursor, late, _thaw: thaw })
    }

    /// Whether it is frozen now: then no question is answered before it thaws.
    pub fn is_frozen(&self) -> bool {
        self.inner.frozen.borrow().is_some()
    }

    /// Since when it is frozen, now and at every change.
    pub(crate) fn frozen(&self) -> watch::Receiver<Option<Instant>> {
        self.inner.frozen.subscribe()
    }

    fn closed(&self) -> StoreError {
        StoreError::Failed {
            place: self.inner.place.clone(),
            what: "its consumer has stopped, or has not started yet".to_owned(),
            source: None,
        }
    }
}
