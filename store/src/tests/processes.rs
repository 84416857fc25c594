//! A snapshot that outlives its writer, and the next writer in another process: neither takes away
//! what the other one holds.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::snapshot::{Copied, Throttle};
use crate::spec::Store;

const KIND: &str = "TIPLINE_TEST_KIND";
const PLACE: &str = "TIPLINE_TEST_PLACE";
/// What the second process says once it holds a snapshot.
const HELD: &str = "it holds a snapshot";

struct Freely;

impl Throttle for Freely {
    fn moved(&self, _bytes: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

fn open(kind: &str, path: &Path) -> Result<Box<dyn Store>, StoreError> {
    match kind {
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Ok(Box::new(crate::RocksDbStore::open(path)?)),
        _ => Ok(Box::new(crate::FileStore::open(path)?)),
    }
}

/// Blocks, the newest of which is replaced twice; and where it was not yet, and once.
fn history() -> (History, usize, usize) {
    let mut history = History::blocks(9, 9000);
    let first = history.entries.len();
    history.replace_tip();
    let second = history.entries.len();
    history.replace_tip();
    (history, first, second)
}

fn writers_in_turns(kind: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let (history, first, second) = history();
    let mut store = open(kind, &path).unwrap();
    store.create(&log()).unwrap();
    let mut model = Model::new(&log());
    store.apply(&model.batch(&history.entries[..first])).unwrap();
    let snapshot = store.snapshot().unwrap();
    store.apply(&model.batch(&history.entries[first..second])).unwrap();
    drop(store);
    let mut other = Command::new(env::current_exe().unwrap())
        .args(["--exact", "tests::processes::the_second_writer", "--nocapture"])
        .env(KIND, kind)
        .env(PLACE, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(other.stdout.take().unwrap());
    let mut lines = output.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(HELD)), "{kind}: it did not come so far");
    // What this one held goes, and nothing else.
    drop(snapshot);
    other.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    let said: Vec<String> = lines.collect();
    assert!(other.wait().unwrap().success(), "{kind}: {said:#?}");
}

/// The other process: takes a snapshot, changes the store, and copies what it took.
#[test]
fn the_second_writer() {
    let (Ok(kind), Some(path)) = (env::var(KIND), env::var_os(PLACE)) else { return };
    let (history, _, second) = history();
    let mut store = open(&kind, Path::new(&path)).unwrap();
    let before = Model::of(&log(), &history.entries[..second]);
    let mut snapshot = store.snapshot().unwrap().pop().unwrap();
    let mut model = before.clone();
    store.apply(&model.batch(&history.entries[second..])).unwrap();
    println!("{HELD}");
    io::stdin().read_line(&mut String::new()).unwrap();
    let into = tempfile::tempdir().unwrap();
    assert_eq!(snapshot.copy(into.path(), &Freely).unwrap(), Copied::Whole);
    before.assert_is(&*snapshot.open(into.path()).unwrap(), "the copy");
    model.assert_is(&*store.reader().unwrap(), "the store");
}

#[test]
fn of_block_files() {
    writers_in_turns("files");
}

#[cfg(feature = "rocksdb")]
#[test]
fn of_rocksdb() {
    writers_in_turns("rocksdb");
}
