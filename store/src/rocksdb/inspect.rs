//! What is in a directory, found out without changing anything in it.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use rocksdb::{IteratorMode, Options};

use super::families::{DEFAULT, FAMILIES, Family, MARKER, VERSION};
use super::view::Db;
use crate::disk::listing;
use crate::error::StoreError;

/// What a directory is that can be a store.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// Nothing yet, or what is left of an attempt to make a store that did not end.
    Nothing,
    /// Likewise, and its list of files is not whole.
    Torn,
    Store,
}

/// Looks at a directory. It is not changed.
///
/// # Errors
/// [`StoreError::Unusable`] if it is anything else.
pub(super) fn inspect(directory: &Path, place: &str) -> Result<Contents, StoreError> {
    let names = names(directory).map_err(|e| match e.kind() {
        io::ErrorKind::PermissionDenied => StoreError::unusable(
            place,
            "the directory cannot be read: check the permissions",
            Some(Box::new(e)),
        ),
        _ => listing(place, "listing it", e),
    })?;
    if !names.contains("CURRENT") {
        let why = "the directory is not empty, and is not a store: give another path";
        let is_begun = names.iter().all(|name| is_of_the_beginning(name));
        return if is_begun {
            Ok(Contents::Nothing)
        } else {
            Err(StoreError::unusable(place, why, None))
        };
    }
    let families = match Db::list_cf(&Options::default(), directory) {
        Ok(families) => families,
        Err(_) if names.iter().all(|name| has_no_rows(directory, name)) => {
            return Ok(Contents::Torn);
        }
        Err(e) => {
            let why = "it is not a RocksDB directory, or its manifest is damaged: give another \
                path, or restore it from another copy";
            return Err(StoreError::unusable(place, why, Some(Box::new(e))));
        }
    };
    let versions: Vec<_> =
        families.iter().filter_map(|family| family.strip_prefix(MARKER)).collect();
    match versions[..] {
        [VERSION] => check_families(&families, place).map(|()| Contents::Store),
        [] if is_only_begun(directory, &families) => Ok(Contents::Nothing),
        [] => {
            let why = "it is a RocksDB directory, but not a store of Tipline: give another path";
            Err(StoreError::unusable(place, why, None))
        }
        _ => {
            let why = format!(
                "its format has version {}, this program knows version {VERSION}: use the program that wrote it, or a newer one",
                versions.join(" and ")
            );
            Err(StoreError::unusable(place, &why, None))
        }
    }
}

fn names(directory: &Path) -> io::Result<BTreeSet<String>> {
    let name = |entry: io::Result<fs::DirEntry>| {
        entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    let mut names = fs::read_dir(directory)?.map(name).collect::<io::Result<BTreeSet<_>>>()?;
    // The system makes it in the root of a volume.
    names.remove("lost+found");
    Ok(names)
}

/// Files that RocksDB makes before a directory is its own.
fn is_of_the_beginning(name: &str) -> bool {
    let begins = |start: &&str| name.starts_with(start);
    ["LOCK", "IDENTITY", "LOG", "MANIFEST-"].iter().any(begins) || name.ends_with(".dbtmp")
}

/// A file that RocksDB makes before it is given anything to keep.
fn has_no_rows(directory: &Path, name: &str) -> bool {
    let is_empty = || fs::metadata(directory.join(name)).is_ok_and(|found| found.len() == 0);
    let is_frame = name == "CURRENT" || name.starts_with("OPTIONS-") || is_of_the_beginning(name);
    is_frame || (name.ends_with(".log") && is_empty())
}

/// Some of a store's families, and nothing in them: it was not made to the end.
fn is_only_begun(directory: &Path, families: &[String]) -> bool {
    let is_own = |name: &String| name == DEFAULT || FAMILIES.iter().any(|own| own.name() == name);
    if !families.iter().all(is_own) {
        return false;
    }
    // Without it RocksDB 11 crashes where logs are tracked: it notes that they are not any more, and has
    // nowhere to note it.
    let mut options = Options::default();
    options.set_track_and_verify_wals_in_manifest(true);
    let Ok(db) = Db::open_cf_for_read_only(&options, directory, families, false) else {
        return false;
    };
    families.iter().filter_map(|name| db.cf_handle(name)).all(|family| {
        // An error is a row that cannot be read.
        db.iterator_cf(family, IteratorMode::Start).next().is_none()
    })
}

/// The marker is made last: where it is, there is everything.
fn check_families(families: &[String], place: &str) -> Result<(), StoreError> {
    let is_there = |family: &&Family| families.iter().any(|name| name == family.name());
    if let Some(missing) = FAMILIES.iter().find(|family| !is_there(family)) {
        let at = format!("the column family {}: it is missing", missing.name());
        return Err(StoreError::Corrupt { place: place.to_owned(), at, source: None });
    }
    if families.len() > FAMILIES.len() + 1 {
        let why = "it has column families that are not of a store: find out who made them";
        return Err(StoreError::unusable(place, why, None));
    }
    Ok(())
}
