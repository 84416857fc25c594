//! Bitcoin's blocks, a file each.

use sha2::{Digest, Sha256};
use tipline_proto::Hash;

use super::{BlockFormat, BlockHeader};
use crate::blk::check_block;

/// The part of a block that its hash covers.
const HEADER: usize = 80;

/// `bitcoin`: a file is a block as nodes exchange it, without a frame. Its hash is the double
/// SHA-256 of the first 80 bytes, and bytes 4 to 36 are its parent's hash. Hashes are kept in
/// the order of their bytes in the file; explorers print them reversed. The height is the one
/// in the file's name: a header has none. Proof of work, merkle root and witnesses are checked, so
/// no part of a block is taken for one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BitcoinBlock;

impl BlockFormat for BitcoinBlock {
    fn name(&self) -> &str {
        "bitcoin"
    }

    fn read(
        &self,
        _height: u64,
        payload: &[u8],
    ) -> Result<BlockHeader, Box<dyn std::error::Error + Send + Sync>> {
        let Some((header, [_, ..])) = payload.split_at_checked(HEADER) else {
            let why = format!(
                "it has {} bytes, but a Bitcoin block has a header of {HEADER} and transactions",
                payload.len()
            );
            return Err(why.into());
        };
        check_block(payload).map_err(|why| format!("the block {why}"))?;
        let hash = Hash::new(Sha256::digest(Sha256::digest(header)))?;
        let parent = Hash::new(&header[4..36])?;
        Ok(BlockHeader { hash, parent: Some(parent) })
    }

    fn proves_whole(&self) -> bool {
        true
    }
}
