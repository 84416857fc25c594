//! Tiles: which hashes are in one, and what it is called.

use std::fmt::Write;

/// How many hashes a full tile has.
pub const TILE_HASHES: u64 = 256;
/// log2 of it: levels of the tree in a tile.
pub(super) const TILE_LEVELS: u32 = 8;

/// A tile of a tree. At level 0 it has leaf hashes; above that, each of its hashes is the root over a
/// full tile of the level below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// Its level, from 0 at the leaves.
    pub level: u8,
    /// Its number at the level, from 0.
    pub index: u64,
    /// How many hashes it has: 256 in a full one, and never none.
    pub width: u16,
}

impl Tile {
    /// The tile at a place of a tree of this size; `None` if the tree has none there.
    pub fn of_tree(level: u8, index: u64, size: u64) -> Option<Self> {
        let at_level = hashes_at(level, size);
        let width = at_level.checked_sub(index.checked_mul(TILE_HASHES)?)?.min(TILE_HASHES);
        // At most 256.
        (width > 0).then_some(Self { level, index, width: width as u16 })
    }

    /// Whether it has all its hashes, and so never changes.
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == TILE_HASHES
    }

    /// The same tile when it has all its hashes.
    pub fn full(&self) -> Self {
        Self { width: TILE_HASHES as u16, ..*self }
    }

    /// Its path below the prefix of the log: `tile/0/x001/x234/067`, `tile/1/000.p/17`.
    pub fn path(&self) -> String {
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        let mut path = format!("tile/{}", self.level);
        for (left, group) in groups.iter().enumerate().rev() {
            let x = if left > 0 { "x" } else { "" };
            // Writing to a string does not fail.
            _ = write!(path, "/{x}{group:03}");
        }
        if !self.is_full() {
            _ = write!(path, ".p/{}", self.width);
        }
        path
    }
}

/// How many hashes a tree of this size has at a level of tiles.
pub(super) fn hashes_at(level: u8, size: u64) -> u64 {
    size.checked_shr(u32::from(level) * TILE_LEVELS).unwrap_or(0)
}
