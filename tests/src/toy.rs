//! The toy node: a small SQLite database of blocks and proofs, with the outbox in it.

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rusqlite::{Connection, params};
use tipline_log::embedded::EmbeddedLog;
use tipline_log::jetstream::{JetStreamLog, JetStreamOptions};
use tipline_log::{Log, LogError, system_clock};
use tipline_producer::{OutboxTable, SqliteOutbox};
use tipline_proto::{Chain, Event, Hash, Lineage, LogIdentity};

use crate::Rng;

/// Proofs come at least so many blocks late.
const PROOF_LAG: u64 = 8;

/// The chain of the toy node.
pub fn toy_chain() -> Chain {
    let name = "toy".parse().unwrap_or_else(|e| panic!("{e}"));
    Chain::new(name, toy_hash(0))
}

/// An identity for a fresh log of the toy's chain.
pub fn toy_log(name: &str, rng: &mut Rng) -> LogIdentity {
    let lineage: [u8; 16] = rng.bytes(16).try_into().unwrap_or([9; 16]);
    LogIdentity {
        name: name.parse().unwrap_or_else(|e| panic!("{e}")),
        chain: toy_chain(),
        lineage: Lineage::from_bytes(lineage),
    }
}

/// The hash of the toy's block at a height.
pub fn toy_hash(height: u64) -> Hash {
    let digest = blake3::hash(&height.to_be_bytes());
    Hash::new(digest.as_bytes()).unwrap_or_else(|e| panic!("{e}"))
}

/// The payload of the toy's block at a height: the same for the same height and length.
pub fn toy_payload(height: u64, length: usize) -> Bytes {
    let mut payload = vec![0; length];
    blake3::Hasher::new().update(&height.to_be_bytes()).finalize_xof().fill(&mut payload);
    payload.into()
}

/// Opens `embedded:PATH` or `nats://HOST:PORT/NAME`.
///
/// # Errors
/// As the logs themselves.
pub async fn open_log(address: &str) -> Result<Arc<dyn Log>, LogError> {
    if let Some(path) = address.strip_prefix("embedded:") {
        return Ok(Arc::new(EmbeddedLog::open(Path::new(path)).await?));
    }
    let (url, name) = address.rsplit_once('/').unwrap_or_else(|| panic!("no name in {address}"));
    let name = name.parse().unwrap_or_else(|e| panic!("{e}"));
    Ok(Arc::new(JetStreamLog::open(&JetStreamOptions::new(url, name)).await?))
}

/// The toy node.
#[derive(Debug)]
pub struct ToyNode {
    conn: Connection,
    table: OutboxTable,
    path: PathBuf,
    height: u64,
    rng: Rng,
    committing: Committing,
}

/// Is told the sequence of each event directly before it is committed.
struct Committing(Box<dyn Fn(u64) + Send>);

impl fmt::Debug for Committing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Committing")
    }
}

/// Where the time of each commit goes.
#[derive(Debug)]
pub struct LatencyFile {
    start: Instant,
    file: BufWriter<File>,
}

/// SQLite's numbers have a sign, the toy's have none.
fn number(row: &rusqlite::Row<'_>) -> rusqlite::Result<u64> {
    row.get::<_, i64>(0).map(i64::cast_unsigned)
}

/// The toy says what went wrong in words; nothing acts on it.
type Outcome<T> = Result<T, String>;

fn say(error: impl fmt::Display) -> String {
    error.to_string()
}

impl ToyNode {
    /// Opens the database, or makes it.
    ///
    /// # Errors
    /// SQLite's, in words.
    pub fn open(path: &Path) -> Outcome<Self> {
        let conn = Connection::open(path).map_err(say)?;
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000;
             CREATE TABLE IF NOT EXISTS block
                 (height INTEGER PRIMARY KEY, sequence INTEGER UNIQUE, block BLOB NOT NULL);
             CREATE TABLE IF NOT EXISTS proof
                 (height INTEGER PRIMARY KEY, sequence INTEGER UNIQUE, proof BLOB NOT NULL);",
        )
        .map_err(say)?;
        let table =
            OutboxTable::install(&conn, &toy_chain().genesis, system_clock()).map_err(say)?;
        let sql = "SELECT coalesce(max(height), 0) FROM block";
        let height = conn.query_row(sql, [], number).map_err(say)?;
        let (path, rng, committing) =
            (path.to_owned(), Rng::new(height), Committing(Box::new(|_| {})));
        Ok(Self { conn, table, path, height, rng, committing })
    }

    /// The publisher's side of its outbox.
    ///
    /// # Errors
    /// The outbox's, in words.
    pub fn outbox(&self) -> Outcome<SqliteOutbox> {
        SqliteOutbox::open(&self.path).map_err(say)
    }

    /// From now on this is told the sequence of each event directly before it is committed.
    pub fn on_commit(&mut self, committing: impl Fn(u64) + Send + 'static) {
        self.committing = Committing(Box::new(committing));
    }

    /// Height of its newest block; 0 before the first.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// Starts a file with the time of each commit.
    pub fn record_latencies(path: &Path) -> LatencyFile {
        let file = File::create(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        LatencyFile { start: Instant::now(), file: BufWriter::new(file) }
    }

    /// Commits the next block, and now and then a proof that is due. Gives the outbox
    /// sequence of the newest.
    ///
    /// # Errors
    /// SQLite's or the outbox's, in words.
    pub fn commit_next(
        &mut self,
        payload: usize,
        latencies: &mut Option<LatencyFile>,
    ) -> Outcome<u64> {
        let height = self.height + 1;
        let payload = toy_payload(height, payload);
        let start = Instant::now();
        let mut sequence = self.commit_block(height, payload)?;
        if let Some(latencies) = latencies {
            let (at, took) = (start - latencies.start, start.elapsed());
            writeln!(latencies.file, "{} {}", at.as_micros(), took.as_micros()).map_err(say)?;
        }
        self.height = height;
        let due: Vec<u64> = self.unproven(height.saturating_sub(PROOF_LAG))?;
        if !due.is_empty() {
            let due = *self.rng.pick(&due);
            sequence = self.commit_proof(due)?;
        }
        Ok(sequence)
    }

    /// Commits the proofs that are still missing, in a shuffled order.
    ///
    /// # Errors
    /// SQLite's or the outbox's, in words.
    pub fn commit_remaining_proofs(&mut self) -> Outcome<Vec<u64>> {
        let mut sequences = vec![];
        loop {
            let missing = self.unproven(self.height)?;
            if missing.is_empty() {
                return Ok(sequences);
            }
            let height = *self.rng.pick(&missing);
            sequences.push(self.commit_proof(height)?);
        }
    }

    /// Heights without a proof, up to `to`, the 16 lowest.
    fn unproven(&self, to: u64) -> Outcome<Vec<u64>> {
        let sql = "SELECT block.height FROM block LEFT JOIN proof USING (height)
                   WHERE proof.height IS NULL AND block.height <= ? ORDER BY 1 LIMIT 16";
        let mut statement = self.conn.prepare_cached(sql).map_err(say)?;
        let rows = statement.query_map([to.cast_signed()], number).map_err(say)?;
        rows.collect::<Result<_, _>>().map_err(say)
    }

    fn commit_block(&mut self, height: u64, payload: Bytes) -> Outcome<u64> {
        let event = Event::BlockCommitted {
            height,
            hash: toy_hash(height),
            parent_hash: toy_hash(height - 1),
            payload,
        };
        self.commit("INSERT INTO block VALUES (?, ?, ?)", height, &event)
    }

    fn commit_proof(&mut self, height: u64) -> Outcome<u64> {
        // An empty proof is a proof.
        let payload = toy_payload(height, (height % 3) as usize * 100);
        let event = Event::BlockProven { height, block_hash: toy_hash(height), payload };
        self.commit("INSERT INTO proof VALUES (?, ?, ?)", height, &event)
    }

    /// The node's own row and the outbox's, in one transaction.
    fn commit(&mut self, sql: &str, height: u64, event: &Event) -> Outcome<u64> {
        let tx = self.conn.transaction().map_err(say)?;
        let sequence = self.table.enqueue(&tx, event).map_err(say)?;
        let row = params![height.cast_signed(), sequence.cast_signed(), &event.payload()[..]];
        tx.prepare_cached(sql).and_then(|mut insert| insert.execute(row)).map_err(say)?;
        (self.committing.0)(sequence);
        tx.commit().map_err(say)?;
        Ok(sequence)
    }
}

/// What a toy node has committed, by outbox sequence, from 1: read from its database, which is
/// the truth. The node must not be running.
pub fn toy_history(db: &Path) -> Vec<Event> {
    let fail = |e: rusqlite::Error| -> ! { panic!("{}: {e}", db.display()) };
    let conn = Connection::open(db).unwrap_or_else(|e| fail(e));
    let sql = "SELECT sequence, height, block, 1 FROM block
               UNION ALL SELECT sequence, height, proof, 0 FROM proof ORDER BY 1";
    let mut statement = conn.prepare(sql).unwrap_or_else(|e| fail(e));
    let rows = statement.query_map([], |row| {
        let (sequence, height) = (number(row)?, row.get::<_, i64>(1)?.cast_unsigned());
        let payload = Bytes::from(row.get::<_, Vec<u8>>(2)?);
        let event = if row.get(3)? {
            let (hash, parent_hash) = (toy_hash(height), toy_hash(height - 1));
            Event::BlockCommitted { height, hash, parent_hash, payload }
        } else {
            Event::BlockProven { height, block_hash: toy_hash(height), payload }
        };
        Ok((sequence, event))
    });
    let rows: Result<Vec<_>, _> = rows.and_then(|rows| rows.collect());
    let rows = rows.unwrap_or_else(|e| fail(e));
    for (expected, (sequence, event)) in (1..).zip(&rows) {
        assert_eq!(*sequence, expected, "the node's own sequences are dense at {event}");
    }
    rows.into_iter().map(|(_, event)| event).collect()
}
