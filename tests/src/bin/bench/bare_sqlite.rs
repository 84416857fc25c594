//! Inserting as one would with rusqlite alone.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use tipline_proto::{Entry, Event};

use crate::Outcome;

/// A database in WAL mode whose commits are synced, everything else as SQLite has it.
pub(crate) fn synced(path: &Path, tables: &str) -> Outcome<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
    connection.execute_batch(tables)?;
    Ok(connection)
}

/// The rows of the embedded log: index, digest and bytes.
pub(crate) fn log(path: &Path, entries: &[Entry], at_once: usize) -> Outcome<Duration> {
    let mut connection = synced(
        path,
        "CREATE TABLE entry (number INTEGER PRIMARY KEY, digest BLOB, claim INTEGER, bytes BLOB)",
    )?;
    let rows: Vec<_> = entries.iter().map(|e| (e.index, e.digest, e.encode())).collect();
    let start = Instant::now();
    for batch in rows.chunks(at_once) {
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO entry VALUES (?, ?, ?, ?)")?;
            for (index, digest, bytes) in batch {
                insert.execute(params![
                    index.cast_signed(),
                    digest.as_bytes(),
                    1,
                    bytes.as_ref()
                ])?;
            }
        }
        transaction.commit()?;
    }
    Ok(start.elapsed())
}

/// The table of blocks of the SQLite store with its index, and the row of its cursor.
pub(crate) const STORE: &str = "
    CREATE TABLE blocks (height INTEGER PRIMARY KEY, hash BLOB, parent_hash BLOB,
        log_index INTEGER, epoch INTEGER, time_us INTEGER, payload BLOB);
    CREATE INDEX by_hash ON blocks (substr(hash, length(hash) / 2 + 1, 8));
    CREATE TABLE cursor (id INTEGER PRIMARY KEY, log_index INTEGER, digest BLOB);
    INSERT INTO cursor VALUES (1, 0, x'');";

/// Inserts blocks and the cursor behind them in one transaction.
pub(crate) fn store(connection: &mut Connection, batch: &[Entry]) -> Outcome<()> {
    let transaction = connection.transaction()?;
    {
        let sql = "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?)";
        let mut insert = transaction.prepare_cached(sql)?;
        for entry in batch {
            let Event::BlockCommitted { height, hash, parent_hash, payload } = &entry.event else {
                continue;
            };
            insert.execute(params![
                height.cast_signed(),
                hash.as_ref(),
                parent_hash.as_ref(),
                entry.index.cast_signed(),
                entry.epoch.cast_signed(),
                entry.time.as_micros().cast_signed(),
                payload.as_ref(),
            ])?;
        }
        if let Some(last) = batch.last() {
            let sql = "UPDATE cursor SET log_index = ?, digest = ?";
            let cursor = params![last.index.cast_signed(), last.digest.as_bytes()];
            transaction.prepare_cached(sql)?.execute(cursor)?;
        }
    }
    transaction.commit()?;
    Ok(())
}
