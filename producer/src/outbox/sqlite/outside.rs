//! Whether something else than SQLite has written to the database while it was open.
//!
//! In WAL mode SQLite writes to the database itself in a checkpoint only, and the index of the
//! write-ahead log (`-shm`) says so: up to which frame one goes, before its first page is written,
//! and up to which one all are there, after its last one is synced. Both begin again with new salts
//! when the log does. So a database that was at rest, and has other times or another length although the
//! index says the same, was written to by something else: a copy over it, or whoever changed it in its
//! place.
//!
//! Of the log every frame has a checksum, which SQLite itself compares only when it begins with a log
//! that is there already.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::Connection;

use super::presence::{Files, other_file, unseen};
use super::wal::{check_frames, frames_length, read_at_start};
use crate::outbox::OutboxError;

/// Where the index has what is needed of it, in bytes; see the WAL-index format of SQLite.
const HEADER: usize = 48;
const COMMITS: usize = 8;
const SALTS: usize = 32;
const BACKFILLED: usize = 96;
const ATTEMPTED: usize = 128;
const END: usize = 132;

/// The log is read so often, if it was written to.
const EVERY: Duration = Duration::from_secs(1);
/// A longer one is not read: a node makes checkpoints long before that.
const MOST_READ: u64 = 64 << 20;

/// Looks at a database between two looks of the publisher.
#[derive(Debug)]
pub(super) struct Outside {
    database: PathBuf,
    log: PathBuf,
    index: Arc<File>,
    /// The log when its frames were compared last, and when that was.
    compared: Option<(Stamp, Instant)>,
    /// How it was at rest last; none after a checkpoint began, until it is at rest again.
    rest: Option<Rest>,
}

impl Outside {
    /// Of a database that a connection has open.
    ///
    /// # Errors
    /// [`OutboxError::Failed`] if it cannot be looked at now.
    pub(super) fn of(files: &Files, place: &str) -> Result<Self, OutboxError> {
        let (database, log) = (files.database_path().to_owned(), files.log_path().to_owned());
        let path = files.index_path();
        let index = open_for_good(path).map_err(|error| unseen(place, path, error))?;
        Ok(Self { database, log, index, compared: None, rest: None })
    }

    /// After a crash SQLite does not know which checkpoints were done, and nobody could say what is at
    /// rest until the next one. This is that one, once. It holds up nobody, and what fails or is long
    /// is left to the node.
    pub(super) fn come_to_rest(&mut self, conn: &Connection) {
        let is_short = frames_length(&self.index).is_ok_and(|bytes| bytes <= MOST_READ);
        let is_open = |found: Checkpoints| found.attempted != found.backfilled;
        if is_short && Checkpoints::read(&self.index).is_ok_and(|found| found.is_some_and(is_open))
        {
            conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).ok();
        }
    }

    /// Whether nothing else than SQLite has written to it since the last look. What was written
    /// together with a checkpoint, between two looks, is not seen.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] if something has; [`OutboxError::Failed`] if it cannot be looked at
    /// now.
    pub(super) fn check(&mut self, place: &str) -> Result<(), OutboxError> {
        let written = self.has_written().map_err(|error| unseen(place, &self.database, error))?;
        if !written {
            return Ok(());
        }
        let path = self.database.display();
        Err(other_file(place, &format!("something else than SQLite wrote to the database {path}")))
    }

    /// Whether the write-ahead log is what was written to it, if it was written to since it was compared
    /// last. It vouches for what was read from it before.
    ///
    /// # Errors
    /// [`OutboxError::Corrupt`] if it is not; [`OutboxError::Failed`] if it cannot be read now.
    pub(super) fn check_log(&mut self, place: &str) -> Result<(), OutboxError> {
        let failed = |error| unseen(place, &self.log, error);
        let now = fs::metadata(&self.log).map(|found| Stamp::of(&found)).map_err(failed)?;
        let is_due = |(stamp, at): &(Stamp, Instant)| *stamp != now && at.elapsed() >= EVERY;
        if !self.compared.as_ref().is_none_or(is_due)
            || frames_length(&self.index).map_err(failed)? > MOST_READ
        {
            return Ok(());
        }
        // SQLite holds no lock on this one.
        let log = File::open(&self.log).map_err(failed)?;
        let Some(why) = check_frames(log, &self.index).map_err(failed)? else {
            self.compared = Some((now, Instant::now()));
            return Ok(());
        };
        let at = self.log.display().to_string();
        let why = format!(
            "{why}: something else than SQLite wrote to it, or the disk lost it; make sure that what \
             the node has is whole, and start again"
        );
        Err(OutboxError::Corrupt { place: place.to_owned(), at, source: Some(why.into()) })
    }

    fn has_written(&mut self) -> io::Result<bool> {
        let before = Checkpoints::read(&self.index)?;
        let stamp = Stamp::of(&fs::metadata(&self.database)?);
        // A checkpoint of which that shows a page has said so before, and so it shows here.
        let Some(after) = Checkpoints::read(&self.index)? else { return Ok(false) };
        if let Some(rest) = &self.rest
            && rest.checkpoints.is_same(&after)
        {
            return Ok(rest.stamp != stamp);
        }
        let is_at_rest = after.attempted == after.backfilled
            && before.is_some_and(|before| before.is_same(&after));
        self.rest = is_at_rest.then_some(Rest { checkpoints: after, stamp });
        Ok(false)
    }
}

#[derive(Debug)]
struct Rest {
    checkpoints: Checkpoints,
    stamp: Stamp,
}

/// What the index says of checkpoints.
#[derive(Debug, Clone, Copy)]
struct Checkpoints {
    salts: [u8; 8],
    /// Commits since the index was made. It is made again after a crash, and may then repeat a
    /// checkpoint that was done.
    commits: u32,
    attempted: u32,
    backfilled: u32,
}

impl Checkpoints {
    /// As they are now; `None` while a commit is being written down.
    fn read(index: &File) -> io::Result<Option<Self>> {
        let mut bytes = [0; END];
        read_at_start(index, &mut bytes)?;
        if bytes[..HEADER] != bytes[HEADER..2 * HEADER] {
            return Ok(None);
        }
        let number = |at: usize| {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let mut salts = [0; 8];
        salts.copy_from_slice(&bytes[SALTS..SALTS + 8]);
        Ok(Some(Self {
            salts,
            commits: number(COMMITS),
            attempted: number(ATTEMPTED),
            backfilled: number(BACKFILLED),
        }))
    }

    /// Whether no checkpoint has begun between the two.
    fn is_same(&self, later: &Self) -> bool {
        self.salts == later.salts
            && self.attempted == later.attempted
            && self.backfilled == later.backfilled
            && self.commits <= later.commits
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self { bytes: found.len(), modified: found.modified().ok() }
    }
}

/// The indexes that were opened here, each once. To close a file drops all locks of the process on it,
/// those of SQLite too: they are closed when they have no name any more, and so nobody needs them.
static OPEN: Mutex<Vec<Arc<File>>> = Mutex::new(Vec::new());

#[cfg(unix)]
fn open_for_good(path: &Path) -> io::Result<Arc<File>> {
    use std::os::unix::fs::MetadataExt;
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|file| {
        Arc::strong_count(file) > 1 || file.metadata().map_or(true, |m| m.nlink() > 0)
    });
    let wanted = fs::metadata(path)?;
    let is_wanted = |file: &&Arc<File>| {
        file.metadata().is_ok_and(|m| (m.dev(), m.ino()) == (wanted.dev(), wanted.ino()))
    };
    if let Some(file) = open.iter().find(is_wanted) {
        return Ok(Arc::clone(file));
    }
    let file = Arc::new(File::open(path)?);
    open.push(Arc::clone(&file));
    Ok(file)
}

/// There, closing a file drops no lock.
#[cfg(not(unix))]
fn open_for_good(path: &Path) -> io::Result<Arc<File>> {
    File::open(path).map(Arc::new)
}
