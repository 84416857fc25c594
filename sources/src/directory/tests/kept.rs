//! What waits for the log, and is gone from the node's files.

use std::fs;

use tipline_log::memory::MemoryLog;
use tipline_log::{Appender, Reader, claim, system_clock};
use tipline_producer::{Outbox, OutboxError, Row};
use tipline_proto::{Chain, Entry, Event, Lineage, LogIdentity};

use super::{Node, block, genesis, proof, text};
use crate::FileOutbox;
use crate::directory::layout::Key;
use crate::files::{FileChanges, Scan};

/// The rows that have a copy of their payload.
pub(super) fn copies(node: &Node) -> Vec<i64> {
    let index = rusqlite::Connection::open(node.root().join(".tipline-outbox.sqlite")).unwrap();
    let sql = "SELECT sequence FROM tipline_outbox WHERE payload IS NOT NULL ORDER BY sequence";
    let mut statement = index.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn name(height: u64) -> String {
    format!("block {height}, {}", "of some length ".repeat(height as usize))
}

fn five_blocks() -> (Node, Vec<Event>) {
    let node = Node::new();
    let mut parent = "genesis".to_owned();
    let mut events = Vec::new();
    for height in 1..=5 {
        node.settled(Key::block(height), &name(height));
        events.push(block(height, &name(height), &parent));
        parent = name(height);
    }
    for height in [1, 4] {
        let content = format!("proof {height}");
        node.settled(Key::proof(height), &content);
        events.push(proof(height, &content, &name(height)));
    }
    (node, events)
}

/// A node that prunes all it has, or is moved aside.
fn remove_all(node: &Node) {
    for height in 1..=5 {
        for key in [Key::block(height), Key::proof(height)] {
            drop(fs::remove_file(node.path(key)));
        }
    }
}

/// The log is away for so long that the node has removed all that waits.
#[test]
fn what_waits_is_published_although_the_node_has_removed_it() {
    for is_restarted in [false, true] {
        let (node, expected) = five_blocks();
        let mut outbox = node.open();
        assert_eq!(node.events(&mut outbox, 7), expected);
        if is_restarted {
            drop(outbox);
            remove_all(&node);
            outbox = node.open();
        } else {
            remove_all(&node);
        }
        let published = node.runtime.block_on(publish(&mut outbox));
        assert_eq!(published, expected, "restarted: {is_restarted}");
        // The node is back where it was, and what the log has is not kept for it.
        node.settled(Key::block(5), &name(5));
        node.rename_in(Key::block(6), &name(6));
        let rows =
            node.until(|| outbox.read(7, 9, usize::MAX).ok().filter(|rows| !rows.is_empty()));
        assert_eq!(rows[0].event, block(6, &name(6), &name(5)));
        assert_eq!(copies(&node), [6, 7, 8], "the proofs, and the newest block");
    }
}

/// The log is back: what it has in the end.
async fn publish(outbox: &mut FileOutbox) -> Vec<Event> {
    let chain = Chain::new("test".parse().unwrap(), genesis());
    let lineage = Lineage::from_bytes([3; 16]);
    let log = MemoryLog::new(LogIdentity { name: "test".parse().unwrap(), chain, lineage });
    let claimed = claim(&log, "node-1".parse().unwrap(), &system_clock()).await.unwrap();
    let mut published = 0;
    // A few at a time, so that the payloads are asked for again and again.
    loop {
        let rows = outbox.read(published, 2, usize::MAX).unwrap();
        let Some(last) = rows.last() else { break };
        published = last.sequence;
        let tail = log.tail().await.unwrap();
        let mut position = tail.position;
        let seal = |row: Row| {
            let Row { sequence, time, event } = row;
            let entry = Entry::seal(&position, claimed.epoch, time, sequence, event);
            position = entry.position();
            entry
        };
        let unit: Vec<Entry> = rows.into_iter().map(seal).collect();
        log.append(&tail, &unit).await.unwrap();
        outbox.release(published).unwrap();
    }
    let mut events = Vec::new();
    for index in 2..=log.tail().await.unwrap().position.index {
        events.push(log.entry(index).await.unwrap().event);
    }
    events
}

/// The oldest have a copy, and the newest. The others are read from the files, or named.
#[test]
fn beyond_the_limit_files_are_read() {
    let node = Node::new();
    let content = |height: u64| match height {
        0 => "genesis".to_owned(),
        _ => format!("b{height}"),
    };
    let event = |height| block(height, &content(height), &content(height - 1));
    let expected: Vec<Event> = (1..=7).map(event).collect();
    let add = |height| node.settled(Key::block(height), &content(height));
    (1..=5).for_each(add);
    let mut scan = node.scan();
    scan.index.copy_at_most(6);
    let mut changes = FileChanges::new();
    scan.scan(&mut changes).unwrap();
    assert_eq!(copies(&node), [1, 2, 3, 5]);
    add(6);
    changes.look_at_everything();
    scan.scan(&mut changes).unwrap();
    assert_eq!(copies(&node), [1, 2, 3, 6]);
    drop(scan);
    let mut outbox = node.open();
    assert_eq!(node.events(&mut outbox, 6), expected[..6]);
    // What the log has makes room.
    outbox.release(2).unwrap();
    drop(outbox);
    add(7);
    let mut scan = node.scan();
    scan.index.copy_at_most(6);
    scan.scan(&mut FileChanges::new()).unwrap();
    assert_eq!(copies(&node), [3, 6, 7]);
    drop(scan);
    fs::remove_file(node.path(Key::block(3))).unwrap();
    fs::remove_file(node.path(Key::block(4))).unwrap();
    let mut outbox = node.open();
    assert_eq!(outbox.read(0, 9, 999).unwrap().len(), 3, "what is before it is given");
    let damaged = outbox.read(3, 9, 999).unwrap_err();
    assert!(matches!(damaged, OutboxError::Corrupt { .. }), "{damaged:?}");
    assert!(text(&damaged).contains("row 4") && text(&damaged).contains("block_00000004.dat"));
    add(4);
    assert_eq!(node.events(&mut outbox, 7), expected);
}

/// What waits for the log is kept in the index: nobody else reads it there.
#[cfg(unix)]
#[test]
fn the_index_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::new();
    node.settled(Key::block(1), "the first block");
    let mut outbox = node.open();
    assert_eq!(node.events(&mut outbox, 1).len(), 1);
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let path = node.root().join(format!(".tipline-outbox.sqlite{suffix}"));
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{path:?}");
    }
}
