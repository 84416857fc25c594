//! The newest block, by height and hash.

use std::fmt;

use crate::hash::Hash;

/// A block by height and hash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tip {
    /// Height of the block.
    pub height: u64,
    /// Hash of the block.
    pub hash: Hash,
}

impl fmt::Display for Tip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.height, self.hash)
    }
}
