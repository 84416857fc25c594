//! Whether the files that are open are still those of their names, and as long as they were.

use std::io;
use std::path::Path;

use rusqlite::Connection;

use super::error::store_error;
use super::journal::Journal;
use super::wal;
use crate::disk::{Presence, with_suffix};
use crate::error::StoreError;

/// The files of a database, while a connection has them open.
///
/// SQLite itself would write on in what was removed or replaced, and it would take what was cut
/// away from a file for what it has in memory.
#[derive(Debug)]
pub(super) struct Files {
    database: Presence,
    /// The WAL, and its index. A rollback journal is there for the time of a batch only.
    log: Option<(Presence, Presence)>,
}

impl Files {
    /// As they are now, with this journal in use.
    pub(super) fn of(database: &Path, journal: Journal) -> io::Result<Self> {
        let beside = |suffix: &str| Presence::of(&with_suffix(database, suffix));
        let log = match journal {
            Journal::WriteAhead => Some((beside("-wal")?, beside("-shm")?)),
            Journal::Rollback => None,
        };
        Ok(Self { database: Presence::of(database)?, log })
    }

    /// To be called between two batches.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if one of them is gone, is another one, or was cut;
    /// [`StoreError::Unavailable`] if the medium does not answer.
    pub(super) fn check(&mut self, place: &str, connection: &Connection) -> Result<(), StoreError> {
        // Nothing is ever taken out of it.
        self.database.check_not_cut(place)?;
        let Some((log, index)) = &mut self.log else { return Ok(()) };
        index.check(place)?;
        let Some((before, now)) = log.shorter(place)? else { return Ok(()) };
        // Whoever carries all of it into the file may cut it, and so does the writer itself.
        let is_whole = wal::is_whole(connection, now)
            .map_err(|e| store_error(place, "looking at what its WAL was cut to", e))?;
        if is_whole { Ok(()) } else { Err(log.cut(place, before, now)) }
    }
}
