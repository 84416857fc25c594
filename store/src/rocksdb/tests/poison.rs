//! A write that fails.

use std::path::PathBuf;
use std::process::Command;

use super::{created, place};
use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::rocksdb::RocksDbStore;
use crate::spec::{Sink, Store};

/// Of this many blocks of this many bytes, the first half fits below the limit.
const BLOCKS: u64 = 20;
const BLOCK_BYTES: usize = 100 << 10;

/// The system does not let a process write files over a size: a write that fails, and is not
/// for want of room.
#[test]
fn a_failed_write_poisons_the_handle_and_nothing_of_the_batch_is_visible() {
    let (_directory, path) = place();
    let script = r#"trap "" XFSZ; ulimit -f 3000 && exec "$@""#;
    let done = Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "rocksdb::tests::poison::with_small_files", "--include-ignored"])
        .env("STORE", &path)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && out.contains("1 passed"), "{out}\n{err}");

    // Opened again, without the limit.
    let mut store = RocksDbStore::open(&path).unwrap();
    let entries = History::blocks(BLOCKS, BLOCK_BYTES).entries;
    let mut model = Model::new(&log());
    model.batch(&entries[..10]);
    model.assert_is(&*store.reader().unwrap(), "opened again");
    store.apply(&model.batch(&entries[10..])).unwrap();
    model.assert_is(&*store.reader().unwrap(), "and gone on");
}

#[test]
#[ignore = "the one above runs it, under a limit"]
fn with_small_files() {
    let path = PathBuf::from(std::env::var_os("STORE").expect("it is run by the other test"));
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let mut entries = History::blocks(BLOCKS, BLOCK_BYTES).entries;
    store.apply(&model.batch(&entries[..10])).unwrap();
    let before = model.clone();
    // Behind them, as much again as makes the write too large.
    let mut large = History::blocks(BLOCKS, BLOCK_BYTES);
    large.block_of(8 << 20);
    entries = large.entries;
    let error = store.apply(&model.batch(&entries[10..])).unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error:?}");
    assert!(error.to_string().contains("entries 11 to 22"), "{error}");
    before.assert_is(&*store.reader().unwrap(), "after a failed write");
    let small = before.clone().batch(&entries[10..11]);
    let poisoned = store.apply(&small).unwrap_err();
    assert!(poisoned.to_string().contains("stopped earlier"), "{poisoned}");
    assert!(!poisoned.is_retryable());
    assert!(store.identity().is_err() && store.create(&log()).is_err());

    // Whoever lets go of it opens it again, in spite of those who still read.
    let reader = store.reader().unwrap();
    let reading = std::thread::spawn(move || {
        loop {
            if let Err(error) = reader.heights().and_then(|_| reader.links()) {
                return error;
            }
        }
    });
    before.assert_is(&*store.reader().unwrap(), "read while it is poisoned");
    drop(store);
    let store = RocksDbStore::open(&path).unwrap();
    before.assert_is(&*store.reader().unwrap(), "opened again");
    let error = reading.join().unwrap();
    assert!(error.to_string().contains("open the store again"), "{error}");
    assert!(!error.is_retryable(), "{error:?}");
}
