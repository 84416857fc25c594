//! What fuzzing reaches here.

use super::{BitcoinBlock, BlockFormat};
use crate::blk;
use crate::directory::layout::Key;

/// What is accepted is accepted again, and no part of it, nor it with the byte at `at` altered, is taken
/// for the same block.
fn one_block(format: &dyn BlockFormat, height: u64, bytes: &[u8], at: usize) {
    let own = match format.read(height, bytes) {
        Ok(own) => own,
        Err(why) => return assert!(!why.to_string().is_empty()),
    };
    assert_eq!(format.read(height, bytes).ok(), Some(own.clone()));
    let at = at % bytes.len();
    assert!(format.read(height, &bytes[..at]).is_err(), "cut off at {at}");
    let other = |bytes: &[u8]| match format.read(height, bytes) {
        Ok(read) => assert_ne!(read.hash, own.hash, "at {at}"),
        Err(why) => assert!(!why.to_string().is_empty()),
    };
    for mask in [1, 2, 0x80, 0xff] {
        let mut altered = bytes.to_vec();
        altered[at] ^= mask;
        other(&altered);
    }
    other(&[&bytes[..at], &bytes[at + 1..]].concat());
    for more in [0, 1, 0x80, 0xfd] {
        other(&[&bytes[..at], &[more], &bytes[at..]].concat());
    }
}

/// As a block of Bitcoin, and as the transactions of one.
pub(crate) fn bitcoin(bytes: &[u8], at: usize) {
    one_block(&BitcoinBlock, 0, bytes, at);
    if let Some(block) = blk::fuzzing::seal(bytes) {
        one_block(&BitcoinBlock, 0, &block, at);
    }
}

/// As a block of Ethereum, and as the body of one.
#[cfg(feature = "ethereum")]
pub(crate) fn ethereum(height: u64, bytes: &[u8], at: usize) {
    use super::ethereum::{EthereumRlp, fuzzing::seal};
    one_block(&EthereumRlp, height, bytes, at);
    let Some(block) = seal(height, bytes) else { return };
    let read = EthereumRlp.read(height, &block).map_err(|why| why.to_string());
    assert!(read.is_ok(), "what has the right roots: {read:?}");
    one_block(&EthereumRlp, height, &block, at);
    assert!(EthereumRlp.read(height ^ 1, &block).is_err(), "it is no other height's");
}

/// As the name of a file.
pub(crate) fn name(text: &str) {
    if let Some(key) = Key::of_name(text) {
        assert_eq!(key.to_string(), text, "there is one name");
    }
}
