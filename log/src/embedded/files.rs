//! The files of a log: made whole or not at all, found, recognised.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use tipline_proto::LogIdentity;

use super::sqlite::{self, Database, Purpose};
use crate::contract;
use crate::error::LogError;

/// How long another one is waited for that removes what was left, which takes no time: this often,
/// after each of these pauses. Who has the directory for longer, such as a store in RocksDB, is no such
/// one.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Creates the log at `path` under another name, fsyncs it, and gives it its name last. A
/// crash leaves a whole log or none, and at most a `.<name>.init-…` that nothing ever reads, and
/// that the next attempt removes.
pub(super) fn create(path: &Path, place: &str, identity: &LogIdentity) -> Result<(), LogError> {
    let io = |why: String| {
        move |source: io::Error| LogError::Unusable {
            place: place.to_owned(),
            why,
            source: Some(source.into()),
        }
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let Some(name) = path.file_name() else {
        let why = "the path names no file: give the file that shall be the log".to_owned();
        return Err(LogError::Unusable { place: place.to_owned(), why, source: None });
    };
    check_free(path, place)?;

    let _creating = Creating::start(directory, name);
    let staged = Staged::new(directory, name, identity);
    let cannot_create = format!("no file can be created in {}", directory.display());
    staged.create().map_err(io(cannot_create))?;
    sqlite::create(&staged.path, place, identity)?;
    // SQLite has closed it, and no other process knows this name. It may be opened here.
    let synced = File::open(&staged.path).and_then(|file| file.sync_all());
    synced.map_err(io("the new file cannot be fsynced".to_owned()))?;
    // Unlike renaming, linking never replaces what is there.
    fs::hard_link(&staged.path, path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => already_exists(path, place),
        _ => io("the new file cannot be given its name".to_owned())(error),
    })?;
    drop(staged);
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(io(format!("the directory {} cannot be fsynced", directory.display())))
}

/// The path without links and dots, so that every process has the same names beside it.
pub(super) fn find(path: &Path, place: &str) -> Result<PathBuf, LogError> {
    let why = match fs::metadata(path) {
        Ok(found) if found.is_file() => match fs::canonicalize(path) {
            Ok(path) => return Ok(path),
            Err(error) => ("its path cannot be followed".to_owned(), Some(error.into())),
        },
        Ok(found) if found.is_dir() => {
            ("it is a directory: give the path of the log's file in it".to_owned(), None)
        }
        Ok(_) => ("it is not a file: check the path".to_owned(), None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let hint = "check the path, or create the log with `tipline init`".to_owned();
            return Err(LogError::NotFound { place: place.to_owned(), hint });
        }
        Err(error) => ("it cannot be read: check the permissions".to_owned(), Some(error.into())),
    };
    Err(LogError::Unusable { place: place.to_owned(), why: why.0, source: why.1 })
}

/// How long the write-ahead log of the log at `path` is; 0 if it has none.
pub(super) fn write_ahead_log_length(path: &Path) -> u64 {
    fs::metadata(with_suffix(path, "-wal")).map_or(0, |found| found.len())
}

fn check_free(path: &Path, place: &str) -> Result<(), LogError> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(already_exists(path, place));
    }
    for suffix in ["-wal", "-journal"] {
        let left = with_suffix(path, suffix);
        if fs::symlink_metadata(&left).is_ok() {
            let why = format!(
                "{} is there, but not the file it belongs to: it may hold the newest entries of a log that was moved without it; move it away, or bring the log back",
                left.display()
            );
            return Err(LogError::Unusable { place: place.to_owned(), why, source: None });
        }
    }
    Ok(())
}

fn already_exists(path: &Path, place: &str) -> LogError {
    let what = match Database::open(path, place, Purpose::Reading) {
        Ok(log) => {
            let log = log.identity();
            format!("{} of {}", log.name, contract::describe(log))
        }
        Err(_) => "a file that is not a usable log".to_owned(),
    };
    LogError::AlreadyExists { place: place.to_owned(), what }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Held while a log is being created in a directory, so that nobody removes what is not left over.
struct Creating {
    _shared: Option<File>,
}

impl Creating {
    /// Removes what earlier attempts left, if nobody else is creating a log there. Where the directory
    /// cannot be locked, it stays.
    fn start(directory: &Path, name: &std::ffi::OsStr) -> Self {
        let open = || File::open(directory).ok();
        if let Some(alone) = open().filter(|directory| directory.try_lock().is_ok()) {
            remove_left_over(directory, name);
            drop(alone);
        }
        Self { _shared: open().filter(lock_shared) }
    }
}

fn lock_shared(directory: &File) -> bool {
    for _ in 0..TRIES {
        match directory.try_lock_shared() {
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            locked => return locked.is_ok(),
        }
    }
    false
}

/// None of it was ever a log.
fn remove_left_over(directory: &Path, name: &std::ffi::OsStr) {
    let (Ok(entries), Some(name)) = (fs::read_dir(directory), name.to_str()) else {
        return;
    };
    let staged = format!(".{name}.init-");
    for entry in entries.flatten() {
        let is_left = entry.file_name().to_str().is_some_and(|name| name.starts_with(&staged));
        if is_left && fs::remove_file(entry.path()).is_ok() {
            tracing::info!("removed {}, which an earlier attempt left", entry.path().display());
        }
    }
}

/// A log under a name that nobody else has. Dropping it removes that name.
struct Staged {
    path: PathBuf,
}

impl Staged {
    fn new(directory: &Path, name: &std::ffi::OsStr, identity: &LogIdentity) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut staged = std::ffi::OsString::from(".");
        staged.push(name);
        staged.push(format!(".init-{}-{process}-{count}", identity.lineage));
        Self { path: directory.join(staged) }
    }

    fn create(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&self.path).map(drop)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            // What is left is harmless, and most of these are not there.
            _ = fs::remove_file(with_suffix(&self.path, suffix));
        }
    }
}
