//! Records that are not whole, zeros between records, lost keys and files.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use tipline_log::error_chain;
use tipline_producer::{Outbox, OutboxError};

use super::node::{Node, append, branch, genesis, settle};
use super::{hash, mainnet, mainnet_genesis, record, write, xor};
use crate::BlkBlocks;

/// Where the record of each block starts, and the last one ends.
fn offsets(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = vec![0];
    while let Some(at) = offsets.last().copied().filter(|at| *at < bytes.len()) {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        offsets.push(at + 8 + length);
    }
    offsets
}

fn put(path: &Path, at: usize, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn a_block_is_not_published_before_its_last_byte() {
    let whole = mainnet();
    let at = offsets(&whole);
    // Of block 101: the body, header and body, the frame, and all but the nonce.
    for (from, to) in [
        (at[101] - 75, at[101]),
        (at[100] + 8 + 60, at[101]),
        (at[100] + 2, at[101]),
        (at[100] + 8 + 76, at[100] + 8 + 80),
    ] {
        let node = Node::new();
        let mut torn = whole[..at[101]].to_vec();
        torn[from..to].fill(0);
        torn.resize(at[101] + 10_000, 0);
        let path = write(node.path(), "blk00000.dat", &torn);
        settle(&path);
        let mut outbox = node.open(node.path().to_owned(), mainnet_genesis());
        node.events(&mut outbox, 100);
        let said = node.failure(&outbox, "blk00000.dat");
        assert!(said.contains(&format!("offset {}", at[100])), "{said}");
        // What comes after it waits for it.
        put(&path, at[101], &whole[at[101]..at[110]]);
        node.failure(&outbox, "blocks on top of it wait");
        assert_eq!(outbox.read(0, 999, usize::MAX).unwrap().len(), 100);
        put(&path, at[100], &whole[at[100]..at[101]]);
        node.events(&mut outbox, 110);
        node.well(&outbox);
    }
}

#[test]
fn a_torn_block_that_the_node_writes_once_more_elsewhere_is_passed_over() {
    let whole = mainnet();
    let at = offsets(&whole);
    let node = Node::new();
    let mut torn = whole[..at[101]].to_vec();
    torn[at[101] - 75..].fill(0);
    let path = write(node.path(), "blk00000.dat", &torn);
    settle(&path);
    let mut outbox = node.open(node.path().to_owned(), mainnet_genesis());
    node.events(&mut outbox, 100);
    node.failure(&outbox, "the block there has");
    append(&path, &whole[at[100]..]);
    node.events(&mut outbox, 255);
    node.well(&outbox);
    drop(outbox);
    let mut outbox = node.open(node.path().to_owned(), mainnet_genesis());
    node.events(&mut outbox, 255);
}

#[test]
fn zeros_are_the_end_only_if_nothing_follows() {
    let whole = mainnet();
    let at = offsets(&whole);
    for (zeros, key) in [(293, [0; 8]), (8, [0; 8]), (3, [0; 8]), (11, [0xf9, 2, 3, 4, 5, 6, 7, 8])]
    {
        let node = Node::new();
        let gap = vec![0; zeros];
        let masked = |from: usize, bytes: &[u8]| {
            let before = vec![0; from % 8];
            xor(&[&before, bytes].concat(), key)[from % 8..].to_vec()
        };
        let after = at[100] + zeros;
        let file = [masked(0, &whole[..at[100]]), gap, masked(after, &whole[at[100]..])].concat();
        if key != [0; 8] {
            write(node.path(), "xor.dat", &key);
        }
        let path = write(node.path(), "blk00000.dat", &file);
        settle(&path);
        let mut outbox = node.open(node.path().to_owned(), mainnet_genesis());
        node.events(&mut outbox, 255);
        // Fewer bytes than a frame are no end of a finished file.
        if zeros >= 8 {
            let blocks: Result<Vec<_>, _> = BlkBlocks::open(&path).unwrap().collect();
            assert_eq!(blocks.unwrap().len(), 255);
        }
        // A restart knows what it has passed over.
        drop(outbox);
        let mut outbox = node.open(node.path().to_owned(), mainnet_genesis());
        node.events(&mut outbox, 255);
        assert_eq!(*outbox.failure().borrow(), None);
    }
}

#[test]
fn a_lost_key_is_named() {
    let key = [1, 2, 3, 4, 5, 6, 7, 8];
    let blocks = branch(&genesis(), &["one", "two"]);
    let records = [record(&blocks[0]), record(&blocks[1])].concat();
    for wrong in [None, Some([0; 8]), Some([8; 8])] {
        let node = Node::new();
        write(node.path(), "blk00000.dat", &xor(&records, key));
        if let Some(wrong) = wrong {
            write(node.path(), "xor.dat", &wrong);
        }
        settle(&node.path().join("blk00000.dat"));
        let outbox = node.open(node.path().to_owned(), genesis());
        let said = node.failure(&outbox, "xor.dat");
        assert!(said.contains("restore the node's"), "{said}");
        drop(outbox);

        // Once it was read, the key is known.
        write(node.path(), "xor.dat", &key);
        let mut outbox = node.open(node.path().to_owned(), genesis());
        node.events(&mut outbox, 2);
        match wrong {
            None => fs::remove_file(node.path().join("xor.dat")).unwrap(),
            Some(wrong) => drop(write(node.path(), "xor.dat", &wrong)),
        }
        let said = node.failure(&outbox, "xor.dat");
        assert!(said.contains("[01, 02, 03, 04, 05, 06, 07, 08]"), "{said}");
        drop(outbox);
        let refused = node.try_open(node.path().to_owned(), genesis()).unwrap_err();
        assert!(matches!(refused, OutboxError::Unusable { .. }), "{refused:?}");
        assert!(refused.to_string().contains("[01, 02, 03, 04, 05, 06, 07, 08]"), "{refused}");
        write(node.path(), "xor.dat", &key);
        let mut outbox = node.open(node.path().to_owned(), genesis());
        node.events(&mut outbox, 2);
    }
}

#[test]
fn a_pruned_node_is_named_and_not_taken_for_another_chain() {
    let whole = mainnet();
    let at = offsets(&whole);
    let node = Node::new();
    let path = write(node.path(), "blk00003.dat", &whole[at[100]..]);
    settle(&path);
    let outbox = node.open(node.path().to_owned(), mainnet_genesis());
    let refused = node.until(|| outbox.ended());
    assert!(matches!(refused, OutboxError::Unusable { .. }), "{refused:?}");
    let text = error_chain(&refused);
    assert!(text.contains("pruned") && text.contains("blk00003.dat"), "{text}");
    assert!(!text.contains("another chain"), "{text}");
}

#[test]
fn a_file_that_is_missing_between_others_is_named() {
    let whole = mainnet();
    let at = offsets(&whole);
    let node = Node::new();
    settle(&write(node.path(), "blk00000.dat", &whole[..at[50]]));
    settle(&write(node.path(), "blk00002.dat", &whole[at[100]..]));
    let mut outbox = node.open(node.path().to_owned(), mainnet_genesis());
    node.events(&mut outbox, 50);
    node.failure(&outbox, "blk00001.dat is not among the files");
    write(node.path(), "blk00001.dat", &whole[at[50]..at[100]]);
    node.events(&mut outbox, 255);
    node.well(&outbox);
}

#[test]
fn a_block_that_is_not_there_yet_is_no_word_worth() {
    let blocks = branch(&genesis(), &["one", "two", "three"]);
    let node = Node::new();
    let records = [record(&blocks[0]), record(&blocks[2])].concat();
    let path = write(node.path(), "blk00000.dat", &records);
    let mut outbox = node.open(node.path().to_owned(), genesis());
    node.events(&mut outbox, 1);
    assert_eq!(*outbox.failure().borrow(), None);
    append(&path, &record(&blocks[1]));
    let events = node.events(&mut outbox, 3);
    assert!(events[2].to_string().contains(&hash(&blocks[2]).to_string()[..8]), "{}", events[2]);
}
