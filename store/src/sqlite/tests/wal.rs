//! The WAL stays short, whoever reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Connection, History, Model, Path, Sink, created, log, place};

/// What is taken for much here.
const LIMIT: usize = 1 << 20;
const BLOCK: usize = 64 << 10;
/// What is written in all, in MiB, where `TIPLINE_WAL_MIB` says nothing.
const MIB: usize = 48;
const READERS: usize = 8;

/// A number that the environment gives, such as to test for longer.
fn given(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|given| given.parse().unwrap())
}

/// Ends the readers, even if a write fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads all the time, each time for a moment: the next transaction begins before the one before
/// ends.
fn read_without_a_gap(path: &Path, done: &AtomicBool, reads: &AtomicU64) {
    let connections = [(); 2].map(|()| Connection::open(path).unwrap());
    let begin = |connection: &Connection| {
        connection.execute_batch("BEGIN").unwrap();
        let sql = "SELECT cursor_index FROM store";
        connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    };
    begin(&connections[1]);
    while !done.load(Ordering::Relaxed) {
        for (next, last) in [(0, 1), (1, 0)] {
            begin(&connections[next]);
            connections[last].execute_batch("COMMIT").unwrap();
            reads.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn short_reads_that_always_overlap_do_not_make_it_grow() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    store.limit_wal(LIMIT);
    let mib = given("TIPLINE_WAL_MIB").map_or(MIB, |mib| mib as usize);
    let least = Duration::from_secs(given("TIPLINE_WAL_SECONDS").unwrap_or(0));
    let mut history = History::new(1);
    history.claim();
    store.apply(&model.batch(&history.entries)).unwrap();
    let (done, reads, begun) = (AtomicBool::new(false), AtomicU64::new(0), Instant::now());
    let (mut longest, mut written) = (0, 0);
    thread::scope(|scope| {
        let _done = Done(&done);
        for _ in 0..READERS {
            scope.spawn(|| read_without_a_gap(&path, &done, &reads));
        }
        while written < mib * LIMIT || begun.elapsed() < least {
            let from = history.entries.len();
            for key in 0..4 {
                // What goes on for long must not need a large disk.
                match written < mib * LIMIT {
                    true => history.block_of(BLOCK),
                    false => history.record_of(key, Some(vec![key; BLOCK].into())),
                }
                written += BLOCK;
            }
            // The model is not what this is about, and would become large.
            model.cursor = history.model.cursor.clone();
            model.base = history.model.base.clone();
            let batch = crate::Batch {
                entries: history.entries[from..].to_vec(),
                cursor: model.cursor.clone(),
                base: model.base.clone(),
            };
            store.apply(&batch).unwrap();
            longest = longest.max(store.wal_bytes().unwrap());
            history.entries.truncate(from);
            history.model.blocks.clear();
        }
    });
    let (mib, reads) = (written / LIMIT, reads.into_inner());
    let batches = written / BLOCK / 4;
    println!(
        "{mib} MiB in {batches} batches, beside {reads} reads, within {:.0?}: the WAL had {longest} \
         bytes at most",
        begun.elapsed()
    );
    assert!(longest < 12 * LIMIT as u64, "the WAL had {longest} bytes, of {mib} MiB written");
}

/// Who reads for long is not disturbed, holds nothing up for long, and when it ends the WAL is short
/// again.
#[test]
fn a_long_read_makes_it_grow_and_no_longer_than_it_lasts() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    store.limit_wal(LIMIT);
    let entries = History::blocks(160, BLOCK).entries;
    store.apply(&model.batch(&entries[..1])).unwrap();
    let long = Connection::open(&path).unwrap();
    long.execute_batch("BEGIN; SELECT * FROM store").unwrap();
    entries[1..140].chunks(20).for_each(|entries| store.apply(&model.batch(entries)).unwrap());
    assert!(store.wal_bytes().unwrap() > 6 * LIMIT as u64);
    long.execute_batch("COMMIT").unwrap();
    entries[140..].chunks(1).for_each(|entries| store.apply(&model.batch(entries)).unwrap());
    assert!(store.wal_bytes().unwrap() < 2 * LIMIT as u64, "{}", store.wal_bytes().unwrap());
    model.assert_is(&*crate::Store::reader(&store).unwrap(), "in the end");
}

/// Cutting it is right once all of it is in the file, and SQLite can be asked to by anybody.
#[test]
fn a_wal_that_somebody_carried_into_the_file_may_be_cut() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let entries = History::blocks(20, 1000).entries;
    store.apply(&model.batch(&entries[..10])).unwrap();
    let other = Connection::open(&path).unwrap();
    other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    assert_eq!(store.wal_bytes().unwrap(), 0);
    store.probe().unwrap();
    store.apply(&model.batch(&entries[10..])).unwrap();
    model.assert_is(&*crate::Store::reader(&store).unwrap(), "gone on");
}
