//! Every file of the source is damaged in every way, while it is followed and while it is not.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use tipline_log::error_chain;
use tipline_producer::Outbox;

use super::node::{Node, append, genesis, settle};
use super::{record, write};
use crate::blk::tests::node::branch;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Damage {
    Removed,
    Replaced,
    Truncated,
    Zeroed,
    Flipped,
}

const ALL: [Damage; 5] =
    [Damage::Removed, Damage::Replaced, Damage::Truncated, Damage::Zeroed, Damage::Flipped];

impl Damage {
    fn inflict(self, path: &Path) {
        let length = fs::metadata(path).unwrap().len();
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        match self {
            Damage::Removed => fs::remove_file(path).unwrap(),
            Damage::Replaced => {
                let other = path.with_extension("other");
                fs::write(&other, b"something else").unwrap();
                fs::rename(&other, path).unwrap();
            }
            Damage::Truncated => file.set_len(length / 2).unwrap(),
            Damage::Zeroed => file.write_all(&vec![0; usize::try_from(length).unwrap()]).unwrap(),
            Damage::Flipped => {
                let byte = fs::read(path).unwrap()[usize::try_from(length / 2).unwrap()];
                file.seek(SeekFrom::Start(length / 2)).unwrap();
                file.write_all(&[!byte]).unwrap();
            }
        }
    }
}

/// Three blocks, two of them in a finished file.
fn node() -> (Node, Vec<Vec<u8>>) {
    let node = Node::new();
    let blocks = branch(&genesis(), &["one", "two", "three", "four"]);
    settle(&write(node.path(), "blk00000.dat", &[record(&blocks[0]), record(&blocks[1])].concat()));
    settle(&write(node.path(), "blk00001.dat", &record(&blocks[2])));
    (node, blocks)
}

/// After the damage: it is said within the deadline, and nothing but the blocks is given.
fn is_named(damage: Damage, name: &str, stopped: bool) {
    let (node, blocks) = node();
    let mut outbox = node.open(node.path().to_owned(), genesis());
    let before = node.events(&mut outbox, 3);
    let path = node.path().join(name);
    if stopped {
        drop(outbox);
        damage.inflict(&path);
        outbox = match node.try_open(node.path().to_owned(), genesis()) {
            Ok(outbox) => outbox,
            Err(refused) => {
                let text = error_chain(&refused);
                assert!(text.contains("index"), "{damage:?} {name}: {text}");
                return;
            }
        };
    } else {
        damage.inflict(&path);
    }
    let said = node.failure(&outbox, "");
    // SQLite may notice first, in words of its own.
    let is_named = said.contains(name) || (name.contains("outbox") && said.contains("its index"));
    assert!(is_named, "{damage:?} {name}, stopped {stopped}: {said}");
    // The node continues all the same.
    let newest = node.path().join("blk00001.dat");
    if File::open(&newest).is_ok() {
        append(&newest, &record(&blocks[3]));
    }
    if let Ok(rows) = outbox.read(0, 99, usize::MAX) {
        let events: Vec<_> = rows.into_iter().map(|row| row.event).collect();
        assert!(before.starts_with(&events) || events.starts_with(&before), "{events:?}");
    }
}

#[test]
fn what_happens_to_the_files_is_named() {
    std::thread::scope(|scope| {
        for damage in ALL {
            for name in ["blk00000.dat", "blk00001.dat"] {
                for stopped in [false, true] {
                    scope.spawn(move || is_named(damage, name, stopped));
                }
            }
        }
    });
}

#[test]
fn what_happens_to_the_index_is_named() {
    let index = ".tipline-outbox.sqlite";
    std::thread::scope(|scope| {
        for damage in [Damage::Removed, Damage::Replaced] {
            for suffix in ["", "-wal", ".lock"] {
                scope.spawn(move || is_named(damage, &format!("{index}{suffix}"), false));
            }
        }
        for damage in [Damage::Truncated, Damage::Zeroed, Damage::Flipped] {
            scope.spawn(move || is_named(damage, index, false));
        }
        for damage in [Damage::Replaced, Damage::Truncated, Damage::Zeroed, Damage::Flipped] {
            scope.spawn(move || is_named(damage, index, true));
        }
    });
}

/// A block so far below the newest one that nothing is remembered of it.
fn an_old_block_is_named(damage: impl Fn(&Path), stopped: bool) {
    let node = Node::new();
    let names: Vec<String> = (0..1100).map(|number| format!("block {number}")).collect();
    let blocks = branch(&genesis(), &names.iter().map(String::as_str).collect::<Vec<_>>());
    let records: Vec<Vec<u8>> = blocks.iter().map(|block| record(block)).collect();
    settle(&write(node.path(), "blk00000.dat", &records[..50].concat()));
    settle(&write(node.path(), "blk00001.dat", &records[50..].concat()));
    let mut outbox = node.open(node.path().to_owned(), genesis());
    node.events(&mut outbox, 1100);
    // Once more, so that nothing of the first reading is left.
    drop(outbox);
    let old = node.path().join("blk00000.dat");
    let outbox = if stopped {
        damage(&old);
        node.open(node.path().to_owned(), genesis())
    } else {
        let outbox = node.open(node.path().to_owned(), genesis());
        damage(&old);
        outbox
    };
    let said = node.failure(&outbox, "blk00000.dat");
    assert!(outbox.ended().is_some(), "{said}");
}

#[test]
fn what_happens_to_a_block_that_is_long_forgotten_is_named() {
    let first = record(&branch(&genesis(), &["block 0"])[0]).len() as u64;
    let flip = |path: &Path, at: u64| {
        let byte = fs::read(path).unwrap()[usize::try_from(at).unwrap()];
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&[byte ^ 1]).unwrap();
    };
    std::thread::scope(|scope| {
        for stopped in [false, true] {
            // In the first block, in its frame, and in the last of them.
            for at in [first - 1, 2, first * 30] {
                scope.spawn(move || an_old_block_is_named(|path| flip(path, at), stopped));
            }
        }
    });
}

#[test]
fn a_file_of_old_blocks_that_was_only_copied_is_read_again_and_is_well() {
    let (node, _) = node();
    let mut outbox = node.open(node.path().to_owned(), genesis());
    node.events(&mut outbox, 3);
    let (old, copy) = (node.path().join("blk00000.dat"), node.path().join("copy"));
    fs::copy(&old, &copy).unwrap();
    fs::rename(&copy, &old).unwrap();
    settle(&old);
    let newest = node.path().join("blk00001.dat");
    append(&newest, &record(&branch(&genesis(), &["one", "two", "three", "four"])[3]));
    node.events(&mut outbox, 4);
    node.well(&outbox);
    assert!(outbox.ended().is_none());
}

#[test]
fn a_directory_that_is_replaced_stops_the_outbox() {
    let (node, _) = node();
    let root = node.path().join("blocks");
    fs::create_dir(&root).unwrap();
    for name in ["blk00000.dat", "blk00001.dat"] {
        fs::rename(node.path().join(name), root.join(name)).unwrap();
    }
    let mut outbox = node.open(root.clone(), genesis());
    node.events(&mut outbox, 3);
    fs::rename(&root, node.path().join("aside")).unwrap();
    fs::create_dir(&root).unwrap();
    let said = node.failure(&outbox, "mounted or unmounted");
    assert!(said.contains("blocks"), "{said}");
    assert!(outbox.ended().is_some());
}

#[test]
fn an_index_that_is_gone_but_for_its_wal_is_not_begun_from_that() {
    let (node, _) = node();
    let mut outbox = node.open(node.path().to_owned(), genesis());
    node.events(&mut outbox, 3);
    let wal = node.path().join(".tipline-outbox.sqlite-wal");
    let copy = fs::read(&wal).unwrap();
    drop(outbox);
    fs::remove_file(node.path().join(".tipline-outbox.sqlite")).unwrap();
    fs::write(&wal, copy).unwrap();
    let refused = node.try_open(node.path().to_owned(), genesis()).unwrap_err();
    assert!(refused.to_string().contains("-wal is there"), "{refused}");
}
