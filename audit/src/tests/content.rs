//! What is said of a store alone.

use std::path::Path;

use tipline_proto::ProofsFrom;
use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;
use tipline_store::{MemoryStore, Sink, SqliteReader, SqliteStore, Store};

use super::{seed, store};
use crate::{AuditError, ContentReport, verify_content};

fn check(store: &dyn Store) -> ContentReport {
    verify_content("it", &*store.reader().unwrap(), ProofsFrom::default(), None, || Ok(())).unwrap()
}

#[test]
fn a_store_that_applied_a_history_contradicts_itself_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let history = History::random(seed().wrapping_add(round), 300);
        let report = check(&*store(directory.path(), &history.entries));
        assert_eq!(report.problems, [] as [&str; 0]);
        assert!(report.ok);
        assert_eq!(report.blocks, history.model.blocks.len() as u64);
        assert_eq!(report.proofs, history.model.proofs.len() as u64);
        assert_eq!(report.transactions, history.model.transactions.len() as u64);
        assert_eq!(report.records, history.model.records.len() as u64);
        assert_eq!(report.marks, history.model.marks.len() as u64);
        assert!(report.not_verified.iter().any(|what| what.contains("payloads")), "{report:?}");
    }
}

/// A history in which every kind is there, and the SQLite file of a store that applied it.
fn damaged(directory: &Path, sql: &str) -> ContentReport {
    let mut history = History::blocks(20, 10);
    let lowest = *history.model.blocks.keys().next().unwrap();
    (0..15).for_each(|at| history.proof_of(lowest + at, 5));
    history.transaction_of(1);
    history.record_of(1, Some("x".into()));
    history.mark();
    let path = tempfile::tempdir_in(directory).unwrap().keep().join("damaged.db");
    let mut store = SqliteStore::open(&path).unwrap();
    store.create(&log()).unwrap();
    let batch = Model::new(&log()).batch(&history.entries);
    store.apply(&batch).unwrap();
    drop(store);
    let database = rusqlite::Connection::open(&path).unwrap();
    let sql = sql.replace("LOWEST", &lowest.to_string());
    database.execute_batch(&sql).unwrap();
    drop(database);
    let reader = SqliteReader::open(&path).unwrap();
    verify_content("it", &reader, ProofsFrom::default(), None, || Ok(())).unwrap()
}

#[test]
fn a_store_that_contradicts_itself_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let whole = damaged(directory.path(), "");
    assert!(whole.ok, "{whole:?}");
    let cases = [
        ("UPDATE blocks SET hash = x'0102030405060708' WHERE height = LOWEST + 7", "names parent"),
        ("DELETE FROM blocks WHERE height = LOWEST + 7", "missing"),
        ("DELETE FROM blocks WHERE height = LOWEST + 19", "the cursor's block tip is"),
        ("DELETE FROM blocks WHERE height = LOWEST", "comes after block"),
        ("UPDATE blocks SET log_index = 3 WHERE height = LOWEST + 7", "is of entry 3"),
        ("UPDATE blocks SET epoch = 9 WHERE height = LOWEST + 7", "is of epoch 9"),
        ("DELETE FROM proofs WHERE height = LOWEST + 7", "should have its proof"),
        ("UPDATE proofs SET block_hash = x'01' WHERE height = LOWEST + 7", "names 01"),
        ("UPDATE store SET proof_tip = LOWEST + 19", "should have its proof"),
        ("UPDATE store SET proof_tip = LOWEST + 3", "the proof tip is"),
        ("UPDATE store SET cursor_index = 30", "the cursor is at entry 30"),
        ("UPDATE records SET log_index = 900", "is of entry 900"),
        ("UPDATE marks SET log_index = 900", "is of entry 900"),
        ("UPDATE transactions SET block_tip = LOWEST + 90", "is from after block"),
    ];
    for (sql, what) in cases {
        let report = damaged(directory.path(), sql);
        assert!(!report.ok, "{sql}: {report:?}");
        let said = report.problems.iter().any(|problem| problem.contains(what));
        assert!(said, "{sql}: {:?}", report.problems);
    }
}

#[test]
fn an_empty_store_is_not_consistent() {
    let error = verify_content(
        "it",
        &*MemoryStore::new().reader().unwrap(),
        ProofsFrom::default(),
        None,
        || Ok(()),
    );
    assert!(matches!(error, Err(AuditError::Empty { .. })), "{error:?}");
}

#[test]
fn a_checkpoint_stands_where_its_manifest_says() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::random(seed(), 50);
    let store = store(directory.path(), &history.entries);
    let reader = store.reader().unwrap();
    let mut expected = history.model.cursor.clone();
    assert!(
        verify_content("it", &*reader, ProofsFrom::default(), Some(&expected), || Ok(()))
            .unwrap()
            .ok
    );
    expected.epoch += 1;
    assert!(
        !verify_content("it", &*reader, ProofsFrom::default(), Some(&expected), || Ok(()))
            .unwrap()
            .ok
    );
}
