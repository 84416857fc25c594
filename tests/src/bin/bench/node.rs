//! A node of one table, with the outbox in its database or without.

use std::path::Path;

use rusqlite::{Connection, Transaction, params};
use tipline_log::system_clock;
use tipline_producer::OutboxTable;
use tipline_proto::Event;
use tipline_tests::toy_chain;

use crate::Outcome;
use crate::load::block;

/// What a node does with its database anyway: every commit is synced.
pub(crate) struct Node {
    conn: Connection,
    outbox: Option<OutboxTable>,
    height: u64,
}

impl Node {
    /// Makes the database.
    pub(crate) fn open(path: &Path, with_outbox: bool) -> Outcome<Self> {
        let conn = Connection::open(path)?;
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
             CREATE TABLE block (height INTEGER PRIMARY KEY, block BLOB NOT NULL);",
        )?;
        let install = || OutboxTable::install(&conn, &toy_chain().genesis, system_clock());
        let outbox = with_outbox.then(install).transpose()?;
        Ok(Self { conn, outbox, height: 0 })
    }

    /// The next block, not committed yet.
    pub(crate) fn next(&self, bytes: usize) -> Event {
        block(self.height + 1, bytes)
    }

    /// Commits a block, and gives its height, which is its sequence in the outbox, too.
    pub(crate) fn commit(&mut self, block: &Event) -> Outcome<u64> {
        let tx = self.conn.transaction()?;
        insert(&tx, self.outbox.as_ref(), self.height + 1, block)?;
        tx.commit()?;
        self.height += 1;
        Ok(self.height)
    }

    /// Commits so many blocks in one transaction: only to have them.
    pub(crate) fn commit_many(&mut self, blocks: u64, bytes: usize) -> Outcome<()> {
        let tx = self.conn.transaction()?;
        for height in self.height + 1..=self.height + blocks {
            insert(&tx, self.outbox.as_ref(), height, &block(height, bytes))?;
        }
        tx.commit()?;
        self.height += blocks;
        Ok(())
    }

    /// Closes it as one file, which can be copied.
    pub(crate) fn fold(self) -> Outcome<()> {
        self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.conn.close().map_err(|(_, error)| error.into())
    }
}

fn insert(
    tx: &Transaction<'_>,
    outbox: Option<&OutboxTable>,
    height: u64,
    block: &Event,
) -> Outcome<()> {
    let sql = "INSERT INTO block VALUES (?, ?)";
    tx.prepare_cached(sql)?.execute(params![height.cast_signed(), block.payload().as_ref()])?;
    if let Some(outbox) = outbox {
        outbox.enqueue(tx, block)?;
    }
    Ok(())
}
