//! Whether the index has what this process, or the one before it, left in it.
//!
//! SQLite keeps no checksum over a database. So the index is written at moments of our own
//! choosing only, and its BLAKE3 at the end of each is kept: in memory, and in the lock file, for
//! the next start. Between two of them only the write-ahead log grows, which has checksums.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags};
use tipline_producer::OutboxError;

use super::error::{damaged, io_failed, sync_failed};
use super::stamp::Stamp;
use super::wal::{self, WalCheck};

/// A larger index is not read through: SQLite's own check must do. Only proofs that wait make it
/// that large.
pub(super) const MOST_READ: u64 = 1 << 30;
/// The write-ahead log is moved into the index when it is this long, or an eighth of the index.
const WAL: u64 = 4 << 20;

/// The index as it was left, shared by whoever reads it.
#[derive(Debug)]
pub(crate) struct Seal {
    index: PathBuf,
    place: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The lock file.
    kept: File,
    /// The index when it was written to last.
    stamp: Option<Stamp>,
    /// `None` if it is too large.
    digest: Option<blake3::Hash>,
    /// The write-ahead log when every frame was compared.
    wal: Option<Stamp>,
}

impl Seal {
    /// Compares the index with what the lock file says of it. Call before SQLite opens it.
    ///
    /// # Errors
    /// [`OutboxError::Corrupt`] if it is another one.
    pub(super) fn open(index: &Path, place: &str, mut lock: File) -> Result<Self, OutboxError> {
        let failed = |error| io_failed(place, "reading", &with_suffix(index, ".lock"))(error);
        let mut kept = String::new();
        lock.seek(SeekFrom::Start(0)).map_err(failed)?;
        (&mut lock).take(64).read_to_string(&mut kept).map_err(failed)?;
        let stamp = Stamp::read(index).ok();
        let digest = digest(index, stamp).map_err(io_failed(place, "reading its index", index))?;
        let seal = Self {
            index: index.to_owned(),
            place: place.to_owned(),
            state: Mutex::new(State { kept: lock, stamp, digest, wal: None }),
        };
        match (blake3::Hash::from_hex(&kept), digest) {
            (Ok(kept), Some(digest)) if kept != digest => {
                let lock = with_suffix(index, ".lock");
                let when = "while nothing ran; if you did, or restored it, remove";
                Err(seal.changed(&format!("{when} {}", lock.display())))
            }
            _ => Ok(seal),
        }
    }

    /// Whether index and write-ahead log still are what was written. Reads no more than has
    /// changed since it was asked last.
    ///
    /// # Errors
    /// [`OutboxError::Corrupt`] if they are not. What was read from them may be wrong.
    pub(super) fn check(&self) -> Result<(), OutboxError> {
        self.compare(&mut self.state())
    }

    fn compare(&self, state: &mut State) -> Result<(), OutboxError> {
        let failed = |error| io_failed(&self.place, "reading its index", &self.index)(error);
        let now = Stamp::read(&self.index).ok();
        if now != state.stamp {
            match state.digest {
                Some(known) if digest(&self.index, now).map_err(failed)? != Some(known) => {
                    return Err(self.changed("while it was in use"));
                }
                Some(_) => {}
                None => self.quick_check()?,
            }
            state.stamp = now;
        }
        let path = with_suffix(&self.index, "-wal");
        let now = Stamp::read(&path).ok();
        if now != state.wal {
            match wal::check(&path, &with_suffix(&self.index, "-shm")).map_err(failed)? {
                WalCheck::Whole => state.wal = now,
                WalCheck::Changing => {}
                WalCheck::Corrupt(why) => {
                    let why = format!("{why}: {RESTORE}");
                    return Err(damaged(&self.place, &path, why));
                }
            }
        }
        Ok(())
    }

    /// Moves the write-ahead log into the index if it is long, and both are what was written.
    ///
    /// # Errors
    /// [`OutboxError::Failed`] may pass; [`OutboxError::Corrupt`]: they are not, or the index may
    /// not be on the disk.
    pub(super) fn write_if_due(&self, conn: &Connection) -> Result<(), OutboxError> {
        let failed = |error| io_failed(&self.place, "reading its index", &self.index)(error);
        let mut state = self.state();
        let most = WAL.max(state.stamp.map_or(0, |stamp| stamp.length) / 8);
        if wal::length(&with_suffix(&self.index, "-shm")).map_err(failed)? < most {
            return Ok(());
        }
        self.compare(&mut state)?;
        // It waits for no reader, and leaves to the next time what one still needs.
        self.write(&mut state, conn, "PASSIVE")
    }

    /// Moves all of the write-ahead log into the index. For the start, when SQLite has made it what
    /// it has to be, and for the end.
    ///
    /// # Errors
    /// As [`Seal::write_if_due`].
    pub(super) fn write_all(&self, conn: &Connection) -> Result<(), OutboxError> {
        self.write(&mut self.state(), conn, "TRUNCATE")
    }

    fn write(&self, state: &mut State, conn: &Connection, mode: &str) -> Result<(), OutboxError> {
        let failed = |error| io_failed(&self.place, "reading its index", &self.index)(error);
        let sync = |error| sync_failed(&self.place, &with_suffix(&self.index, ".lock"))(error);
        // From now on the lock file says nothing, so that a crash leaves nothing wrong in it.
        state.keep("").map_err(sync)?;
        let moved = conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
        state.stamp = Stamp::read(&self.index).ok();
        state.digest = None;
        state.digest = digest(&self.index, state.stamp).map_err(failed)?;
        moved.map_err(|error| OutboxError::from_sqlite(&self.place, "writing its index", error))?;
        let hex = state.digest.map(|digest| digest.to_hex());
        state.keep(hex.as_ref().map_or("", |hex| hex.as_str())).map_err(sync)
    }

    /// Whether SQLite can read all of it. By a connection of its own, because the others
    /// remember what they have read.
    pub(super) fn quick_check(&self) -> Result<(), OutboxError> {
        let failed = |error| OutboxError::from_sqlite(&self.place, "checking its index", error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.index, flags).map_err(failed)?;
        let says: String =
            conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if says == "ok" {
            return Ok(());
        }
        Err(damaged(&self.place, &self.index, format!("the index is corrupt ({says}): {RESTORE}")))
    }

    fn changed(&self, when: &str) -> OutboxError {
        let why = format!("something else than Tipline changed the index {when}: {RESTORE}");
        damaged(&self.place, &self.index, why)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a thread that panicked has left is what it knew.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const RESTORE: &str =
    "restore it, or remove it and say where a new one continues, with --continue-at";

impl State {
    /// Writes this into the lock file, durably.
    fn keep(&mut self, text: &str) -> io::Result<()> {
        self.kept.set_len(0)?;
        self.kept.seek(SeekFrom::Start(0))?;
        self.kept.write_all(text.as_bytes())?;
        self.kept.sync_all()
    }
}

/// The BLAKE3 of the index; `None` if it is not there, or too large.
fn digest(index: &Path, stamp: Option<Stamp>) -> io::Result<Option<blake3::Hash>> {
    if stamp.is_none_or(|stamp| stamp.length > MOST_READ) {
        return Ok(None);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(index)?)?;
    Ok(Some(hasher.finalize()))
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
