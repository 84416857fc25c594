//! Calling the store of a running consumer between two batches.

use std::sync::{Arc, OnceLock, Weak};

use tokio::sync::Mutex;

use crate::apply::{Jobs, StoreThread, push};
use crate::error::ConsumerError;
use crate::pinned::Pinned;
use crate::store::{Store, StoreError};

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
    /// Keeps the thread of a store that nobody applies to.
    own: OnceLock<StoreThread>,
}

impl StoreHandle {
    /// A handle to a store that nobody applies to. It is closed with the last clone.
    ///
    /// # Errors
    /// [`ConsumerError::Panicked`] if there is no thread to be had.
    pub fn of(store: Box<dyn Store>) -> Result<Self, ConsumerError> {
        let handle = Self::to_come(store.place());
        let thread = StoreThread::start(store)?;
        handle.attach(&thread);
        drop(handle.inner.own.set(thread));
        Ok(handle)
    }

    /// Of a store that is yet to be attached.
    pub(crate) fn to_come(place: String) -> Self {
        let (jobs, turn, own) = (OnceLock::new(), Arc::default(), OnceLock::new());
        Self { inner: Arc::new(Inner { place, jobs, turn, own }) }
    }

    pub(crate) fn attach(&self, thread: &StoreThread) {
        // There is one thread in the life of a consumer.
        drop(self.inner.jobs.set(thread.jobs()));
    }

    /// Kind and place of the store, for people.
    pub fn place(&self) -> &str {
        &self.inner.place
    }

    /// Pins the store between two batches: see [`Store::pin`].
    ///
    /// # Errors
    /// Those of the store; [`StoreError::Failed`] if it is not open, or not any more.
    pub async fn pin(&self) -> Result<Vec<Box<dyn Pinned>>, StoreError> {
        let turn = Arc::clone(&self.inner.turn).lock_owned().await;
        let jobs = self.inner.jobs.get().and_then(Weak::upgrade).ok_or_else(|| self.closed())?;
        let pin = move |store: &mut dyn Store| {
            let pinned = store.pin();
            // Not before, although the caller may have stopped waiting.
            drop(turn);
            pinned
        };
        let mut answer = push(&jobs, &self.inner.place, pin);
        drop(jobs);
        answer.get().await.unwrap_or_else(|_| Err(self.closed()))
    }

    fn closed(&self) -> StoreError {
        StoreError::Failed {
            place: self.inner.place.clone(),
            what: "its consumer has stopped, or has not started yet".to_owned(),
            source: None,
        }
    }
}
