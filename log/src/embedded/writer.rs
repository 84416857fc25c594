//! The one thread of a handle that writes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};

use super::files::{self, with_suffix};
use super::presence::Files;
use super::sqlite::{Database, Purpose};
use crate::error::LogError;

/// Jobs that may wait for the thread; then callers wait to hand theirs in.
const QUEUE: usize = 64;
/// After this much the write-ahead log is carried into the file: 4 MiB, as SQLite does by default.
const CHECKPOINT_BYTES: u64 = 4 << 20;
/// From this length on, readers are waited for, so that it begins again: two of the largest units.
const LONG_WAL_BYTES: u64 = 32 << 20;
/// About what a receipt takes in the write-ahead log: two pages.
pub(super) const RECEIPT_BYTES: u64 = 8192;

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
    // Closed first: closing `entries` carries the write-ahead log into the file, if nobody else has
    // it.
    pub(super) board: Database,
    pub(super) entries: Database,
    path: PathBuf,
    poison: Poison,
    /// Whether what was in the write-ahead log before is durable.
    builds_on_durable: bool,
    /// Bytes written since the last checkpoint.
    written: u64,
    /// From this length on the write-ahead log is to begin again.
    long_wal: u64,
}

/// Says that a write failed, and which, or that the files are not the ones any more: then nothing of
/// this handle may be used.
#[derive(Clone)]
pub(super) struct Poison {
    place: Arc<str>,
    failed: Arc<OnceLock<String>>,
    files: Arc<Files>,
}

impl Poison {
    fn new(place: &str, files: Files) -> Self {
        Self { place: place.into(), failed: Arc::default(), files: files.into() }
    }

    pub(super) fn check(&self) -> Result<(), LogError> {
        match self.failed.get() {
            None => Ok(()),
            Some(what) => Err(self.failed(format!("{what}; open the log again"))),
        }
    }

    /// As [`Poison::check`], and looks at the files, which is to be done where one may block.
    pub(super) fn check_files(&self) -> Result<(), LogError> {
        self.check()?;
        let result = self.files.check();
        self.note(&result);
        result
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
        entries.add_headers()?;
        let unusable = |why: &str, source: std::io::Error| LogError::Unusable {
            place: place.to_owned(),
            why: why.to_owned(),
            source: Some(source.into()),
        };
        // Processes that never live long enough must not make it longer and longer.
        let written = files::write_ahead_log_length(&path);
        let files = Files::of(&path, place, false);
        let files = files.map_err(|e| unusable("its files cannot be read", e))?;
        let poison = Poison::new(place, files);
        let mut connections = WriterConnections {
            board,
            entries,
            path,
            poison: poison.clone(),
            builds_on_durable: false,
            written,
            long_wal: LONG_WAL_BYTES,
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
    pub(super) fn absent(path: &Path, place: &str) -> Result<Self, LogError> {
        let files = Files::of(path, place, true).map_err(|error| LogError::Unusable {
            place: place.to_owned(),
            why: "the file cannot be read".to_owned(),
            source: Some(error.into()),
        })?;
        Ok(Self { jobs: None, poison: Poison::new(place, files) })
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
        self.poison.check_files()?;
        self.poison.files.check_wal(|| self.entries.wal_in_use())
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
        let result = self.shorten_wal();
        self.poison.note(&result);
        match result {
            // A failed write is returned to the next caller.
            Ok(()) | Err(LogError::Failed { .. }) => {}
            Err(error) => tracing::warn!(
                log = %self.poison.place,
                %error,
                "the write-ahead log was not carried into the file, it grows until that works"
            ),
        }
    }

    /// Appends wait meanwhile. So where it is in vain, it is tried again only when the write-ahead
    /// log is twice as long.
    fn shorten_wal(&mut self) -> Result<(), LogError> {
        let Some(bytes) = self.entries.checkpoint()? else {
            return Ok(());
        };
        if bytes < LONG_WAL_BYTES {
            self.long_wal = LONG_WAL_BYTES;
        }
        if bytes < self.long_wal {
            return Ok(());
        }
        if self.entries.begin_wal_again()? {
            self.long_wal = LONG_WAL_BYTES;
            return Ok(());
        }
        self.long_wal = bytes.saturating_mul(2);
        tracing::warn!(
            log = %self.poison.place,
            wal_bytes = bytes,
            "the write-ahead log grows: some process reads the log's file in one long statement or \
             transaction; it begins again when that ends"
        );
        Ok(())
    }
}
