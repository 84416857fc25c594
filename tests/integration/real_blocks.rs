//! The real chain data and the oracle that reads it.

use bytes::Bytes;
use tipline_tests::{bitcoin_blocks, bitcoin_blocks_path, parse_blk};

const GENESIS: &str = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";

#[test]
fn bitcoin_blocks_1_to_255_link_from_genesis_on() {
    let blocks = bitcoin_blocks();
    assert_eq!(blocks.len(), 255);
    assert_eq!(blocks[0].shown_parent(), GENESIS);
    for (pair, height) in blocks.windows(2).zip(2..) {
        assert_eq!(pair[1].parent, pair[0].hash, "parent of block {height}");
    }
}

#[test]
fn hashes_are_those_that_every_explorer_shows() {
    let blocks = bitcoin_blocks();
    let hash = |height: usize| blocks[height - 1].shown_hash();
    assert_eq!(hash(1), "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048");
    assert_eq!(hash(170), "00000000d1145790a8694403d4063f323d499e655c83426834d4ce2f8dd4a2ee");
}

#[test]
fn the_records_make_up_the_whole_file() {
    let file = std::fs::read(bitcoin_blocks_path()).unwrap();
    let records: usize = bitcoin_blocks().iter().map(|block| 8 + block.bytes.len()).sum();
    assert_eq!(records, file.len());
}

#[test]
fn a_file_that_is_cut_off_or_damaged_is_refused_with_the_place() {
    let file = Bytes::from(std::fs::read(bitcoin_blocks_path()).unwrap());
    let second = 8 + bitcoin_blocks()[0].bytes.len();

    for cut in [second + 1, second + 6, second + 8, file.len() - 1] {
        assert!(parse_blk(&file.slice(..cut)).is_err(), "cut off at {cut}");
    }
    assert_eq!(parse_blk(&file.slice(..second)).unwrap().len(), 1);

    let mut damaged = file.to_vec();
    damaged[second] ^= 1;
    let error = parse_blk(&damaged.into()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("record at byte {second}: does not begin with the magic")
    );
}
