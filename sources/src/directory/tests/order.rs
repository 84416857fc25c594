//! Which files are published, and in which order.

use std::fs::File;
use std::io::Write;

use tipline_producer::{Outbox, OutboxError, conformance};

use super::{Node, block, hash, proof};
use crate::directory::layout::Key;
use crate::files::{ChangeKind, FileChanges, Look, Scan};
use crate::{BlockFormat, BlockHeader, ContentHash};

#[test]
fn what_is_there_at_the_start_is_published_in_order_once() {
    let node = Node::new();
    std::fs::create_dir(node.root().join("blocks")).unwrap();
    node.settled(Key::block(2), "b2");
    node.settled(Key::block(1), "b1");
    node.settled(Key::block(3), "b3");
    node.settled(Key::proof(2), "");
    node.settled(Key::proof(1), "p1");
    std::fs::write(node.root().join("blocks/0000/block_00000004.dat.tmp"), "half").unwrap();
    assert!(node.path(Key::block(1)).starts_with(node.root().join("blocks")));
    let expected = [
        block(1, "b1", "genesis"),
        block(2, "b2", "b1"),
        block(3, "b3", "b2"),
        proof(1, "p1", "b1"),
        proof(2, "", "b2"),
    ];
    let mut outbox = node.open();
    node.rows(&mut outbox, 5);
    conformance::gives(&mut outbox, &expected);
    let id = outbox.id();
    drop(outbox);
    node.settled(Key::block(4), "b4");
    let mut outbox = node.open();
    assert_eq!(node.events(&mut outbox, 6)[5], block(4, "b4", "b3"));
    assert_eq!(outbox.id(), id);
}

#[test]
fn new_files_are_noticed_when_they_are_complete() {
    let node = Node::new();
    node.settled(Key::block(1), "b1");
    let mut outbox = node.open();
    node.rows(&mut outbox, 1);
    node.rename_in(Key::block(2), "b2");
    node.rows(&mut outbox, 2);

    let mut slow = File::create(node.path(Key::block(3))).unwrap();
    slow.write_all(b"the first half").unwrap();
    slow.sync_all().unwrap();
    // Something else is noticed in the meantime.
    node.rename_in(Key::proof(2), "p2");
    let events = node.events(&mut outbox, 3);
    assert_eq!(events[2], proof(2, "p2", "b2"), "the half block is not read");
    slow.write_all(b", the second half").unwrap();
    slow.set_modified(super::long_ago()).unwrap();
    drop(slow);
    let whole = block(3, "the first half, the second half", "b2");
    assert_eq!(node.events(&mut outbox, 4)[3], whole);
}

#[test]
fn a_writer_that_is_slower_than_the_settling_time_is_waited_for() {
    let node = Node::new();
    node.settled(Key::block(1), "b1");
    node.settled(Key::block(2), "b2");
    let mut outbox = node.open();
    node.rows(&mut outbox, 2);
    let mut slow = File::create(node.path(Key::block(3))).unwrap();
    slow.write_all(b"half").unwrap();
    node.rename_in(Key::proof(1), "p1");
    node.rows(&mut outbox, 3);
    // As if it had been written long ago, and still is open.
    slow.set_modified(super::long_ago()).unwrap();
    // Proofs come after blocks: what is published with this one has read the block.
    node.rename_in(Key::proof(2), "p2");
    assert_eq!(node.events(&mut outbox, 4)[3], proof(2, "p2", "b2"));
    slow.write_all(b" and half").unwrap();
    slow.set_modified(super::long_ago()).unwrap();
    drop(slow);
    assert_eq!(node.events(&mut outbox, 5)[4], block(3, "half and half", "b2"));
}

#[test]
fn a_block_that_is_replaced_while_the_next_is_read_is_read_again() {
    /// The node replaces block 1 at the worst moment, once.
    #[derive(Debug)]
    struct Replacing(std::path::PathBuf, std::sync::atomic::AtomicBool);
    impl BlockFormat for Replacing {
        fn name(&self) -> &str {
            "replacing"
        }

        fn read(
            &self,
            height: u64,
            payload: &[u8],
        ) -> Result<BlockHeader, Box<dyn std::error::Error + Send + Sync>> {
            if height == 2 && !self.1.swap(true, std::sync::atomic::Ordering::SeqCst) {
                let temporary = self.0.with_extension("tmp");
                std::fs::write(&temporary, "b1 again")?;
                std::fs::rename(&temporary, &self.0)?;
            }
            ContentHash.read(height, payload)
        }
    }
    let node = Node::new();
    node.settled(Key::block(1), "b1");
    node.settled(Key::block(2), "b2");
    let format = Replacing(node.path(Key::block(1)), false.into());
    let mut outbox = node.open_as(Box::new(format)).unwrap();
    let expected = [block(1, "b1 again", "genesis"), block(2, "b2", "b1 again")];
    assert_eq!(node.events(&mut outbox, 2), expected);
}

#[test]
fn the_first_block_that_is_noticed_need_not_be_the_first() {
    let node = Node::new();
    let mut scan = node.scan();
    let mut changes = FileChanges::new();
    scan.scan(&mut changes).unwrap();
    for height in 1..=3 {
        node.settled(Key::block(height), &format!("b{height}"));
    }
    changes.record(node.path(Key::block(3)), ChangeKind::Closed);
    scan.scan(&mut changes).unwrap();
    drop(scan);
    assert_eq!(node.events(&mut node.open(), 3)[0], block(1, "b1", "genesis"));
}

/// A node has other directories, and files, with names of digits.
#[test]
fn what_is_called_like_an_epoch_and_has_no_block_is_none() {
    let node = Node::new();
    node.settled(Key::block(1), "b1");
    std::fs::create_dir(node.root().join("beef")).unwrap();
    for name in ["0002", "cafe"] {
        std::fs::write(node.root().join(name), "something else").unwrap();
    }
    let mut scan = node.scan();
    let mut changes = FileChanges::new();
    let quiet = Look::when_changed();
    assert_eq!(scan.scan(&mut changes).unwrap(), quiet, "nothing is missing");
    std::fs::create_dir(node.root().join("0003")).unwrap();
    std::fs::write(node.root().join("0003/block_00030000.dat"), "far above").unwrap();
    let mut scan = {
        drop(scan);
        node.scan()
    };
    assert_ne!(scan.scan(&mut FileChanges::new()).unwrap(), quiet, "block 2 is");
}

#[test]
fn a_missing_height_is_waited_for() {
    let node = Node::new();
    node.settled(Key::block(1), "b1");
    let mut outbox = node.open();
    node.rows(&mut outbox, 1);
    node.rename_in(Key::block(3), "b3");
    node.rename_in(Key::proof(3), "p3");
    node.rename_in(Key::proof(1), "p1");
    node.rows(&mut outbox, 2);
    node.rename_in(Key::block(2), "b2");
    let expected = [
        block(1, "b1", "genesis"),
        proof(1, "p1", "b1"),
        block(2, "b2", "b1"),
        block(3, "b3", "b2"),
        proof(3, "p3", "b3"),
    ];
    assert_eq!(node.events(&mut outbox, 5), expected);
}

#[test]
fn epochs_that_are_empty_are_passed_over() {
    let node = Node::new();
    // As a pruned node leaves them.
    std::fs::create_dir_all(node.path(Key::block(1)).parent().unwrap()).unwrap();
    let mut outbox = node.open();
    node.settled(Key::proof(0x1_0001), "a proof alone");
    node.rename_in(Key::block(0x2_0000), "first");
    node.rename_in(Key::block(0x2_0001), "second");
    node.rename_in(Key::block(0x2_0002), "third");
    let events = node.events(&mut outbox, 3);
    assert_eq!(
        events[1..],
        [block(0x2_0001, "second", "first"), block(0x2_0002, "third", "second")]
    );
}

#[test]
fn a_block_whose_writer_was_killed_is_waited_for() {
    let node = Node::new();
    node.settled(Key::block(1), "b1");
    let mut outbox = node.open();
    node.rows(&mut outbox, 1);
    // The kernel closes the file of a process that it kills.
    let path = node.path(Key::block(2));
    let script = format!("exec 3>'{}'; printf half >&3; kill -9 $$", path.display());
    let killed = std::process::Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(!killed.success());
    assert_eq!(std::fs::read(&path).unwrap(), b"half");
    node.rename_in(Key::proof(1), "p1");
    assert_eq!(node.events(&mut outbox, 2)[1], proof(1, "p1", "b1"));
    // The node is started again.
    std::fs::write(&path, "half and half").unwrap();
    node.rename_in(Key::block(3), "b3");
    let events = node.events(&mut outbox, 4);
    assert_eq!(events[2..], [block(2, "half and half", "b1"), block(3, "b3", "half and half")]);
}

#[test]
fn a_file_that_was_written_in_place_is_read_when_it_was_left_alone() {
    let node = Node::new();
    let mut outbox = node.open();
    std::fs::write(node.path(Key::block(1)), "b1").unwrap();
    node.rows(&mut outbox, 1);
}

#[test]
fn epochs_that_come_later_are_followed() {
    let node = Node::new();
    node.settled(Key::block(0xffff), "last");
    let mut outbox = node.open();
    let first = node.events(&mut outbox, 1);
    assert!(matches!(&first[0], tipline_proto::Event::BlockCommitted { height: 0xffff, .. }));
    node.rename_in(Key::block(0x1_0000), "first");
    node.rename_in(Key::block(0x1_0001), "second");
    let events = node.events(&mut outbox, 3);
    assert_eq!(events[1..], [block(0x1_0000, "first", "last"), block(0x1_0001, "second", "first")]);
}

#[test]
fn an_empty_block_is_waited_for_and_an_empty_proof_is_a_proof() {
    let node = Node::new();
    node.settled(Key::block(1), "b1");
    node.settled(Key::block(2), "");
    node.settled(Key::proof(1), "");
    let mut outbox = node.open();
    assert_eq!(node.events(&mut outbox, 2)[1], proof(1, "", "b1"));
    node.rename_in(Key::block(2), "b2");
    assert_eq!(node.events(&mut outbox, 3)[2], block(2, "b2", "b1"));
}

#[test]
fn a_full_outbox_makes_files_wait_until_there_is_room() {
    let node = Node::new();
    let mut outbox = node.open();
    let index = rusqlite::Connection::open(node.root().join(".tipline-outbox.sqlite")).unwrap();
    index.execute("UPDATE tipline_outbox_state SET max_events = 2", []).unwrap();
    for height in 1..=5 {
        node.rename_in(Key::block(height), &format!("b{height}"));
    }
    node.rows(&mut outbox, 2);
    outbox.trim(2).unwrap();
    let rows = node.until(|| {
        let rows = outbox.read(2, 9, 999).unwrap();
        (rows.len() >= 2).then_some(rows)
    });
    assert_eq!(rows[0].event, block(3, "b3", "b2"));
    assert_eq!(rows.len(), 2);
}

#[test]
fn one_process_at_a_time() {
    let node = Node::new();
    let _first = node.open();
    let second = node.open_as(Box::new(ContentHash));
    let refused = second.unwrap_err();
    assert!(matches!(refused, OutboxError::Unusable { .. }), "{refused:?}");
    assert!(refused.to_string().contains("another process"), "{refused}");
}

#[test]
fn the_format_of_a_node_says_hash_and_parent() {
    /// `hash parent`
    #[derive(Debug)]
    struct Words;
    impl BlockFormat for Words {
        fn name(&self) -> &str {
            "words"
        }

        fn read(
            &self,
            _height: u64,
            payload: &[u8],
        ) -> Result<BlockHeader, Box<dyn std::error::Error + Send + Sync>> {
            let text = std::str::from_utf8(payload)?;
            let (own, parent) = text.split_once(' ').ok_or("no space in it")?;
            Ok(BlockHeader { hash: hash(own), parent: Some(hash(parent)) })
        }
    }
    let node = Node::new();
    node.settled(Key::block(1), "one genesis");
    node.settled(Key::block(2), "two one");
    node.settled(Key::block(3), "nonsense");
    let mut outbox = node.open_as(Box::new(Words)).unwrap();
    let failure = super::text(&node.failure(&outbox));
    assert!(failure.contains("block_00000003.dat: no space in it"), "{failure}");
    drop(outbox);
    node.settled(Key::block(3), "three two");
    outbox = node.open_as(Box::new(Words)).unwrap();
    let events = node.events(&mut outbox, 3);
    let tipline_proto::Event::BlockCommitted { hash: own, parent_hash, .. } = &events[2] else {
        panic!("{events:?}")
    };
    assert_eq!((own, parent_hash), (&hash("three"), &hash("two")));
}
