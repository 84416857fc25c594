//! Applying into SQLite against a bare loop over the same library that writes the same bytes in
//! the same batches, each synced. Run it by name; it prints the ratio.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use tipline_proto::{Entry, Event};

use super::history::{Writer, log};
use super::model::Model;
use crate::sqlite::SqliteStore;
use crate::store::{Batch, Store};

const ROUNDS: usize = 7;

fn batches(bytes: usize, events: usize, count: usize) -> Vec<Batch> {
    let entries = Writer::blocks((events * count - 1) as u64, bytes).entries;
    let mut model = Model::new(&log());
    let batch = |entries: &[Entry]| {
        entries.iter().for_each(|entry| model.apply(entry));
        let (cursor, base) = (model.cursor.clone(), model.base.clone());
        Batch { entries: entries.to_vec(), cursor, base }
    };
    entries.chunks(events).map(batch).collect()
}

fn bare(path: &Path, batches: &[Batch], indexed: bool) -> Duration {
    let mut connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection.pragma_update(None, "synchronous", "full").unwrap();
    let table = "CREATE TABLE blocks (height INTEGER PRIMARY KEY, hash BLOB, parent_hash BLOB, \
        log_index INTEGER, epoch INTEGER, time_us INTEGER, payload BLOB)";
    connection.execute_batch(table).unwrap();
    if indexed {
        connection.execute_batch("CREATE INDEX by_hash ON blocks (hash)").unwrap();
    }
    let start = Instant::now();
    for batch in batches {
        let transaction = connection.transaction().unwrap();
        {
            let sql = "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?)";
            let mut insert = transaction.prepare_cached(sql).unwrap();
            for entry in &batch.entries {
                let Event::BlockCommitted { height, hash, parent_hash, payload } = &entry.event
                else {
                    continue;
                };
                insert
                    .execute(params![
                        *height as i64,
                        hash.as_ref(),
                        parent_hash.as_ref(),
                        entry.index as i64,
                        entry.epoch as i64,
                        entry.time.as_micros() as i64,
                        payload.as_ref()
                    ])
                    .unwrap();
            }
        }
        transaction.commit().unwrap();
    }
    start.elapsed()
}

fn store(path: &Path, batches: &[Batch]) -> Duration {
    let mut store = SqliteStore::open(path).unwrap();
    store.create(&log()).unwrap();
    let start = Instant::now();
    batches.iter().for_each(|batch| store.apply(batch).unwrap());
    start.elapsed()
}

/// The middle one: a disturbance of the machine hits some rounds, not the median of them.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
#[ignore = "measures, and takes a minute"]
fn applying_against_a_bare_loop() {
    for (bytes, events, count) in [(1 << 10, 1000, 60), (64 << 10, 100, 60), (1 << 10, 10, 400)] {
        let batches = batches(bytes, events, count);
        let round = |_| {
            let directory = tempfile::tempdir().unwrap();
            let path = |name: &str| directory.path().join(name);
            let plain = bare(&path("plain.db"), &batches, false).as_secs_f64();
            let ours = store(&path("ours.db"), &batches).as_secs_f64();
            let indexed = bare(&path("indexed.db"), &batches, true).as_secs_f64();
            (plain, ours, indexed)
        };
        let rounds: Vec<(f64, f64, f64)> = (0..ROUNDS).map(round).collect();
        println!(
            "{bytes} bytes, {count} batches of {events}: {:.0} events/s; {:.2} of a bare loop, \
             {:.2} of one that keeps an index of hashes, too",
            (events * count) as f64 / median(rounds.iter().map(|(_, ours, _)| *ours)),
            median(rounds.iter().map(|(plain, ours, _)| plain / ours)),
            median(rounds.iter().map(|(_, ours, indexed)| indexed / ours)),
        );
    }
}
