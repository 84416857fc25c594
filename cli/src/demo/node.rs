//! A small node: it keeps blocks and proofs in a SQLite database of its own, and writes the
//! outbox in the same transaction.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::{Connection, params};
use tipline_log::Clock;
use tipline_producer::{OutboxError, OutboxTable, SqliteOutbox};
use tipline_proto::{Event, Hash};

use super::blocks::Block;

/// The node's database. It has nothing to do with Tipline but the outbox in it.
pub(super) struct Node {
    conn: Connection,
    outbox: OutboxTable,
    path: PathBuf,
}

/// Why the node could not commit.
#[derive(Debug, thiserror::Error)]
pub(super) enum NodeError {
    #[error("the demo's node cannot use its database")]
    Database(#[from] rusqlite::Error),
    #[error("the demo's node cannot enqueue")]
    Outbox(#[from] OutboxError),
}

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE block (height INTEGER PRIMARY KEY, hash BLOB NOT NULL, block BLOB NOT NULL);
    CREATE TABLE proof (height INTEGER PRIMARY KEY REFERENCES block, proof BLOB NOT NULL);
";

impl Node {
    pub(super) fn create(path: &Path, genesis: &Hash, clock: Clock) -> Result<Self, NodeError> {
        let conn = Connection::open(path)?;
        conn.execute_batch(SCHEMA)?;
        let outbox = OutboxTable::install(&conn, genesis, clock)?;
        Ok(Self { conn, outbox, path: path.to_owned() })
    }

    /// The publisher's side of the outbox.
    pub(super) fn outbox(&self) -> Result<SqliteOutbox, NodeError> {
        Ok(SqliteOutbox::open(&self.path)?)
    }

    /// Commits a block; gives its sequence in the outbox.
    pub(super) fn commit_block(&mut self, block: &Block) -> Result<u64, NodeError> {
        let tx = self.conn.transaction()?;
        tx.prepare_cached("INSERT INTO block VALUES (?, ?, ?)")?.execute(params![
            block.height.cast_signed(),
            block.hash.as_ref(),
            &block.payload[..]
        ])?;
        let event = Event::BlockCommitted {
            height: block.height,
            hash: block.hash.clone(),
            parent_hash: block.parent_hash.clone(),
            payload: block.payload.clone(),
        };
        let sequence = self.outbox.enqueue(&tx, &event)?;
        tx.commit()?;
        Ok(sequence)
    }

    /// Commits a proof; gives its sequence in the outbox.
    pub(super) fn commit_proof(
        &mut self,
        height: u64,
        block_hash: Hash,
        payload: Bytes,
    ) -> Result<u64, NodeError> {
        let tx = self.conn.transaction()?;
        tx.prepare_cached("INSERT INTO proof VALUES (?, ?)")?
            .execute(params![height.cast_signed(), &payload[..]])?;
        let event = Event::BlockProven { height, block_hash, payload };
        let sequence = self.outbox.enqueue(&tx, &event)?;
        tx.commit()?;
        Ok(sequence)
    }

    /// What the node itself has at a height: its block and its proof.
    pub(super) fn read(&self, height: u64) -> Result<(Vec<u8>, Option<Vec<u8>>), NodeError> {
        let sql = "SELECT block, proof FROM block LEFT JOIN proof USING (height) WHERE height = ?";
        let mut statement = self.conn.prepare_cached(sql)?;
        Ok(statement.query_row([height.cast_signed()], |row| Ok((row.get(0)?, row.get(1)?)))?)
    }
}
