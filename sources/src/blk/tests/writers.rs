//! A node that writes its records in any order and in any pieces, into space that it made in
//! advance, is killed anywhere and goes on. What is published is what it wrote in the end.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index as Pick;
use tipline_log::system_clock;
use tipline_producer::Outbox;
use tipline_producer::SqliteOutbox;
use tipline_proto::{Event, Timestamp};

use super::node::Node;
use super::{mainnet, mainnet_genesis, write, xor};
use crate::BlkBlocks;
use crate::blk::scan::BlkScan;
use crate::files::{ChangeKind, FileChanges, FileSource, Scan};

const BLOCKS: usize = 30;

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// One of the pieces that are under way is written; more become so.
    Write(Pick),
    /// The file gets longer.
    Allocate(u16),
    /// The node is killed, or closes the file. What was not written yet of the records under way
    /// is written again, in other pieces.
    Kill,
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<Pick>().prop_map(Step::Write),
        1 => (0..3000_u16).prop_map(Step::Allocate),
        1 => Just(Step::Kill),
        4 => Just(Step::Look),
    ]
}

struct Writer {
    path: PathBuf,
    /// The whole file as it will be.
    file: Vec<u8>,
    /// Where records end.
    ends: Vec<usize>,
    /// Pieces under way, and how many records they are of.
    pieces: Vec<(usize, usize)>,
    done: usize,
    under_way: usize,
}

impl Writer {
    /// Pieces of the next records, of this length.
    fn refill(&mut self, size: usize) {
        if !self.pieces.is_empty() || self.done + self.under_way > self.ends.len() {
            return;
        }
        self.done += self.under_way;
        self.under_way = 3.min(self.ends.len() - self.done);
        self.cut(size);
    }

    fn cut(&mut self, size: usize) {
        let start = self.done.checked_sub(1).map_or(0, |last| self.ends[last]);
        let end = (self.done + self.under_way).checked_sub(1).map_or(0, |last| self.ends[last]);
        let starts = (start..end).step_by(size);
        self.pieces = starts.map(|at| (at, end.min(at + size))).collect();
    }

    fn put(&self, (from, to): (usize, usize)) {
        let mut file = OpenOptions::new().write(true).open(&self.path).unwrap();
        file.seek(SeekFrom::Start(from as u64)).unwrap();
        file.write_all(&self.file[from..to]).unwrap();
    }
}

/// What is published; it must be what the node wrote, from the first block on.
fn published(node: &Path, key: [u8; 8]) -> Vec<Event> {
    let source = FileSource::with_key(node.to_owned(), key);
    let index = node.join(".tipline-outbox.sqlite");
    let mut outbox = SqliteOutbox::open_with(&index, Box::new(source)).unwrap();
    let rows = outbox.read(0, usize::MAX, usize::MAX).unwrap();
    rows.into_iter().map(|row| row.event).collect()
}

fn look(scan: &mut BlkScan, changes: &mut FileChanges) {
    scan.scan(changes).expect("a node that writes is nothing to stop for");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn what_is_published_is_what_is_written_in_the_end(
        steps in prop::collection::vec(step(), 20..200),
        size in 1..300_usize,
        key in prop_oneof![Just([0; 8]), any::<[u8; 8]>()],
    ) {
        let node = Node::new();
        let plain = write(node.path(), "plain", &mainnet());
        let expected: Vec<_> =
            BlkBlocks::open(&plain).unwrap().take(BLOCKS).map(Result::unwrap).collect();
        let ends: Vec<usize> = expected
            .iter()
            .scan(0, |end, block| {
                *end += 8 + block.payload.len();
                Some(*end)
            })
            .collect();
        write(node.path(), "xor.dat", &key);
        let path = write(node.path(), "blk00000.dat", b"");
        let file = xor(&mainnet()[..ends[BLOCKS - 1]], key);
        let mut writer = Writer { path, file, ends, pieces: Vec::new(), done: 0, under_way: 0 };
        // Every file seems to have been left alone for long: the bytes alone decide.
        let now = system_clock();
        let clock = Arc::new(move || {
            let hour = Duration::from_secs(3600);
            Timestamp::from_micros(now().as_micros() + hour.as_micros() as u64)
        });
        let mut scan = node.scan(mainnet_genesis(), clock);
        let mut changes = FileChanges::new();
        writer.refill(size);
        for step in steps {
            match step {
                Step::Write(pick) => {
                    let at = pick.index(writer.pieces.len());
                    let piece = writer.pieces.swap_remove(at);
                    writer.put(piece);
                    changes.record(writer.path.clone(), ChangeKind::Writing);
                    writer.refill(size);
                    if writer.pieces.is_empty() {
                        break;
                    }
                }
                Step::Allocate(more) => {
                    let file = File::options().write(true).open(&writer.path).unwrap();
                    let length = file.metadata().unwrap().len() + u64::from(more);
                    file.set_len(length).unwrap();
                }
                Step::Kill => {
                    changes.record(writer.path.clone(), ChangeKind::Closed);
                    look(&mut scan, &mut changes);
                    writer.cut(size + 7);
                }
                Step::Look => {
                    look(&mut scan, &mut changes);
                    let events = published(node.path(), key);
                    prop_assert!(events.len() <= BLOCKS);
                    for (event, block) in events.iter().zip(&expected) {
                        let is_same = matches!(event, Event::BlockCommitted { hash, payload, .. }
                            if *hash == block.hash && *payload == block.payload);
                        prop_assert!(is_same, "{event}");
                    }
                }
            }
        }
        // In the end everything is written.
        writer.put((0, writer.file.len()));
        changes.record(writer.path.clone(), ChangeKind::Closed);
        for _ in 0..3 {
            look(&mut scan, &mut changes);
        }
        let events = published(node.path(), key);
        prop_assert_eq!(events.len(), BLOCKS);
    }
}
