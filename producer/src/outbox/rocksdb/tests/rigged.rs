//! Writes and syncs that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rocksdb::{DB, Options, WriteBatch, WriteOptions};
use tempfile::TempDir;

use super::super::blocks::WINDOW;
use super::super::db::{Database, DbError, Each};
use super::super::shared::Shared;
use super::{clock, commit, open, options};
use crate::outbox::conformance::{self, block, genesis};
use crate::outbox::{Outbox, OutboxError, OutboxFamily};

/// What goes wrong next, once.
const NOTHING: u8 = 0;
const WRITE: u8 = 1;
const ANSWER: u8 = 2;
const SYNC: u8 = 3;

/// A database that does everything right but one thing.
struct Rigged {
    db: Arc<DB>,
    wrong: Arc<AtomicU8>,
}

impl Rigged {
    fn fails(&self, what: u8) -> Result<(), DbError> {
        let now = self.wrong.compare_exchange(what, NOTHING, Ordering::SeqCst, Ordering::SeqCst);
        if now.is_err() {
            return Ok(());
        }
        // Errors of RocksDB come from RocksDB only.
        let nowhere = tempfile::tempdir().unwrap();
        Err(DB::open(&Options::default(), nowhere.path().join("none")).unwrap_err().into())
    }
}

impl Database for Rigged {
    fn place(&self) -> String {
        "rigged".to_owned()
    }

    fn has(&self, family: &str) -> bool {
        self.db.has(family)
    }

    fn get_from(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        self.db.get_from(family, key)
    }

    fn scan(&self, from: &[u8], to: &[u8], each: Each<'_>) -> Result<(), DbError> {
        self.db.scan(from, to, each)
    }

    fn put(&self, batch: &mut WriteBatch, key: &[u8], value: &[u8]) -> Result<(), DbError> {
        Database::put(&*self.db, batch, key, value)
    }

    fn delete(&self, batch: &mut WriteBatch, key: &[u8]) -> Result<(), DbError> {
        Database::delete(&*self.db, batch, key)
    }

    fn write(&self, batch: WriteBatch, options: &WriteOptions) -> Result<(), DbError> {
        self.fails(WRITE)?;
        Database::write(&*self.db, batch, options)?;
        self.fails(ANSWER)
    }

    fn make_durable(&self) -> Result<(), DbError> {
        self.fails(SYNC)?;
        self.db.make_durable()
    }
}

fn rigged() -> (OutboxFamily, Arc<AtomicU8>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let wrong = Arc::new(AtomicU8::new(NOTHING));
    let db = Arc::new(Rigged { db: open(dir.path(), &options()), wrong: Arc::clone(&wrong) });
    let shared = Shared::open(db, &genesis()).unwrap();
    (OutboxFamily { shared, clock: clock(), window: WINDOW }, wrong, dir)
}

#[test]
fn a_write_that_failed_has_never_been() {
    let (outbox, wrong, _dir) = rigged();
    commit(&outbox, &block(1, 0, 0)).unwrap();
    wrong.store(WRITE, Ordering::SeqCst);
    let failed = commit(&outbox, &block(2, 1, 0)).unwrap_err();
    assert!(matches!(failed, OutboxError::Failed { .. }), "{failed:?}");
    assert_eq!(commit(&outbox, &block(2, 0, 0)).unwrap(), 2);
    conformance::gives(&mut outbox.publisher(), &[block(1, 0, 0), block(2, 0, 0)]);
}

#[test]
fn a_write_that_failed_may_have_happened_after_all() {
    let (outbox, wrong, _dir) = rigged();
    wrong.store(ANSWER, Ordering::SeqCst);
    let failed = commit(&outbox, &block(1, 0, 0)).unwrap_err();
    assert!(matches!(failed, OutboxError::Failed { .. }), "{failed:?}");
    let again = commit(&outbox, &block(1, 0, 0)).unwrap_err();
    assert!(matches!(again, OutboxError::DoesNotLink { .. }), "it is there: {again:?}");
    assert_eq!(commit(&outbox, &block(2, 0, 0)).unwrap(), 2);
    conformance::gives(&mut outbox.publisher(), &[block(1, 0, 0), block(2, 0, 0)]);
}

#[test]
fn after_a_failed_sync_nothing_more_is_given_out() {
    let (outbox, wrong, _dir) = rigged();
    commit(&outbox, &block(1, 0, 0)).unwrap();
    let mut publisher = outbox.publisher();
    assert_eq!(publisher.read(0, 9, 999).unwrap().len(), 1);
    commit(&outbox, &block(2, 0, 0)).unwrap();
    wrong.store(SYNC, Ordering::SeqCst);
    for mut publisher in [publisher, outbox.publisher()] {
        let doubtful = publisher.read(0, 9, 999).unwrap_err();
        let OutboxError::Corrupt { at, source, .. } = doubtful else { panic!("{doubtful:?}") };
        assert!(at.contains("rows up to 2"), "{at}");
        assert!(source.is_some());
    }
    assert_eq!(wrong.load(Ordering::SeqCst), NOTHING, "the second time it was not even tried");
}

/// However few rows are read, and whatever is known of them.
#[test]
fn no_row_is_read_that_is_not_synced() {
    let all = usize::MAX;
    for (after, rows, bytes) in [(2, 1, 0), (2, 1, all), (2, all, all), (2, 9, 1), (4, 1, 0)] {
        let (outbox, wrong, _dir) = rigged();
        for height in 1..=5 {
            commit(&outbox, &block(height, 0, 0)).unwrap();
        }
        let mut publisher = outbox.publisher();
        publisher.release(5).unwrap();
        publisher.trim(2).unwrap();
        wrong.store(SYNC, Ordering::SeqCst);
        let refused = publisher.read(after, rows, bytes).unwrap_err();
        let is_unsynced =
            matches!(&refused, OutboxError::Corrupt { at, .. } if at.contains("not be synced"));
        assert!(is_unsynced, "{after}, {rows}, {bytes}: {refused:?}");
    }
}

#[test]
fn trimming_that_failed_is_done_again() {
    let (outbox, wrong, _dir) = rigged();
    for height in 1..=3 {
        commit(&outbox, &block(height, 0, 0)).unwrap();
    }
    let mut publisher = outbox.publisher();
    for (failure, first) in [(WRITE, 1), (ANSWER, 3)] {
        wrong.store(failure, Ordering::SeqCst);
        publisher.trim(2).unwrap_err();
        assert_eq!(publisher.pending().unwrap().first, first);
    }
    publisher.trim(2).unwrap();
    assert_eq!(publisher.read(2, 9, 999).unwrap()[0].event, block(3, 0, 0));
    let left = block(3, 0, 0).payload().len() as u64;
    assert_eq!(publisher.pending().unwrap().bytes, left);
}
