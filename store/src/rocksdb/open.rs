//! Opening: what is there is inspected before anything is changed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rocksdb::{
    Cache, ColumnFamilyDescriptor, DBRecoveryMode, Error, ErrorKind, Options, WriteOptions,
};

use super::copy::clear;
use super::error::{is_denied, is_locked, store_error};
use super::families::{DEFAULT, FAMILIES, Family};
use super::inspect::{Contents, inspect};
use super::lock::DirectoryLock;
use super::view::Db;
use crate::disk::{make_directory, parent};
use crate::error::StoreError;

/// Blocks of table files, with their indexes and filters, that stay in memory.
const CACHE_BYTES: usize = 32 << 20;
/// Rows that are in the log only, of all families together, before some are written to files.
const BUFFER_BYTES: usize = 96 << 20;
/// The write-ahead log, before rows are written to files so that its beginning can go. To open
/// the store is to read it.
pub(super) const LOG_BYTES: u64 = 64 << 20;
/// Table and blob files that are open at once.
const OPEN_FILES: i32 = 512;
/// The manifest is written anew, whole, each time that it changes, and `CURRENT` names it only then.
/// One that is added to may be left with a record that is there in part, by a power cut or a failed
/// fsync, and RocksDB opens no directory whose manifest is so. RocksDB 10 does it from a size on,
/// RocksDB 11 from a growth on.
const MANIFEST_BYTES: usize = 1;
const MANIFEST_GROWTH: &str = "max_manifest_space_amp_pct=0";
/// After a write that found no space RocksDB goes on by itself once as much is free as the family with
/// the largest buffer may take. That is never: it is opened again instead. The refused write may be
/// whole in the log and in no family's memory; going on in a new log, families with nothing in
/// memory would need the old one no more, and a crash would leave the write in some of them alone.
const NEVER_FREE_BYTES: usize = 1 << 60;
/// What RocksDB writes about itself, human-readable: the newest files and their size.
const INFO_FILES: usize = 4;
const INFO_BYTES: usize = 4 << 20;
/// Files are carried to the medium while they are written, not all at their end.
const SYNC_BYTES: u64 = 1 << 20;

/// Takes the directory for the one writer; makes it if there is none. Its path by its one name.
pub(super) fn acquire(path: &Path, place: &str) -> Result<(PathBuf, DirectoryLock), StoreError> {
    let path = make(path, place)?;
    match DirectoryLock::acquire(&path) {
        Some(lock) => Ok((path, lock)),
        None => Err(StoreError::InUse { place: place.to_owned() }),
    }
}

/// Opens the directory for the one writer, who has taken it.
pub(super) fn for_writing(path: &Path, place: &str, log_bytes: u64) -> Result<Db, StoreError> {
    let found = inspect(path, place)?;
    clear(path).map_err(|e| {
        let why = "a copy of it that was not finished cannot be removed: check the permissions";
        StoreError::unusable(place, why, Some(Box::new(e)))
    })?;
    let mut options = options().map_err(|e| opening(place, "setting its options", e))?;
    options.set_max_total_wal_size(log_bytes);
    if found == Contents::Torn {
        // While families are added to it, the list is not written anew each time. It has nothing else.
        remove_torn(path).map_err(|e| {
            let why = "what is left of an attempt to make it cannot be removed: remove the \
                directory, there is nothing in it";
            StoreError::unusable(place, why, Some(Box::new(e)))
        })?;
    }
    if found != Contents::Store {
        make_private(path).map_err(|e| {
            let why = "its permissions cannot be set: use a directory of your own";
            StoreError::unusable(place, why, Some(Box::new(e)))
        })?;
        options.create_if_missing(true);
        options.create_missing_column_families(true);
    }
    // The marker is made last, and by itself: whatever has it is whole.
    let (marker, others) = (Family::Store, &FAMILIES[1..]);
    let marked = if found == Contents::Store { &[marker][..] } else { &[] };
    let cache = Cache::new_lru_cache(CACHE_BYTES);
    let families = marked.iter().chain(others).map(|family| family.descriptor(&cache));
    let families: Vec<_> = families.chain([default_family()]).collect();
    let fail = |what: &str, error: Error| match is_locked(&error) {
        true => StoreError::InUse { place: place.to_owned() },
        false => opening(place, what, error),
    };
    let mut db = Db::open_cf_descriptors(&options, path, families)
        .map_err(|e| fail("opening the directory", e))?;
    if found != Contents::Store {
        let descriptor = marker.options(&cache);
        db.create_cf(marker.name(), &descriptor).map_err(|e| fail("making the families", e))?;
    }
    Ok(db)
}

/// Opens the directory as it is now, for reading, beside the writer. RocksDB writes
/// nothing then, and takes no lock.
pub(super) fn for_reading(path: &Path, place: &str) -> Result<Db, StoreError> {
    if inspect(path, place)? != Contents::Store {
        let why = "it is empty: let a replica or a backup write it first";
        return Err(StoreError::unusable(place, why, None));
    }
    let cache = Cache::new_lru_cache(CACHE_BYTES);
    let families = FAMILIES.iter().map(|family| family.descriptor(&cache));
    let families = families.chain([default_family()]);
    options()
        .and_then(|options| Db::open_cf_descriptors_read_only(&options, path, families, false))
        .map_err(|e| opening(place, "opening the directory", e))
}

/// The store, human-readable.
pub(super) fn place(path: &Path) -> String {
    format!("rocksdb:{}", path.display())
}

/// A write that is on the medium when it returns, and that never waits inside RocksDB, where
/// it could not tell that files cannot be written.
pub(super) fn durable() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options.set_no_slowdown(true);
    options
}

/// The family that nothing is in.
pub(super) fn default_family() -> ColumnFamilyDescriptor {
    let mut options = Options::default();
    options.set_write_buffer_size(NEVER_FREE_BYTES);
    ColumnFamilyDescriptor::new(DEFAULT, options)
}

/// How the directory is opened.
///
/// # Errors
/// RocksDB does not know one of them.
pub(super) fn options() -> Result<Options, Error> {
    let mut options = Options::default().get_options_from_string(MANIFEST_GROWTH)?;
    options.set_paranoid_checks(true);
    // A write that a crash cut off is left out with everything after it. The log of the writes must be
    // there, all of it, and may not be shorter than it was.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);
    // All families are carried into files together. After a write that found no space the log has a
    // torn end; with some families in files and others in that log, a power cut would leave what
    // RocksDB refuses to open.
    options.set_atomic_flush(true);
    options.set_db_write_buffer_size(BUFFER_BYTES);
    options.set_max_open_files(OPEN_FILES);
    options.set_max_background_jobs(2);
    options.set_max_manifest_file_size(MANIFEST_BYTES);
    options.set_bytes_per_sync(SYNC_BYTES);
    options.set_keep_log_file_num(INFO_FILES);
    options.set_max_log_file_size(INFO_BYTES);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_skip_stats_update_on_db_open(true);
    Ok(options)
}

/// The binding has it from 0.25 on, with RocksDB 11, and then this is not called: a method of the
/// type comes before one of a trait.
trait OptionsOfRocksDb10: Sized {
    #[allow(dead_code, reason = "the oldest binding that is allowed needs it")]
    fn get_options_from_string(&mut self, options: &str) -> Result<Options, Error>;
}

impl OptionsOfRocksDb10 for Options {
    /// RocksDB 10 has no such option.
    fn get_options_from_string(&mut self, _options: &str) -> Result<Options, Error> {
        Ok(self.clone())
    }
}

/// The directory, by its one name; makes it, for its owner only, if there is none. Its name is
/// made durable in any case: whoever made it may have been killed before.
fn make(path: &Path, place: &str) -> Result<PathBuf, StoreError> {
    if path.exists() && !path.is_dir() {
        let why = "it is a file: give the path of a directory";
        return Err(StoreError::unusable(place, why, None));
    }
    let parent = File::open(parent(path)).map_err(|e| {
        let why = "the directory that it is to be in cannot be opened: make it first";
        StoreError::unusable(place, why, Some(Box::new(e)))
    })?;
    make_directory(path).and_then(|()| parent.sync_all()).map_err(|e| {
        let why = "the directory cannot be made: check the permissions";
        StoreError::unusable(place, why, Some(Box::new(e)))
    })?;
    resolve(path, place)
}

/// One name for one directory. RocksDB takes text only.
pub(super) fn resolve(path: &Path, place: &str) -> Result<PathBuf, StoreError> {
    let path = fs::canonicalize(path).map_err(|e| {
        StoreError::unusable(place, "there is no such directory: check the path", Some(Box::new(e)))
    })?;
    if !path.is_dir() {
        return Err(StoreError::unusable(
            place,
            "it is a file: give the path of a directory",
            None,
        ));
    }
    if path.to_str().is_none() {
        return Err(StoreError::unusable(
            place,
            "its path is not UTF-8: give it another one",
            None,
        ));
    }
    Ok(path)
}

/// RocksDB's files have no permissions of their own: those of the directory count.
fn make_private(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    }
    #[cfg(not(unix))]
    let _ = directory;
    Ok(())
}

/// Removes what keeps RocksDB from making a directory anew. It has no rows.
fn remove_torn(directory: &Path) -> io::Result<()> {
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            fs::remove_file(path)?;
        }
    }
    // Last: without it nobody can tell any more what this was.
    fs::remove_file(directory.join("CURRENT"))
}

/// An error while opening: most often it is not a store at all, or cannot be written.
fn opening(place: &str, what: &str, error: Error) -> StoreError {
    if is_denied(&error) {
        let why = "it cannot be opened: check the permissions";
        return StoreError::unusable(place, why, Some(Box::new(error)));
    }
    if error.kind() == ErrorKind::InvalidArgument || error.kind() == ErrorKind::NotSupported {
        let why = "RocksDB does not open it: look at the reason, or give another path";
        return StoreError::unusable(place, why, Some(Box::new(error)));
    }
    store_error(place, what, error)
}
