//! Whether the list of files (`MANIFEST`) that `CURRENT` names is what RocksDB wrote.
//!
//! RocksDB writes a list whole, and gives `CURRENT` its name after that: see `open.rs`. So a list that
//! was changed later than `CURRENT` was changed by somebody else, also if nobody has seen it before.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rocksdb::ErrorKind as DbErrorKind;

use super::error::store_error;
use super::open;
use super::row_files::Payloads;
use super::view::{Db, View};
use crate::disk::{Presence, failed, gone};
use crate::error::StoreError;

/// What is not there so often in a row is not there.
const LOOKS: usize = 3;
/// What `CURRENT` has in it.
const MANIFEST: &str = "MANIFEST-";

/// The list that `CURRENT` names.
#[derive(Debug)]
pub(super) struct FileList {
    directory: PathBuf,
    known: Option<Known>,
}

/// One that was found to be what RocksDB wrote.
#[derive(Debug)]
struct Known {
    name: String,
    presence: Presence,
    changed: Changed,
    content: blake3::Hash,
}

impl FileList {
    /// Of a directory that RocksDB has open. Nothing is known of it yet.
    pub(super) fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), known: None }
    }

    /// RocksDB removes a list once `CURRENT` has the name of another one: that may be between two
    /// looks, and not each time.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if it is gone, or is not what RocksDB wrote;
    /// [`StoreError::Unavailable`] if the medium does not answer.
    pub(super) fn check(&mut self, place: &str, db: &Db) -> Result<(), StoreError> {
        let mut checked = Ok(());
        for _ in 0..LOOKS {
            let now = read_current(&self.directory).map_err(|e| self.wrong_current(place, e))?;
            checked = match &mut self.known {
                Some(known) if known.name == now => known.check(&self.directory, place),
                _ => self.learn(place, db, &now),
            };
            if checked.is_ok() {
                break;
            }
        }
        checked
    }

    /// Looks at one for the first time.
    fn learn(&mut self, place: &str, db: &Db, name: &str) -> Result<(), StoreError> {
        self.known = None;
        let (path, current) = (self.directory.join(name), self.directory.join("CURRENT"));
        let look = || {
            // Read before it is asked when it was changed: what is read is from before that, too.
            let content = fs::read(&path)?;
            let (presence, changed) = (Presence::of(&path)?, Changed::of(&path)?);
            Ok((content, presence, changed, Changed::of(&current)?))
        };
        let looked: io::Result<_> = look();
        let (content, mut presence, changed, named) =
            looked.map_err(|e| self.no_list(place, name, &e))?;
        if changed > named {
            self.check_by_opening(place, db, name)?;
        }
        presence.found_whole(content.len() as u64);
        let (name, content) = (name.to_owned(), blake3::hash(&content));
        self.known = Some(Known { name, presence, changed, content });
        Ok(())
    }

    /// Whether the directory could be opened by it, and what is open now would be open then. For one
    /// that was changed later than it was written, as far as can be said: a clock that was put back
    /// makes it look so.
    fn check_by_opening(&self, place: &str, db: &Db, name: &str) -> Result<(), StoreError> {
        let known =
            |db: &Db| Rows::of(db).map_err(|e| store_error(place, "asking for its files", e));
        let before = known(db)?;
        let opened = open::for_reading(&self.directory, place);
        if known(db)? != before || read_current(&self.directory).ok().as_deref() != Some(name) {
            // RocksDB has written another one meanwhile, and the next look is at that.
            return Ok(());
        }
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) if is_of_content(&error) => {
                let why = "the directory does not open by it any more";
                return Err(self.changed(place, name, why, Some(error)));
            }
            Err(error) => {
                let (place, source) = (place.to_owned(), Some(Box::new(error) as Box<_>));
                return Err(StoreError::Unavailable { place, source });
            }
        };
        let cursor = |db: &Db| View::new(db, place).cursor();
        if known(&opened)? != before || cursor(&opened)? != cursor(db)? {
            return Err(self.changed(place, name, "it does not say what is there", None));
        }
        // It may be a copy, which nobody has synced.
        let list = File::open(self.directory.join(name)).and_then(|list| list.sync_all());
        list.map_err(|e| failed(place, "syncing its list of files", e))
    }

    fn changed(
        &self,
        place: &str,
        name: &str,
        why: &str,
        source: Option<StoreError>,
    ) -> StoreError {
        let how = format!("{} was changed ({why})", self.directory.join(name).display());
        match (gone(place, &how), source) {
            (StoreError::Failed { place, what, .. }, Some(source)) => {
                StoreError::Failed { place, what, source: Some(Box::new(source)) }
            }
            (error, _) => error,
        }
    }

    fn no_list(&self, place: &str, name: &str, error: &io::Error) -> StoreError {
        let kind = match error.kind() {
            ErrorKind::NotFound => ErrorKind::InvalidData,
            other => other,
        };
        let why = format!("it names {name}, which cannot be looked at: {error}");
        self.wrong_current(place, io::Error::new(kind, why))
    }

    fn wrong_current(&self, place: &str, error: io::Error) -> StoreError {
        let path = self.directory.join("CURRENT");
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::InvalidData => StoreError::Failed {
                place: place.to_owned(),
                what: format!(
                    "{} was changed while it was open ({error}): put back what was there, or \
                     restore it, and open it again",
                    path.display()
                ),
                source: None,
            },
            _ => StoreError::Unavailable { place: place.to_owned(), source: Some(Box::new(error)) },
        }
    }
}

impl Known {
    /// Reads it again only if it was changed, by the system's word.
    fn check(&mut self, directory: &Path, place: &str) -> Result<(), StoreError> {
        let was = self.presence.bytes();
        self.presence.check_not_cut(place)?;
        let path = directory.join(&self.name);
        let unavailable = |error: io::Error| StoreError::Unavailable {
            place: place.to_owned(),
            source: Some(Box::new(error)),
        };
        let changed = Changed::of(&path).map_err(unavailable)?;
        if changed == self.changed {
            return Ok(());
        }
        let content = fs::read(&path).map_err(unavailable)?;
        // RocksDB may append to one. What was in it stays.
        let same = usize::try_from(was).ok().and_then(|was| content.get(..was));
        if same.is_none_or(|same| blake3::hash(same) != self.content) {
            // Until it is put back.
            self.presence.found_whole(was);
            return Err(gone(place, &format!("{} was changed", path.display())));
        }
        self.presence.found_whole(content.len() as u64);
        (self.changed, self.content) = (changed, blake3::hash(&content));
        Ok(())
    }
}

/// What RocksDB has of rows and payloads, by its list.
#[derive(Debug, PartialEq, Eq)]
struct Rows {
    tables: BTreeSet<String>,
    payloads: Payloads,
}

impl Rows {
    fn of(db: &Db) -> Result<Self, rocksdb::Error> {
        let tables = db.live_files()?.into_iter().map(|file| file.name).collect();
        Ok(Self { tables, payloads: Payloads::needed(db)? })
    }
}

/// Whether it is for what is in the files, and would be so again.
fn is_of_content(error: &StoreError) -> bool {
    let of_rocksdb = error.source().and_then(|source| source.downcast_ref::<rocksdb::Error>());
    match (error, of_rocksdb) {
        (_, Some(error)) => {
            matches!(error.kind(), DbErrorKind::Corruption | DbErrorKind::InvalidArgument)
        }
        (StoreError::Corrupt { .. }, None) => true,
        (StoreError::Unusable { source, .. }, None) => source.is_none(),
        _ => false,
    }
}

/// When a file was changed last. Whoever sets its times changes it, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Changed(i64, i64);

impl Changed {
    fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|found| Self::read(&found))
    }

    #[cfg(unix)]
    fn read(found: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(found.ctime(), found.ctime_nsec())
    }

    /// Where there is no such time, that it is there must do.
    #[cfg(not(unix))]
    fn read(_found: &Metadata) -> Self {
        Self(0, 0)
    }
}

/// The name that `CURRENT` has in it. RocksDB does not open by one without the newline after it.
fn read_current(directory: &Path) -> io::Result<String> {
    let text = fs::read_to_string(directory.join("CURRENT"))?;
    let name = text.strip_suffix('\n').unwrap_or_default();
    let number = name.strip_prefix(MANIFEST).unwrap_or_default();
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        let why = "it names no list of files";
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    Ok(name.to_owned())
}
