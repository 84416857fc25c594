//! Reading finished files.

use tipline_log::error_chain;
use tipline_producer::OutboxError;

use super::{block, mainnet, mainnet_genesis, record, write, xor};
use crate::{BlkBlock, BlkBlocks};

fn all(path: &std::path::Path) -> Result<Vec<BlkBlock>, OutboxError> {
    BlkBlocks::open(path)?.collect()
}

#[test]
fn real_blocks_link_from_the_genesis() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = mainnet();
    let blocks = all(&write(dir.path(), "some.blk.dat", &bytes)).unwrap();
    assert_eq!(blocks.len(), 255);
    let mut parent = mainnet_genesis();
    for block in &blocks {
        assert_eq!(block.parent, parent);
        parent = block.hash.clone();
    }
    let known = "4860eb18bf1b1620e37e9490fc8a427514416fd75159ab86688e9a8300000000";
    assert_eq!(blocks[0].hash.to_string(), known);
    let payload: usize = blocks.iter().map(|block| block.payload.len() + 8).sum();
    assert_eq!(payload, bytes.len(), "not a byte left out");
}

#[test]
fn a_directory_is_read_in_order_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = mainnet();
    let expected = all(&write(dir.path(), "plain", &bytes)).unwrap();
    let cut: usize = expected[..99].iter().map(|block| block.payload.len() + 8).sum();
    let key = [1, 2, 3, 4, 5, 6, 7, 8];
    let keyed = dir.path().join("keyed");
    std::fs::create_dir(&keyed).unwrap();
    write(&keyed, "xor.dat", &key);
    write(&keyed, "blk100000.dat", &xor(&bytes[cut..], key));
    let mut preallocated = xor(&bytes[..cut], key);
    preallocated.resize(cut + 1000, 0);
    write(&keyed, "blk99999.dat", &preallocated);
    write(&keyed, "rev00000.dat", b"something else");
    assert_eq!(all(&keyed).unwrap(), expected);
}

#[test]
fn a_file_that_is_cut_off_says_where_and_how_much_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = mainnet();
    for cut in [bytes.len() - 1, bytes.len() - 100, bytes.len() - 215] {
        let path = write(dir.path(), "blk00000.dat", &bytes[..cut]);
        let mut blocks = BlkBlocks::open(&path).unwrap();
        let whole = blocks.by_ref().take(254).filter(Result::is_ok).count();
        assert_eq!(whole, 254);
        let error = blocks.next().unwrap().unwrap_err();
        assert!(matches!(error, OutboxError::Corrupt { .. }), "{error:?}");
        let (text, missing) = (error_chain(&error), bytes.len() - cut);
        assert!(text.contains("blk00000.dat"), "{text}");
        assert!(text.contains(&format!("{missing} bytes of the block")) || missing > 200, "{text}");
        assert!(text.contains("at offset 585"), "{text}");
        assert!(blocks.next().is_none(), "nothing comes after an error");
    }
}

#[test]
fn garbage_is_named_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let first = record(&block(&mainnet_genesis(), "first"));
    let garbage = [&first[..], b"this is no record at all, but long enough to be one"].concat();
    let error = all(&write(dir.path(), "blk00000.dat", &garbage)).unwrap_err();
    assert!(error_chain(&error).contains(&format!("at offset {}", first.len())), "{error:?}");
    let text = all(&write(dir.path(), "blk00000.dat", "just some text, or other".as_bytes()));
    assert!(error_chain(&text.unwrap_err()).contains("says that its block has"));
}

#[test]
fn nothing_to_read_says_what_to_give() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("missing")] {
        let error = BlkBlocks::open(&path).unwrap_err();
        assert!(matches!(error, OutboxError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().contains("give a blk*.dat file"), "{error}");
    }
}

/// A frame comes first, and space for the rest is made in advance.
#[test]
fn a_block_that_was_not_written_is_not_one() {
    let dir = tempfile::tempdir().unwrap();
    let first = block(&mainnet_genesis(), "the first");
    let second = record(&block(&super::hash(&first), "the second"));
    for from in [8, 100] {
        let mut unwritten = second.clone();
        unwritten[from..].fill(0);
        let bytes = [record(&first), unwritten].concat();
        let path = write(dir.path(), "blk00000.dat", &bytes);
        let mut blocks = BlkBlocks::open(&path).unwrap();
        assert_eq!(blocks.next().unwrap().unwrap().payload, first);
        let error = error_chain(&blocks.next().unwrap().unwrap_err());
        let at = format!("blk00000.dat: at offset {}: the block there has", record(&first).len());
        assert!(error.contains(&at), "{error}");
        assert!(blocks.next().is_none());
    }
    // Nor is it the genesis.
    let path = write(dir.path(), "blk00000.dat", &[&second[..8], &[0; 200]].concat());
    let refused = crate::Genesis::in_blk(&path).unwrap_err();
    assert!(matches!(refused, OutboxError::Corrupt { .. }), "{refused:?}");
}
