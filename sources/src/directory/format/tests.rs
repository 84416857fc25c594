//! Formats with blocks of the real chains.

use super::{BitcoinBlock, BlockFormat};

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// The header of Bitcoin's block 0, and the parent that block 1 names.
#[test]
fn a_bitcoin_block_has_the_hash_of_its_header() {
    let header = bytes(concat!(
        "01000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a",
        "29ab5f49ffff001d1dac2b7c"
    ));
    let transaction = bytes(concat!(
        "01000000",
        "010000000000000000000000000000000000000000000000000000000000000000ffffffff",
        "4d04ffff001d0104455468652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e20",
        "6272696e6b206f66207365636f6e64206261696c6f757420666f722062616e6b73ffffffff",
        "0100f2052a01000000",
        "434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f355",
        "04e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"
    ));
    let block = [header.clone(), vec![1], transaction].concat();
    let cut = BitcoinBlock.read(0, &block[..block.len() - 1]).unwrap_err().to_string();
    assert!(cut.contains("transactions"), "{cut}");
    let read = BitcoinBlock.read(0, &block).unwrap();
    let shown = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";
    let reversed: Vec<u8> = bytes(shown).into_iter().rev().collect();
    assert_eq!(read.hash.as_ref(), reversed, "explorers print it reversed");
    assert_eq!(read.parent, Some("00".repeat(32).parse().unwrap()));
    let refused = BitcoinBlock.read(0, &header).unwrap_err().to_string();
    assert!(refused.starts_with("it has 80 bytes"), "{refused}");
}
