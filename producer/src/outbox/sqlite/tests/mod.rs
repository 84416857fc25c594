mod durable;
mod outside;
mod producer;
mod rules;
mod sides;
mod upgrade;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use tempfile::TempDir;
use tipline_log::Clock;
use tipline_proto::{Event, Timestamp};

use super::{OutboxTable, SqliteOutbox};
use crate::outbox::conformance::{self, Subject};
use crate::outbox::{Outbox, OutboxError};

/// A node with its database, and the publisher's side of its outbox.
pub(super) struct Node {
    pub(super) conn: Connection,
    pub(super) table: OutboxTable,
    pub(super) publisher: SqliteOutbox,
    dir: TempDir,
}

impl Node {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let conn = Connection::open(dir.path().join("node.db")).unwrap();
        // Tests of rules, not of durability: no fsync.
        conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF").unwrap();
        let table = OutboxTable::install(&conn, &conformance::genesis(), clock()).unwrap();
        let publisher = SqliteOutbox::open(&dir.path().join("node.db")).unwrap();
        Node { conn, table, publisher, dir }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("node.db")
    }
}

/// Ticks once per call.
pub(super) fn clock() -> Clock {
    let now = AtomicU64::new(1);
    Arc::new(move || Timestamp::from_micros(now.fetch_add(1, Ordering::SeqCst)))
}

impl Subject for Node {
    fn enqueue(&mut self, event: &Event) -> Result<u64, OutboxError> {
        let tx = self.conn.transaction().unwrap();
        let sequence = self.table.enqueue(&tx, event)?;
        tx.commit().unwrap();
        Ok(sequence)
    }

    fn set_limits(&mut self, events: u64, bytes: u64) -> Result<(), OutboxError> {
        self.table.set_limits(&self.conn, events, bytes)
    }

    fn outbox(&mut self) -> &mut dyn Outbox {
        &mut self.publisher
    }
}

#[test]
fn conforms() {
    conformance::conforms(Node::new);
}
