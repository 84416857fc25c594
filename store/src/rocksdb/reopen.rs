//! Reading the files of a store that somebody else may write.
//!
//! RocksDB opens them as they are at one instant, without writing anything, and does not see
//! what comes later: so they are opened again whenever they have changed. Its *secondary*
//! instances could catch up instead, but RocksDB 10 may lose the end of a log that way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fs, io};

use super::open;
use super::view::{Db, View};
use crate::error::StoreError;

/// How often files that change meanwhile are opened before giving up. They change in a way that
/// matters once for about 32 MiB that are written, and opening reads twice that at most.
const ATTEMPTS: usize = 50;

/// The files of a store, as they were last seen.
pub(super) struct ReopeningReader {
    path: PathBuf,
    place: String,
    opened: Option<(Files, Db)>,
}

/// What changes in the files when the store does: every write makes a log longer, every file
/// that comes or goes makes the manifest longer, or another one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Files {
    manifest: String,
    manifest_bytes: u64,
    /// The logs of writes, with their lengths.
    logs: BTreeMap<String, u64>,
}

impl ReopeningReader {
    pub(super) fn new(path: PathBuf, place: String) -> Self {
        Self { path, place, opened: None }
    }

    /// Reads in a state at least as new as when it was called.
    ///
    /// A file that the manifest names may go before it is opened: each family of rows that is compacted
    /// takes some away. Then the manifest has changed since, so an error is that of the files if they
    /// are the same after it as before.
    pub(super) fn read<T>(
        &mut self,
        read: impl Fn(&View<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut failed = None;
        for _ in 0..ATTEMPTS {
            let before = self.files().ok();
            match self.attempt(before.clone(), &read) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) if self.files().ok() == before => return Err(error),
                Err(error) => failed = Some(error),
            }
            self.opened = None;
        }
        Err(failed.unwrap_or_else(|| StoreError::Failed {
            place: self.place.clone(),
            what: "its files changed during each attempt to read them: try again".to_owned(),
            source: None,
        }))
    }

    /// Opens the files if they are not `now` as when they were opened, and reads. `None` if they
    /// changed too much meanwhile.
    fn attempt<T>(
        &mut self,
        now: Option<Files>,
        read: impl Fn(&View<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        if now.is_none() || self.opened.as_ref().map(|(seen, _)| seen) != now.as_ref() {
            // The old one first, not both at once.
            self.opened = None;
            let db = open::for_reading(&self.path, &self.place)?;
            let now = now.filter(|now| self.has_the_logs_of(now));
            self.opened = now.map(|now| (now, db));
        }
        let Some((_, db)) = &self.opened else { return Ok(None) };
        read(&View::new(db, &self.place)).map(Some)
    }

    /// RocksDB reads the manifest first, and then the logs that are there. If one that this
    /// manifest still needs had gone by then, its writes would be missing, without an error. A
    /// log goes only when there is a newer one: if they are the same as before, none has.
    fn has_the_logs_of(&self, before: &Files) -> bool {
        self.files().is_ok_and(|now| now.logs.keys().eq(before.logs.keys()))
    }

    fn files(&self) -> io::Result<Files> {
        let manifest = fs::read_to_string(self.path.join("CURRENT"))?.trim_end().to_owned();
        let manifest_bytes = fs::metadata(self.path.join(&manifest))?.len();
        let mut logs = BTreeMap::new();
        for file in fs::read_dir(&self.path)? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            if name.ends_with(".log") {
                match file.metadata() {
                    Ok(found) => logs.insert(name, found.len()),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                    Err(e) => return Err(e),
                };
            }
        }
        Ok(Files { manifest, manifest_bytes, logs })
    }
}
