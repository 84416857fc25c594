//! A node's database that is published from outside.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;
use tipline_producer::{Outbox, OutboxError, SCHEMA};
use tipline_proto::{Event, Hash};
use tokio::sync::Notify;

use super::{DatabaseOutbox, FIRST, IDLE, LAST, UNWATCHED, longer};
use crate::Genesis;

/// Longer than anything here takes; only a failing test waits that long.
const DEADLINE: Duration = Duration::from_secs(20);

/// A node in another language.
struct Node {
    dir: TempDir,
    db: Connection,
}

fn genesis() -> Hash {
    Hash::new([7; 32]).unwrap()
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Connection::open(dir.path().join("node.db")).unwrap();
        db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
        Self { dir, db }
    }

    fn installed() -> Self {
        let node = Self::new();
        node.db.execute_batch(SCHEMA).unwrap();
        node.db
            .execute(
                "INSERT OR IGNORE INTO tipline_outbox_state (genesis) VALUES (?1)",
                [genesis().as_ref()],
            )
            .unwrap();
        node
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("node.db")
    }

    fn mark(&self, name: &str) {
        let sql = "INSERT INTO tipline_outbox (kind, name) VALUES ('marked', ?1)";
        self.db.execute(sql, [name]).unwrap();
    }

    fn open(&self) -> Result<(DatabaseOutbox, Arc<Notify>), OutboxError> {
        let wake = Arc::new(Notify::new());
        let outbox = DatabaseOutbox::open(&self.path(), &genesis(), Arc::clone(&wake))?;
        Ok((outbox, wake))
    }

    fn refused(&self) -> String {
        let error = self.open().unwrap_err();
        assert!(matches!(error, OutboxError::Unusable { .. }), "{error:?}");
        tipline_log::error_chain(&error)
    }
}

fn marks(outbox: &mut DatabaseOutbox) -> Vec<String> {
    let rows = outbox.read(0, usize::MAX, usize::MAX).unwrap();
    let mark = |event| match event {
        Event::Marked { name } => name.as_str().to_owned(),
        other => panic!("{other:?}"),
    };
    rows.into_iter().map(|row| mark(row.event)).collect()
}

#[tokio::test]
async fn what_the_node_commits_is_there_and_wakes_the_publisher() {
    let node = Node::installed();
    node.mark("0");
    let (mut outbox, wake) = node.open().unwrap();
    assert_eq!(marks(&mut outbox), ["0"]);
    // Nothing else would wake it before the deadline.
    node.mark("1");
    tokio::time::timeout(DEADLINE, wake.notified()).await.expect("the commit was noticed");
    for count in 2..=20 {
        node.mark(&count.to_string());
        let seen = async {
            while marks(&mut outbox).len() <= count {
                wake.notified().await;
            }
        };
        tokio::time::timeout(DEADLINE, seen).await.expect("the commit was noticed");
    }
    assert_eq!(Genesis::in_database(&node.path()).unwrap().hash, genesis());
}

#[test]
fn a_mark_is_enqueued_as_the_node_would_and_refused_as_the_node_is() {
    let node = Node::installed();
    node.mark("0");
    let (mut outbox, _) = node.open().unwrap();
    let marker = outbox.marker();
    marker.mark(&"1".parse().unwrap()).unwrap();
    assert_eq!(marks(&mut outbox), ["0", "1"]);
    node.db.execute_batch("UPDATE tipline_outbox_state SET max_events = 2").unwrap();
    let full = marker.mark(&"2".parse().unwrap()).unwrap_err();
    assert!(matches!(full, OutboxError::Failed { .. }), "{full:?}");
    assert!(tipline_log::error_chain(&full).contains("the outbox is full"), "{full:?}");
    assert_eq!(marks(&mut outbox), ["0", "1"]);
}

/// A notification comes before the commit counts, and its fsync may take a second.
#[test]
fn rows_are_looked_for_several_times_after_a_notification() {
    let pauses = |from, idle| {
        let mut pauses = vec![from];
        while *pauses.last().unwrap() != idle {
            pauses.push(longer(*pauses.last().unwrap(), idle));
        }
        pauses
    };
    let after = pauses(FIRST, IDLE);
    let until = after.iter().take(after.len() - 1).sum::<Duration>();
    assert!(after.len() > 5 && until > LAST, "{after:?}");
    assert!(pauses(FIRST, UNWATCHED).iter().all(|pause| *pause <= UNWATCHED));
    assert_eq!((longer(IDLE, IDLE), longer(UNWATCHED, UNWATCHED)), (IDLE, UNWATCHED));
}

#[test]
fn a_database_without_a_usable_outbox_is_refused_with_what_to_do() {
    let missing = DatabaseOutbox::open("no/such.db".as_ref(), &genesis(), Arc::default());
    let missing = missing.unwrap_err().to_string();
    assert!(missing.contains("sqlite:no/such.db") && missing.contains("there is no such database"));

    let node = Node::new();
    node.db.execute_batch("CREATE TABLE accounts (id INTEGER)").unwrap();
    assert!(node.refused().contains("it has no table tipline_outbox_state: install the outbox"));
    node.db.execute_batch(SCHEMA).unwrap();
    assert!(node.refused().contains("it belongs to no chain yet"));
    let bind = "INSERT INTO tipline_outbox_state (genesis) VALUES (x'09')";
    node.db.execute_batch(bind).unwrap();
    let says = format!(
        "the chain with genesis 09 (tipline_outbox_state), the log to the one with {}",
        genesis()
    );
    assert!(node.refused().contains(&says), "{}", node.refused());
    node.db.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).unwrap();
    assert!(node.refused().contains("PRAGMA journal_mode = WAL"));
}

#[test]
fn one_publisher_at_a_time_by_whatever_name() {
    let node = Node::installed();
    let (first, _) = node.open().unwrap();
    let other = node.dir.path().join("other.db");
    std::os::unix::fs::symlink(node.path(), &other).unwrap();
    let refused = DatabaseOutbox::open(&other, &genesis(), Arc::default()).unwrap_err().to_string();
    assert!(refused.contains("another process publishes from it"), "{refused}");
    drop(first);
    node.open().unwrap();
}

#[test]
fn a_publisher_that_is_ending_is_waited_for() {
    let node = Node::installed();
    let (first, _) = node.open().unwrap();
    let second = std::thread::scope(|scope| {
        let path = node.path();
        let second = scope.spawn(move || node_open(&path));
        drop(first);
        second.join().unwrap()
    });
    second.unwrap();
}

fn node_open(path: &std::path::Path) -> Result<DatabaseOutbox, OutboxError> {
    DatabaseOutbox::open(path, &genesis(), Arc::default())
}

/// Somebody copies the database, and puts it in its own place.
fn replace(node: &Node, name: &str) {
    let (path, copy) = (node.dir.path().join(name), node.dir.path().join("copy"));
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
}

/// The node commits into a file that has no name any more, or whose rows are in one that has none.
/// They are gone with the processes that have it open.
#[test]
fn rows_of_a_database_that_was_replaced_or_removed_are_not_given_out() {
    type Change = fn(&Node);
    let changes: [(Change, &str); 6] = [
        (|node| replace(node, "node.db"), "node.db was replaced while it was open"),
        (|node| fs::remove_file(node.path()).unwrap(), "node.db was removed while it was open"),
        (|node| replace(node, "node.db-wal"), "node.db-wal was replaced while it was open"),
        (
            |node| fs::remove_file(node.dir.path().join("node.db-wal")).unwrap(),
            "node.db-wal was removed while it was open",
        ),
        (
            |node| fs::remove_file(node.dir.path().join("node.db-shm")).unwrap(),
            "node.db-shm was removed while it was open",
        ),
        (
            // Over the file, which stays the same one.
            |node| fs::copy(node.dir.path().join("before"), node.path()).map(drop).unwrap(),
            "replaced by an older copy: its outbox has rows 1 to 1, and had 1 to 2",
        ),
    ];
    for (change, says) in changes {
        let node = Node::installed();
        let write_all = "PRAGMA wal_checkpoint(TRUNCATE)";
        node.mark("1");
        node.db.query_row(write_all, [], |_| Ok(())).unwrap();
        fs::copy(node.path(), node.dir.path().join("before")).unwrap();
        node.mark("2");
        node.db.query_row(write_all, [], |_| Ok(())).unwrap();
        let (mut outbox, _) = node.open().unwrap();
        assert_eq!(marks(&mut outbox), ["1", "2"]);
        change(&node);
        let gone = outbox.read(0, 9, 9).unwrap_err();
        assert!(matches!(gone, OutboxError::Unusable { .. }), "{says}: {gone:?}");
        assert!(gone.to_string().contains(says), "{says}: {gone}");
        // For good, whatever the node does, and whatever is asked.
        _ = node.db.execute("INSERT INTO tipline_outbox (kind, name) VALUES ('marked', '3')", []);
        for error in [outbox.read(2, 9, 9).unwrap_err(), outbox.trim(1).unwrap_err()] {
            assert_eq!(error.to_string(), gone.to_string());
        }
    }
}

/// Only one that is not there is gone. What was gone once is not taken for what was open, although
/// it is put back: meanwhile the node may have opened something else.
#[cfg(unix)]
#[test]
fn a_database_that_cannot_be_looked_at_may_come_back() {
    let node = Node::installed();
    let (mut outbox, _) = node.open().unwrap();
    let aside = node.dir.path().join("aside.db");
    fs::rename(node.path(), &aside).unwrap();
    std::os::unix::fs::symlink(node.path(), node.path()).unwrap();
    let failed = outbox.pending().unwrap_err();
    assert!(matches!(failed, OutboxError::Failed { .. }), "{failed:?}");
    fs::rename(&aside, node.path()).unwrap();
    outbox.pending().unwrap();
    fs::rename(node.path(), &aside).unwrap();
    let gone = outbox.pending().unwrap_err();
    assert!(matches!(gone, OutboxError::Unusable { .. }), "{gone:?}");
    fs::rename(&aside, node.path()).unwrap();
    let gone = outbox.pending().unwrap_err();
    assert!(matches!(gone, OutboxError::Unusable { .. }), "{gone:?}");
    drop(outbox);
    node.open().unwrap();
}

#[test]
fn a_payload_that_only_the_node_can_read_is_named() {
    let node = Node::installed();
    let refer = "INSERT INTO tipline_outbox (kind, hash, payload_ref, payload_hash, payload_length) \
                 VALUES ('transaction_validated', x'01', 'shelf 4', zeroblob(32), 9)";
    node.db.execute_batch(refer).unwrap();
    let (mut outbox, _) = node.open().unwrap();
    let refused = outbox.read(0, 9, 9).unwrap_err().to_string();
    assert!(
        refused.contains("row 1, whose payload is at shelf 4 that only the node can read"),
        "{refused}"
    );
}
