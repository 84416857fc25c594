//! Whether the database that is open is still the one that was opened: by its files, and by what is
//! in it.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tipline_proto::OutboxId;

use super::state::State;
use crate::outbox::OutboxError;

/// The files of a database, while a connection has them open.
///
/// SQLite, here and in the node, writes on in what was removed or replaced. All of it is gone with
/// the last process that has it open, so no row in it is durable, whatever was synced.
#[derive(Debug)]
pub(super) struct Files {
    database: Presence,
    /// The write-ahead log, and its index. SQLite removes neither while a connection is open.
    log: Presence,
    index: Presence,
}

impl Files {
    /// As they are now. A connection must have read the database, which makes those beside it, and
    /// must stay open.
    pub(super) fn of(database: &Path, place: &str) -> Result<Self, OutboxError> {
        let of = |what, suffix: &str| Presence::of(what, with_suffix(database, suffix), place);
        Ok(Self {
            database: of("database", "")?,
            log: of("write-ahead log", "-wal")?,
            index: of("index of the write-ahead log", "-shm")?,
        })
    }

    /// Costs three looks at their metadata.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] names the one that was removed or replaced;
    /// [`OutboxError::Failed`] if it cannot be looked at now.
    pub(super) fn check(&self, place: &str) -> Result<(), OutboxError> {
        [&self.database, &self.log, &self.index].into_iter().try_for_each(|file| file.check(place))
    }

    /// The write-ahead log, to sync it. What is opened is compared, not only what has the name.
    ///
    /// # Errors
    /// As [`Files::check`].
    pub(super) fn open_log(&self, place: &str) -> Result<File, OutboxError> {
        let open = || {
            let file = File::open(&self.log.path)?;
            let found = file.metadata()?;
            Ok((file, found))
        };
        let (file, found) = open().map_err(|error| self.log.away(place, error))?;
        self.log.compare(place, &found)?;
        Ok(file)
    }

    pub(super) fn log_path(&self) -> &Path {
        &self.log.path
    }

    pub(super) fn index_path(&self) -> &Path {
        &self.index.path
    }

    pub(super) fn database_path(&self) -> &Path {
        &self.database.path
    }
}

/// What was found in the outbox so far. It only ever goes forward, and has the rows that it says to
/// have. By that it shows if something was copied over the file, which stays the same one. What of the
/// database is in the write-ahead log hides the copy, so what is on different pages is compared.
#[derive(Debug)]
pub(super) struct History {
    id: OutboxId,
    last: u64,
    trimmed: u64,
}

impl History {
    pub(super) fn new(state: &State) -> Self {
        Self { id: state.id, last: state.last, trimmed: state.trimmed }
    }

    /// Whether what is there now continues it. `rows`: the oldest and the newest one.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] or [`OutboxError::Corrupt`] if not.
    pub(super) fn follow(
        &mut self,
        place: &str,
        state: &State,
        rows: Option<(u64, u64)>,
    ) -> Result<(), OutboxError> {
        if state.id != self.id {
            let how = format!("the database was replaced by one with the outbox {}", state.id);
            return Err(other_file(place, &how));
        }
        if state.last < self.last || state.trimmed < self.trimmed {
            let how = format!(
                "the database was replaced by an older copy: its outbox has rows {} to {}, and had \
                 {} to {}",
                state.trimmed + 1,
                state.last,
                self.trimmed + 1,
                self.last
            );
            return Err(other_file(place, &how));
        }
        let due = (state.last > state.trimmed).then_some((state.trimmed + 1, state.last));
        if rows != due {
            let why = "rows are missing or too many: something else than the publisher wrote here, \
                       or an older copy was written over the database while it was open";
            let at = format!("its rows {} to {}", state.trimmed + 1, state.last);
            let (place, source) = (place.to_owned(), Some(why.into()));
            return Err(OutboxError::Corrupt { place, at, source });
        }
        (self.last, self.trimmed) = (state.last, state.trimmed);
        Ok(())
    }
}

#[derive(Debug)]
struct Presence {
    what: &'static str,
    path: PathBuf,
    inode: Inode,
}

impl Presence {
    fn of(what: &'static str, path: PathBuf, place: &str) -> Result<Self, OutboxError> {
        match fs::metadata(&path) {
            Ok(found) => Ok(Self { what, path, inode: inode(&found) }),
            Err(error) => Err(unseen(place, &path, error)),
        }
    }

    fn check(&self, place: &str) -> Result<(), OutboxError> {
        let found = fs::metadata(&self.path).map_err(|error| self.away(place, error))?;
        self.compare(place, &found)
    }

    fn compare(&self, place: &str, found: &Metadata) -> Result<(), OutboxError> {
        if inode(found) == self.inode { Ok(()) } else { Err(self.is("replaced", place)) }
    }

    /// Only one that is not there is gone.
    fn away(&self, place: &str, error: io::Error) -> OutboxError {
        match error.kind() {
            ErrorKind::NotFound => self.is("removed", place),
            _ => unseen(place, &self.path, error),
        }
    }

    fn is(&self, how: &str, place: &str) -> OutboxError {
        other_file(place, &format!("the {} {} was {how}", self.what, self.path.display()))
    }
}

/// The error of a database that is not the one that was opened. Final: what was given out of it
/// may be in no database any more.
pub(super) fn other_file(place: &str, how: &str) -> OutboxError {
    let why = format!(
        "{how} while it was open: make sure that the node is on the right one, and start again"
    );
    OutboxError::Unusable { place: place.to_owned(), why, source: None }
}

pub(super) fn unseen(place: &str, path: &Path, error: io::Error) -> OutboxError {
    let what = format!("looking at {}", path.display());
    OutboxError::Failed { place: place.to_owned(), what, source: Some(error.into()) }
}

/// What errors call an outbox of which this file is only the index.
pub(super) fn with_index(name: &str, index: &Path) -> String {
    format!("{name} (its index is {})", index.display())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

type Inode = (u64, u64);

#[cfg(unix)]
fn inode(found: &Metadata) -> Inode {
    use std::os::unix::fs::MetadataExt;
    (found.dev(), found.ino())
}

/// There, an open file cannot be removed.
#[cfg(not(unix))]
fn inode(_found: &Metadata) -> Inode {
    (0, 0)
}
