//! What is called verified is, and nothing else; and what is the same.

mod chain;
mod content;
mod dated;
mod diff;
mod follow;
mod fuzzed;
mod memory;
mod receipts;
mod replay;
pub(crate) mod signed;
mod stats;
mod verify;

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tipline_backup::{Archive, Destination, Keys, Row, SegmentIndex, SegmentName, Sources};
use tipline_log::Appender;
use tipline_log::embedded::EmbeddedLog;
use tipline_log::memory::rigged::RiggedLog;
use tipline_proto::Entry;
use tipline_store::conformance::history::log;
use tipline_store::conformance::model::Model;
use tipline_store::{Sink, SqliteReader, SqliteStore, Store, StoreReader, StoredLinks};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{AuditError, Range, VerifyReport, verify_entries};

/// All that is held.
pub(super) const ALL: Range = Range { from: None, to: None };

pub(super) fn from(from: u64) -> Range {
    Range { from: Some(from), to: None }
}

/// A seed that is printed, or that of `TIPLINE_SEED`.
pub(super) fn seed() -> u64 {
    let given = std::env::var("TIPLINE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    println!("TIPLINE_SEED={seed}");
    seed
}

/// An archive in a directory of its own.
pub(super) struct Place {
    pub(super) directory: TempDir,
    pub(super) archive: Archive,
}

impl Place {
    pub(super) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let destination =
            Destination::open(&format!("dir:{}", directory.path().display())).unwrap();
        let archive = Archive::create(destination, &log(), Keys::default()).await.unwrap();
        Self { directory, archive }
    }

    /// Of these entries, in segments of so many.
    pub(super) async fn filled(entries: &[Entry], of: usize) -> Self {
        let place = Self::new().await;
        for first in (0..entries.len()).step_by(of) {
            place.segment(entries, first, entries.len().min(first + of)).await;
        }
        place
    }

    /// Archives a range of the entries, counted from 0, as one segment.
    pub(super) async fn segment(&self, entries: &[Entry], from: usize, to: usize) -> SegmentName {
        let index = index(entries, from, to);
        self.archive.write(&index, &entries[from..to]).await.unwrap()
    }

    pub(super) fn sources(&self) -> Arc<Sources> {
        Arc::new(Sources { archives: vec![self.archive.clone()], ..Sources::default() })
    }

    pub(super) fn path(&self, name: &SegmentName) -> std::path::PathBuf {
        self.directory.path().join(name.to_string())
    }
}

/// The index of a segment.
pub(super) fn index(entries: &[Entry], from: usize, to: usize) -> SegmentIndex {
    let (before, after) = (Model::of(&log(), &entries[..from]), Model::of(&log(), &entries[..to]));
    let tip = after.cursor.proof_tip;
    let above = |height: &&u64| tip.is_none_or(|tip| **height > tip);
    let proven_above = after.proofs.keys().filter(above).copied().collect();
    SegmentIndex {
        log: (&log()).into(),
        before: before.cursor.position,
        after: after.cursor.clone(),
        links: StoredLinks { base: after.base, proven_above },
        latest_before: entries[..from].iter().map(|entry| entry.time).max().unwrap_or_default(),
        rows: entries[from..to].iter().map(Row::from).collect(),
    }
}

/// A log that delivers these entries as they are.
pub(super) async fn honest(entries: &[Entry]) -> RiggedLog {
    RiggedLog::new(log(), entries).await
}

pub(super) fn of_log(log: RiggedLog) -> Arc<Sources> {
    Arc::new(Sources { log: Some(Arc::new(log)), ..Sources::default() })
}

/// An embedded log of these entries. In the bytes of one of them something else was written later.
pub(super) async fn altered_log(directory: &Path, entries: &[Entry], index: i64) -> Arc<Sources> {
    let path = directory.join("log.db");
    let log = EmbeddedLog::create(&path, &log()).await.unwrap();
    let tail = log.tail().await.unwrap();
    log.append(&tail, entries).await.unwrap();
    drop(log);
    let database = rusqlite::Connection::open(&path).unwrap();
    let sql = "UPDATE entry SET bytes = zeroblob(length(bytes)) WHERE number = ?1";
    assert_eq!(database.execute(sql, [index]).unwrap(), 1);
    drop(database);
    let log = EmbeddedLog::open(&path).await.unwrap();
    Arc::new(Sources { log: Some(Arc::new(log)), ..Sources::default() })
}

pub(super) async fn verify(
    sources: Arc<Sources>,
    range: Range,
) -> Result<VerifyReport, AuditError> {
    let (progress, stop) = (watch::Sender::default(), CancellationToken::new());
    verify_entries(sources, &log(), range, None, None, &progress, stop).await
}

/// A store that has applied these entries.
pub(super) fn store(directory: &Path, entries: &[Entry]) -> Box<dyn Store> {
    let path = tempfile::tempdir_in(directory).unwrap().keep().join("store.db");
    let mut store: Box<dyn Store> = Box::new(SqliteStore::open(path).unwrap());
    store.create(&log()).unwrap();
    let mut model = Model::new(&log());
    for entries in entries.chunks(97) {
        store.apply(&model.batch(entries)).unwrap();
    }
    store
}

/// A SQLite file of a store that applied these entries, and in which something was changed then.
pub(super) fn altered(directory: &Path, entries: &[Entry], sql: &str) -> Box<dyn StoreReader> {
    let path = tempfile::tempdir_in(directory).unwrap().keep().join("store.db");
    let mut store = SqliteStore::open(&path).unwrap();
    store.create(&log()).unwrap();
    store.apply(&Model::new(&log()).batch(entries)).unwrap();
    drop(store);
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch(sql).unwrap();
    drop(database);
    Box::new(SqliteReader::open(&path).unwrap())
}
