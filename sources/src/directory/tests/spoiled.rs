//! Every file of the source is damaged in every way, while it is followed and while it is not.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use tipline_producer::Outbox;
use tipline_proto::Event;

use super::{Node, block, proof};
use crate::directory::layout::Key;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Damage {
    Removed,
    Emptied,
    Truncated,
    Zeroed,
    /// What was written last is not on the disk, but its length is.
    Unwritten,
    Flipped,
}

const ALL: [Damage; 6] = [
    Damage::Removed,
    Damage::Emptied,
    Damage::Truncated,
    Damage::Zeroed,
    Damage::Unwritten,
    Damage::Flipped,
];

impl Damage {
    fn inflict(self, path: &Path) {
        let bytes = fs::read(path).unwrap();
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        match self {
            Damage::Removed => fs::remove_file(path).unwrap(),
            Damage::Emptied => file.set_len(0).unwrap(),
            Damage::Truncated => file.set_len(bytes.len() as u64 / 2).unwrap(),
            Damage::Zeroed => file.write_all(&vec![0; bytes.len()]).unwrap(),
            Damage::Unwritten => {
                file.seek(SeekFrom::Start(5)).unwrap();
                file.write_all(&vec![0; bytes.len() - 5]).unwrap();
            }
            Damage::Flipped => {
                file.seek(SeekFrom::Start(3)).unwrap();
                file.write_all(&[!bytes[3]]).unwrap();
            }
        }
    }
}

fn expected() -> [Event; 5] {
    [
        block(1, "the first block", "genesis"),
        block(2, "the second block", "the first block"),
        block(3, "the third block", "the second block"),
        proof(1, "the first proof", "the first block"),
        proof(3, "the third proof", "the third block"),
    ]
}

fn node() -> Node {
    let node = Node::new();
    for (height, name) in [(1, "first"), (2, "second"), (3, "third")] {
        node.settled(Key::block(height), &format!("the {name} block"));
    }
    node.settled(Key::proof(1), "the first proof");
    node.settled(Key::proof(3), "the third proof");
    node
}

fn is_named(damage: Damage, key: Key, stopped: bool) {
    let node = node();
    let mut outbox = node.open_with({
        let mut settings = node.settings();
        settings.tip_is_final = damage == Damage::Flipped;
        settings
    });
    assert_eq!(node.events(&mut outbox, 5), expected());
    let path = node.path(key);
    if stopped {
        drop(outbox);
        damage.inflict(&path);
        let mut settings = node.settings();
        settings.tip_is_final = damage == Damage::Flipped;
        outbox = node.open_with(settings);
    } else {
        damage.inflict(&path);
    }
    let said = node.said(&outbox, &key.to_string());
    // Whatever else happens, only what was written is given.
    node.rename_in(Key::block(4), "the fourth block");
    let rows = outbox.read(0, 99, usize::MAX).unwrap_or_default();
    let events: Vec<_> = rows.into_iter().map(|row| row.event).collect();
    let fourth = block(4, "the fourth block", "the third block");
    let all: Vec<_> = expected().into_iter().chain([fourth]).collect();
    assert!(all.starts_with(&events), "{damage:?} {key} ({said}): {events:?}");
}

/// What was published is missed, and goes on without a restart.
#[test]
fn a_directory_of_blocks_that_was_away_at_the_start_is_followed_when_it_is_back() {
    let node = Node::new();
    let [blocks, away] = ["blocks", "away"].map(|name| node.root().join(name));
    fs::create_dir(&blocks).unwrap();
    node.settled(Key::block(1), "the first block");
    node.settled(Key::block(2), "the second block");
    let mut outbox = node.open();
    assert_eq!(node.events(&mut outbox, 2), expected()[..2]);
    drop(outbox);
    fs::rename(&blocks, &away).unwrap();
    let mut outbox = node.open();
    node.said(&outbox, "block_00000002.dat is gone");
    fs::rename(&away, &blocks).unwrap();
    node.rename_in(Key::block(3), "the third block");
    assert_eq!(node.events(&mut outbox, 3), expected()[..3]);
}

#[test]
fn what_happens_to_a_block_is_named() {
    std::thread::scope(|scope| {
        for damage in ALL {
            for key in [Key::block(1), Key::block(2), Key::block(3)] {
                for stopped in [false, true] {
                    scope.spawn(move || is_named(damage, key, stopped));
                }
            }
        }
    });
}

/// A node may remove a proof, or write another one.
#[test]
fn what_happens_to_a_proof_is_named() {
    std::thread::scope(|scope| {
        for damage in [Damage::Emptied, Damage::Truncated, Damage::Zeroed, Damage::Unwritten] {
            for key in [Key::proof(1), Key::proof(3)] {
                for stopped in [false, true] {
                    scope.spawn(move || is_named(damage, key, stopped));
                }
            }
        }
    });
}

#[test]
fn a_tip_that_comes_back_goes_on() {
    let node = node();
    let tip = node.path(Key::block(3));
    let mut outbox = node.open();
    node.rows(&mut outbox, 5);
    drop(outbox);
    fs::write(&tip, "").unwrap();
    let mut outbox = node.open();
    node.rename_in(Key::block(4), "b4");
    node.rename_in(Key::block(5), "b5");
    let said = node.said(&outbox, "block_00000003.dat is empty");
    assert!(said.contains("put back what was there"), "{said}");
    node.rename_in(Key::block(3), "the third block");
    let events = node.events(&mut outbox, 7);
    assert_eq!(events[5..], [block(4, "b4", "the third block"), block(5, "b5", "b4")]);
    node.well(&outbox);
    fs::remove_file(node.path(Key::block(5))).unwrap();
    node.said(&outbox, "block_00000005.dat is gone");
    node.rename_in(Key::block(5), "b5");
    node.well(&outbox);
}

#[test]
fn a_gap_is_named_until_it_is_filled() {
    let node = Node::new();
    node.settled(Key::block(1), "b1");
    node.settled(Key::block(3), "b3");
    let mut outbox = node.open();
    node.said(&outbox, "block_00000002.dat is missing below other blocks");
    node.rename_in(Key::block(2), "b2");
    node.rows(&mut outbox, 3);
    node.well(&outbox);
}

#[test]
fn blocks_that_are_named_otherwise_are_not_waited_for_in_silence() {
    let node = Node::new();
    let elsewhere = node.root().join("blocks/0");
    fs::create_dir_all(&elsewhere).unwrap();
    fs::write(elsewhere.join("block_1.dat"), "b1").unwrap();
    let mut outbox = node.open();
    let said = node.said(&outbox, "blocks/0/block_1.dat is not named as one");
    assert!(said.contains("blocks/0000/block_00000001.dat"), "{said}");
    node.rename_in(Key::block(1), "b1");
    node.rows(&mut outbox, 1);
    node.well(&outbox);
}

#[test]
fn what_happens_to_the_directories_and_the_index_is_named() {
    let replaced = |path: &Path| {
        fs::rename(path, path.with_extension("aside")).unwrap();
        fs::create_dir(path).unwrap();
    };
    let removed = |path: &Path| fs::remove_file(path).unwrap();
    for (path, inflict) in [
        ("blocks", &replaced as &dyn Fn(&Path)),
        (".tipline-outbox.sqlite", &removed),
        (".tipline-outbox.sqlite-wal", &removed),
        (".tipline-outbox.sqlite.lock", &removed),
    ] {
        let node = Node::new();
        fs::create_dir(node.root().join("blocks")).unwrap();
        node.settled(Key::block(1), "b1");
        let mut outbox = node.open();
        node.rows(&mut outbox, 1);
        inflict(&node.root().join(path));
        let said = node.said(&outbox, path);
        assert!(said.contains("while it was in use"), "{said}");
        assert!(outbox.ended().is_some(), "{path}");
        node.rename_in(Key::block(2), "b2");
        assert_eq!(outbox.read(0, 9, 999).map_or(1, |rows| rows.len()), 1);
    }
}
