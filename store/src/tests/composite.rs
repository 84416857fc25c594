//! Several stores at once.

use std::path::Path;

use tempfile::TempDir;
use tipline_proto::limits::MAX_APPLY_EVENTS;

use crate::batch::Batch;
use crate::composite::CompositeStore;
use crate::conformance::history::{History, log, log_with_lineage};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::reader::{ChainView, StoreReader};
use crate::spec::{Sink, Store};
use crate::sqlite::{SqliteReader, SqliteStore};
use crate::stored::StoreIdentity;

fn open(directory: &Path) -> Result<Box<dyn Store>, StoreError> {
    let part = |name: &str| -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(SqliteStore::open(directory.join(name))?))
    };
    Ok(Box::new(CompositeStore::new(vec![part("a.db")?, part("b.db")?, part("c.db")?])?))
}

fn refused(directory: &Path) -> String {
    let error = open(directory).unwrap_err();
    assert!(matches!(error, StoreError::Disagree(_)), "{error:?}");
    error.to_string()
}

/// Takes a part further by itself, or back to nothing, as somebody would who should not.
fn alone(directory: &TempDir, name: &str, lineage: u8, entries: &[tipline_proto::Entry]) {
    let path = directory.path().join(name);
    let mut store = SqliteStore::open(&path).unwrap();
    let log = log_with_lineage(lineage);
    store.create(&log).unwrap();
    let at = store.reader().unwrap().cursor().unwrap().unwrap().position.index;
    let mut model = Model::new(&log);
    drop(model.batch(&entries[..at as usize]));
    for chunk in entries[at as usize..].chunks(500) {
        store.apply(&model.batch(chunk)).unwrap();
    }
}

fn parts(directory: &TempDir, model: &Model, context: &str) {
    for name in ["a.db", "b.db", "c.db"] {
        let reader = SqliteReader::open(directory.path().join(name)).unwrap();
        model.assert_is(&reader, &format!("{name} {context}"));
    }
}

#[test]
fn every_part_holds_everything() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path()).unwrap();
    store.create(&log()).unwrap();
    let mut model = Model::new(&log());
    for chunk in History::random(31, 300).entries.chunks(30) {
        store.apply(&model.batch(chunk)).unwrap();
    }
    drop(store);
    parts(&directory, &model, "after all");
}

#[test]
fn a_part_that_a_crash_left_ahead_is_brought_in_step_by_any_batches() {
    let entries = History::random(32, 300).entries;
    for size in [1, 7, 100] {
        for ahead in [["a.db", "a.db"], ["b.db", "a.db"]] {
            let directory = tempfile::tempdir().unwrap();
            let mut store = open(directory.path()).unwrap();
            store.create(&log()).unwrap();
            let mut model = Model::new(&log());
            store.apply(&model.batch(&entries[..40])).unwrap();
            drop(store);
            alone(&directory, ahead[0], 7, &entries[..90]);
            alone(&directory, ahead[1], 7, &entries[..130]);

            let mut store = open(directory.path()).unwrap();
            model.assert_is(&*store.reader().unwrap(), "it is where its last part is");
            for chunk in entries[40..].chunks(size) {
                store.apply(&model.batch(chunk)).unwrap();
            }
            drop(store);
            parts(&directory, &model, &format!("in step again by batches of {size}"));
        }
    }
}

#[test]
fn a_failed_part_is_repeated_and_the_others_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let first = SqliteStore::open(path("a.db")).unwrap();
    let second = FailsOnce { inner: SqliteStore::open(path("b.db")).unwrap(), fail: false };
    let third = FailsOnce { inner: SqliteStore::open(path("c.db")).unwrap(), fail: true };
    let parts: Vec<Box<dyn Store>> = vec![Box::new(first), Box::new(second), Box::new(third)];
    let mut store = CompositeStore::new(parts).unwrap();
    store.create(&log()).unwrap();
    let mut model = Model::new(&log());
    let before = model.clone();
    let batch = model.batch(&History::random(33, 100).entries);
    let error = store.apply(&batch).unwrap_err();
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error:?}");
    before.assert_is(&*store.reader().unwrap(), "nothing of it is visible");
    store.apply(&batch).unwrap();
    drop(store);
    self::parts(&directory, &model, "after it was repeated");
}

#[test]
fn parts_that_are_not_in_step_are_refused_by_name_and_left_as_they_are() {
    let entries = History::blocks(2500, 5).entries;
    let made = |a: usize, b: usize, c: usize| {
        let directory = tempfile::tempdir().unwrap();
        for (name, count) in [("a.db", a), ("b.db", b), ("c.db", c)] {
            if count > 0 {
                alone(&directory, name, 7, &entries[..count]);
            }
        }
        directory
    };
    let lagging = made(50, 30, 50);
    let message = refused(lagging.path());
    assert!(
        message.contains("b.db is at 30@")
            && message.contains("c.db, which has the cursor, is at 50@"),
        "{message}"
    );
    assert!(message.contains("it lags"), "{message}");
    let at = SqliteReader::open(lagging.path().join("b.db")).unwrap().cursor().unwrap().unwrap();
    assert_eq!(at.position.index, 30);

    let message = refused(made(0, 50, 50).path());
    assert!(message.contains("a.db is new"), "{message}");
    let message = refused(made(50, 50, 0).path());
    assert!(
        message.contains("a.db is at 50@")
            && message.contains("c.db, which has the cursor, is new"),
        "{message}"
    );
    let far = 10 + MAX_APPLY_EVENTS + 1;
    let message = refused(made(far, 10, 10).path());
    assert!(message.contains("a.db is at 1011@") && message.contains("more than one"), "{message}");
    open(made(far - 1, 10, 10).path()).unwrap();
    open(made(0, 0, 0).path()).unwrap();
}

#[test]
fn parts_of_other_histories_and_logs_are_refused() {
    let entries = History::blocks(50, 5).entries;
    let others = History::blocks(51, 5).entries;
    let directory = tempfile::tempdir().unwrap();
    alone(&directory, "a.db", 7, &entries[..40]);
    alone(&directory, "b.db", 7, &others[..40]);
    alone(&directory, "c.db", 7, &entries[..40]);
    let message = refused(directory.path());
    assert!(message.contains("b.db is at 40@") && message.contains("another history"), "{message}");

    // One that is ahead shows it when the log comes to where it is.
    let directory = tempfile::tempdir().unwrap();
    alone(&directory, "a.db", 7, &others[..40]);
    alone(&directory, "b.db", 7, &entries[..20]);
    alone(&directory, "c.db", 7, &entries[..20]);
    let mut store = open(directory.path()).unwrap();
    let mut model = Model::of(&log(), &entries[..20]);
    store.apply(&model.batch(&entries[20..30])).unwrap();
    let error = store.apply(&model.batch(&entries[30..50])).unwrap_err();
    assert!(matches!(error, StoreError::Disagree(_)), "{error:?}");
    assert!(error.to_string().contains("another entry"), "{error}");

    let directory = tempfile::tempdir().unwrap();
    alone(&directory, "a.db", 8, &[]);
    alone(&directory, "c.db", 7, &[]);
    let error = open(directory.path()).unwrap_err();
    assert!(
        matches!(&error, StoreError::WrongLog { place, .. } if place.contains("a.db")),
        "{error:?}"
    );
}

#[test]
fn one_store_alone_is_no_composite() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("a.db")).unwrap();
    let error = CompositeStore::new(vec![Box::new(store)]).unwrap_err();
    assert!(error.to_string().contains("two parts"), "{error}");
}

/// A store whose disk is full once.
#[derive(Debug)]
struct FailsOnce {
    inner: SqliteStore,
    fail: bool,
}

impl Sink for FailsOnce {
    fn place(&self) -> String {
        self.inner.place()
    }
    fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        self.inner.identity()
    }
    fn create(&mut self, log: &tipline_proto::LogIdentity) -> Result<(), StoreError> {
        self.inner.create(log)
    }
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if std::mem::take(&mut self.fail) {
            return Err(StoreError::NoSpace { place: self.place(), source: None });
        }
        self.inner.apply(batch)
    }
    fn probe(&mut self) -> Result<(), StoreError> {
        self.inner.probe()
    }
    fn view(&self) -> Result<Box<dyn ChainView>, StoreError> {
        Ok(self.reader()?)
    }
}

impl Store for FailsOnce {
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        self.inner.reader()
    }
}

/// A store whose medium goes away.
#[derive(Debug)]
struct Leaving(crate::memory::MemoryStore, bool);

impl Sink for Leaving {
    fn place(&self) -> String {
        self.0.place()
    }
    fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        self.0.identity()
    }
    fn create(&mut self, log: &tipline_proto::LogIdentity) -> Result<(), StoreError> {
        self.0.create(log)
    }
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.0.apply(batch)
    }
    fn probe(&mut self) -> Result<(), StoreError> {
        if self.1 {
            Err(StoreError::Unavailable { place: self.place(), source: None })
        } else {
            Ok(())
        }
    }
    fn view(&self) -> Result<Box<dyn ChainView>, StoreError> {
        Ok(self.reader()?)
    }
}

impl Store for Leaving {
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        self.0.reader()
    }
}

#[test]
fn it_is_there_if_every_part_is() {
    for away in [None, Some(0), Some(1)] {
        let part = |number| -> Box<dyn Store> {
            Box::new(Leaving(crate::memory::MemoryStore::new(), away == Some(number)))
        };
        let mut store = CompositeStore::new(vec![part(0), part(1)]).unwrap();
        store.create(&log()).unwrap();
        match (away, store.probe()) {
            (None, Ok(())) | (Some(_), Err(StoreError::Unavailable { .. })) => {}
            (away, probed) => panic!("{away:?} is away: {probed:?}"),
        }
    }
}
