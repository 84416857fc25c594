//! The file that says that a directory is a store, in which version, and who writes to it.
//!
//! It is there before RocksDB makes anything, so that nothing has to be opened, and so changed,
//! to find out what a directory is.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;

use crate::store::StoreError;

const NAME: &str = "TIPLINE";
/// It becomes the marker when it is whole.
const TEMPORARY: &str = "TIPLINE.tmp";
const WORDS: &str = "tipline store, version ";
const VERSION: u32 = 1;

/// What a directory is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing is there, or nothing is in it.
    Nothing,
    /// A store of this version.
    Store,
}

/// The marker, locked until it is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Marker {
    file: File,
}

/// Looks at a directory without changing it.
pub(super) fn look(path: &Path, place: &str) -> Result<Found, StoreError> {
    let unusable = |why: &str| unusable(place, why, None);
    let unreadable =
        |e: io::Error| self::unusable(place, "it cannot be read: check the permissions", Some(e));
    if path.is_file() {
        return Err(unusable("it is a file: give the path of a directory"));
    }
    match fs::read_to_string(path.join(NAME)) {
        Ok(text) => check_version(text.trim_end(), place),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(unreadable(e)),
        Err(_) if !path.exists() => Ok(Found::Nothing),
        Err(_) => {
            for file in fs::read_dir(path).map_err(unreadable)? {
                if file.map_err(unreadable)?.file_name() != TEMPORARY {
                    let why = "the directory has something else in it: give an empty or a new one";
                    return Err(unusable(why));
                }
            }
            Ok(Found::Nothing)
        }
    }
}

fn check_version(text: &str, place: &str) -> Result<Found, StoreError> {
    match text.strip_prefix(WORDS).map(str::parse::<u32>) {
        Some(Ok(VERSION)) => Ok(Found::Store),
        Some(Ok(version)) => {
            let why = format!(
                "its format has version {version}, this program knows version {VERSION}: use the program that wrote it, or a newer one"
            );
            Err(unusable(place, &why, None))
        }
        _ => {
            let why = format!("its file {NAME} is not one of Tipline: give another path");
            Err(unusable(place, &why, None))
        }
    }
}

impl Marker {
    /// Makes a directory a store, durably.
    pub(super) fn make(path: &Path) -> io::Result<()> {
        let temporary = path.join(TEMPORARY);
        let mut file = File::create(&temporary)?;
        file.write_all(format!("{WORDS}{VERSION}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(temporary, path.join(NAME))?;
        File::open(path)?.sync_all()
    }

    /// Takes the one writer's lock; `None` if someone else has it.
    pub(super) fn lock(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).append(true).open(path.join(NAME))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Explicitly: a process that is being started has a copy of the handle for a moment.
impl Drop for Marker {
    fn drop(&mut self) {
        // If it fails, closing the file lets go of it as well.
        drop(self.file.unlock());
    }
}

pub(super) fn unusable(place: &str, why: &str, source: Option<io::Error>) -> StoreError {
    let source = source.map(|e| Box::new(e) as Box<_>);
    StoreError::Unusable { place: place.to_owned(), why: why.to_owned(), source }
}
