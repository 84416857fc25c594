//! What is said of a store alone.

use std::path::Path;

use tipline_proto::ProofsFrom;
use tipline_store::conformance::history::History;
use tipline_store::{MemoryStore, Store, StoreReader};

use super::{altered, seed, store};
use crate::{AuditError, ContentReport, verify_content, verify_parts};

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
    let sql = sql.replace("LOWEST", &lowest.to_string());
    let reader = altered(directory, &history.entries, &sql);
    verify_content("it", &*reader, ProofsFrom::default(), None, || Ok(())).unwrap()
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
        (
            "INSERT INTO proofs SELECT LOWEST + 40, block_hash, log_index, time_us, payload FROM proofs LIMIT 1",
            "is not there, and has a proof",
        ),
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
fn every_part_of_a_store_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::random(seed(), 100);
    let part = |name: &str, count: usize| {
        let store = store(directory.path(), &history.entries[..count]);
        (name.to_owned(), store.reader().unwrap())
    };
    let check = |parts: &[(String, Box<dyn StoreReader>)]| {
        verify_parts("both", parts, ProofsFrom::default(), None, || Ok(())).unwrap()
    };
    let report = check(&[part("first", 100), part("last", 100)]);
    assert!(report.ok && report.place == "both", "{report:?}");
    // A batch was cut off.
    let ahead = check(&[part("first", 100), part("last", 90)]);
    assert!(ahead.ok && ahead.index == 90, "{ahead:?}");
    assert!(ahead.not_verified.iter().any(|what| what.contains("first has the same")), "{ahead:?}");
    let lags = check(&[part("first", 90), part("last", 100)]);
    assert!(!lags.ok && lags.problems[0].contains("it lags"), "{lags:?}");
    let other = store(directory.path(), &History::random(seed() ^ 1, 100).entries);
    let fork = check(&[("first".to_owned(), other.reader().unwrap()), part("last", 100)]);
    assert!(!fork.ok && fork.problems[0].contains("another history"), "{fork:?}");
    let new = ("first".to_owned(), MemoryStore::new().reader().unwrap());
    let new = check(&[new, part("last", 100)]);
    assert_eq!(new.problems, ["first is new and empty"]);
    // A block that is gone from one.
    let mut history = History::blocks(20, 10);
    history.mark();
    let sql = "DELETE FROM blocks WHERE log_index = 9";
    let gone = ("first".to_owned(), altered(directory.path(), &history.entries, sql));
    let last = ("last".to_owned(), altered(directory.path(), &history.entries, ""));
    let gone = check(&[gone, last]);
    assert!(!gone.ok && gone.problems[0].starts_with("first: "), "{gone:?}");
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
