//! Bitcoin Core's `blk*.dat`, read without any of the product's code: the
//! oracle that the product's own reading is compared with.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Bitcoin mainnet.
const MAGIC: [u8; 4] = [0xf9, 0xbe, 0xb4, 0xd9];
const HEADER: usize = 80;

/// One block as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawBlock {
    /// Double SHA-256 of the header, in the order of computing (reversed when shown).
    pub hash: [u8; 32],
    /// Hash of the block before.
    pub parent: [u8; 32],
    /// The serialised block, without magic and length.
    pub bytes: Bytes,
}

impl RawBlock {
    /// The hash as people and explorers write it: reversed, in hexadecimal.
    pub fn shown_hash(&self) -> String {
        shown(&self.hash)
    }

    /// The parent's hash, likewise.
    pub fn shown_parent(&self) -> String {
        shown(&self.parent)
    }
}

/// Why a file is no `blk*.dat`, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlkError {
    /// Where the record begins that is wrong.
    pub offset: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for BlkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record at byte {}: {}", self.offset, self.what)
    }
}

impl std::error::Error for BlkError {}

/// All blocks of a `blk*.dat` file, in its order. Nothing may be left over.
///
/// # Errors
/// At the first record that is cut off or does not begin with the magic.
pub fn parse_blk(file: &Bytes) -> Result<Vec<RawBlock>, BlkError> {
    let mut blocks = Vec::new();
    let mut offset = 0;
    while offset < file.len() {
        let wrong = |what| BlkError { offset, what };
        let record = &file[offset..];
        let (magic, rest) = record.split_first_chunk().ok_or(wrong("cut off in the magic"))?;
        if *magic != MAGIC {
            return Err(wrong("does not begin with the magic"));
        }
        let (length, rest) = rest.split_first_chunk().ok_or(wrong("cut off in the length"))?;
        let length = u32::from_le_bytes(*length) as usize;
        if length < HEADER {
            return Err(wrong("shorter than a block's header"));
        }
        let block = rest.get(..length).ok_or(wrong("cut off in the block"))?;
        blocks.push(RawBlock {
            hash: Sha256::digest(Sha256::digest(&block[..HEADER])).into(),
            parent: block[4..36].try_into().map_err(|_| wrong("has no parent"))?,
            bytes: file.slice_ref(block),
        });
        offset += 8 + length;
    }
    Ok(blocks)
}

/// Where the file with Bitcoin mainnet's blocks 1 to 255 lies.
pub fn bitcoin_blocks_path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "data", "bitcoin-mainnet-1-255.blk.dat"].iter().collect()
}

/// Bitcoin mainnet's blocks 1 to 255; the block of height `h` is at `h - 1`.
///
/// # Panics
/// When the file is missing or broken.
pub fn bitcoin_blocks() -> Vec<RawBlock> {
    let path = bitcoin_blocks_path();
    let file = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    parse_blk(&file.into()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(hash: &[u8; 32]) -> String {
    hash.iter().rev().map(|byte| format!("{byte:02x}")).collect()
}
