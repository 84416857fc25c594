//! What it takes of memory and disk besides the content is bounded.

use std::fs;
use std::path::Path;

use super::{created, files, place};
use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::reader::ChainView;
use crate::rocksdb::{RocksDbReader, RocksDbStore};
use crate::spec::{Sink, Store};

fn bytes(path: &Path, end: &str) -> u64 {
    files(path, end).iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum()
}

fn memory(store: &RocksDbStore) -> u64 {
    let property = "rocksdb.size-all-mem-tables";
    store.with_db(|db| {
        let family = |name| db.cf_handle(name).unwrap();
        let of = |name| db.property_int_value_cf(family(name), property).unwrap().unwrap();
        crate::rocksdb::family_names().map(of).iter().sum()
    })
}

#[test]
fn memory_and_log_are_bounded_and_payloads_are_written_once() {
    const BATCH: u64 = 16 << 20;
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let mut history = History::new(9);
    history.claim();
    let (mut applied, mut most_memory, mut most_log) = (0, 0, 0);
    for _ in 0..15 {
        for _ in 0..BATCH >> 20 {
            history.transaction_of(1);
            history.block_of(1 << 20);
        }
        store.apply(&model.batch(&history.entries[applied..])).unwrap();
        applied = history.entries.len();
        most_memory = most_memory.max(memory(&store));
        most_log = most_log.max(bytes(&path, ".log"));
    }
    println!("memory {} MiB, log {} MiB", most_memory >> 20, most_log >> 20);
    assert!(most_memory <= (96 << 20) + 2 * BATCH, "{most_memory}");
    assert!(most_log <= (64 << 20) + 3 * BATCH, "{most_log}");
    model.assert_is(&*store.reader().unwrap(), "at the end");
    drop(store);
    drop(RocksDbStore::open(&path).unwrap());
    let content: u64 = model.blocks.values().map(|block| block.payload.len() as u64).sum();
    let taken = bytes(&path, "");
    assert!(taken < content * 5 / 4 + (32 << 20), "{taken} bytes for {content}");
    model.assert_is(&RocksDbReader::open(&path).unwrap(), "opened again");
}

#[test]
fn what_rocksdb_writes_about_itself_is_bounded() {
    let (_directory, path) = place();
    drop(created(&path));
    for _ in 0..20 {
        drop(RocksDbStore::open(&path).unwrap());
    }
    let names = files(&path, "")
        .into_iter()
        .filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with("LOG"));
    assert!(names.count() <= 5);
    assert!(files(&path, ".log").len() <= 2);
    assert_eq!(RocksDbReader::open(&path).unwrap().heights().unwrap(), None);
}

/// RocksDB has so many files to merge that it takes no more, and it stays so.
#[test]
fn a_write_that_is_held_up_for_long_is_told_and_succeeds_later() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let entries = History::blocks(20, 100).entries;
    store.apply(&model.batch(&entries[..10])).unwrap();
    let options = [
        ("level0_file_num_compaction_trigger", "1000"),
        ("level0_slowdown_writes_trigger", "1"),
        ("level0_stop_writes_trigger", "1"),
    ];
    store.with_db(|db| {
        let family = db.cf_handle("blocks").unwrap();
        db.set_options_cf(family, &options).unwrap();
        db.flush_cf(family).unwrap();
    });
    store.be_impatient();
    let batch = model.batch(&entries[10..]);
    let error = store.apply(&batch).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    let options =
        [("level0_slowdown_writes_trigger", "1000"), ("level0_stop_writes_trigger", "1000")];
    store.with_db(|db| {
        db.set_options_cf(db.cf_handle("blocks").unwrap(), &options).unwrap();
    });
    store.apply(&batch).unwrap();
    model.assert_is(&*store.reader().unwrap(), "when it is over");
}
