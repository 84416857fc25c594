//! Reading the files of a store that somebody else may write.
//!
//! RocksDB opens them as they are at one instant, without writing anything, and does not see
//! what comes later: so they are opened anew whenever they have changed. Its *secondary*
//! instances could catch up instead, but RocksDB 10 may lose the end of a log that way.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::open;
use super::view::{Db, View};
use crate::store::StoreError;

/// How often files that change meanwhile are opened before giving up. They change in a way
/// that matters when a log of 64 MiB is full, and opening takes a fraction of that.
const ATTEMPTS: usize = 20;

/// The files of a store, as they were last seen.
pub(super) struct Outside {
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

impl Outside {
    pub(super) fn new(path: PathBuf, place: String) -> Self {
        Self { path, place, opened: None }
    }

    /// Reads in a state at least as new as when it was called.
    pub(super) fn read<T>(
        &mut self,
        read: impl Fn(&View<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        for _ in 0..ATTEMPTS {
            // What fails while nothing changes has failed. Otherwise a file may have gone.
            match self.attempt(&read) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err((seen, error)) if self.files().ok() == seen => return Err(error),
                Err(_) => {}
            }
            self.opened = None;
        }
        Err(StoreError::Failed {
            place: self.place.clone(),
            what: "its files changed during each attempt to read them: try again".to_owned(),
            source: None,
        })
    }

    /// `None` if the files changed too much while they were opened.
    #[expect(clippy::type_complexity, reason = "an error, and the files as they were before it")]
    fn attempt<T>(
        &mut self,
        read: impl Fn(&View<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, (Option<Files>, StoreError)> {
        let now = self.files().ok();
        if self.opened.as_ref().map(|(seen, _)| seen) != now.as_ref() || now.is_none() {
            // The old one first, not both at once.
            self.opened = None;
            let db = match open::for_reading(&self.path, &self.place) {
                Ok(db) => db,
                Err(error) => return Err((now, error)),
            };
            let Some(now) = now.filter(|now| self.still_has_logs_of(now)) else { return Ok(None) };
            self.opened = Some((now, db));
        }
        let Some((seen, db)) = &self.opened else { return Ok(None) };
        read(&View::of(db, &self.place)).map(Some).map_err(|error| (Some(seen.clone()), error))
    }

    /// RocksDB reads the manifest first, and then the logs that are there. If one that the
    /// manifest still needs were gone by then, its writes would be missing, without an error.
    /// Logs go in their order: if none that was there before has gone, none has.
    fn still_has_logs_of(&self, before: &Files) -> bool {
        self.files().is_ok_and(|now| before.logs.keys().all(|log| now.logs.contains_key(log)))
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
