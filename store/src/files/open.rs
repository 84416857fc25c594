//! Opening: what is there is inspected before anything is changed.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::layout::{INDEX, Layout, Staged};
use super::read::{FileReader, ROLE, place};
use super::recover::{clear, recover};
use super::tree::Tree;
use crate::disk::{make_directory, parent, sync_directory};
use crate::error::StoreError;
use crate::reader::ChainView;
use crate::sqlite::SqliteStore;

/// What may be in a directory in which a store is made: what is left of an attempt to make one
/// before there was anything in it, and what file systems have.
const NOTHING: [&str; 2] = ["index.db.lock", "lost+found"];

/// A store's directory, opened for writing.
pub(super) struct Opened {
    pub(super) place: String,
    pub(super) index: SqliteStore,
    pub(super) tree: Tree,
    pub(super) reader: FileReader,
    /// What an earlier writer left, and is not cleared away yet.
    pub(super) left: Vec<Staged>,
}

/// Opens the directory for the one writer; makes it if there is none.
pub(super) fn for_writing(directory: &Path) -> Result<Opened, StoreError> {
    let place = place(directory);
    let refuse = |why: &str, e: io::Error| StoreError::unusable(&place, why, Some(Box::new(e)));
    if directory.is_file() {
        return Err(StoreError::unusable(&place, "it is a file: give a directory", None));
    }
    make(directory).map_err(|e| {
        refuse("its directory cannot be made: make the one above it, check the permissions", e)
    })?;
    // One name for one directory, so that two writers meet at one lock.
    let root = fs::canonicalize(directory)
        .map_err(|e| refuse("its directory cannot be opened: check the permissions", e))?;
    check_for_writing(&root, &place)?;
    let layout = Layout::new(root);
    let mut index = SqliteStore::open_as(&layout.index(), place.clone(), ROLE)?;
    let reader = FileReader::connect(layout.clone(), place.clone())?;
    if !layout.blocks().is_dir() && reader.heights()?.is_some() {
        let at = layout.relative(&layout.blocks()).to_string();
        let missing = io::Error::from(ErrorKind::NotFound);
        return Err(StoreError::Corrupt { place, at, source: Some(Box::new(missing)) });
    }
    make_directories(&layout)
        .map_err(|e| refuse("its directories cannot be made: check the permissions", e))?;
    let mut tree = Tree::new(place.clone(), layout)?;
    let mut left = recover(&mut tree, &reader)?;
    match clear(&tree, &mut index, &mut left) {
        // It is cleared away when there is space for that.
        Err(error) if !error.is_retryable() => Err(error),
        _ => Ok(Opened { place, index, tree, reader, left }),
    }
}

/// Makes the store's own directory if there is none. Its name is made durable in any case:
/// whoever made it may have been killed before.
fn make(directory: &Path) -> io::Result<()> {
    if !directory.is_dir() {
        make_directory(directory)?;
    }
    sync_directory(parent(directory))
}

/// A directory is a store or empty. Of everything else the files are somebody's.
fn check_for_writing(directory: &Path, place: &str) -> Result<(), StoreError> {
    if directory.join(INDEX).exists() {
        return Ok(());
    }
    let failed = |e| {
        StoreError::unusable(place, "it cannot be listed: check the permissions", Some(Box::new(e)))
    };
    for file in fs::read_dir(directory).map_err(failed)? {
        let name = file.map_err(failed)?.file_name();
        if !NOTHING.iter().any(|nothing| name == *nothing) {
            let why = format!(
                "it has no index.db and is not empty, {} is in it: give an empty directory, or a new one",
                name.display()
            );
            return Err(StoreError::unusable(place, &why, None));
        }
    }
    Ok(())
}

fn make_directories(layout: &Layout) -> io::Result<()> {
    make_directory(&layout.blocks())?;
    make_directory(&layout.staging())?;
    sync_directory(layout.root())
}
