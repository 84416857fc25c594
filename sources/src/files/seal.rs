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
use tipline_producer::{OutboxError, check_frames, frames_length};

use super::error::{damaged, io_failed, sync_failed, with_index};
use super::stamp::Stamp;

/// A larger index is not read through: SQLite's own check must do. Only proofs that wait, and
/// copies of blocks that do, make it that large.
pub(super) const MOST_READ: u64 = 1 << 30;
/// The write-ahead log is moved into the index when it is this long, or an eighth of the index.
const WAL: u64 = 4 << 20;

/// What the lock file says while the index is being written: nothing. Of the length of a digest, so
/// that it takes no space that there may not be.
const NOTHING: &str = "----------------------------------------------------------------";

/// The index as it was left, shared by whoever reads it. Each of them drops it after its
/// connection.
#[derive(Debug)]
pub(crate) struct Seal {
    index: PathBuf,
    place: String,
    state: Mutex<State>,
}

/// Closing any descriptor of a file drops the locks that SQLite holds on it in this process, and
/// another process could then throw away the write-ahead log. So the index and the shared memory
/// are opened once, and closed after SQLite has closed them.
#[derive(Debug)]
struct State {
    index: Option<File>,
    shared: Option<File>,
    /// The lock file.
    kept: File,
    /// The index when it was written to last.
    stamp: Option<Stamp>,
    /// `None` if it is too large, or not known.
    digest: Option<blake3::Hash>,
    /// The write-ahead log when every frame was compared.
    wal: Option<Stamp>,
}

impl Seal {
    /// Compares the index with what the lock file says of it. Call before SQLite opens it.
    ///
    /// # Errors
    /// [`OutboxError::Corrupt`] if it is another one; [`OutboxError::Failed`] if it cannot be read.
    pub(super) fn open(index: &Path, place: &str, mut lock: File) -> Result<Self, OutboxError> {
        let failed = |error| io_failed(place, "reading", &with_suffix(index, ".lock"))(error);
        let mut kept = String::new();
        lock.seek(SeekFrom::Start(0)).map_err(failed)?;
        (&mut lock).take(64).read_to_string(&mut kept).map_err(failed)?;
        let stamp = Stamp::find(index).map_err(io_failed(place, "looking at its index", index))?;
        let state = State { index: None, shared: None, kept: lock, stamp, digest: None, wal: None };
        let seal =
            Self { index: index.to_owned(), place: place.to_owned(), state: Mutex::new(state) };
        let digest = seal.digest(&mut seal.state(), stamp)?;
        seal.state().digest = digest;
        match (blake3::Hash::from_hex(&kept), digest) {
            (Ok(kept), Some(digest)) if kept != digest => {
                let lock = with_suffix(index, ".lock");
                let when = "while nothing ran; if you did, or restored it, remove";
                Err(seal.changed(&format!("{when} {}", lock.display())))
            }
            _ => Ok(seal),
        }
    }

    /// Whether index and write-ahead log still are what was written. A file that looks as it did
    /// when it was asked last is not read. Otherwise it is, all of it.
    ///
    /// # Errors
    /// [`OutboxError::Corrupt`] if they are not: what was read from them may be wrong.
    /// [`OutboxError::Failed`] if they cannot be read.
    pub(super) fn check(&self) -> Result<(), OutboxError> {
        self.compare(&mut self.state())
    }

    fn compare(&self, state: &mut State) -> Result<(), OutboxError> {
        let now = self.stamp()?;
        if now != state.stamp {
            if state.digest.is_none() {
                self.quick_check()?;
            } else if self.digest(state, now)? != state.digest {
                return Err(self.changed("while it was in use"));
            }
            state.stamp = now;
        }
        let path = with_suffix(&self.index, "-wal");
        let failed = |error| io_failed(&self.place, "reading", &path)(error);
        let now = Stamp::find(&path).map_err(failed)?;
        if now != state.wal {
            // SQLite holds no lock on this one.
            let wal = File::open(&path).map_err(failed)?;
            if let Some(why) = check_frames(wal, self.shared(state)?).map_err(failed)? {
                return Err(damaged(&self.place, &path, format!("{why}: {RESTORE}")));
            }
            state.wal = now;
        }
        Ok(())
    }

    /// Moves the write-ahead log into the index if it is long, and both are what was written.
    ///
    /// # Errors
    /// [`OutboxError::Failed`] may pass; [`OutboxError::Corrupt`]: they are not, or the index may
    /// not be on the disk.
    pub(super) fn write_if_due(&self, conn: &Connection) -> Result<(), OutboxError> {
        let mut state = self.state();
        let most = WAL.max(state.stamp.map_or(0, |stamp| stamp.length) / 8);
        let path = with_suffix(&self.index, "-shm");
        let failed = io_failed(&self.place, "reading", &path);
        if frames_length(self.shared(&mut state)?).map_err(failed)? < most {
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
        // From now on the lock file says nothing, so that a crash leaves nothing wrong in it.
        self.keep(state, NOTHING)?;
        state.digest = None;
        let moved = conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
        state.stamp = self.stamp()?;
        state.digest = self.digest(state, state.stamp)?;
        moved.map_err(|error| self.failed("writing its index", error))?;
        match state.digest {
            Some(digest) => self.keep(state, &digest.to_hex()),
            None => Ok(()),
        }
    }

    /// Writes this into the lock file, durably, over what it said.
    fn keep(&self, state: &mut State, text: &str) -> Result<(), OutboxError> {
        let path = with_suffix(&self.index, ".lock");
        let start = state.kept.seek(SeekFrom::Start(0));
        let written = start.and_then(|_| state.kept.write_all(text.as_bytes()));
        written.map_err(io_failed(&self.place, "writing", &path))?;
        state.kept.sync_all().map_err(sync_failed(&self.place, &path))
    }

    /// What the index is now; `None` if it is not there.
    fn stamp(&self) -> Result<Option<Stamp>, OutboxError> {
        let failed = io_failed(&self.place, "looking at its index", &self.index);
        Stamp::find(&self.index).map_err(failed)
    }

    /// The BLAKE3 of the index, which looks so; `None` if it is not there, or too large.
    fn digest(
        &self,
        state: &mut State,
        stamp: Option<Stamp>,
    ) -> Result<Option<blake3::Hash>, OutboxError> {
        let Some(stamp) = stamp.filter(|stamp| stamp.length <= MOST_READ) else {
            return Ok(None);
        };
        let failed = |error| io_failed(&self.place, "reading its index", &self.index)(error);
        let mut index = opened(&mut state.index, &self.index).map_err(failed)?;
        let open = Stamp::new(&index.metadata().map_err(failed)?);
        if open.inode != stamp.inode {
            return Err(self.changed("while it was in use"));
        }
        index.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(index).map_err(failed)?;
        Ok(Some(hasher.finalize()))
    }

    /// The shared memory of the write-ahead log.
    fn shared<'a>(&self, state: &'a mut State) -> Result<&'a File, OutboxError> {
        let path = with_suffix(&self.index, "-shm");
        opened(&mut state.shared, &path).map_err(io_failed(&self.place, "opening", &path))
    }

    /// Whether SQLite can read all of it. By a connection of its own, because the others
    /// remember what they have read.
    pub(super) fn quick_check(&self) -> Result<(), OutboxError> {
        let failed = |error| self.failed("checking its index", error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.index, flags).map_err(failed)?;
        let says: String =
            conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if says == "ok" {
            return Ok(());
        }
        Err(damaged(&self.place, &self.index, format!("the index is corrupt ({says}): {RESTORE}")))
    }

    fn failed(&self, what: &str, error: rusqlite::Error) -> OutboxError {
        OutboxError::from_sqlite(&with_index(&self.place, &self.index), what, error)
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

/// The file, opened if it is not yet.
fn opened<'a>(file: &'a mut Option<File>, path: &Path) -> io::Result<&'a File> {
    match file {
        Some(file) => Ok(file),
        none => Ok(none.insert(File::open(path)?)),
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
