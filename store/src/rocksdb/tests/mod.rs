//! The store in a RocksDB directory, on real files.

mod damage;
mod format;
mod full_disk;
mod gone;
mod limits;
#[cfg(unix)]
mod listing;
mod opening;
mod outside;
mod poison;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::rocksdb::RocksDbStore;
use crate::spec::{Sink, Store};

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    (directory, path)
}

fn created(path: &Path) -> RocksDbStore {
    let mut store = RocksDbStore::open(path).unwrap();
    store.create(&log()).unwrap();
    store
}

/// A copy of the files as they are: what a crash would leave now. It is of one instant: it is
/// made again if the files changed meanwhile.
fn copy(path: &Path, to: &Path) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let before = lengths(path);
        fs::create_dir_all(to).unwrap();
        for (file, _) in before.iter().flatten() {
            // One that has gone makes a difference below.
            drop(fs::copy(file, to.join(file.file_name().unwrap())));
        }
        if before.is_some() && lengths(path) == before {
            return;
        }
        assert!(Instant::now() < deadline, "the files never rest");
        fs::remove_dir_all(to).unwrap();
    }
}

/// The files with their lengths and times, without what RocksDB writes about itself; nothing if
/// one goes meanwhile.
fn lengths(path: &Path) -> Option<BTreeMap<PathBuf, (u64, SystemTime)>> {
    let of = |file: PathBuf| {
        let found = fs::metadata(&file).ok()?;
        Some((file, (found.len(), found.modified().unwrap())))
    };
    files(path, "").into_iter().filter(|file| !file.ends_with("LOG")).map(of).collect()
}

/// How many rows a family has.
fn rows(store: &RocksDbStore, family: &str) -> usize {
    store.with_db(|db| {
        let family = db.cf_handle(family).unwrap();
        db.iterator_cf(family, rocksdb::IteratorMode::Start).count()
    })
}

/// The files of a directory whose names end so.
fn files(path: &Path, end: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.to_str().unwrap().ends_with(end)).collect();
    files.sort();
    files
}

/// With so little of a log that files of rows are written, merged and removed under the suite.
fn open(directory: &Path) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(RocksDbStore::open_with(directory, 64 << 10)?))
}

crate::store_conformance!(open);

#[cfg(feature = "sqlite")]
#[test]
fn it_has_the_content_of_a_store_in_sqlite() {
    use crate::content::content_digest;
    use crate::sqlite::SqliteStore;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    for seed in 0..12 {
        println!("seed {seed}");
        let (directory, path) = place();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut rocksdb = created(&path);
        let mut sqlite = SqliteStore::open(directory.path().join("store.db")).unwrap();
        sqlite.create(&log()).unwrap();
        let mut model = Model::new(&log());
        let entries = History::random(seed, 500).entries;
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rng.random_range(1..=rest.len().min(70)));
            rest = later;
            let batch = model.batch(now);
            rocksdb.apply(&batch).unwrap();
            sqlite.apply(&batch).unwrap();
            let digests = [&rocksdb as &dyn Store, &sqlite]
                .map(|store| store.reader().unwrap())
                .map(|reader| content_digest(&*reader).unwrap());
            assert_eq!(digests[0], digests[1], "seed {seed}, at {}", batch.cursor.position);
            assert_eq!(rows(&rocksdb, "transactions_by_index"), model.transactions.len());
        }
    }
}

/// Deep enough that heights are removed as a range.
#[test]
fn a_deep_rollback_removes_what_a_shallow_one_does() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let mut history = History::blocks(900, 100);
    let tip = history.model.cursor.block_tip.clone().unwrap().height;
    (tip - 300..=tip).for_each(|height| history.proof_of(height, 20));
    for depth in [99, 100, 101, 250] {
        history.transaction_of(1);
        let from = history.model.cursor.block_tip.clone().unwrap().height;
        history.roll_back_to(from - depth);
        history.transaction_of(2);
        history.block();
    }
    let mut rest = &history.entries[..];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(83));
        rest = later;
        store.apply(&model.batch(now)).unwrap();
        model.assert_is(&*store.reader().unwrap(), "after a batch");
    }
    drop(store);
    let store = RocksDbStore::open(&path).unwrap();
    model.assert_is(&*store.reader().unwrap(), "opened again");
}

#[test]
fn every_height_can_be() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let mut history = History::new(1);
    history.claim();
    history.block_at(u64::MAX - 1);
    history.block();
    history.roll_back_to(u64::MAX - 1);
    history.block();
    for entry in &history.entries {
        store.apply(&model.batch(std::slice::from_ref(entry))).unwrap();
    }
    let reader = store.reader().unwrap();
    assert_eq!(reader.heights().unwrap(), Some((u64::MAX - 1, u64::MAX)));
    for height in [u64::MAX - 1, u64::MAX] {
        assert_eq!(reader.block(height).unwrap().as_ref(), model.blocks.get(&height));
    }
}

/// Longer payloads are apart from their rows. None is left behind when a shorter one takes
/// its place.
#[test]
fn payloads_may_be_of_any_length_and_leave_nothing_behind() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let mut history = History::blocks(1, 0);
    let tip = history.model.cursor.block_tip.clone().unwrap().height;
    let lengths = [4095, 4096, 4097, 100_000, 0, 1 << 20, 1];
    for length in lengths {
        history.block_of(length);
        history.proof_of(tip, length);
        history.record_of(1, Some(vec![5; length].into()));
    }
    for entry in &history.entries {
        store.apply(&model.batch(std::slice::from_ref(entry))).unwrap();
    }
    model.assert_is(&*store.reader().unwrap(), "one by one");
    assert_eq!((rows(&store, "proof_payloads"), rows(&store, "record_values")), (0, 0));
    let apart = lengths.iter().filter(|length| **length >= 4096).count();
    assert_eq!(rows(&store, "block_payloads"), apart);
    history.roll_back_to(tip);
    store.apply(&model.batch(&history.entries[history.entries.len() - 1..])).unwrap();
    assert_eq!(rows(&store, "block_payloads"), 0);
}
