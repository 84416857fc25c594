//! Whether the files that are open are still those of their names, and as long as they were.

use std::io;
use std::path::Path;

use rusqlite::Connection;

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
    /// The writer's lock: if it has another name or none, a second writer finds nothing locked.
    lock: Presence,
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
        Ok(Self { database: Presence::of(database)?, lock: beside(".lock")?, log })
    }

    /// To be called between two batches.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if one of them is gone, is another one, or was cut;
    /// [`StoreError::Unavailable`] if the medium does not answer; [`StoreError::InUse`] if another
    /// process keeps it from being known.
    pub(super) fn check(&mut self, place: &str, connection: &Connection) -> Result<(), StoreError> {
        // Nothing is ever taken out of it.
        self.database.check_not_cut(place)?;
        self.lock.check(place)?;
        let Some((log, index)) = &mut self.log else { return Ok(()) };
        // Nor of this one, while it is open. SQLite has it in memory: it would end the process to
        // read there what was cut away from the file. So it comes before all that SQLite is asked.
        index.check_not_cut(place)?;
        check_log(log, place, || wal::in_use(connection, place))
    }

    /// Likewise for who only opens them, by their names.
    ///
    /// # Errors
    /// The same errors as [`Files::check`].
    pub(super) fn check_names(&self, place: &str) -> Result<(), StoreError> {
        self.database.check(place)?;
        let Some((log, index)) = &self.log else { return Ok(()) };
        log.check(place)?;
        index.check(place)?;
        index.check_not_cut_if_there(place)
    }
}

/// Whether the WAL has all that is in use of it, if it is shorter than when it last had it. Whoever
/// carries all of it into the file may cut it, and so does the writer itself.
fn check_log(
    log: &mut Presence,
    place: &str,
    in_use: impl Fn() -> Result<Option<u64>, StoreError>,
) -> Result<(), StoreError> {
    let mut now = log.look(place)?;
    if now >= log.bytes() {
        log.found_whole(now);
        return Ok(());
    }
    // Twice: between the two looks another process may have had it begin again, and cut it.
    for _ in 0..2 {
        let in_use = in_use()?;
        now = log.look(place)?;
        if in_use.is_some_and(|in_use| now >= in_use) {
            // Not before: if it cannot be told now, it is asked again.
            log.found_whole(now);
            return Ok(());
        }
    }
    Err(log.cut(place, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// While another process makes a checkpoint, it is not known what is in use.
    #[test]
    fn a_cut_is_not_forgotten_because_it_could_not_be_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db-wal");
        std::fs::write(&path, [7; 100]).unwrap();
        let mut log = Presence::of(&path).unwrap();
        std::fs::write(&path, [7; 60]).unwrap();
        let busy = || Err(StoreError::InUse { place: "test".to_owned() });
        let unknown = check_log(&mut log, "test", busy).unwrap_err();
        assert!(unknown.is_retryable(), "{unknown:?}");
        for in_use in [Some(80), None] {
            let cut = check_log(&mut log, "test", || Ok(in_use)).unwrap_err();
            assert!(cut.to_string().contains("was cut from 100 to 60 bytes"), "{cut}");
        }
        check_log(&mut log, "test", || Ok(Some(60))).unwrap();
        check_log(&mut log, "test", busy).unwrap();
    }
}
