//! Against the vectors of the specifications, and against verifiers that others wrote.

mod cosignatures;
mod foreign;
mod notes;
mod proofs;
mod witnessing;

use std::collections::BTreeMap;

use super::{BadProof, Tile, Tree, leaf_hash};

/// The tiles of a tree, as a directory would have them.
#[derive(Debug, Default)]
pub(super) struct Tiles {
    tiles: BTreeMap<Tile, Vec<u8>>,
}

impl Tiles {
    pub(super) fn append(&mut self, tree: &mut Tree, leaf: &[u8]) {
        tree.append(leaf_hash(leaf), |tile, bytes| {
            assert!(tile.is_full() && self.tiles.insert(tile, bytes).is_none(), "{tile:?}");
        });
    }

    /// As an archive would publish them for a checkpoint.
    pub(super) fn publish(&mut self, tree: &Tree) {
        self.tiles.extend(tree.partial());
    }

    pub(super) fn read(&self, tile: &Tile) -> Result<Vec<u8>, BadProof> {
        let found = self.tiles.get(tile).cloned();
        // A partial tile may be gone once the full one is there.
        let width = usize::from(tile.width) * 32;
        let full = || self.tiles.get(&tile.full()).map(|bytes| bytes[..width].to_vec());
        Ok(found.or_else(full).unwrap_or_else(|| panic!("nobody wrote {}", tile.path())))
    }
}

/// A tree of this many leaves, each its own number, with its tiles.
pub(super) fn grown(size: u64) -> (Tree, Tiles) {
    let (mut tree, mut tiles) = (Tree::new(), Tiles::default());
    (0..size).for_each(|number| tiles.append(&mut tree, &leaf(number)));
    tiles.publish(&tree);
    (tree, tiles)
}

pub(super) fn leaf(number: u64) -> Vec<u8> {
    format!("leaf {number}").into_bytes()
}
