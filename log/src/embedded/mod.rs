//! The log in one SQLite file, for one machine.
//!
//! It needs no server. Several processes of the machine may have it open, one of them to
//! append. Readers are pushed new entries by file notification. It is not a broker and does
//! not want to be one. There is one copy, on one disk, and no network.
//!
//! # What is durable when
//! | call | when it returns `Ok` |
//! |---|---|
//! | [`EmbeddedLog::create`] | the file, its content and its name in the directory are fsynced |
//! | `append` | the write-ahead log with the whole unit is fsynced (`synchronous = FULL`) |
//! | `trim` | every step of it is fsynced, of 1,000 entries or 64 MiB; appends continue in between. The file does not become smaller: its space is used again |
//! | `put_receipt`, `announce`, `forget` | every process sees it, and it outlives this one. A power failure may take it back, because it is fsynced with the next append or checkpoint. What is left is an older receipt, which claims less, and a consumer repeats its own. So receipts cost the appends no fsync |
//!
//! Before its first append a handle writes again what it finds in the write-ahead log, and fsyncs
//! it: an earlier writer may have left a commit there that is whole and not durable.
//!
//! After a write or an fsync failed, and after the file, its `-wal` or its `-shm` was removed, replaced
//! or cut while open, the handle answers everything with `Failed`. That is looked at with every
//! call, and every [`LOOK_AGAIN`] by who follows. Open the log again. A full disk is not such a
//! failure. The unit is rolled back, the answer is `Doubt` with a retryable source, and the
//! log continues when there is space again. So is a lock that another process holds for
//! over 5 s.
//!
//! # The file
//! SQLite in WAL mode; `application_id` 0x54704C67 (`TpLg`), `user_version` 1; mode 0600.
//! ```sql
//! log          (one, contract, name, chain, genesis, lineage)  -- one row; only in a log that says
//!              -- from which height on proofs are expected: proofs_from, with contract 2
//! entry        (number, digest, claim, bytes, headers)  -- the index; the entry's digest; index of
//!              -- the newest EpochStarted up to here, or 0; Entry::encode; NULL, or Headers::encode
//! receipt      (consumer, bytes, put_ms)       -- Receipt::encode; when it was put, in
//!              -- milliseconds since 1970, by the clock of the machine
//! announcement (one, bytes, put_ms)            -- one row or none; Announcement::encode
//! subscriber   (consumer, generation)          -- how often this name has subscribed
//! trimmed      (one, number, digest, claim, outbox)  -- only in a log that was trimmed, which
//!              -- has `user_version` 2: index and digest of the newest entry that is gone,
//!              -- index and outbox of the newest claim up to there
//! ```
//! Beside it are SQLite's `-wal` and `-shm`, which belong to it (copy all or use SQLite's
//! backup), and `-bell-entries` and `-bell-board`, which hold nothing. Writing to them
//! notifies the other processes. They are created again when the log is opened.
//!
//! Readers check each entry against the digest of the one before it, because SQLite has no
//! checksums. A byte that changed on disk is `Corrupt`, with the index.
//!
//! # Limits
//! An entry is never cut into messages. Without file notification (some network and container
//! file systems) readers look again after [`LOOK_AGAIN`]. Readers hold no transaction while they
//! wait. The write-ahead log is carried into the file every 4 MiB, and from 32 MiB on it begins
//! again, however many readers there are: appends wait up to a second for those that are reading.
//! Only a foreign program that reads for long makes it grow.

mod bell;
mod files;
mod preflight;
mod presence;
mod sqlite;
mod subscription;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tipline_proto::{Announcement, ConsumerName, Entry, Lineage, LogIdentity, Position, Receipt};
use tokio::task::JoinHandle;

use self::bell::Bells;
use self::sqlite::{Database, Purpose};
use self::subscription::{EmbeddedFeed, EmbeddedSubscription};
use self::writer::{RECEIPT_BYTES, Writer};
use crate::error::{AppendError, LogError};
use crate::preflight::Preflight;
use crate::spec::{
    Appender, Board, BoardFeed, Extent, Reader, Receipts, Subscription, Tail, Trimmer,
};
use crate::unit::{check_unit, unit_len};

/// Readers are pushed what is new. If a push was lost, because the machine has no file
/// notification or another process died between its commit and the push, they see it after
/// this long at the latest.
pub const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// About what an entry that is trimmed away takes in the write-ahead log.
const TRIMMED_BYTES: u64 = 256;

/// A log in one SQLite file. Clones are the same handle.
#[derive(Clone)]
pub struct EmbeddedLog {
    inner: Arc<Inner>,
}

/// A handle: one thread that writes, one connection that reads, and the bells.
struct Inner {
    path: PathBuf,
    place: String,
    identity: LogIdentity,
    writer: Writer,
    reader: Arc<Mutex<Database>>,
    bells: Bells,
    /// Begun by the first subscription. A handle that only writes need not watch.
    watcher: Mutex<Option<notify::RecommendedWatcher>>,
}

impl EmbeddedLog {
    /// Creates an empty log at `path` and opens it. The directory must exist. On `Ok` the log
    /// is fsynced, its name included; a crash before that leaves a whole log or none.
    ///
    /// # Errors
    /// `AlreadyExists` if anything is at `path`: nothing is ever replaced. `Unusable` if the
    /// file cannot be made there, or if a write-ahead log without its log is beside it.
    pub async fn create(
        path: impl Into<PathBuf>,
        identity: &LogIdentity,
    ) -> Result<Self, LogError> {
        let (path, identity) = (path.into(), identity.clone());
        blocking(move || {
            files::create(&path, &place_of(&path), &identity)?;
            Self::open_now(&path)
        })
        .await
    }

    /// Opens the log at `path`. Compare its lineage, [`Reader::identity`], with the one you
    /// know. One that cannot be written, for its permissions or its medium, can be read and followed
    /// without a name; everything else is `Unusable`.
    ///
    /// # Errors
    /// `NotFound` if there is no file; none is created. `Unusable` if it is not a log, is of a
    /// newer version, or its permissions do not do. `Corrupt` if it was a log.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, LogError> {
        let path = path.into();
        blocking(move || Self::open_now(&path)).await
    }

    /// Path of the log's file, without links and dots.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    fn open_now(path: &Path) -> Result<Self, LogError> {
        let place = place_of(path);
        let path = files::find(path, &place)?;
        let reader = Database::open(&path, &place, Purpose::Reading)?;
        let (bells, writer) = if reader.is_read_only() {
            (Bells::silent(&path), Writer::absent(&path, &place)?)
        } else {
            let bells = Bells::open(&path).map_err(|error| LogError::Unusable {
                place: place.clone(),
                why: "files beside it cannot be written: check the permissions of its directory"
                    .to_owned(),
                source: Some(error.into()),
            })?;
            (bells, Writer::start(path.clone(), &place)?)
        };
        let inner = Inner {
            writer,
            identity: reader.identity().clone(),
            reader: Arc::new(Mutex::new(reader)),
            path,
            place,
            bells,
            watcher: Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

fn place_of(path: &Path) -> String {
    format!("embedded:{}", path.display())
}

/// Does what blocks on a thread that may be blocked.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(ended_early(error)))
}

/// Blocking work panicked, or the runtime is being shut down.
fn ended_early(error: tokio::task::JoinError) -> LogError {
    LogError::Failed {
        place: "embedded".to_owned(),
        what: "its blocking work ended early".to_owned(),
        source: Some(error.into()),
    }
}

impl Inner {
    /// Begins to read, on a thread that may be blocked.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, LogError> + Send + 'static,
    ) -> JoinHandle<Result<T, LogError>> {
        let (reader, poison) = (Arc::clone(&self.reader), self.writer.poison().clone());
        tokio::task::spawn_blocking(move || {
            poison.check_files()?;
            read(&reader.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }

    /// Begins to watch, if nobody has. Where the system gives no notification, those who follow look
    /// again every [`LOOK_AGAIN`], and the next one who begins to follow tries again.
    fn watch(&self) {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        if watcher.is_some() {
            return;
        }
        match self.bells.watch() {
            Ok(watching) => *watcher = Some(watching),
            Err(error) => tracing::warn!(
                log = %self.place, %error,
                "the system gives no file notification: new entries are seen after up to {} s; on \
                 Linux, raise fs.inotify.max_user_instances or fs.inotify.max_user_watches",
                LOOK_AGAIN.as_secs()
            ),
        }
    }

    fn check_lineage(&self, expected: Lineage) -> Result<(), LogError> {
        let found = self.identity.lineage;
        if found == expected {
            return Ok(());
        }
        Err(LogError::WrongLog { place: self.place.clone(), expected, found })
    }

    fn out_of_range(&self, extent: Extent, asked: u64) -> LogError {
        LogError::OutOfRange { asked, first: extent.first, last: extent.last }
    }
}

#[async_trait]
impl Appender for EmbeddedLog {
    async fn tail(&self) -> Result<Tail, LogError> {
        if self.inner.writer.is_absent() {
            let read = self.inner.read(Database::tail).await;
            return read.unwrap_or_else(|error| Err(ended_early(error)));
        }
        // On the writing thread: after an append whose caller stopped waiting.
        self.inner.writer.call(|connections| connections.entries.tail()).await
    }

    async fn append(&self, after: &Tail, unit: &[Entry]) -> Result<Tail, AppendError> {
        let (inner, after, unit) = (Arc::clone(&self.inner), after.clone(), unit.to_vec());
        let append = move |connections: &mut writer::WriterConnections| {
            if let Err(error) = check_unit(&after.position, &unit, |_| 1) {
                return Ok(Err(AppendError::Refused(error)));
            }
            connections.prepare_entries()?;
            let Some(tail) = connections.entries.append(&after, &unit)? else {
                return Ok(Err(AppendError::Conflict));
            };
            connections.wrote(unit.iter().map(written_bytes).sum());
            inner.bells.entries.ring();
            Ok(Ok(tail))
        };
        self.inner.writer.call(append).await.map_err(AppendError::Doubt)?
    }

    fn unit_len(&self, entries: &[Entry]) -> usize {
        unit_len(entries, |_| 1)
    }

    async fn preflight(&self) -> Result<Preflight, LogError> {
        let setting = |log: &Database| log.setting("synchronous");
        let writer = &self.inner.writer;
        let synchronous = match writer.is_absent() {
            true => {
                self.inner.read(setting).await.unwrap_or_else(|error| Err(ended_early(error)))?
            }
            false => writer.call(move |connections| setting(&connections.entries)).await?,
        };
        let path = self.inner.path.clone();
        self.inner
            .read(move |log| {
                Ok(preflight::preflight(&path, &log.setting("journal_mode")?, &synchronous))
            })
            .await
            .unwrap_or_else(|error| Err(ended_early(error)))
    }
}

/// About what an entry takes in the write-ahead log.
fn written_bytes(entry: &Entry) -> u64 {
    entry.event.payload().len() as u64 + 256
}

#[async_trait]
impl Reader for EmbeddedLog {
    fn identity(&self) -> &LogIdentity {
        &self.inner.identity
    }

    async fn extent(&self) -> Result<Extent, LogError> {
        self.inner.read(Database::extent).await.unwrap_or_else(|error| Err(ended_early(error)))
    }

    async fn entry(&self, index: u64) -> Result<Entry, LogError> {
        let inner = Arc::clone(&self.inner);
        let read = move |log: &Database| match log.entry(index)? {
            Some(entry) => Ok(entry),
            None => Err(inner.out_of_range(log.extent()?, index)),
        };
        self.inner.read(read).await.unwrap_or_else(|error| Err(ended_early(error)))
    }

    async fn subscribe(
        &self,
        name: Option<&ConsumerName>,
        after: u64,
    ) -> Result<Box<dyn Subscription>, LogError> {
        let inner = Arc::clone(&self.inner);
        let open = move || -> Result<(Database, Position), LogError> {
            inner.writer.poison().check_files()?;
            inner.watch();
            let database = Database::open(&inner.path, &inner.place, Purpose::Reading)?;
            let start = database.position(after)?;
            let extent = database.extent()?;
            match start.filter(|start| start.index + 1 >= extent.first) {
                Some(start) => Ok((database, start)),
                None => Err(inner.out_of_range(extent, after.saturating_add(1))),
            }
        };
        let (database, start) = blocking(open).await?;
        let name = match name.cloned() {
            None => None,
            Some(name) => Some(self.take_over(name).await?),
        };
        Ok(Box::new(EmbeddedSubscription::new(Arc::clone(&self.inner), database, name, start)))
    }
}

impl EmbeddedLog {
    async fn take_over(&self, name: ConsumerName) -> Result<(ConsumerName, i64), LogError> {
        let inner = Arc::clone(&self.inner);
        let take_over = move |connections: &mut writer::WriterConnections| {
            let generation = connections.board.take_over(&name)?;
            connections.wrote(RECEIPT_BYTES);
            inner.bells.entries.ring();
            Ok((name, generation))
        };
        self.inner.writer.call(take_over).await
    }

    /// Changes the board, and notifies everyone.
    async fn change_board(
        &self,
        change: impl FnOnce(&Database) -> Result<(), LogError> + Send + 'static,
    ) -> Result<(), LogError> {
        let inner = Arc::clone(&self.inner);
        let change = move |connections: &mut writer::WriterConnections| {
            change(&connections.board)?;
            connections.wrote(RECEIPT_BYTES);
            inner.bells.board.ring();
            Ok(())
        };
        self.inner.writer.call(change).await
    }
}

#[async_trait]
impl Trimmer for EmbeddedLog {
    async fn trim(&self, first: u64) -> Result<Extent, LogError> {
        let step = move |connections: &mut writer::WriterConnections| {
            connections.prepare_entries()?;
            let step = connections.entries.trim_step(first)?;
            connections.wrote(step.removed * TRIMMED_BYTES);
            Ok(step)
        };
        // Step by step, so that an append waits for one of them at most.
        loop {
            let step = self.inner.writer.call(step).await?;
            if step.removed == 0 {
                return Ok(step.extent);
            }
        }
    }
}

#[async_trait]
impl Receipts for EmbeddedLog {
    async fn put_receipt(&self, receipt: &Receipt) -> Result<(), LogError> {
        self.inner.check_lineage(receipt.lineage)?;
        let receipt = receipt.clone();
        self.change_board(move |board| board.put_receipt(&receipt)).await
    }

    async fn announce(&self, announcement: &Announcement) -> Result<(), LogError> {
        self.inner.check_lineage(announcement.lineage)?;
        let announcement = announcement.clone();
        self.change_board(move |board| board.announce(&announcement)).await
    }

    async fn forget(&self, consumer: &ConsumerName) -> Result<(), LogError> {
        let consumer = consumer.clone();
        self.change_board(move |board| board.forget(&consumer)).await
    }

    async fn board(&self) -> Result<Board, LogError> {
        self.inner.read(Database::board).await.unwrap_or_else(|error| Err(ended_early(error)))
    }

    async fn follow_board(&self) -> Result<Box<dyn BoardFeed>, LogError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            inner.writer.poison().check_files()?;
            inner.watch();
            Ok(())
        })
        .await?;
        Ok(Box::new(EmbeddedFeed::new(Arc::clone(&self.inner))))
    }
}

impl fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { path, identity, .. } = &*self.inner;
        f.debug_struct("EmbeddedLog").field("path", path).field("name", &identity.name).finish()
    }
}
