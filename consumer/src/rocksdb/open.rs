//! Opening: what is there is looked at before anything is changed.

use std::fs::{self, DirBuilder, File};
use std::path::{Path, PathBuf};

use rocksdb::DB;

use super::families;
use super::fault::{fault, is_locked};
use super::marker::{self, Found, Marker, unusable};
use super::scratch::{Scratch, private};
use crate::store::StoreError;

/// A store's directory, opened for writing.
pub(super) struct Opened {
    pub(super) place: String,
    pub(super) path: PathBuf,
    pub(super) db: DB,
    pub(super) marker: Marker,
}

/// The store, for people.
pub(super) fn place(path: &Path) -> String {
    format!("rocksdb:{}", path.display())
}

/// Opens the directory for the one writer; makes it if there is none.
pub(super) fn for_writing(path: &Path) -> Result<Opened, StoreError> {
    let place = place(path);
    let denied = |e| unusable(&place, "it cannot be written: check the permissions", Some(e));
    if marker::look(path, &place)? == Found::Nothing {
        if !path.exists() {
            make(path, &place)?;
        }
        Marker::make(path).map_err(denied)?;
    }
    let path = fs::canonicalize(path).map_err(denied)?;
    let marker = Marker::lock(&path).map_err(denied)?;
    let marker = marker.ok_or_else(|| StoreError::InUse { place: place.clone() })?;
    let db = database(&path, &place)?;
    Ok(Opened { place, path, db, marker })
}

/// Opens the database itself.
pub(super) fn database(path: &Path, place: &str) -> Result<DB, StoreError> {
    let mut options = families::database();
    options.create_if_missing(true);
    DB::open_cf_descriptors(&options, path, families::descriptors()).map_err(|e| {
        if is_locked(&e) {
            return StoreError::InUse { place: place.to_owned() };
        }
        fault(place, "opening the database", e)
    })
}

/// A second, reading instance of a database that this or another process writes to. It writes
/// what it must into a directory of its own.
pub(super) fn for_reading(path: &Path, place: &str) -> Result<(DB, Scratch), StoreError> {
    if !path.is_dir() {
        return Err(unusable(place, "there is no such directory: check the path", None));
    }
    if marker::look(path, place)? == Found::Nothing {
        let why = "it is empty: let a replica or a backup write it first";
        return Err(unusable(place, why, None));
    }
    let scratch = Scratch::new()
        .map_err(|e| unusable(place, "no temporary directory can be made", Some(e)))?;
    let mut options = families::database();
    // Such an instance must hold all files open, because the writer may delete them.
    options.set_max_open_files(-1);
    let families = families::descriptors();
    let db = DB::open_cf_descriptors_as_secondary(&options, path, scratch.path(), families)
        .map_err(|e| fault(place, "opening the database for reading", e))?;
    Ok((db, scratch))
}

fn make(path: &Path, place: &str) -> Result<(), StoreError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(unusable(place, "its directory is not there: make it first", None));
    }
    let made =
        private(&mut DirBuilder::new()).create(path).and_then(|()| File::open(parent)?.sync_all());
    made.map_err(|e| unusable(place, "it cannot be made: check the permissions", Some(e)))
}
