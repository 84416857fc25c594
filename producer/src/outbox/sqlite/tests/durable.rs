//! What is given out is on the disk, in the files that have the names of the database.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use rusqlite::Connection;
use tipline_log::Appender;
use tipline_proto::Lineage;

use super::{Node, clock};
use crate::outbox::conformance::{Subject, block, fill, genesis};
use crate::outbox::{Outbox, OutboxError, OutboxTable, SqliteOutbox};
use crate::tests::{log, settings, start_boxed};
use crate::{EndReason, ProducerSettings, ResumeFrom};

/// Longer than anything here takes; only a failing test waits that long.
const DEADLINE: Duration = Duration::from_secs(60);

/// The publisher's side, on a disk that syncs nothing.
fn unsynced(node: &Node) -> SqliteOutbox {
    let mut publisher = SqliteOutbox::open(&node.path()).unwrap();
    publisher.barrier.sync = |_, _, _| Err(ErrorKind::StorageFull.into());
    publisher
}

fn is_unsynced(error: &OutboxError) -> bool {
    matches!(error, OutboxError::Corrupt { at, .. } if at.contains("could not be synced"))
}

#[test]
fn no_row_is_read_that_is_not_synced() {
    let mut node = Node::new();
    fill(&mut node, &[1, 2, 3, 4, 5].map(|height| block(height, 0, 0)));
    let all = usize::MAX;
    for (after, rows, bytes) in [(0, 1, 0), (0, 1, all), (0, all, all), (0, 9, 1), (4, 1, 0)] {
        let refused = unsynced(&node).read(after, rows, bytes).unwrap_err();
        assert!(is_unsynced(&refused), "{after}, {rows}, {bytes}: {refused:?}");
    }
    // Whatever is known of the rows, and however many of them are gone.
    let mut publisher = unsynced(&node);
    publisher.release(5).unwrap();
    publisher.trim(2).unwrap();
    assert_eq!(publisher.waiting(2).unwrap().events, 3);
    assert!(is_unsynced(&publisher.read(2, 9, 999).unwrap_err()));
    assert!(publisher.read(5, 9, 999).unwrap().is_empty(), "of no row nothing is to be synced");
}

/// By each of the ways on which the publisher gets rows: to publish them, to compare its newest one
/// with the log, and to see where another outbox continues.
#[tokio::test]
async fn nothing_is_published_or_claimed_by_what_is_not_synced() {
    let mut node = Node::new();
    let log = log();
    let ends_unsynced = async |outbox: SqliteOutbox, settings: ProducerSettings| {
        let producer = start_boxed(&log, Box::new(outbox), settings);
        let ended = tokio::time::timeout(DEADLINE, producer.ended()).await.expect("it ends");
        let EndReason::Outbox(error) = &ended else { panic!("{ended:?}") };
        assert!(is_unsynced(error), "{error:?}");
    };
    node.enqueue(&block(1, 0, 0)).unwrap();
    ends_unsynced(unsynced(&node), settings()).await;
    assert_eq!(log.tail().await.unwrap().position.index, 1, "there is the claim alone");

    let whole = SqliteOutbox::open(&node.path()).unwrap();
    let producer = start_boxed(&log, Box::new(whole), settings());
    producer.committed(1).logged().await.unwrap();
    drop(producer);
    let tail = log.tail().await.unwrap();
    ends_unsynced(unsynced(&node), settings()).await;
    assert_eq!(log.tail().await.unwrap(), tail, "it has claimed nothing");

    let mut rebuilt = Node::new();
    fill(&mut rebuilt, &[block(1, 0, 0), block(2, 0, 0)]);
    let mut resuming = settings();
    resuming.continue_at = Some(ResumeFrom { position: tail.position, sequence: 1 });
    ends_unsynced(unsynced(&rebuilt), resuming).await;
    assert_eq!(log.tail().await.unwrap(), tail, "it has claimed nothing");
}

/// Somebody copies a file, and puts the copy in its place.
fn replace(node: &Node, suffix: &str) {
    let path = format!("{}{suffix}", node.path().display());
    let copy = format!("{path}-copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
}

fn remove(node: &Node, suffix: &str) {
    fs::remove_file(format!("{}{suffix}", node.path().display())).unwrap();
}

/// All that is in the write-ahead log is in the database then.
fn write_all(conn: &Connection) {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

type Change = fn(&Node);

/// What becomes of the files, what is said of it, and whether the node goes on meanwhile: in files that
/// are gone when it ends.
const CHANGES: [(Change, &str, bool); 8] = [
    (|node| remove(node, ""), "node.db was removed while it was open", true),
    (|node| replace(node, ""), "node.db was replaced while it was open", true),
    (|node| remove(node, "-wal"), "node.db-wal was removed while it was open", true),
    (|node| replace(node, "-wal"), "node.db-wal was replaced while it was open", true),
    (|node| remove(node, "-shm"), "node.db-shm was removed while it was open", true),
    (|node| replace(node, "-shm"), "node.db-shm was replaced while it was open", true),
    // Over the file, which stays the same one.
    (
        |node| fs::copy(node.path().with_extension("old"), node.path()).map(drop).unwrap(),
        "replaced by an older copy: its outbox has rows 1 to 1, and had 1 to 2",
        false,
    ),
    (
        |node| fs::copy(node.path().with_extension("other"), node.path()).map(drop).unwrap(),
        "the database was replaced by one with the outbox ",
        false,
    ),
];

/// A node with two rows, and beside it an older copy of its database, and another database.
fn with_copies() -> Node {
    let mut node = Node::new();
    let other = Connection::open(node.path().with_extension("other")).unwrap();
    other.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    OutboxTable::install(&other, &genesis(), clock()).unwrap();
    write_all(&other);
    node.enqueue(&block(1, 0, 0)).unwrap();
    write_all(&node.conn);
    fs::copy(node.path(), node.path().with_extension("old")).unwrap();
    node.enqueue(&block(2, 0, 0)).unwrap();
    write_all(&node.conn);
    node
}

#[test]
fn a_database_that_was_replaced_is_named() {
    for (change, says, _) in CHANGES {
        let mut node = with_copies();
        assert_eq!(node.publisher.read(0, 9, 999).unwrap().len(), 2);
        change(&node);
        let gone = node.publisher.read(0, 9, 999).unwrap_err();
        assert!(matches!(gone, OutboxError::Unusable { .. }), "{says}: {gone:?}");
        assert!(gone.to_string().contains(says), "{says}: {gone}");
    }
}

/// What was written since the last checkpoint is in the write-ahead log, and hides it.
#[test]
fn a_copy_over_the_database_is_noticed_by_what_was_not_written_since() {
    for (change, says, _) in CHANGES.into_iter().filter(|(.., goes_on)| !goes_on) {
        let mut node = with_copies();
        node.publisher.bind(Lineage::from_bytes([1; 16])).unwrap();
        node.publisher.release(2).unwrap();
        change(&node);
        let damaged = node.publisher.read(2, 9, 999).unwrap_err();
        assert!(matches!(damaged, OutboxError::Corrupt { .. }), "{says}: {damaged:?}");
        assert!(damaged.to_string().contains("rows 1 to 2"), "{says}: {damaged}");
        assert!(node.publisher.trim(2).is_err(), "{says}");
    }
}

#[tokio::test]
async fn nothing_is_published_of_a_database_that_was_replaced() {
    for (change, says, goes_on) in CHANGES {
        let mut node = with_copies();
        let log = log();
        let outbox = Box::new(SqliteOutbox::open(&node.path()).unwrap());
        let producer = start_boxed(&log, outbox, settings());
        producer.committed(2).logged().await.unwrap();
        let before = log.tail().await.unwrap().position;
        change(&node);
        if goes_on {
            node.enqueue(&block(3, 0, 0)).unwrap();
        }
        let ticket = producer.committed(3);
        let ended = tokio::time::timeout(DEADLINE, ticket.logged()).await.expect(says);
        assert!(matches!(ended, Err(EndReason::Outbox(_))), "{says}: {ended:?}");
        assert_eq!(log.tail().await.unwrap().position, before, "{says}");
    }
}

/// Rows that were given out before are given out no more either, and nothing is removed from what is
/// there now.
#[test]
fn a_database_that_was_replaced_stays_so() {
    let mut node = Node::new();
    fill(&mut node, &[1, 2].map(|height| block(height, 0, 0)));
    assert_eq!(node.publisher.read(0, 9, 999).unwrap().len(), 2);
    let aside = node.path().with_extension("aside");
    fs::rename(node.path(), &aside).unwrap();
    let gone = node.publisher.read(0, 9, 999).unwrap_err();
    assert!(matches!(gone, OutboxError::Unusable { .. }), "{gone:?}");
    fs::rename(&aside, node.path()).unwrap();
    let publisher = &mut node.publisher;
    let errors = [
        publisher.read(0, 9, 999).unwrap_err(),
        publisher.pending().unwrap_err(),
        publisher.waiting(0).unwrap_err(),
        publisher.lineage().unwrap_err(),
        publisher.bind(Lineage::from_bytes([1; 16])).unwrap_err(),
        publisher.release(1).unwrap_err(),
        publisher.trim(1).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.to_string(), gone.to_string());
    }
    let mut again = SqliteOutbox::open(&node.path()).unwrap();
    assert_eq!(again.read(0, 9, 999).unwrap().len(), 2);
}

/// What it syncs it syncs to the medium, as stores do.
#[test]
fn an_fsync_reaches_the_medium() {
    let node = Node::new();
    for pragma in ["fullfsync", "checkpoint_fullfsync"] {
        let value =
            node.publisher.conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        assert_eq!(value.unwrap(), 1, "{pragma}");
    }
}
