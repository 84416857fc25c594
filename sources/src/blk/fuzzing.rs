//! What fuzzing reaches here.

use std::path::Path;
use std::{fs, io};

use super::BlkBlocks;
use super::check::{check, double_sha256, merkle_root, transactions, witness_commitment};

/// The least work there is: every second header has it.
const BITS: [u8; 4] = [0xff, 0xff, 0x7f, 0x20];
/// What starts a record of a test network.
const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

/// A block of these transactions: with the header and the commitment to witnesses that belong to them.
/// `None` if they are none.
pub(crate) fn seal(body: &[u8]) -> Option<Vec<u8>> {
    let mut body = body.to_vec();
    let read = transactions(&body)?;
    if let Some(place) = read.first()?.commitment
        && let Ok(right) = witness_commitment(&read)
    {
        let at = place.as_ptr().addr() - body.as_ptr().addr();
        body[at..at + right.len()].copy_from_slice(&right);
    }
    let ids = transactions(&body)?.iter().map(|transaction| transaction.id).collect();
    let start = [&[1, 0, 0, 0][..], &[3; 32], &merkle_root(ids)?, &[7; 4], &BITS].concat();
    let blocks = (0_u32..1000).map(|nonce| [&start[..], &nonce.to_le_bytes(), &body].concat());
    blocks.into_iter().find(|block| check(block) != Err("has a header without proof of work"))
}

/// The record of a block.
pub(crate) fn record(block: &[u8]) -> Vec<u8> {
    let length = u32::try_from(block.len()).unwrap_or(u32::MAX);
    [&MAGIC[..], &length.to_le_bytes(), block].concat()
}

/// Bytes as the only file of a directory, XORed with a key: what is read of it stands there, in this
/// order, and is what it says of itself.
pub(crate) fn file(directory: &Path, bytes: &[u8], key: [u8; 8]) -> io::Result<()> {
    let masked: Vec<u8> = bytes.iter().zip(key.iter().cycle()).map(|(b, key)| b ^ key).collect();
    fs::write(directory.join("blk00000.dat"), masked)?;
    fs::write(directory.join("xor.dat"), key)?;
    let Ok(blocks) = BlkBlocks::open(directory) else { return Ok(()) };
    let mut rest = bytes;
    for block in blocks {
        let block = match block {
            Ok(block) => block,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        };
        let record = record(&block.payload);
        // Its magic may be another network's.
        let framed = &record[MAGIC.len()..];
        let at = rest.windows(framed.len()).position(|found| found == framed);
        assert!(at.is_some(), "a block that does not stand there: {:?}", block.hash);
        rest = &rest[at.unwrap_or_default() + framed.len()..];
        assert_eq!(check(&block.payload), Ok(()));
        assert_eq!(block.hash.as_ref(), double_sha256(&[&block.payload[..80]]));
        assert_eq!(block.parent.as_ref(), &block.payload[4..36]);
    }
    Ok(())
}
