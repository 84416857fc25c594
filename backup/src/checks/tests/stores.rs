//! A store must hold what the entries say, and nothing else.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::Connection;
use tempfile::TempDir;
use tipline_store::conformance::history::{History, log, log_with_lineage};
use tipline_store::conformance::model::Model;
use tipline_store::{Sink, SqliteReader, SqliteStore, StoreIdentity, StoreReader};
use tokio_util::sync::CancellationToken;

use super::{against, archived, place, problems};
use crate::checks::{Against, Sample, VerifyReport, verify};
use crate::error::RestoreError;

struct Stored {
    directory: TempDir,
    scratch: TempDir,
}

impl Stored {
    /// An archive of a history, and a store of its first entries.
    async fn of(history: &History, entries: usize) -> Self {
        let (directory, _) = archived(history).await;
        let stored = Self { directory, scratch: tempfile::tempdir().unwrap() };
        let mut store = SqliteStore::open(stored.path()).unwrap();
        store.create(&log()).unwrap();
        store.apply(&Model::new(&log()).batch(&history.entries[..entries])).unwrap();
        stored
    }

    fn path(&self) -> std::path::PathBuf {
        self.scratch.path().join("store.db")
    }

    fn reader(&self) -> Box<dyn StoreReader> {
        Box::new(SqliteReader::open(self.path()).unwrap())
    }

    async fn compared(&self, sample: Sample) -> VerifyReport {
        let store = Some((None, self.reader()));
        against(&self.directory, Against { log: None, store }, sample).await
    }

    /// What nobody who goes through the store can do.
    fn change(&self, sql: &str) -> usize {
        let connection = Connection::open(self.path()).unwrap();
        connection.execute(sql, []).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_holds_what_was_archived_is_found_whole() {
    let first: u64 = rand::random_range(0..1 << 40);
    for seed in first..first + 40 {
        let history = History::random(seed, 150);
        let mut random = StdRng::seed_from_u64(seed);
        let entries = random.random_range(1..=history.entries.len());
        let stored = Stored::of(&history, entries).await;
        for sample in [Sample::Full, Sample::Structure, Sample::Share(0.6)] {
            let report = stored.compared(sample).await;
            assert!(report.is_ok(), "seed {seed}, {sample:?}: {report:?}");
            let store = report.places.last().unwrap();
            assert_eq!(store.looked_at, entries as u64, "seed {seed}, {sample:?}");
            assert_eq!(store.notes, Vec::<String>::new(), "seed {seed}, {sample:?}");
        }
    }
}

/// Whatever row is lost, altered or added is noticed when everything is read; and what is lost, as
/// far as rows tell, also when nothing is.
#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_lost_altered_or_added_unnoticed() {
    let first: u64 = rand::random_range(0..1 << 40);
    let mut found = std::collections::BTreeMap::<&str, u32>::new();
    for seed in first..first + 60 {
        let history = History::random(seed, 150);
        let mut random = StdRng::seed_from_u64(seed);
        let stored = Stored::of(&history, history.entries.len()).await;
        let table = ["blocks", "proofs", "transactions", "records", "marks"][seed as usize % 5];
        let (column, zero) = match table {
            "marks" => ("time_us", "7"),
            "records" => ("value", "x'00'"),
            _ => ("payload", "x'00'"),
        };
        let one = format!("WHERE rowid = (SELECT rowid FROM {table} ORDER BY random() LIMIT 1)");
        let sql = match random.random_range(0..4) {
            0 | 1 => format!("DELETE FROM {table} {one}"),
            2 => format!("UPDATE {table} SET {column} = {zero} {one}"),
            _ => format!("UPDATE {table} SET log_index = log_index + 1000000 {one}"),
        };
        if stored.change(&sql) == 0 {
            continue;
        }
        let report = stored.compared(Sample::Full).await;
        assert!(!report.is_ok(), "seed {seed}: {sql}");
        *found.entry(table).or_default() += 1;
        // A row does not say whether a record was erased.
        if sql.starts_with("DELETE") && table != "records" {
            let report = stored.compared(Sample::Structure).await;
            assert!(!report.is_ok(), "seed {seed}: {sql}, by rows");
        }
    }
    assert_eq!(found.len(), 5, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_as_a_range() {
    let mut history = History::blocks(90, 10);
    (0..=89).for_each(|_| history.proof());
    let stored = Stored::of(&history, history.entries.len()).await;
    let lowest = *history.model.blocks.keys().next().unwrap();
    let (from, to) = (lowest + 10, lowest + 79);
    assert!(stored.change("DELETE FROM proofs") > 0);
    let deleted =
        stored.change(&format!("DELETE FROM blocks WHERE height BETWEEN {from} AND {to}"));
    assert_eq!(deleted, 70);
    let told = problems(&stored.compared(Sample::Structure).await);
    assert!(told.contains(&format!("block {from} and all up to {to} are not there")), "{told}");
    assert!(told.contains("the proof of block"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_entry_tells_of_is_noticed() {
    let history = History::blocks(30, 10);
    let stored = Stored::of(&history, history.entries.len()).await;
    let added = "INSERT INTO transactions VALUES (5, x'99', 2, 7, x'00')";
    assert_eq!(stored.change(added), 1);
    let told = problems(&stored.compared(Sample::Structure).await);
    assert!(told.contains("it has 1 transactions, but entries say 0"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_another_log_or_history_is_one_line() {
    let mut one = History::blocks(30, 10);
    let other = {
        let mut other = one.twin(79);
        (0..20).for_each(|_| other.block());
        other
    };
    (0..20).for_each(|_| one.block());
    let stored = Stored::of(&other, other.entries.len()).await;
    let (directory, _) = archived(&one).await;
    let report = against(
        &directory,
        Against { log: None, store: Some((None, stored.reader())) },
        Sample::Full,
    );
    let report = report.await;
    assert_eq!(report.places[1].problems.len(), 1, "{report:?}");
    assert!(problems(&report).contains("another history"), "{report:?}");
    let identity = Some(StoreIdentity::from(&log_with_lineage(8)));
    let (places, stop) = ([place(&directory).await], CancellationToken::new());
    let store = Some((identity, stored.reader()));
    let refused =
        verify(&places, Against { log: None, store }, Sample::Full, &mut || 0.0, &stop).await;
    assert!(matches!(refused, Err(RestoreError::WrongLog { .. })), "{refused:?}");
}

/// What was left out is said.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_compared_is_counted() {
    let history = History::blocks(49, 10);
    let stored = Stored::of(&history, 45).await;
    let notes = async || stored.compared(Sample::Full).await.places.pop().unwrap().notes.join("; ");
    assert_eq!(notes().await, "");
    // Entries 11 to 20.
    std::fs::remove_file(&super::segments(&stored.directory)[1]).unwrap();
    let told = notes().await;
    assert!(told.contains("10 entries were not at hand in their order"), "{told}");
    assert!(told.contains("no entry tells of was not looked for"), "{told}");
}
