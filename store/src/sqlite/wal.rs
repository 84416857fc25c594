//! The write-ahead log: carried into the file, and begun again before it is long.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Error, ffi};
use tracing::warn;

use super::error::store_error;
use super::journal::{BUSY, WAL_BYTES};
use crate::batch::Batch;
use crate::disk::{failed, with_suffix};
use crate::error::StoreError;

/// What an entry may add to the WAL besides its payload: a page for its row, and one of an index.
const ENTRY_BYTES: usize = 16 << 10;
/// From so many times its limit on, readers are waited for, so that it begins again.
const LONG: u64 = 3;
/// As the format of the WAL has them, in bytes.
const HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;
/// How often it is asked whether another process is still making a checkpoint.
const PAUSE: Duration = Duration::from_millis(1);
/// For so long: statements are short. Who reads for longer is waited for again later on.
const RESTART: Duration = Duration::from_secs(1);

/// The WAL of a store, as its one writer keeps it short.
///
/// It begins again with the first commit that finds all of it carried into the file and nobody
/// reading from it. Short reads that always overlap prevent that for ever, unless new ones are
/// sent to the file while the old ones end: that is what a checkpoint does that restarts.
#[derive(Debug)]
pub(super) struct Wal {
    path: PathBuf,
    limit: usize,
    /// At most so many bytes of it are not in the file yet.
    written: usize,
    /// Its length when it was last told that it grows.
    told: u64,
}

impl Wal {
    /// Of a database that was just opened: whatever is in it is due.
    pub(super) fn of(database: &Path) -> Self {
        let path = with_suffix(database, "-wal");
        Self { path, limit: WAL_BYTES, written: WAL_BYTES, told: 0 }
    }

    /// For tests: what is long with less.
    #[cfg(test)]
    pub(super) fn limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    /// Its length on the disk.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        match fs::metadata(&self.path) {
            Ok(found) => Ok(found.len()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(0),
            Err(e) => Err(e),
        }
    }

    pub(super) fn wrote(&mut self, batch: &Batch) {
        let entries = batch.entries.iter();
        self.written +=
            entries.map(|entry| entry.event.payload().len() + ENTRY_BYTES).sum::<usize>();
    }

    /// Carries it into the file, if it has become much. If it is long nevertheless, has it begin
    /// again.
    pub(super) fn carry(&mut self, connection: &Connection, place: &str) -> Result<(), StoreError> {
        if self.written < self.limit {
            return Ok(());
        }
        let bytes = self.bytes().map_err(|e| failed(place, "looking at its WAL", e))?;
        let fail = |e| store_error(place, "carrying the WAL into the file", e);
        if bytes < LONG * self.limit as u64 {
            checkpoint(connection, "PASSIVE").map_err(fail)?;
            self.told = 0;
        } else {
            connection.busy_timeout(RESTART).map_err(fail)?;
            let carried = checkpoint(connection, "RESTART");
            connection.busy_timeout(BUSY).map_err(fail)?;
            if !carried.map_err(fail)?.done {
                self.tell(bytes, place);
            }
        }
        self.written = 0;
        Ok(())
    }

    /// Each time that it has doubled.
    fn tell(&mut self, bytes: u64, place: &str) {
        if bytes >= self.told.saturating_mul(2) {
            self.told = bytes;
            warn!(
                store = place,
                wal_bytes = bytes,
                "the WAL grows: somebody reads the store in one long statement or transaction, \
                 or a checkpoint of it is being copied; it is cut back when that ends"
            );
        }
    }
}

/// How many bytes of the WAL are in use, by its index. Waits for whoever makes a checkpoint, and makes
/// one; `None` if what is in use is not all there.
///
/// # Errors
/// [`StoreError::InUse`] if another process makes a checkpoint for longer than is waited: then it is
/// not known what is in use, which is not nothing.
pub(super) fn in_use(connection: &Connection, place: &str) -> Result<Option<u64>, StoreError> {
    let fail = |e| store_error(place, "looking at how much of its WAL is in use", e);
    let page: u32 = connection.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(fail)?;
    let begun = Instant::now();
    loop {
        match checkpoint(connection, "PASSIVE").map(|found| found.pages) {
            Ok(Some(0)) => return Ok(Some(0)),
            Ok(Some(pages)) => {
                return Ok(Some(HEADER + pages * (u64::from(page) + FRAME_HEADER)));
            }
            Ok(None) if begun.elapsed() >= BUSY => {
                return Err(StoreError::InUse { place: place.to_owned() });
            }
            Ok(None) => thread::sleep(PAUSE),
            Err(error) if is_short(&error) => return Ok(None),
            Err(error) => return Err(fail(error)),
        }
    }
}

/// A file ended before what was to be read of it.
fn is_short(error: &Error) -> bool {
    error.sqlite_error().is_some_and(|found| found.extended_code == ffi::SQLITE_IOERR_SHORT_READ)
}

/// What came of a checkpoint.
struct Checkpoint {
    /// Nobody was in the way of what this kind of it waits for.
    done: bool,
    /// How many pages there are in the WAL; `None` if somebody else is making a checkpoint.
    pages: Option<u64>,
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<Checkpoint> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    connection.query_row(&sql, [], |row| {
        let (busy, pages, carried): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let done = !busy && pages == carried;
        Ok(Checkpoint { done, pages: u64::try_from(pages).ok() })
    })
}
