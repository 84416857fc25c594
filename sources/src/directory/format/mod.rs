//! What a block file says about its block.

mod bitcoin;
#[cfg(feature = "ethereum")]
mod ethereum;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod same;
#[cfg(test)]
mod tests;

use std::fmt::Debug;

use tipline_proto::Hash;

pub use bitcoin::BitcoinBlock;
#[cfg(feature = "ethereum")]
pub use ethereum::EthereumRlp;
pub(super) use same::stays_the_same;

/// What links a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockHeader {
    /// Hash of the block.
    pub hash: Hash,
    /// Hash of the block below it; `None` if the file does not say, and is on top of whatever
    /// block is below it.
    pub parent: Option<Hash>,
}

/// How the hash of a block, and of its parent, are found in its file.
pub trait BlockFormat: Send + Sync + Debug {
    /// Its name, as it is typed after `format=`. The index remembers it: with another format the
    /// same blocks would have other hashes.
    fn name(&self) -> &str;

    /// Reads a block. The same bytes always give the same answer. `height` is what the file's
    /// name says; a format that knows the height too compares them.
    ///
    /// # Errors
    /// What is wrong with the bytes, or that they are another height's. The outbox stops and
    /// names the file.
    fn read(
        &self,
        height: u64,
        payload: &[u8],
    ) -> Result<BlockHeader, Box<dyn std::error::Error + Send + Sync>>;

    /// Whether [`BlockFormat::read`] refuses every file that is not written to its end. A file
    /// that is written in place is then read as soon as it is closed, and what is refused is
    /// waited for until the next block is there. Otherwise it must be left alone for 10 s first,
    /// because the kernel closes the files of a process that is killed.
    fn proves_whole(&self) -> bool {
        false
    }
}

/// `content`: the hash of a block is the BLAKE3 of its file, and its parent is the block below.
/// For nodes whose block format is not known. Block 0, if there is one, is the genesis; the
/// error that says it is not names the hash that it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContentHash;

impl BlockFormat for ContentHash {
    fn name(&self) -> &str {
        "content"
    }

    fn read(
        &self,
        _height: u64,
        payload: &[u8],
    ) -> Result<BlockHeader, Box<dyn std::error::Error + Send + Sync>> {
        let hash = Hash::new(blake3::hash(payload).as_bytes())?;
        Ok(BlockHeader { hash, parent: None })
    }
}
