//! Finishing what a crash left undone: the index says what is committed, `staging` what of it may
//! not have been done.
//!
//! All of it may be done any number of times, and stopped anywhere. Nothing is removed from
//! `staging` before what it stands for is durable.

use std::ops::RangeInclusive;

use super::layout::{Key, Layout, Staged};
use super::read::FileReader;
use super::tree::Tree;
use crate::error::StoreError;

/// Puts the files of a store as its index says.
pub(super) fn recover(tree: &mut Tree, reader: &FileReader) -> Result<(), StoreError> {
    let mut done = vec![];
    // Of one or two batches, however large the store is.
    let names = tree.names(&tree.layout().staging())?;
    for staged in names.iter().filter_map(|name| Staged::from_name(name)) {
        match &staged {
            Staged::Payload { key, index } if reader.index_of(*key)? == Some(*index) => {
                tree.put(*key, *index)?;
                continue;
            }
            Staged::RolledBack { heights } => {
                for key in placed(tree, heights)? {
                    remove_orphan(tree, reader, key)?;
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

/// The payloads at these heights that are in place, by their names: however many heights a marker
/// names, it is about those that are there.
fn placed(tree: &Tree, heights: &RangeInclusive<u64>) -> Result<Vec<Key>, StoreError> {
    let epochs = Key::block(*heights.start()).epoch()..=Key::block(*heights.end()).epoch();
    let mut found = vec![];
    for name in tree.names(&tree.layout().blocks())? {
        let epoch = Layout::epoch_of(&name).filter(|epoch| epochs.contains(epoch));
        let Some(epoch) = epoch.map(|epoch| tree.layout().epoch(epoch)) else { continue };
        let keys = tree.names(&epoch)?.into_iter().filter_map(|name| Key::from_name(&name));
        found.extend(keys.filter(|key| heights.contains(&key.height)));
    }
    Ok(found)
}
