//! The decoders of what a node writes, for `fuzz/` alone. Each is given bytes with their hashes and their
//! work made right: what fuzzing could not guess must not hide what comes after it.
//!
//! A decoder must not panic. What it reads is one block: no part of it, and nothing but itself, is taken
//! for the block with its hash.

use std::io;
use std::path::Path;

use crate::blk::fuzzing::{file, record, seal};
use crate::directory::format_fuzzing as format;

/// A block of Bitcoin, also as the transactions of one. The byte at `at` of what is accepted is altered.
///
/// # Panics
/// If the decoder is wrong.
pub fn bitcoin(bytes: &[u8], at: usize) {
    format::bitcoin(bytes, at);
}

/// A `blk*.dat` file in this directory, which is for this alone; and the same bytes between two blocks.
///
/// # Errors
/// The directory cannot be written.
///
/// # Panics
/// If the decoder is wrong.
pub fn blk(directory: &Path, bytes: &[u8], key: [u8; 8]) -> io::Result<()> {
    file(directory, bytes, key)?;
    // One transaction that spends nothing, and commits to nothing.
    let body = [&[1, 1, 0, 0, 0, 1][..], &[0; 36], &[0], &[0; 4], &[0], &[0; 4]].concat();
    let block = seal(bytes).or_else(|| seal(&body)).map(|block| record(&block));
    let block = block.unwrap_or_default();
    file(directory, &[&block, bytes, &block].concat(), key)
}

/// A block of Ethereum, also as the body of one. The byte at `at` of what is accepted is altered.
///
/// # Panics
/// If the decoder is wrong.
#[cfg(feature = "ethereum")]
pub fn ethereum(height: u64, bytes: &[u8], at: usize) {
    format::ethereum(height, bytes, at);
}

/// The name of a file with a block or a proof.
///
/// # Panics
/// If the decoder is wrong.
pub fn name(text: &str) {
    format::name(text);
}
