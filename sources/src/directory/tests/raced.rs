//! A node that replaces its newest block and writes the next one, between two looks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tipline_producer::{Outbox, OutboxError};
use tipline_proto::{Event, Hash};

use super::{Node, genesis, hash, text};
use crate::directory::layout::Key;
use crate::directory::{BlockFormat, BlockHeader};

/// What a node does to its newest block.
#[derive(Debug, Clone, Copy)]
enum How {
    Renamed,
    /// In place, in the same tick of the clock.
    WithoutTrace,
}

/// `NAME on PARENT`, or `NAME` on whatever is below. When the second block is read, the node has
/// just replaced the first.
#[derive(Debug)]
struct Raced {
    first: PathBuf,
    replace: Arc<Mutex<Option<(How, &'static str)>>>,
}

impl BlockFormat for Raced {
    fn name(&self) -> &str {
        "raced"
    }

    fn read(
        &self,
        height: u64,
        payload: &[u8],
    ) -> Result<BlockHeader, Box<dyn std::error::Error + Send + Sync>> {
        if height == 2
            && let Some((how, with)) = self.replace.lock().unwrap().take()
        {
            replace(&self.first, how, with);
        }
        let said = std::str::from_utf8(payload)?;
        let (name, parent) = said.split_once(" on ").unwrap_or((said, ""));
        let parent = (!parent.is_empty()).then(|| hash(parent));
        Ok(BlockHeader { hash: hash(name), parent })
    }
}

fn replace(path: &PathBuf, how: How, with: &str) {
    match how {
        How::Renamed => {
            let other = path.with_extension("dat.tmp");
            fs::write(&other, with).unwrap();
            fs::rename(&other, path).unwrap();
        }
        How::WithoutTrace => {
            let before = fs::metadata(path).unwrap();
            fs::write(path, with).unwrap();
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
            let after = fs::metadata(path).unwrap();
            assert_eq!((before.len(), before.ino()), (after.len(), after.ino()));
        }
    }
}

fn committed(height: u64, name: &str, parent: Hash, payload: &str) -> Event {
    let payload = payload.to_owned().into();
    Event::BlockCommitted { height, hash: hash(name), parent_hash: parent, payload }
}

fn format(node: &Node, how: How, with: &'static str) -> Box<Raced> {
    let replace = Arc::new(Mutex::new(Some((how, with))));
    Box::new(Raced { first: node.path(Key::block(1)), replace })
}

#[test]
fn a_tip_that_is_replaced_just_before_the_next_block_comes_is_looked_at_again() {
    for (how, second) in [
        (How::Renamed, "c on b"),
        (How::WithoutTrace, "c on b"),
        // What says nothing of its parent is on top of what is there.
        (How::Renamed, "c"),
    ] {
        let node = Node::new();
        node.settled(Key::block(1), "a on genesis");
        let mut outbox = node.open_as(format(&node, how, "b on genesis")).unwrap();
        node.rows(&mut outbox, 1);
        node.rename_in(Key::block(2), second);
        let expected = [
            committed(1, "a", genesis(), "a on genesis"),
            Event::RolledBack { to_height: 0, to_hash: genesis() },
            committed(1, "b", genesis(), "b on genesis"),
            committed(2, "c", hash("b"), second),
        ];
        assert_eq!(node.events(&mut outbox, 4), expected, "{how:?} {second}");
        node.well(&outbox);
    }
}

#[test]
fn a_block_on_top_of_none_that_ever_was_there_still_stops_the_outbox() {
    let node = Node::new();
    node.settled(Key::block(1), "a on genesis");
    let mut outbox = node.open_as(format(&node, How::Renamed, "b on genesis")).unwrap();
    node.rows(&mut outbox, 1);
    node.rename_in(Key::block(2), "c on something else");
    let failure = node.failure(&outbox);
    assert!(matches!(failure, OutboxError::DoesNotLink { .. }), "{failure:?}");
    assert!(text(&failure).contains("block_00000002.dat"), "{failure:?}");
    assert_eq!(outbox.read(0, 99, usize::MAX).unwrap().len(), 3, "the newest block is replaced");
}
