//! What an earlier writer left in the write-ahead log, made durable before it is built upon.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use rusqlite::{Transaction, TransactionBehavior};

use super::Database;
use super::error::explain;
use crate::error::LogError;

/// How much is read and written again at once.
const CHUNK: usize = 1 << 20;

impl Database {
    /// Makes durable what the write-ahead log at `path` has. A writer that was killed, or whose
    /// fsync failed, may have left a commit in it that SQLite shows and no disk has. After a failed
    /// fsync another one would do nothing, for the system takes the pages for written. So they are
    /// written again.
    ///
    /// Holds the log's write lock meanwhile: nobody else changes that file. It holds no lock of
    /// SQLite's, so it may be opened here.
    ///
    /// # Errors
    /// `Failed` if it cannot be written or fsynced.
    pub(in crate::embedded) fn make_durable(&self, path: &Path) -> Result<(), LogError> {
        let explain = |error| explain(&self.place, "locking it", error);
        let behavior = TransactionBehavior::Immediate;
        let lock = Transaction::new_unchecked(&self.connection, behavior).map_err(explain)?;
        write_again(path).map_err(|error| LogError::Failed {
            place: self.place.clone(),
            what: "making durable what was written before".to_owned(),
            source: Some(error.into()),
        })?;
        lock.rollback().map_err(explain)
    }
}

fn write_again(path: &Path) -> io::Result<()> {
    let mut file: File = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut chunk = vec![0; CHUNK];
    loop {
        let at = file.stream_position()?;
        let length = file.read(&mut chunk)?;
        if length == 0 {
            return file.sync_all();
        }
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&chunk[..length])?;
    }
}
