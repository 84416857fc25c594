//! What a batch changes among the files, from before its commit until it is done.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::layout::{Key, Part, Staged};
use super::tree::Tree;
use crate::changes::Changes;
use crate::error::StoreError;

/// Files to be put and removed once the index is committed. What is done is forgotten, so that
/// it resumes where it stopped when there was no space.
#[derive(Debug, Default)]
pub(super) struct PendingInstall {
    /// Index of the entry that each payload came with.
    puts: BTreeMap<Key, u64>,
    /// Heights at which everything is removed that is not put.
    removes: Option<RangeInclusive<u64>>,
    /// Tells of the removals after a crash.
    marker: Option<Staged>,
}

impl PendingInstall {
    /// Of a batch with these changes, which removes the blocks at these heights.
    pub(super) fn new(changes: &Changes, rolled_back: RolledBack) -> Self {
        let marker = rolled_back.clone().map(|heights| Staged::RolledBack { heights });
        let blocks = changes.blocks.values().map(|block| (Key::block(block.height), block.index));
        let proofs = changes.proofs.values().map(|proof| (Key::proof(proof.height), proof.index));
        Self { puts: blocks.chain(proofs).collect(), removes: rolled_back, marker }
    }

    /// The files that it is staged as.
    pub(super) fn staged<'a>(&self, changes: &'a Changes) -> Vec<(Staged, &'a [u8])> {
        let payload = |key: Key| match key.part {
            Part::Block => changes.blocks.get(&key.height).map(|block| block.payload.as_ref()),
            Part::Proof => changes.proofs.get(&key.height).map(|proof| proof.payload.as_ref()),
        };
        let marker = self.marker.clone().map(|marker| (marker, &[][..]));
        let payloads = self.puts.iter().filter_map(|(key, index)| {
            Some((Staged::Payload { key: *key, index: *index }, payload(*key)?))
        });
        marker.into_iter().chain(payloads).collect()
    }

    /// Does what is left to do.
    pub(super) fn run(&mut self, tree: &mut Tree) -> Result<(), StoreError> {
        if let Some(heights) = &self.removes {
            for key in heights.clone().flat_map(|height| [Key::block(height), Key::proof(height)]) {
                if !self.puts.contains_key(&key) {
                    tree.remove(key)?;
                }
            }
            self.removes = None;
        }
        while let Some((key, index)) = self.puts.first_key_value() {
            tree.put(*key, *index)?;
            self.puts.pop_first();
        }
        if let Some(marker) = &self.marker {
            tree.flush_epochs()?;
            tree.remove_staged(marker)?;
            self.marker = None;
        }
        Ok(())
    }
}

/// Heights of the blocks that are removed, if any.
pub(super) type RolledBack = Option<RangeInclusive<u64>>;
