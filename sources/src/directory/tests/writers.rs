//! A node that writes its block files in place, in any pieces, into space that it made in advance,
//! is killed anywhere and goes on. What is published is what it wrote in the end.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index as Pick;
use tipline_log::{Clock, system_clock};
use tipline_producer::{Outbox, SqliteOutbox};
use tipline_proto::{Event, Hash, Timestamp};

use super::Node;
use crate::directory::layout::Key;
use crate::files::{ChangeKind, FileChanges, FileSource, Scan};
use crate::{BlockFormat, BlockHeader, ContentHash};

const BLOCKS: u64 = 6;

/// A BLAKE3, and what it is of.
#[derive(Debug)]
pub(super) struct Checked;

impl BlockFormat for Checked {
    fn name(&self) -> &str {
        "checked"
    }

    fn read(
        &self,
        _height: u64,
        payload: &[u8],
    ) -> Result<BlockHeader, Box<dyn std::error::Error + Send + Sync>> {
        let (own, rest) = payload.split_at_checked(32).ok_or("too short")?;
        if blake3::hash(rest).as_bytes() != own {
            return Err("not whole".into());
        }
        Ok(BlockHeader { hash: Hash::new(own)?, parent: None })
    }

    fn proves_whole(&self) -> bool {
        true
    }
}

pub(super) fn content(height: u64) -> Vec<u8> {
    let text = format!("block {height} ").repeat(usize::try_from(height).unwrap() * 3);
    [blake3::hash(text.as_bytes()).as_bytes(), text.as_bytes()].concat()
}

#[derive(Debug, Clone)]
enum Step {
    Write(Pick),
    /// The node is killed; it writes the block again, in other pieces.
    Kill,
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    let write = any::<Pick>().prop_map(Step::Write);
    prop_oneof![6 => write, 1 => Just(Step::Kill), 3 => Just(Step::Look)]
}

fn pieces(length: usize, size: usize) -> Vec<(usize, usize)> {
    (0..length).step_by(size).map(|at| (at, length.min(at + size))).collect()
}

pub(super) fn published(node: &Node) -> Vec<Event> {
    let source = FileSource::new(node.root());
    let index = node.root().join(".tipline-outbox.sqlite");
    let mut outbox = SqliteOutbox::open_with(&index, Box::new(source)).unwrap();
    let rows = outbox.read(0, usize::MAX, usize::MAX).unwrap();
    rows.into_iter().map(|row| row.event).collect()
}

/// The files seem to be this much older than they are.
pub(super) fn later(by: Duration) -> Clock {
    let now = system_clock();
    Arc::new(move || Timestamp::from_micros(now().as_micros() + by.as_micros() as u64))
}

fn run(format: impl BlockFormat + 'static, later: Clock, steps: Vec<Step>, size: usize) {
    let node = Node::new();
    let mut scan = node.scan_as(Box::new(format), later);
    let mut changes = FileChanges::new();
    let mut height = 1;
    let put = |height: u64, (from, to): (usize, usize)| {
        let path = node.path(Key::block(height));
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).open(&path).unwrap();
        // Space is made in advance.
        let length = content(height).len() as u64;
        if file.metadata().unwrap().len() < length {
            file.set_len(length).unwrap();
        }
        file.seek(SeekFrom::Start(from as u64)).unwrap();
        file.write_all(&content(height)[from..to]).unwrap();
        path
    };
    let mut left = pieces(content(height).len(), size);
    for step in steps {
        match step {
            Step::Write(pick) => {
                let piece = left.swap_remove(pick.index(left.len()));
                let path = put(height, piece);
                changes.record(path.clone(), ChangeKind::Writing);
                if left.is_empty() {
                    changes.record(path, ChangeKind::Closed);
                    height += 1;
                    left = pieces(content(height).len(), size);
                }
                if height > BLOCKS {
                    break;
                }
            }
            Step::Kill => {
                changes.record(node.path(Key::block(height)), ChangeKind::Closed);
                left = pieces(content(height).len(), size + 5);
            }
            Step::Look => {
                scan.scan(&mut changes).expect("a node that writes is nothing to stop for");
                check(&published(&node));
            }
        }
    }
    for height in height..=BLOCKS {
        put(height, (0, content(height).len()));
    }
    for height in 1..=BLOCKS {
        changes.record(node.path(Key::block(height)), ChangeKind::Renamed);
    }
    scan.scan(&mut changes).unwrap();
    let events = published(&node);
    check(&events);
    assert_eq!(events.len() as u64, BLOCKS);
}

fn check(events: &[Event]) {
    for (event, expected) in events.iter().zip(1..) {
        let is_same = matches!(event, Event::BlockCommitted { height, payload, .. }
            if *height == expected && *payload == content(expected));
        assert!(is_same, "{event}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    /// The files always seem to have been left alone for long: their bytes decide.
    #[test]
    fn a_format_that_proves_it_waits_for_the_last_byte(
        steps in prop::collection::vec(step(), 20..150),
        size in 1..200_usize,
    ) {
        run(Checked, later(Duration::from_secs(3600)), steps, size);
    }

    /// The node goes on within 10 s: time, and the next block, decide.
    #[test]
    fn without_one_a_file_is_left_alone_for_a_while(
        steps in prop::collection::vec(step(), 20..150),
        size in 1..200_usize,
    ) {
        run(ContentHash, system_clock(), steps, size);
    }
}

#[test]
fn a_file_that_is_not_whole_below_another_is_damage() {
    let node = Node::new();
    std::fs::write(node.path(Key::block(1)), &content(1)[..40]).unwrap();
    let mut scan = node.scan_as(Box::new(Checked), later(Duration::from_secs(60)));
    let mut changes = FileChanges::new();
    scan.scan(&mut changes).unwrap();
    assert!(published(&node).is_empty());
    std::fs::write(node.path(Key::block(2)), content(2)).unwrap();
    changes.record(node.path(Key::block(2)), ChangeKind::Closed);
    let stopped = scan.scan(&mut changes).unwrap_err();
    assert!(super::text(&stopped).contains("block_00000001.dat: not whole"), "{stopped:?}");
}
