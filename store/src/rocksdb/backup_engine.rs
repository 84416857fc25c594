//! A copy of a moment of the directory by RocksDB's backup engine, which keeps a file of rows
//! once, for all copies that have it.
//!
//! ```text
//! <engine>/shared_checksum/<number>_<whose>_<bytes>.sst   files of rows and of payloads
//! <engine>/private/<copy>/…                               what only one copy has
//! <engine>/meta/<copy>                                    its files, by their names here
//! ```

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, io, thread};

use rocksdb::backup::{BackupEngine, BackupEngineOptions};
use rocksdb::{Cache, ColumnFamilyDescriptor, Env, Error};

use super::copy::{is_of_rows, link_or_copy};
use super::families::FAMILIES;
use super::open::{default_family, options};

use super::view::Db;
use crate::snapshot::{Copied, SharedCopy, SharedFile, Throttle};

/// Folder of what several copies may have.
const SHARED: &str = "shared_checksum";
/// What is read of tables while they are copied.
const CACHE_BYTES: usize = 1 << 20;
/// How often it looks how far the engine is, and whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Why it was not copied.
pub(super) enum ShareError {
    /// RocksDB said so.
    Engine(Error),
    /// A file could not be read or written.
    File(io::Error),
}

impl From<io::Error> for ShareError {
    fn from(error: io::Error) -> Self {
        ShareError::File(error)
    }
}

impl From<Error> for ShareError {
    fn from(error: Error) -> Self {
        ShareError::Engine(error)
    }
}

/// Copies the store in `from`, which nobody else has open and which is given up by it. `into` is
/// a whole store afterwards; those of its files that are shared are links to files of the engine.
pub(super) fn share(
    from: &Path,
    engine: &Path,
    into: &Path,
    pace: &dyn Throttle,
) -> Result<SharedCopy, ShareError> {
    let cancelled = || SharedCopy { copied: Copied::Cancelled, copy: 0, files: vec![] };
    fs::create_dir_all(engine)?;
    if pace.moved(0).is_break() {
        return Ok(cancelled());
    }
    let Some(copy) = back_up(from, engine, pace)? else { return Ok(cancelled()) };
    let mut files = Vec::new();
    for object in objects(&engine.join("meta").join(copy.to_string()))? {
        let (source, name) = (engine.join(&object), name_in_store(&object));
        let to = into.join(&name);
        if object.starts_with(SHARED) {
            fs::hard_link(&source, &to)?;
            files.push(SharedFile { name, object });
        } else if link_or_copy(&source, &to, pace)?.is_break() {
            return Ok(cancelled());
        }
    }
    Ok(SharedCopy { copied: Copied::Whole, copy, files })
}

/// Has the engine copy, and follows it by what its folder takes. `None`: it was cancelled.
///
/// The engine cannot be told to stop or to slow down through its binding. But it opens a file of
/// the store when its turn comes: once these are gone it fails at the next one.
fn back_up(from: &Path, engine: &Path, pace: &dyn Throttle) -> Result<Option<u32>, ShareError> {
    thread::scope(|scope| {
        let (running, ended) = mpsc::sync_channel::<()>(0);
        let copying = scope.spawn(move || {
            let _running = running;
            run(from, engine)
        });
        let followed = follow(from, engine, pace, &ended);
        // A panic of the engine's thread is one of this thread.
        let copied = copying.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match followed? {
            ControlFlow::Break(()) => Ok(None),
            ControlFlow::Continue(()) => copied.map(Some),
        }
    })
}

/// Until `ended` is hung up. Breaks if it had the engine stop.
fn follow(
    from: &Path,
    engine: &Path,
    pace: &dyn Throttle,
    ended: &mpsc::Receiver<()>,
) -> io::Result<ControlFlow<()>> {
    let mut seen = held(engine)?;
    loop {
        let is_running = ended.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout);
        let now = held(engine)?;
        if pace.moved(now.saturating_sub(seen)).is_break() {
            withdraw(from)?;
            return Ok(ControlFlow::Break(()));
        }
        seen = now;
        if !is_running {
            return Ok(ControlFlow::Continue(()));
        }
    }
}

/// Bytes of the shared files that the engine has, or is writing.
fn held(engine: &Path) -> io::Result<u64> {
    let files = match fs::read_dir(engine.join(SHARED)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        files => files?,
    };
    let length = |file: io::Result<fs::DirEntry>| match file?.metadata() {
        // It has got its name meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        found => Ok(found?.len()),
    };
    files.map(length).sum()
}

/// Removes the files of rows and of payloads: links to those of the store, which keeps its own.
fn withdraw(from: &Path) -> io::Result<()> {
    for file in fs::read_dir(from)? {
        let path = file?.path();
        if is_of_rows(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// RocksDB fsyncs all that it writes.
fn run(from: &Path, engine: &Path) -> Result<u32, ShareError> {
    let cache = Cache::new_lru_cache(CACHE_BYTES);
    let quiet = |family: &super::families::Family| {
        let mut options = family.options(&cache);
        // Its files are to stay those of the store.
        options.set_disable_auto_compactions(true);
        ColumnFamilyDescriptor::new(family.name(), options)
    };
    let families = FAMILIES.iter().map(quiet).chain([default_family()]);
    let db = Db::open_cf_descriptors(&options()?, from, families)?;
    let mut engine = BackupEngine::open(&BackupEngineOptions::new(engine)?, &Env::new()?)?;
    engine.create_new_backup_flush(&db, false)?;
    let newest = engine.get_backup_info().into_iter().map(|info| info.backup_id).max();
    Ok(newest.unwrap_or(0))
}

/// The files that a copy is of, as the engine wrote them down: a line each, after some others.
fn objects(meta: &Path) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(meta)?;
    let object = |line: &str| {
        let object = line.split(' ').next()?;
        let is_file = ["shared/", "shared_checksum/", "private/"];
        is_file.iter().any(|folder| object.starts_with(folder)).then(|| object.to_owned())
    };
    let objects: Vec<String> = text.lines().filter_map(object).collect();
    if objects.is_empty() {
        Err(io::Error::new(io::ErrorKind::InvalidData, "the engine's list has no files"))
    } else {
        Ok(objects)
    }
}

/// `000012.sst` of `shared_checksum/000012_sABCDEF_1234.sst`.
fn name_in_store(object: &str) -> String {
    let name = object.rsplit('/').next().unwrap_or(object);
    if !object.starts_with(SHARED) {
        return name.to_owned();
    }
    match (name.split_once('_'), name.rsplit_once('.')) {
        (Some((number, _)), Some((_, extension))) => format!("{number}.{extension}"),
        _ => name.to_owned(),
    }
}

/// Bytes that the engine would have to copy: of files that it has none of that number and length.
pub(super) fn new_bytes(files: &[(std::path::PathBuf, u64)], engine: &Path) -> io::Result<u64> {
    let there: Vec<String> = match fs::read_dir(engine.join(SHARED)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        found => found?
            .map(|file| Ok(file?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()?,
    };
    let is_there = |path: &Path, bytes: u64| {
        let number = path.file_stem().map(|stem| format!("{}_", stem.to_string_lossy()));
        number.is_some_and(|number| {
            let end = format!("_{bytes}.");
            there.iter().any(|name| name.starts_with(&number) && name.contains(&end))
        })
    };
    Ok(files.iter().filter(|(path, bytes)| !is_there(path, *bytes)).map(|(_, bytes)| bytes).sum())
}
