//! Finishing what a crash left undone: the index says what is committed, `staging` what of it may
//! not have been done.
//!
//! All of it may be done any number of times, and stopped anywhere. Nothing is removed from
//! `staging` before what it stands for is durable.

use std::fs;

use super::layout::{Key, Staged};
use super::read::FileReader;
use super::tree::Tree;
use crate::disk::failed;
use crate::error::StoreError;
use crate::reader::ChainView;

/// Puts the files of a store as its index says.
pub(super) fn recover(tree: &mut Tree, reader: &FileReader) -> Result<(), StoreError> {
    let mut done = vec![];
    for staged in list(tree, reader)? {
        match &staged {
            Staged::Payload { key, index } if reader.index_of(*key)? == Some(*index) => {
                tree.put(*key, *index)?;
                continue;
            }
            Staged::RolledBack { heights } => {
                for height in heights.clone() {
                    remove_orphan(tree, reader, Key::block(height))?;
                    remove_orphan(tree, reader, Key::proof(height))?;
                }
            }
            // Of a batch that was not committed, or of a snapshot that is gone.
            Staged::Payload { .. } | Staged::Retained { .. } => {}
        }
        done.push(staged);
    }
    tree.flush_epochs()?;
    for staged in &done {
        tree.remove_staged(staged)?;
    }
    tree.flush_directory(&tree.layout().staging())
}

/// Removes a payload that the index does not have. Before the commit there is none.
fn remove_orphan(tree: &mut Tree, reader: &FileReader, key: Key) -> Result<(), StoreError> {
    match reader.index_of(key)? {
        None => tree.remove(key),
        Some(_) => Ok(()),
    }
}

/// Ours among the files in `staging`: of one or two batches, however large the store is.
fn list(tree: &Tree, reader: &FileReader) -> Result<Vec<Staged>, StoreError> {
    let staging = tree.layout().staging();
    let failed = |e| failed(&reader.place(), "listing staging", e);
    let mut found = vec![];
    for file in fs::read_dir(&staging).map_err(failed)? {
        let name = file.map_err(failed)?.file_name();
        found.extend(name.to_str().and_then(Staged::from_name));
    }
    Ok(found)
}
