//! The write-ahead log stays short, whoever reads.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{identity, other_program, small_log, unit};
use crate::embedded::EmbeddedLog;
use crate::embedded::files::with_suffix;
use crate::embedded::sqlite::{Database, Purpose};
use crate::spec::{Appender, Reader, Tail};

const READERS: usize = 8;
/// What is appended beside the readers, a MiB at a time.
const MIB: usize = 128;

/// The write-ahead log does not grow with the log, while readers come and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_ahead_log_stays_short() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = EmbeddedLog::create(&path, &identity()).await.unwrap();
    let reader = EmbeddedLog::open(&path).await.unwrap();
    let mut subscription = reader.subscribe(None, 0).await.unwrap();
    let following = tokio::spawn(async move {
        let mut count = 0;
        while count < 600 {
            count += subscription.next().await.unwrap().len();
        }
    });
    let mut tail = log.tail().await.unwrap();
    let mut longest = 0;
    for _ in 0..60 {
        tail = log.append(&tail, &unit(&tail, &[100_000; 10])).await.unwrap();
        longest = longest.max(wal_bytes(&path));
    }
    following.await.unwrap();
    assert!(fs::metadata(&path).unwrap().len() > 40 << 20, "nothing was brought home");
    assert!(longest < 30 << 20, "{longest} bytes");
}

fn wal_bytes(log: &Path) -> u64 {
    fs::metadata(with_suffix(log, "-wal")).unwrap().len()
}

/// Reads all the time, each time for a moment: the next transaction begins before the one before
/// ends.
fn read_without_a_gap(path: &Path, done: &AtomicBool) {
    let connections = [(); 2].map(|()| other_program(path));
    let begin = |connection: &rusqlite::Connection| {
        connection.execute_batch("BEGIN").unwrap();
        let sql = "SELECT max(number) FROM entry";
        connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0)).unwrap();
    };
    begin(&connections[1]);
    while !done.load(Ordering::Relaxed) {
        for (next, last) in [(0, 1), (1, 0)] {
            begin(&connections[next]);
            connections[last].execute_batch("COMMIT").unwrap();
        }
    }
}

/// Ends the readers, even if an append fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn append_mib(log: &EmbeddedLog, tail: Tail) -> Tail {
    log.append(&tail, &unit(&tail, &[256 << 10; 4])).await.unwrap()
}

/// Eight steady readers: none of them waits for another, and none reads for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_reads_that_always_overlap_do_not_make_it_grow() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = EmbeddedLog::create(&path, &identity()).await.unwrap();
    let mut tail = log.tail().await.unwrap();
    let (mut longest, done) = (0, AtomicBool::new(false));
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        thread::scope(|scope| {
            let _done = Done(&done);
            for _ in 0..READERS {
                scope.spawn(|| read_without_a_gap(&path, &done));
            }
            for _ in 0..MIB {
                tail = runtime.block_on(append_mib(&log, tail.clone()));
                longest = longest.max(wal_bytes(&path));
            }
        });
    });
    assert!(longest < 56 << 20, "{longest} bytes, of {MIB} MiB appended");
}

/// Who reads for long makes it grow for as long as that lasts, and holds up few appends.
#[tokio::test]
async fn a_long_read_makes_it_grow_and_no_longer_than_it_lasts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = EmbeddedLog::create(&path, &identity()).await.unwrap();
    let mut tail = log.tail().await.unwrap();
    let long = other_program(&path);
    long.execute_batch("BEGIN; SELECT * FROM log").unwrap();
    for _ in 0..70 {
        tail = append_mib(&log, tail).await;
    }
    let grown = wal_bytes(&path);
    assert!(grown > 70 << 20, "{grown}");
    long.execute_batch("COMMIT").unwrap();
    for _ in 0..12 {
        tail = append_mib(&log, tail).await;
    }
    // It is cut back to what is kept of it when it begins again.
    let after = wal_bytes(&path);
    assert!(after <= 64 << 20, "{after}, after {grown}");
}

thread_local! {
    static OURS: RefCell<Option<Database>> = const { RefCell::new(None) };
    static IN_USE: RefCell<Vec<Option<u64>>> = const { RefCell::new(Vec::new()) };
}

/// Called in the middle of a checkpoint that waits for a reader.
fn ask(_tries: i32) -> bool {
    let in_use = OURS.with_borrow(|ours| ours.as_ref().unwrap().checkpoint().unwrap());
    IN_USE.with_borrow_mut(|asked| asked.push(in_use));
    false
}

/// While another program makes a checkpoint, it is not known what is in use, which is not nothing.
#[tokio::test]
async fn what_is_in_use_is_not_known_while_another_program_makes_a_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let _log = small_log(&path).await;
    let reader = other_program(&path);
    #[allow(unused_mut, reason = "the oldest rusqlite of the range does not need it")]
    let mut other = other_program(&path);
    reader.execute_batch("BEGIN; SELECT * FROM log").unwrap();
    let ours = Database::open(&path, "test", Purpose::Entries).unwrap();
    assert!(ours.checkpoint().unwrap() > Some(0));
    OURS.set(Some(ours));
    other.busy_handler(Some(ask as fn(i32) -> bool)).unwrap();
    other.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
    assert_eq!(IN_USE.take(), [None]);
    OURS.set(None);
}
