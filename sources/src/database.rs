//! The outbox table that a node writes in its own SQLite database, published from outside.
//!
//! The node is in any language. It installs `outbox.sql`, and inserts a row in the transaction
//! that commits what it tells of. This side knows nothing else of the database.
//!
//! # When rows are read
//! SQLite tells no other process that something was committed. What can be seen is that the
//! write-ahead log was written to, just before the commit counts. So it is looked for rows at
//! every notification, and a few times more in the two seconds after the last one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tipline_producer::{Outbox, OutboxError, Pending, Row, SqliteOutbox, Waiting};
use tipline_proto::{Hash, Lineage, OutboxId};
use tokio::sync::Notify;

/// How long a publisher that is ending may keep the outbox.
const HANDOVER: Duration = Duration::from_secs(5);
/// Between two tries to get it.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// After a notification it is looked again after this time, and then after four times as long,
const FIRST: Duration = Duration::from_millis(2);
/// until it would be longer than this.
const LAST: Duration = Duration::from_secs(2);
/// Rows are looked for this often, notified or not,
const IDLE: Duration = Duration::from_secs(30);
/// and this often where there are no notifications.
const UNWATCHED: Duration = Duration::from_secs(1);

/// The publisher's side of the outbox in the database of a node that runs elsewhere.
///
/// One at a time: it holds a lock file, `<database>.tipline-lock`. It stops, as every
/// [`SqliteOutbox`] does, if the database is removed, replaced, or written to by something else than
/// SQLite while it is open.
#[derive(Debug)]
pub struct DatabaseOutbox {
    rows: SqliteOutbox,
    path: PathBuf,
    _lock: File,
    // Before the channel's end, so that nothing is sent into it.
    _watcher: Option<RecommendedWatcher>,
    _follower: SyncSender<()>,
}

impl DatabaseOutbox {
    /// Opens the outbox in a database of the chain with this genesis. `wake` is notified
    /// whenever there may be more in it. Waits for up to 5 s for a publisher that is ending.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] if there is no such table, it belongs to another chain, another
    /// publisher has it, or the database is not in WAL mode; [`OutboxError::Failed`] if it
    /// cannot be read now.
    pub fn open(path: &Path, genesis: &Hash, wake: Arc<Notify>) -> Result<Self, OutboxError> {
        let place = format!("sqlite:{}", path.display());
        let unusable = |why: String, source: Option<io::Error>| OutboxError::Unusable {
            place: place.clone(),
            why,
            source: source.map(Into::into),
        };
        // One database is one outbox, by whatever name.
        let path = fs::canonicalize(path).map_err(|error| {
            let why = "there is no such database: the node creates it, with its outbox";
            unusable(why.to_owned(), Some(error))
        })?;
        let rows = SqliteOutbox::open_at(&path, &place)?;
        let found = rows.genesis();
        if found != *genesis {
            let why = format!(
                "it belongs to the chain with genesis {found} (tipline_outbox_state), the log to \
                 the one with {genesis}: give the database of that chain, or another log"
            );
            return Err(unusable(why, None));
        }
        let mut lock = path.clone().into_os_string();
        lock.push(".tipline-lock");
        let lock = acquire(Path::new(&lock)).map_err(|error| match error {
            TryLockError::WouldBlock => {
                let why = "another process publishes from it: end that one first";
                unusable(format!("{why} (it holds {})", Path::new(&lock).display()), None)
            }
            TryLockError::Error(error) => {
                let why = format!("{} cannot be written", Path::new(&lock).display());
                unusable(why, Some(error))
            }
        })?;
        let (notices, queue) = sync_channel(1);
        let watcher = watch(&path, notices.clone());
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!(%error, place, "the database cannot be watched: new rows are looked for every {UNWATCHED:?}");
        });
        let idle = if watcher.is_ok() { IDLE } else { UNWATCHED };
        let follow = thread::Builder::new().name("tipline-database".to_owned());
        let follow = follow.spawn(move || follow_notices(&queue, idle, &wake));
        follow.map_err(|source| OutboxError::Failed {
            place: place.clone(),
            what: "starting to follow it".to_owned(),
            source: Some(source.into()),
        })?;
        let watcher = watcher.ok();
        Ok(Self { rows, path, _lock: lock, _watcher: watcher, _follower: notices })
    }

    /// Where the database is, whatever it was named by.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Outbox for DatabaseOutbox {
    fn id(&self) -> OutboxId {
        self.rows.id()
    }

    fn place(&self) -> String {
        self.rows.place()
    }

    fn genesis(&self) -> Hash {
        self.rows.genesis()
    }

    fn lineage(&mut self) -> Result<Option<Lineage>, OutboxError> {
        self.rows.lineage()
    }

    fn bind(&mut self, lineage: Lineage) -> Result<(), OutboxError> {
        self.rows.bind(lineage)
    }

    fn pending(&mut self) -> Result<Pending, OutboxError> {
        self.rows.pending()
    }

    fn read(
        &mut self,
        after: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<Row>, OutboxError> {
        self.rows.read(after, max_rows, max_bytes)
    }

    fn waiting(&mut self, after: u64) -> Result<Waiting, OutboxError> {
        self.rows.waiting(after)
    }

    fn release(&mut self, sequence: u64) -> Result<(), OutboxError> {
        self.rows.release(sequence)
    }

    fn trim(&mut self, sequence: u64) -> Result<(), OutboxError> {
        self.rows.trim(sequence)
    }
}

/// Locks a file, created if it is not there. It stays when the lock is gone.
fn acquire(path: &Path) -> Result<File, TryLockError> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(TryLockError::Error)?;
    let until = Instant::now() + HANDOVER;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(TRY_AGAIN),
            Ok(()) => return Ok(file),
            Err(error) => return Err(error),
        }
    }
}

/// Sends a notice whenever the database or its write-ahead log is written to.
fn watch(path: &Path, notices: SyncSender<()>) -> notify::Result<RecommendedWatcher> {
    let name = path.file_name().unwrap_or_default().to_owned();
    let mut log = name.clone();
    log.push("-wal");
    let handler = move |event: notify::Result<Event>| {
        let matters = event.map_or(true, |event| {
            let names = |path: &PathBuf| path.file_name().is_some_and(|n| n == name || n == log);
            event.need_rescan()
                || !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(names)
        });
        if matters {
            // If one waits already, it stands for this one too.
            _ = notices.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(handler)?;
    watcher.watch(path.parent().unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Until the other end is dropped.
fn follow_notices(notices: &Receiver<()>, idle: Duration, wake: &Notify) {
    let mut pause = idle;
    loop {
        pause = match notices.recv_timeout(pause) {
            Ok(()) => FIRST,
            Err(RecvTimeoutError::Timeout) => longer(pause, idle),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        wake.notify_one();
    }
}

/// The pause after one in which nothing was noticed.
fn longer(pause: Duration, idle: Duration) -> Duration {
    if pause < LAST { (pause * 4).min(idle) } else { idle }
}

#[cfg(test)]
mod tests;
