//! Following files that a node writes.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};

use tipline_log::error_chain;
use tipline_producer::{Outbox, OutboxError};
use tipline_proto::{Event, Hash};

use super::node::{Node, append, branch, committed, genesis, settle};
use super::{block, hash, mainnet, mainnet_genesis, record, write, xor};
use crate::BlkBlocks;

#[test]
fn real_blocks_come_byte_for_byte_and_once() {
    let node = Node::new();
    let path = write(node.path(), "bitcoin-mainnet-1-255.blk.dat", &mainnet());
    let expected: Vec<_> = BlkBlocks::open(&path).unwrap().map(Result::unwrap).collect();
    let mut outbox = node.open(path.clone(), mainnet_genesis());
    let events = node.events(&mut outbox, 255);
    for ((event, block), at) in events.iter().zip(&expected).zip(1..) {
        let (hash, parent_hash) = (block.hash.clone(), block.parent.clone());
        let payload = block.payload.clone();
        assert_eq!(*event, Event::BlockCommitted { height: at, hash, parent_hash, payload });
    }
    drop(outbox);
    let mut outbox = node.open(path.clone(), mainnet_genesis());
    let next = block(&expected[254].hash, "the next one");
    // Framed as on this network.
    let framed = [&mainnet()[..4], &record(&next)[4..]].concat();
    append(&path, &framed);
    assert_eq!(node.events(&mut outbox, 256)[255], committed(256, &expected[254].hash, &next));
}

#[test]
fn a_directory_with_a_key_is_published_in_the_order_of_its_links() {
    let node = Node::new();
    let blocks = branch(&genesis(), &["one", "two", "three", "four"]);
    let key = [9, 8, 7, 6, 5, 4, 3, 2];
    let file = |numbers: &[usize]| {
        xor(&numbers.iter().flat_map(|at| record(&blocks[*at])).collect::<Vec<u8>>(), key)
    };
    write(node.path(), "xor.dat", &key);
    write(node.path(), "blk00000.dat", &file(&[2, 0]));
    write(node.path(), "blk00001.dat", &file(&[3, 1]));
    let mut outbox = node.open(node.path().to_owned(), genesis());
    let events = node.events(&mut outbox, 4);
    let mut parent = genesis();
    for ((event, block), height) in events.iter().zip(&blocks).zip(1..) {
        assert_eq!(*event, committed(height, &parent, block));
        parent = hash(block);
    }
}

#[test]
fn a_block_is_published_when_all_of_it_is_there() {
    let node = Node::new();
    let blocks = branch(&genesis(), &["one", "two", "three"]);
    let path = write(node.path(), "blk00000.dat", &record(&blocks[0]));
    let mut outbox = node.open(node.path().to_owned(), genesis());
    node.events(&mut outbox, 1);
    let second = record(&blocks[1]);
    append(&path, &second[..50]);
    settle(&path);
    append(&path, &second[50..]);
    node.events(&mut outbox, 2);
    write(node.path(), "blk00001.dat", &record(&blocks[2]));
    node.events(&mut outbox, 3);
}

#[test]
fn zeros_that_are_there_in_advance_are_no_blocks() {
    let node = Node::new();
    let blocks = branch(&genesis(), &["one", "two", "three"]);
    let mut bytes = record(&blocks[0]);
    let end = bytes.len();
    bytes.resize(10_000, 0);
    let path = write(node.path(), "blk00000.dat", &bytes);
    settle(&path);
    let mut outbox = node.open(node.path().to_owned(), genesis());
    node.events(&mut outbox, 1);
    // A frame and half a body look whole in there: it is read when the file is closed.
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(end as u64)).unwrap();
    let third = record(&blocks[2]);
    file.write_all(&third[..50]).unwrap();
    write(node.path(), "blk00001.dat", &record(&blocks[1]));
    let events = node.events(&mut outbox, 2);
    assert_eq!(events[1], committed(2, &hash(&blocks[0]), &blocks[1]));
    file.write_all(&third[50..]).unwrap();
    drop(file);
    let events = node.events(&mut outbox, 3);
    assert_eq!(events[2], committed(3, &hash(&blocks[1]), &blocks[2]));
}

#[test]
fn a_longer_branch_takes_over() {
    let node = Node::new();
    let old = branch(&genesis(), &["one", "two", "three"]);
    let new = branch(&hash(&old[0]), &["two b", "three b", "four b"]);
    let records = |blocks: &[Vec<u8>]| blocks.iter().flat_map(|b| record(b)).collect::<Vec<u8>>();
    let path = write(node.path(), "blk00000.dat", &records(&old));
    append(&path, &records(&new[..2]));
    let mut outbox = node.open(node.path().to_owned(), genesis());
    node.events(&mut outbox, 3);
    // A restart in between forgets nothing of the side branch.
    drop(outbox);
    let mut outbox = node.open(node.path().to_owned(), genesis());
    append(&path, &records(&new[2..]));
    let events = node.events(&mut outbox, 7);
    assert_eq!(events[3], Event::RolledBack { to_height: 1, to_hash: hash(&old[0]) });
    assert_eq!(events[4], committed(2, &hash(&old[0]), &new[0]));
    assert_eq!(events[6], committed(4, &hash(&new[1]), &new[2]));
}

#[test]
fn the_genesis_is_published_if_it_is_there() {
    let node = Node::new();
    let first = block(&Hash::new([0; 32]).unwrap(), "genesis");
    let second = block(&hash(&first), "one");
    write(node.path(), "blk00000.dat", &[record(&first), record(&second)].concat());
    let mut outbox = node.open(node.path().to_owned(), hash(&first));
    let events = node.events(&mut outbox, 2);
    assert!(matches!(&events[0], Event::BlockCommitted { height: 0, .. }), "{events:?}");
    assert_eq!(events[1], committed(1, &hash(&first), &second));
}

#[test]
fn blocks_of_another_chain_are_refused() {
    let node = Node::new();
    let path = write(node.path(), "blk00000.dat", &mainnet());
    let mut outbox = node.open(path, genesis());
    let failure = node.until(|| outbox.ended());
    assert!(matches!(failure, OutboxError::DoesNotLink { .. }), "{failure:?}");
    let text = error_chain(&failure);
    assert!(text.contains(&genesis().to_string()), "{text}");
    assert!(text.contains(&mainnet_genesis().to_string()), "{text}");
    assert!(matches!(outbox.read(0, 1, 1), Err(OutboxError::DoesNotLink { .. })));
}

#[test]
fn garbage_and_files_that_shrink_stop_the_outbox() {
    let node = Node::new();
    let blocks = branch(&genesis(), &["one"]);
    let path = write(node.path(), "blk00000.dat", &record(&blocks[0]));
    let mut outbox = node.open(node.path().to_owned(), genesis());
    node.events(&mut outbox, 1);
    append(&path, b"this is no record at all, and long enough");
    let failure = error_chain(&node.until(|| outbox.ended()));
    let offset = record(&blocks[0]).len();
    assert!(
        failure.contains("blk00000.dat") && failure.contains(&format!("offset {offset}")),
        "{failure}"
    );
    drop(outbox);
    File::options().write(true).open(&path).unwrap().set_len(50).unwrap();
    let outbox = node.open(node.path().to_owned(), genesis());
    let failure = error_chain(&node.until(|| outbox.ended()));
    assert!(failure.contains(&format!("read up to offset {offset}")), "{failure}");
}
