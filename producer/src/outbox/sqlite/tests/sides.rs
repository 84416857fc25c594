//! The two sides together: transactions, locks, references, and databases that cannot be used.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rusqlite::Connection;

use super::{Node, clock};
use crate::outbox::conformance::{self, Subject, block, genesis, hash, proof};
use crate::outbox::{Outbox, OutboxError, OutboxTable, PayloadSource, SCHEMA, SqliteOutbox};

#[test]
fn a_row_is_there_exactly_if_the_transaction_commits() {
    let mut node = Node::new();
    let tx = node.conn.transaction().unwrap();
    assert_eq!(node.table.enqueue(&tx, &block(1, 1, 0)).unwrap(), 1);
    assert_eq!(node.publisher.pending().unwrap().last, 0, "not before the commit");
    tx.rollback().unwrap();
    let tx = node.conn.transaction().unwrap();
    tx.execute_batch("CREATE TABLE own (x); INSERT INTO own VALUES (1)").unwrap();
    assert_eq!(node.table.enqueue(&tx, &block(1, 0, 0)).unwrap(), 1, "the number is free again");
    let refused = node.table.enqueue(&tx, &block(3, 0, 0));
    assert!(matches!(refused, Err(OutboxError::DoesNotLink { .. })), "{refused:?}");
    assert_eq!(node.table.enqueue(&tx, &proof(1, 0)).unwrap(), 2, "the transaction continues");
    tx.commit().unwrap();
    conformance::gives(&mut node.publisher, &[block(1, 0, 0), proof(1, 0)]);
    let own: i64 = node.conn.query_row("SELECT x FROM own", [], |row| row.get(0)).unwrap();
    assert_eq!(own, 1);
}

#[test]
fn installing_again_changes_nothing_and_another_chain_is_refused() {
    let mut node = Node::new();
    node.enqueue(&block(1, 0, 0)).unwrap();
    let id = node.publisher.id();
    node.conn.execute_batch(SCHEMA).unwrap();
    OutboxTable::install(&node.conn, &genesis(), clock()).unwrap();
    let mut again = SqliteOutbox::open(&node.path()).unwrap();
    assert_eq!(again.id(), id);
    conformance::gives(&mut again, &[block(1, 0, 0)]);
    let foreign = OutboxTable::install(&node.conn, &hash(9, 9), clock()).unwrap_err();
    let message = foreign.to_string();
    assert!(message.contains(&genesis().to_string()), "{message}");
    assert!(message.contains(&hash(9, 9).to_string()), "{message}");
}

#[test]
fn installing_takes_part_in_the_transaction_of_the_node() {
    let mut conn = Connection::open_in_memory().unwrap();
    let tx = conn.transaction().unwrap();
    OutboxTable::install(&tx, &genesis(), clock()).unwrap();
    tx.rollback().unwrap();
    let tables: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'tipline%'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(tables, 0);
}

#[test]
fn two_outboxes_have_two_ids() {
    assert_ne!(Node::new().publisher.id(), Node::new().publisher.id());
}

#[test]
fn databases_that_cannot_be_used_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.db");
    let why = || match SqliteOutbox::open(&path).unwrap_err() {
        OutboxError::Unusable { place, why, .. } => {
            assert_eq!(place, format!("sqlite:{}", path.display()));
            why
        }
        other => panic!("{other:?}"),
    };
    assert!(why().contains("cannot be opened"), "{}", why());
    assert!(!path.exists(), "looking does not create it");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("CREATE TABLE own (x)").unwrap();
    assert!(why().contains("PRAGMA journal_mode = WAL"), "{}", why());
    conn.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    assert!(why().contains("install the outbox"), "{}", why());
    conn.execute_batch(SCHEMA).unwrap();
    assert!(why().contains("genesis"), "{}", why());
    OutboxTable::install(&conn, &genesis(), clock()).unwrap();
    SqliteOutbox::open(&path).unwrap();
    conn.execute("UPDATE tipline_outbox_state SET version = 4", []).unwrap();
    assert!(why().contains("version 4"), "{}", why());
    drop(conn);
    std::fs::write(&path, b"this is no database at all, and never was one").unwrap();
    assert!(why().contains("cannot read it"), "{}", why());
}

/// Who reads an error must know which file it is of, whatever the outbox is called.
#[test]
fn an_outbox_with_a_name_of_its_own_names_its_file_when_something_is_wrong_with_it() {
    let mut node = Node::new();
    node.enqueue(&block(1, 0, 0)).unwrap();
    let mut named =
        SqliteOutbox::open_named(&node.path(), Box::new(Elsewhere::default()), "dir:node").unwrap();
    assert_eq!(named.place(), "dir:node");
    let table = node.table.clone().named("dir:node");
    node.conn.execute_batch("DROP TABLE tipline_outbox_released").unwrap();
    let errors = [
        table.tip(&node.conn).unwrap_err(),
        named.read(0, 10, 1000).unwrap_err(),
        named.pending().unwrap_err(),
        named.trim(1).unwrap_err(),
    ];
    for error in errors {
        let told = error.to_string();
        assert!(told.contains("dir:node"), "{told}");
        assert!(told.contains(node.path().to_str().unwrap()), "{told}");
    }
}

#[test]
fn a_node_that_holds_the_lock_makes_trimming_fail_for_now() {
    let mut node = Node::new();
    conformance::fill(&mut node, &[1, 2, 3].map(|height| block(height, 0, 0)));
    let tx = node.conn.transaction().unwrap();
    node.table.enqueue(&tx, &block(4, 0, 0)).unwrap();
    let busy = node.publisher.trim(2).unwrap_err();
    assert!(matches!(busy, OutboxError::Failed { .. }), "{busy:?}");
    assert_eq!(node.publisher.read(0, 9, 999).unwrap().len(), 3, "reading does not need it");
    tx.commit().unwrap();
    node.publisher.trim(2).unwrap();
    assert_eq!(node.publisher.pending().unwrap().first, 3);
}

#[test]
fn a_long_backlog_is_trimmed_in_steps_and_counted_right() {
    let mut node = Node::new();
    let tx = node.conn.transaction().unwrap();
    for height in 1..=1001 {
        node.table.enqueue(&tx, &block(height, 0, 0)).unwrap();
    }
    tx.commit().unwrap();
    node.publisher.trim(1000).unwrap();
    let pending = node.publisher.pending().unwrap();
    let left = block(1001, 0, 0).payload().len() as u64;
    assert_eq!((pending.first, pending.last, pending.bytes), (1001, 1001, left));
    let rows: i64 =
        node.conn.query_row("SELECT count(*) FROM tipline_outbox", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1, "the rows are gone, not only forgotten");
}

#[test]
fn something_that_deletes_rows_behind_the_back_is_found() {
    let mut node = Node::new();
    conformance::fill(&mut node, &[1, 2, 3].map(|height| block(height, 0, 0)));
    node.conn
        .execute_batch(
            "DROP TRIGGER tipline_outbox_keep; DELETE FROM tipline_outbox WHERE sequence = 2",
        )
        .unwrap();
    let damaged = node.publisher.read(0, 9, 999).unwrap_err();
    assert!(matches!(damaged, OutboxError::Corrupt { .. }), "{damaged:?}");
}

#[test]
fn text_that_is_no_text_is_damage_and_not_tried_again() {
    let mut node = Node::new();
    node.enqueue(&block(1, 0, 0)).unwrap();
    let insert = "INSERT INTO tipline_outbox (kind, name) VALUES ('marked', CAST(x'ff' AS TEXT))";
    node.conn.execute(insert, []).unwrap();
    let damaged = node.publisher.read(1, 9, 999).unwrap_err();
    assert!(matches!(damaged, OutboxError::Corrupt { .. }), "{damaged:?}");
}

#[derive(Debug, Clone, Default)]
struct Elsewhere(Arc<Mutex<HashMap<String, Bytes>>>);

impl PayloadSource for Elsewhere {
    fn read(&self, reference: &str) -> io::Result<Bytes> {
        self.0.lock().unwrap().get(reference).cloned().ok_or(io::ErrorKind::NotFound.into())
    }
}

#[test]
fn payloads_that_are_kept_elsewhere_are_read_and_compared() {
    let mut node = Node::new();
    let elsewhere = Elsewhere::default();
    let put = |name: &str, payload: &Bytes| {
        elsewhere.0.lock().unwrap().insert(name.to_owned(), payload.clone())
    };
    let events = [block(1, 0, 0), block(2, 0, 0)];
    let tx = node.conn.transaction().unwrap();
    node.table.enqueue_reference(&tx, &events[0], "blocks/1").unwrap();
    node.table.enqueue(&tx, &events[1]).unwrap();
    tx.commit().unwrap();
    let mut publisher = SqliteOutbox::open_with(&node.path(), Box::new(elsewhere.clone())).unwrap();

    let expect_damage = |publisher: &mut SqliteOutbox| {
        let damaged = publisher.read(0, 9, 999).unwrap_err();
        let OutboxError::Corrupt { at, source, .. } = damaged else { panic!("{damaged:?}") };
        assert!(at.contains("row 1") && at.contains("blocks/1"), "{at}");
        assert!(source.is_some());
    };
    expect_damage(&mut publisher);
    put("blocks/1", &Bytes::from_static(b"block 1 X"));
    expect_damage(&mut publisher);
    put("blocks/1", &Bytes::from_static(b"block 1 0 and more"));
    expect_damage(&mut publisher);
    put("blocks/1", events[0].payload());
    conformance::gives(&mut publisher, &events);

    let without = node.publisher.read(0, 9, 999).unwrap_err();
    assert!(matches!(without, OutboxError::Unusable { .. }), "{without:?}");
    let tx = node.conn.transaction().unwrap();
    let none = node.table.enqueue_reference(&tx, &conformance::rollback(1, 0), "x");
    assert!(matches!(none, Err(OutboxError::Refused { .. })), "{none:?}");
}

#[test]
fn the_clock_of_plain_sql_is_sqlites_own() {
    let mut node = Node::new();
    node.conn
        .execute("INSERT INTO tipline_outbox (kind, name) VALUES ('marked', 'here')", [])
        .unwrap();
    let row = node.publisher.read(0, 1, 1).unwrap().remove(0);
    let distance = tipline_log::system_clock()().as_micros().abs_diff(row.time.as_micros());
    assert!(distance < 10_000_000, "{distance} µs apart");
}
