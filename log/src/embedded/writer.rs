//! The one thread of a handle that writes.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};

use super::files::{self, FileMark, with_suffix};
use super::sqlite::{Database, Purpose};
use crate::error::LogError;

/// Jobs that may wait for the thread; then callers wait to hand theirs in.
const QUEUE: usize = 64;
/// After this much the write-ahead log is brought home: 4 MiB, as SQLite does by default.
const CHECKPOINT_BYTES: u64 = 4 << 20;
/// About what a receipt takes in the write-ahead log: two pages.
pub(super) const RECEIPT_BYTES: u64 = 8192;
/// A write-ahead log of this many pages (1 GiB) that cannot be brought home is worth a warning.
const LONG_WAL_PAGES: i64 = (1 << 30) / 4096;

type Job = Box<dyn FnOnce(&mut WriterConnections) + Send>;

/// Hands jobs to the thread.
#[derive(Clone)]
pub(super) struct Writer {
    /// `None` where the log cannot be written.
    jobs: Option<mpsc::Sender<Job>>,
    poison: Poison,
}

/// What the thread has.
pub(super) struct WriterConnections {
    // Closed first: closing `entries` brings the write-ahead log home, if nobody else has it.
    pub(super) board: Database,
    pub(super) entries: Database,
    path: PathBuf,
    file: FileMark,
    poison: Poison,
    /// Whether what was in the write-ahead log before is durable.
    builds_on_durable: bool,
    /// Bytes written since the last checkpoint.
    written: u64,
}

/// Says that a write failed, and which: then nothing of this handle may be used any more.
#[derive(Clone)]
pub(super) struct Poison {
    place: Arc<str>,
    failed: Arc<OnceLock<String>>,
}

impl Poison {
    pub(super) fn check(&self) -> Result<(), LogError> {
        match self.failed.get() {
            None => Ok(()),
            Some(what) => Err(self.failed(format!("{what}; open the log again"))),
        }
    }

    fn failed(&self, what: String) -> LogError {
        LogError::Failed { place: self.place.to_string(), what, source: None }
    }

    /// Records what a job ended with. A failed write is for good.
    fn note<T>(&self, result: &Result<T, LogError>) {
        if let Err(LogError::Failed { what, .. }) = result {
            // The first failure stays. It is the cause.
            self.failed.get_or_init(|| what.clone());
        }
    }
}

impl Writer {
    /// Opens the two writing connections and starts the thread. It ends when the last
    /// `Writer` of it is dropped and every job is done.
    pub(super) fn start(path: PathBuf, place: &str) -> Result<Self, LogError> {
        let entries = Database::open(&path, place, Purpose::Entries)?;
        let board = Database::open(&path, place, Purpose::Board)?;
        board.add_times()?;
        let unusable = |why: &str, source: std::io::Error| LogError::Unusable {
            place: place.to_owned(),
            why: why.to_owned(),
            source: Some(source.into()),
        };
        // Processes that never live long enough must not make it longer and longer.
        let written = files::write_ahead_log_length(&path);
        let file =
            FileMark::new(path.clone()).map_err(|e| unusable("the file cannot be read", e))?;
        let poison = Poison { place: place.into(), failed: Arc::default() };
        let mut connections = WriterConnections {
            board,
            entries,
            path,
            file,
            poison: poison.clone(),
            builds_on_durable: false,
            written,
        };
        let (jobs, mut waiting) = mpsc::channel::<Job>(QUEUE);
        std::thread::Builder::new()
            .name("tipline-log".to_owned())
            .spawn(move || {
                while let Some(job) = waiting.blocking_recv() {
                    job(&mut connections);
                    connections.checkpoint_if_due();
                }
            })
            .map_err(|error| unusable("its thread cannot be started", error))?;
        Ok(Self { jobs: Some(jobs), poison })
    }

    /// No thread: everything that would write is refused.
    pub(super) fn absent(place: &str) -> Self {
        Self { jobs: None, poison: Poison { place: place.into(), failed: Arc::default() } }
    }

    pub(super) fn is_absent(&self) -> bool {
        self.jobs.is_none()
    }

    pub(super) fn poison(&self) -> &Poison {
        &self.poison
    }

    /// Has the job done after those that were handed in before, and waits for it. If the
    /// caller stops waiting, a job that has begun is finished all the same.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut WriterConnections) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let (answer, answered) = oneshot::channel();
        let run = move |connections: &mut WriterConnections| {
            if answer.is_closed() {
                return;
            }
            let result = connections.ready().and_then(|()| job(connections));
            connections.poison.note(&result);
            // The caller may have stopped waiting; it knows that it is in doubt.
            _ = answer.send(result);
        };
        let Some(jobs) = &self.jobs else {
            let why = "the file cannot be written from here: check its permissions, and whether \
                       its medium is read-only"
                .to_owned();
            let place = self.poison.place.to_string();
            return Err(LogError::Unusable { place, why, source: None });
        };
        let gone = || self.poison.failed("the writing thread has ended".to_owned());
        jobs.send(Box::new(run)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl WriterConnections {
    fn ready(&self) -> Result<(), LogError> {
        self.poison.check()?;
        if self.file.is_still_there() {
            return Ok(());
        }
        Err(self.poison.failed("its file was removed or replaced while it was open".to_owned()))
    }

    /// Before the first entry of this handle: makes durable what it will come after.
    pub(super) fn prepare_entries(&mut self) -> Result<(), LogError> {
        if !self.builds_on_durable {
            self.entries.make_durable(&with_suffix(&self.path, "-wal"))?;
            self.builds_on_durable = true;
        }
        Ok(())
    }

    /// Notes how much was written, for the next checkpoint.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.written += bytes;
    }

    /// Keeps the write-ahead log short. Done once the caller has its answer: it costs two fsyncs.
    fn checkpoint_if_due(&mut self) {
        if self.written < CHECKPOINT_BYTES || self.poison.check().is_err() {
            return;
        }
        self.written = 0;
        let result = self.entries.checkpoint();
        self.poison.note(&result);
        match result {
            Ok(done) if done.home < done.pages && done.pages > LONG_WAL_PAGES => tracing::warn!(
                log = %self.poison.place,
                pages = done.pages,
                "the write-ahead log grows: some process reads the log's file in one long transaction"
            ),
            // A failed write is returned to the next caller.
            Ok(_) | Err(LogError::Failed { .. }) => {}
            Err(error) => tracing::warn!(
                log = %self.poison.place,
                %error,
                "the write-ahead log was not brought home, it grows until that works"
            ),
        }
    }
}
