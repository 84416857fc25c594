//! Readers as in another process: they open the files by their path, while they are written.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{created, place};
use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::reader::{ChainView, StoreReader};
use crate::rocksdb::reopen::ReopeningReader;
use crate::rocksdb::{RocksDbReader, RocksDbStore};
use crate::spec::Sink;

const WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_reader_sees_each_batch_when_it_is_applied() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let reader = RocksDbReader::open(&path).unwrap();
    assert_eq!(reader.cursor().unwrap().as_ref(), Some(&model.cursor));
    for (at, entries) in History::random(8, 600).entries.chunks(20).enumerate() {
        store.apply(&model.batch(entries)).unwrap();
        assert_eq!(reader.cursor().unwrap().as_ref(), Some(&model.cursor));
        if at % 5 == 0 {
            model.assert_is(&reader, "while it is written");
        }
        if at % 7 == 0 {
            drop(store);
            model.assert_is(&reader, "closed");
            store = RocksDbStore::open(&path).unwrap();
            assert_eq!(reader.cursor().unwrap().as_ref(), Some(&model.cursor), "opened again");
        }
    }
}

/// As fast as it goes, with logs that begin and go, and files that are written. Now and then the
/// writer waits until each reader has read: opening the files takes longer than some batches.
#[test]
fn readers_see_whole_batches_while_files_come_and_go() {
    const SIZE: usize = 25;
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let entries = History::blocks(1000, 200_000).entries;
    store.apply(&model.batch(&entries[..1])).unwrap();
    let done = AtomicBool::new(false);
    let reads = [AtomicUsize::new(0), AtomicUsize::new(0)];
    thread::scope(|scope| {
        let readers = reads.each_ref().map(|reads| {
            let (path, done) = (&path, &done);
            scope.spawn(move || {
                let reader = RocksDbReader::open(path).unwrap();
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    last = read(&reader, last);
                    assert_eq!((last - 1) % SIZE as u64, 0, "half a batch");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        for (at, batch) in entries[1..].chunks(SIZE).enumerate() {
            store.apply(&model.batch(batch)).unwrap();
            if at % 10 == 9 {
                let before = reads.each_ref().map(|reads| reads.load(Ordering::Relaxed));
                let deadline = Instant::now() + WITHIN;
                let have_read = || {
                    let mut pairs = reads.iter().zip(before);
                    pairs.all(|(reads, before)| reads.load(Ordering::Relaxed) > before)
                };
                while !have_read() && !readers.iter().any(|reader| reader.is_finished()) {
                    assert!(Instant::now() < deadline, "a reader is held up");
                    thread::yield_now();
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    model.assert_is(&RocksDbReader::open(&path).unwrap(), "at the end");
}

/// Twelve families of rows may be compacted one after the other, each of which takes files away.
#[test]
fn what_fails_while_the_files_change_is_read_again() {
    let (_directory, path) = place();
    let (store, mut model) = (RefCell::new(created(&path)), Model::new(&log()));
    let batches: Vec<_> =
        History::blocks(40, 10).entries.chunks(1).map(|entries| model.batch(entries)).collect();
    let mut reader = ReopeningReader::new(path, "it".to_owned());
    let attempts = Cell::new(0);
    let found = reader.read(|view| {
        attempts.set(attempts.get() + 1);
        let Some(batch) = batches.get(attempts.get() - 1) else { return view.cursor() };
        store.borrow_mut().apply(batch).unwrap();
        Err(gone())
    });
    assert_eq!(found.unwrap().unwrap(), model.cursor, "after {} attempts", attempts.get());
}

#[test]
fn what_fails_while_the_files_stay_the_same_has_failed() {
    let (_directory, path) = place();
    let _store = created(&path);
    let mut reader = ReopeningReader::new(path, "it".to_owned());
    let attempts = Cell::new(0);
    let found = reader.read(|_| -> Result<(), StoreError> {
        attempts.set(attempts.get() + 1);
        Err(gone())
    });
    assert_eq!(found.unwrap_err().to_string(), gone().to_string());
    assert_eq!(attempts.get(), 1);
}

/// What RocksDB says of a file that was taken away before it was opened.
fn gone() -> StoreError {
    let at = "/000012.sst: No such file or directory".to_owned();
    StoreError::Corrupt { place: "it".to_owned(), at, source: None }
}

/// Reads something of everything, and gives where the store was.
fn read(reader: &RocksDbReader, last: u64) -> u64 {
    let cursor = reader.cursor().unwrap().unwrap();
    assert!(cursor.position.index >= last, "never back");
    let Some(tip) = cursor.block_tip else { return cursor.position.index };
    let block = reader.block_by_hash(&tip.hash).unwrap().unwrap();
    assert_eq!((block.height, block.payload.len()), (tip.height, 200_000));
    let (lowest, highest) = reader.heights().unwrap().unwrap();
    assert!(highest >= tip.height, "never back");
    let middle = reader.block((lowest + highest) / 2).unwrap().expect("no gap");
    assert_eq!(middle.payload.len(), 200_000);
    cursor.position.index
}
