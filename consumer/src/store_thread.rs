//! The store's own thread: its calls block, and one is under way at a time.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;

use tipline_store::Sink;
use tokio::sync::oneshot;

use crate::error::ConsumerError;

type Job = Box<dyn FnOnce(&mut dyn Sink) + Send>;

/// Where the thread takes its calls from. It has room for one of the consumer's and one of
/// [`crate::StoreHandle`]'s, each of whom waits for its answer before the next.
pub(crate) type Jobs = SyncSender<Job>;

/// A store on a thread of its own. If a call panics the thread ends, the store is closed, and
/// every later call gives [`ConsumerError::Panicked`].
#[derive(Debug)]
pub struct StoreThread {
    place: String,
    jobs: Arc<Jobs>,
    ended: oneshot::Receiver<()>,
}

/// The answer to a call, when it is there.
#[derive(Debug)]
pub struct Answer<T> {
    place: String,
    answer: oneshot::Receiver<T>,
}

impl StoreThread {
    /// Takes the store to a new thread.
    pub fn start(store: Box<dyn Sink>) -> Result<Self, ConsumerError> {
        let place = store.place();
        let (jobs, queue) = sync_channel::<Job>(2);
        let (end, ended) = oneshot::channel();
        let run = move || {
            // Declared first, dropped last, also in a panic: it tells that the store is closed.
            let _end: oneshot::Sender<()> = end;
            let mut store = store;
            while let Ok(job) = queue.recv() {
                job(&mut *store);
            }
        };
        match thread::Builder::new().name("tipline-store".to_owned()).spawn(run) {
            Ok(_) => Ok(Self { place, jobs: Arc::new(jobs), ended }),
            Err(_) => Err(panicked(&place)),
        }
    }

    /// Kind and place of the store, human-readable.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Starts a call. The one before it must have been answered.
    pub fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut dyn Sink) -> T + Send + 'static,
    ) -> Answer<T> {
        push(&self.jobs, &self.place, job)
    }

    /// The queue, for as long as the store is open.
    pub(crate) fn jobs(&self) -> Weak<Jobs> {
        Arc::downgrade(&self.jobs)
    }

    /// Lets the call that is under way end, and waits until the store is closed.
    pub async fn close(self) {
        drop(self.jobs);
        // An error is the end, too: nothing is ever sent.
        self.ended.await.ok();
    }
}

/// Queues a call. Whoever calls must have had the answer to the one before.
pub(crate) fn push<T: Send + 'static>(
    jobs: &Jobs,
    place: &str,
    job: impl FnOnce(&mut dyn Sink) -> T + Send + 'static,
) -> Answer<T> {
    let (answered, answer) = oneshot::channel();
    let job = Box::new(move |store: &mut dyn Sink| {
        let result = job(store);
        // The caller may have stopped waiting.
        answered.send(result).ok();
    });
    // If the thread has ended, the job is dropped and its answer never comes: that is how
    // the caller learns it.
    jobs.try_send(job).ok();
    Answer { place: place.to_owned(), answer }
}

impl<T> Answer<T> {
    /// Waits for the answer. Cancelling loses nothing; must not be called again after it.
    pub async fn get(&mut self) -> Result<T, ConsumerError> {
        (&mut self.answer).await.map_err(|_| panicked(&self.place))
    }
}

fn panicked(place: &str) -> ConsumerError {
    ConsumerError::Panicked { what: format!("the thread of the store {place}") }
}
