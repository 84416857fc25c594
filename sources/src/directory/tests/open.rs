//! Files that somebody has open and writes to.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

use tipline_producer::Outbox;
use tipline_proto::Event;

use super::writers::{Checked, content, later, published};
use super::{Node, block, proof, text};
use crate::ContentHash;
use crate::directory::layout::Key;
use crate::files::{ChangeKind, FileChanges, Look, Scan};

/// A proof that became shorter is named while it is open and when it was closed; so is the newest
/// block, and one below.
#[test]
fn a_published_file_that_is_written_again_is_named_while_it_is_open_and_after() {
    for (key, after) in [
        (Key::proof(1), "proof_00000001.dat is cut off"),
        (Key::block(2), "block_00000002.dat is cut off"),
        (Key::block(1), "block_00000001.dat: it is below the newest block"),
    ] {
        let node = Node::new();
        node.settled(Key::block(1), "the first block");
        node.settled(Key::block(2), "the second block");
        node.settled(Key::proof(1), "the first proof");
        let mut outbox = node.open();
        let expected = [
            block(1, "the first block", "genesis"),
            block(2, "the second block", "the first block"),
            proof(1, "the first proof", "the first block"),
        ];
        assert_eq!(node.events(&mut outbox, 3), expected);
        let mut file = OpenOptions::new().write(true).open(node.path(key)).unwrap();
        file.set_len(4).unwrap();
        file.write_all(b"the ").unwrap();
        node.said(&outbox, &format!("{key} was published, and is being written again"));
        drop(file);
        node.said(&outbox, after);
        let rows = outbox.read(0, 99, usize::MAX).unwrap_or_default();
        assert!(rows.iter().map(|row| &row.event).eq(expected.iter().take(rows.len())));
    }
}

#[test]
fn a_writer_that_does_not_go_on_is_named() {
    let node = Node::new();
    let path = node.path(Key::block(1));
    fs::write(&path, "half a block").unwrap();
    for (age, is_named) in [(0, false), (30, false), (60, true)] {
        let mut scan = node.scan_as(Box::new(ContentHash), later(Duration::from_secs(age)));
        let mut changes = FileChanges::new();
        changes.record(path.clone(), ChangeKind::Writing);
        let look = scan.scan(&mut changes).unwrap();
        assert!(published(&node).is_empty(), "it is open, {age} s after it was written to");
        let says =
            format!("{look:?}").contains("block_00000001.dat was not written to for a minute");
        assert_eq!(says, is_named, "{age} s: {look:?}");
        if is_named {
            changes.record(path.clone(), ChangeKind::Closed);
            assert_eq!(scan.scan(&mut changes).unwrap(), Look::when_changed());
            assert_eq!(published(&node), [block(1, "half a block", "genesis")]);
        }
    }
}

/// Whoever replaces its newest block in place and is killed is back, or has gone on.
#[test]
fn half_of_a_block_in_place_of_the_newest_one_is_waited_for() {
    let another = |text: &str| [blake3::hash(text.as_bytes()).as_bytes(), text.as_bytes()].concat();
    let new = another("another block 1, as long as need be");
    let node = Node::new();
    let path = node.path(Key::block(1));
    let put = |bytes: &[u8], changes: &mut FileChanges| {
        fs::write(&path, bytes).unwrap();
        changes.record(path.clone(), ChangeKind::Closed);
    };
    let mut scan = node.scan_as(Box::new(Checked), later(Duration::from_secs(60)));
    let mut changes = FileChanges::new();
    put(&content(1), &mut changes);
    scan.scan(&mut changes).unwrap();
    for half in 33..new.len() {
        put(&new[..half], &mut changes);
        scan.scan(&mut changes).expect("it is waited for");
        assert_eq!(published(&node).len(), 1, "{half} bytes of it");
    }
    put(&new, &mut changes);
    scan.scan(&mut changes).unwrap();
    let events = published(&node);
    assert!(matches!(events[1], Event::RolledBack { to_height: 0, .. }), "{events:?}");
    assert!(matches!(&events[2], Event::BlockCommitted { payload, .. } if *payload == new));

    // With the next block on top nobody writes it any more.
    put(&another("yet another one")[..40], &mut changes);
    scan.scan(&mut changes).unwrap();
    fs::write(node.path(Key::block(2)), content(2)).unwrap();
    changes.record(node.path(Key::block(2)), ChangeKind::Closed);
    let stopped = text(&scan.scan(&mut changes).unwrap_err());
    assert!(stopped.contains("block_00000001.dat: not whole"), "{stopped}");
}
