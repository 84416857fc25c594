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
use crate::sqlite::SqliteStore;

/// Puts the files of a store as its index says. What is left in `staging` then, of ours, counts for
/// nothing, and is to be cleared away.
pub(super) fn recover(tree: &mut Tree, reader: &FileReader) -> Result<Vec<Staged>, StoreError> {
    let mut left = vec![];
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
        left.push(staged);
    }
    tree.flush_epochs()?;
    tree.flush_directory(&tree.layout().staging())?;
    Ok(left)
}

/// Clears it away. Its batch may be in the index for whoever reads that after a crash, if its commit
/// failed: so the index is settled first, for which there must be space.
pub(super) fn clear(
    tree: &Tree,
    index: &mut SqliteStore,
    left: &mut Vec<Staged>,
) -> Result<(), StoreError> {
    if left.is_empty() {
        return Ok(());
    }
    index.settle()?;
    for staged in &*left {
        tree.remove_staged(staged)?;
    }
    tree.flush_directory(&tree.layout().staging())?;
    left.clear();
    Ok(())
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
