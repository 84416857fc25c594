//! The blocks that the demo's node commits: made, or real ones.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest as _, Sha256};
use tipline_proto::Hash;

/// A block to commit.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) height: u64,
    pub(super) hash: Hash,
    pub(super) parent_hash: Hash,
    pub(super) payload: Bytes,
}

/// How a block's bytes give its hash and its parent's, to check stores by the blocks alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// The parent's hash, then anything; hashed with BLAKE3.
    Made,
    /// Bitcoin's: double SHA-256 of the first 80 bytes; the parent is in bytes 4 to 36.
    Bitcoin,
}

impl Format {
    /// Hash and parent's hash of a block, from its bytes; `None` if it is too short to be one.
    pub(super) fn links(self, block: &[u8]) -> Option<(Hash, Hash)> {
        let (hash, parent) = match self {
            Format::Made => (blake3::hash(block).as_bytes().to_vec(), block.get(..32)?),
            Format::Bitcoin => {
                let header = block.get(..80)?;
                (Sha256::digest(Sha256::digest(header)).to_vec(), &header[4..36])
            }
        };
        Some((Hash::new(hash).ok()?, Hash::new(parent).ok()?))
    }
}

/// Makes a chain of blocks of 1 to 32 KiB, the same for the same seed.
pub(super) struct Maker {
    rng: StdRng,
    height: u64,
    parent: Hash,
    last: u64,
}

impl Maker {
    pub(super) fn new(seed: u64, genesis: Hash, count: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), height: 0, parent: genesis, last: count }
    }
}

impl Iterator for Maker {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        if self.height == self.last {
            return None;
        }
        self.height += 1;
        let mut payload = vec![0; self.rng.random_range(1 << 10..32 << 10)];
        self.rng.fill(&mut payload[..]);
        payload[..32].copy_from_slice(self.parent.as_ref());
        let (hash, parent_hash) = Format::Made.links(&payload)?;
        self.parent = hash.clone();
        Some(Block { height: self.height, hash, parent_hash, payload: payload.into() })
    }
}
