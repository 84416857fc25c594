//! Databases of version 1, with rows in them, become ones of this version.

use rusqlite::Connection;

use super::clock;
use crate::outbox::conformance::{block, genesis, hash, proof};
use crate::outbox::{Outbox, OutboxError, OutboxTable, SCHEMA, SqliteOutbox};

/// The present schema, put back to what version 1 had.
fn version_1(conn: &Connection, rows: u64, trimmed: u64) {
    conn.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    let table = OutboxTable::install(conn, &genesis(), clock()).unwrap();
    let tx = conn.unchecked_transaction().unwrap();
    for height in 1..=rows {
        table.enqueue(&tx, &block(height, 0, 0)).unwrap();
    }
    tx.commit().unwrap();
    conn.execute_batch(&format!(
        "DROP TRIGGER tipline_outbox_admit; DROP TRIGGER tipline_outbox_limits;
         DROP TABLE tipline_outbox_released;
         DROP TABLE tipline_proven; DROP TRIGGER tipline_outbox_proven_first;
         DROP TRIGGER tipline_outbox_proven_more; DROP TRIGGER tipline_outbox_proven_less;
         CREATE TRIGGER tipline_outbox_check BEFORE INSERT ON tipline_outbox
         BEGIN
             SELECT CASE WHEN (SELECT last - trimmed >= max_events FROM tipline_outbox_state) THEN
                 RAISE(ABORT, 'tipline: the outbox is full: of version 1') END;
         END;
         UPDATE tipline_outbox_state SET version = 1, max_events = 5, trimmed = {trimmed},
             bytes = (SELECT sum(length(payload)) FROM tipline_outbox WHERE sequence > {trimmed});
         DELETE FROM tipline_outbox WHERE sequence <= {trimmed};"
    ))
    .unwrap();
}

fn goes_on(conn: &Connection, outbox: &mut SqliteOutbox) {
    let table = OutboxTable::install(conn, &genesis(), clock()).unwrap();
    let pending = outbox.pending().unwrap();
    assert_eq!((pending.first, pending.last, pending.released), (3, 7, 2));
    assert_eq!(pending.counted_bytes, pending.bytes);
    let add = |height| {
        let tx = conn.unchecked_transaction().unwrap();
        let added = table.enqueue(&tx, &block(height, 0, 0))?;
        tx.commit().unwrap();
        Ok::<u64, OutboxError>(added)
    };
    let full = add(8).unwrap_err();
    assert!(matches!(full, OutboxError::Full { events: 5, .. }), "{full:?}");
    outbox.release(7).unwrap();
    assert_eq!(add(8).unwrap(), 8, "what is kept does not count any more");
    assert_eq!(outbox.read(2, 99, usize::MAX).unwrap().len(), 6);
    // What is proven was not known: all that there was is taken for it.
    let tx = conn.unchecked_transaction().unwrap();
    table.enqueue(&tx, &proof(5, 0)).unwrap();
    table.enqueue(&tx, &block(9, 0, 0)).unwrap();
    table.enqueue(&tx, &proof(9, 0)).unwrap();
    let runs = "SELECT group_concat(first || ' to ' || last, ', ') FROM tipline_proven";
    let runs = tx.query_row(runs, [], |row| row.get::<_, String>(0));
    assert_eq!(runs.unwrap(), "0 to 7, 9 to 9");
    drop(tx);
    let refused = OutboxTable::install(conn, &hash(9, 9), clock()).unwrap_err();
    assert!(refused.to_string().contains("genesis"), "{refused}");
}

#[test]
fn by_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let conn = Connection::open(dir.path().join("node.db")).unwrap();
    version_1(&conn, 7, 2);
    OutboxTable::install(&conn, &genesis(), clock()).unwrap();
    goes_on(&conn, &mut SqliteOutbox::open(&dir.path().join("node.db")).unwrap());
}

#[test]
fn by_the_publisher() {
    let dir = tempfile::tempdir().unwrap();
    let conn = Connection::open(dir.path().join("node.db")).unwrap();
    version_1(&conn, 7, 2);
    let mut outbox = SqliteOutbox::open(&dir.path().join("node.db")).unwrap();
    goes_on(&conn, &mut outbox);
}

#[test]
fn by_the_file_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let conn = Connection::open(dir.path().join("node.db")).unwrap();
    version_1(&conn, 7, 2);
    conn.execute_batch(SCHEMA).unwrap();
    conn.execute_batch(SCHEMA).unwrap();
    goes_on(&conn, &mut SqliteOutbox::open(&dir.path().join("node.db")).unwrap());
}

fn version(conn: &Connection) -> i64 {
    let version = "SELECT version FROM tipline_outbox_state";
    conn.query_row(version, [], |row| row.get(0)).unwrap()
}

/// The version that it runs by would end with it.
#[test]
fn not_under_another_publisher() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.db");
    let conn = Connection::open(&path).unwrap();
    version_1(&conn, 7, 2);
    // As `tipline primary` of an earlier version has it.
    let lock = std::fs::File::create(dir.path().join("node.db.tipline-lock")).unwrap();
    lock.lock().unwrap();
    for opened in [SqliteOutbox::open(&path), SqliteOutbox::open_at(&path, "node")] {
        let refused = opened.unwrap_err();
        assert!(matches!(refused, OutboxError::Unusable { .. }), "{refused:?}");
        assert!(refused.to_string().contains("end that one first"), "{refused}");
        assert_eq!(version(&conn), 1, "it is as it was");
    }
    drop(lock);
    let running = SqliteOutbox::open(&path).unwrap();
    assert_eq!(version(&conn), 3);
    SqliteOutbox::open(&path).expect("two of one version are a matter of the log");

    // The next version will find it so.
    conn.execute_batch("UPDATE tipline_outbox_state SET version = 2").unwrap();
    let refused = SqliteOutbox::open(&path).unwrap_err();
    assert!(refused.to_string().contains("end that one first"), "{refused}");
    assert_eq!(version(&conn), 2);
    drop(running);
    SqliteOutbox::open_at(&path, "node").unwrap();
    assert_eq!(version(&conn), 3);
}

/// Whoever only asks for it may be newer than the publisher that runs.
#[test]
fn the_genesis_is_read_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    let none = SqliteOutbox::genesis_at(&path).unwrap_err();
    assert!(none.to_string().contains("install the outbox"), "{none}");
    conn.execute_batch(SCHEMA).unwrap();
    let none = SqliteOutbox::genesis_at(&path).unwrap_err();
    assert!(none.to_string().contains("belongs to no chain"), "{none}");
    version_1(&conn, 7, 2);
    assert_eq!(SqliteOutbox::genesis_at(&path).unwrap(), genesis());
    assert_eq!(version(&conn), 1);
    conn.execute_batch("UPDATE tipline_outbox_state SET version = 4").unwrap();
    let newer = SqliteOutbox::genesis_at(&path).unwrap_err();
    assert!(newer.to_string().contains("version 4"), "{newer}");
}

/// The node of an earlier version had made the tables, and then ended.
#[test]
fn tables_that_belong_to_no_chain_yet() {
    let dir = tempfile::tempdir().unwrap();
    let conn = Connection::open(dir.path().join("node.db")).unwrap();
    let column = "version INTEGER NOT NULL DEFAULT";
    let version_2 = SCHEMA.replace(&format!("{column} 3"), &format!("{column} 2"));
    assert_ne!(version_2, SCHEMA);
    conn.execute_batch(&version_2).unwrap();
    OutboxTable::install(&conn, &genesis(), clock()).unwrap();
}
