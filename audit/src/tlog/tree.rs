//! The growing side of the tree: its right edge, and the tiles that become full.

use super::hash::{TreeHash, node_hash, perfect_root};
use super::tile::{TILE_HASHES, Tile, hashes_at};

/// What can be appended to. It has what the partial tiles at the right edge have, at most 256 hashes a
/// level: 24 KiB for 10^7 leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// The hashes of the partial tile of each level, fewer than 256.
    edge: Vec<Vec<TreeHash>>,
}

/// A tile that cannot be continued from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tile {path} has {found} bytes, not {expected}")]
pub struct BadTile {
    /// Its path.
    pub path: String,
    /// How many bytes it should have.
    pub expected: usize,
    /// How many it has.
    pub found: usize,
}

impl Tree {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Continues a tree of this size from the partial tiles at its right edge, which `read` gives: one
    /// of each level at most.
    ///
    /// It is what these tiles make it: compare its [`Tree::root`] with that of a checkpoint.
    ///
    /// # Errors
    /// Those of `read`; a tile does not have the length that it must have.
    pub fn resume<E: From<BadTile>>(
        size: u64,
        mut read: impl FnMut(&Tile) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        let mut edge = Vec::new();
        for level in 0.. {
            let at_level = hashes_at(level, size);
            if at_level == 0 {
                break;
            }
            let hashes = match at_level % TILE_HASHES {
                0 => Vec::new(),
                width => {
                    let index = at_level / TILE_HASHES;
                    let tile = Tile { level, index, width: width as u16 };
                    hashes_of(&tile, &read(&tile)?)?
                }
            };
            edge.push(hashes);
        }
        Ok(Self { size, edge })
    }

    /// As it was with its first `size` leaves, from the tiles of a tree that has `of` leaves now: each is
    /// asked for as it is in that one. Nothing says that they are right but the root, once the rest is
    /// added again.
    ///
    /// # Errors
    /// Those of [`Tree::resume`].
    pub fn resume_earlier<E: From<BadTile>>(
        size: u64,
        of: u64,
        mut read: impl FnMut(&Tile) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        Self::resume(size, |tile| {
            let now = Tile::of_tree(tile.level, tile.index, of).unwrap_or(*tile);
            let mut hashes = read(&now)?;
            hashes.truncate(usize::from(tile.width) * TreeHash::LEN);
            Ok(hashes)
        })
    }

    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf. Each tile that is full now is given to `full`, the lower one first: it never
    /// changes again. Mostly there is none.
    pub fn append(&mut self, leaf: TreeHash, mut full: impl FnMut(Tile, Vec<u8>)) {
        self.size += 1;
        let (mut hash, mut level) = (leaf, 0);
        loop {
            if self.edge.len() == level {
                self.edge.push(Vec::with_capacity(TILE_HASHES as usize));
            }
            self.edge[level].push(hash);
            if self.edge[level].len() < TILE_HASHES as usize {
                return;
            }
            hash = perfect_root(&self.edge[level]);
            // A tree of 2^64 leaves has 8 levels of tiles.
            let number = level as u8;
            let index = hashes_at(number, self.size) / TILE_HASHES - 1;
            let tile = Tile { level: number, index, width: TILE_HASHES as u16 };
            full(tile, bytes_of(&self.edge[level]));
            self.edge[level].clear();
            level += 1;
        }
    }

    /// The partial tiles at its right edge. A checkpoint of this size needs them.
    pub fn partial(&self) -> Vec<(Tile, Vec<u8>)> {
        let levels = self.edge.iter().enumerate().filter(|(_, hashes)| !hashes.is_empty());
        let tile = |(level, hashes): (usize, &Vec<TreeHash>)| {
            let level = level as u8;
            let index = hashes_at(level, self.size) / TILE_HASHES;
            (Tile { level, index, width: hashes.len() as u16 }, bytes_of(hashes))
        };
        levels.map(tile).collect()
    }

    /// The root over all leaves.
    pub fn root(&self) -> TreeHash {
        let mut root: Option<TreeHash> = None;
        // From the right edge on: the smallest perfect subtree first.
        for hashes in &self.edge {
            let mut rest = &hashes[..];
            while !rest.is_empty() {
                let width = 1 << rest.len().trailing_zeros();
                let (before, subtree) = rest.split_at(rest.len() - width);
                let left = perfect_root(subtree);
                root = Some(root.map_or(left, |right| node_hash(&left, &right)));
                rest = before;
            }
        }
        root.unwrap_or_else(TreeHash::empty)
    }
}

fn bytes_of(hashes: &[TreeHash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// The hashes in the bytes of a tile.
pub(super) fn hashes_of(tile: &Tile, bytes: &[u8]) -> Result<Vec<TreeHash>, BadTile> {
    let expected = usize::from(tile.width) * TreeHash::LEN;
    if bytes.len() != expected {
        return Err(BadTile { path: tile.path(), expected, found: bytes.len() });
    }
    let (hashes, _) = bytes.as_chunks();
    Ok(hashes.iter().copied().map(TreeHash::from_bytes).collect())
}
