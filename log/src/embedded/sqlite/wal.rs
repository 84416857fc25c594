//! The write-ahead log: carried into the file, and begun again before it is long.

use std::time::Duration;

use rusqlite::Connection;

use super::error::explain;
use super::open::wait_for_lock;
use super::{Database, LOCK_LIMIT};
use crate::error::LogError;

/// How long those who read are waited for, and appends with them: their statements are short.
const READERS_LIMIT: Duration = Duration::from_secs(1);
/// As the format of the write-ahead log has them, in bytes.
const HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;
/// What is being done, for errors.
const CHECKPOINT: &str = "a checkpoint of the write-ahead log";

/// What came of a checkpoint.
struct Checkpoint {
    /// Nobody was in the way of what this kind of it waits for.
    is_done: bool,
    /// How many pages there are in the write-ahead log; `None` if somebody else is making a
    /// checkpoint.
    pages: Option<u64>,
}

impl Database {
    /// Carries the write-ahead log into the file, as far as no reader needs it, and fsyncs both.
    /// Answers how many bytes of it are in use, in the file already or not; `None`, and nothing was
    /// done, if somebody else is at it.
    pub(in crate::embedded) fn checkpoint(&self) -> Result<Option<u64>, LogError> {
        let carry = || -> rusqlite::Result<Option<u64>> {
            let pages = checkpoint(&self.connection, "PASSIVE")?.pages;
            let page: u32 =
                self.connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
            let bytes = |pages| match pages {
                0 => 0,
                pages => HEADER + pages * (u64::from(page) + FRAME_HEADER),
            };
            Ok(pages.map(bytes))
        };
        carry().map_err(|error| explain(&self.place, CHECKPOINT, error))
    }

    /// Likewise, and has it begin again with the next write. Short reads that always overlap
    /// prevent that for ever, unless new ones are sent to the file while the old ones end. `false`
    /// if somebody has read, or held a lock, for longer than is waited.
    pub(in crate::embedded) fn begin_wal_again(&mut self) -> Result<bool, LogError> {
        let mut begin = || {
            self.connection.busy_timeout(READERS_LIMIT)?;
            let begun = checkpoint(&self.connection, "RESTART");
            self.connection.busy_handler(Some(wait_for_lock as fn(i32) -> bool))?;
            begun
        };
        begin()
            .map(|begun| begun.is_done)
            .map_err(|error| explain(&self.place, "having the write-ahead log begin again", error))
    }

    /// How many bytes of the write-ahead log are in use. Waits for whoever makes a checkpoint, and
    /// makes one.
    pub(in crate::embedded) fn wal_in_use(&self) -> Result<u64, LogError> {
        let mut tries = 0;
        loop {
            if let Some(bytes) = self.checkpoint()? {
                return Ok(bytes);
            }
            if !wait_for_lock(tries) {
                let what =
                    format!("{CHECKPOINT}; another process was making one for {LOCK_LIMIT:?}");
                return Err(LogError::Unavailable {
                    place: self.place.clone(),
                    what,
                    source: None,
                });
            }
            tries += 1;
        }
    }
}

fn checkpoint(connection: &Connection, kind: &str) -> rusqlite::Result<Checkpoint> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({kind})"), [], |row| {
        let (is_busy, pages, carried): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let is_done = !is_busy && pages == carried;
        Ok(Checkpoint { is_done, pages: u64::try_from(pages).ok() })
    })
}
