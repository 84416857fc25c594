//! Hashes of the tree of RFC 6962, section 2.1.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Of a leaf, and of a node: neither is ever taken for the other.
const LEAF: &[u8] = &[0];
const NODE: &[u8] = &[1];

/// A SHA-256 hash in the tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TreeHash([u8; 32]);

impl TreeHash {
    /// Its bytes.
    pub const LEN: usize = 32;

    /// A hash of these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The root of a tree without leaves.
    pub fn empty() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// In base64, as in checkpoints and proofs.
    pub(super) fn to_base64(self) -> String {
        STANDARD.encode(self.0)
    }

    pub(super) fn from_base64(text: &str) -> Option<Self> {
        Some(Self(STANDARD.decode(text).ok()?.try_into().ok()?))
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The hash of a leaf with these bytes.
pub fn leaf_hash(bytes: &[u8]) -> TreeHash {
    TreeHash(Sha256::new_with_prefix(LEAF).chain_update(bytes).finalize().into())
}

pub(super) fn node_hash(left: &TreeHash, right: &TreeHash) -> TreeHash {
    let hasher = Sha256::new_with_prefix(NODE).chain_update(left.0).chain_update(right.0);
    TreeHash(hasher.finalize().into())
}

/// The root over a number of hashes that is a power of two.
pub(super) fn perfect_root(hashes: &[TreeHash]) -> TreeHash {
    debug_assert!(hashes.len().is_power_of_two());
    match hashes {
        [one] => *one,
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            node_hash(&perfect_root(left), &perfect_root(right))
        }
    }
}
