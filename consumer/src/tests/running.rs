//! Starting consumers, and waiting for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tipline_log::memory::rigged::RiggedLog;
use tipline_log::{Clock, Log};
use tipline_proto::{Digest, Entry, InstanceId, Receipt, Role, Timestamp};
use tipline_store::conformance::history;
use tipline_store::{Sink, SqliteReader, SqliteStore, content_digest};
use tokio::time::timeout;

use crate::{Consumer, ConsumerError, ConsumerSettings, Progress};

pub(super) const DEADLINE: Duration = Duration::from_secs(30);

pub(super) fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("replica.db");
    (directory, path)
}

pub(super) fn settings() -> ConsumerSettings {
    ConsumerSettings::new("replica-1".parse().unwrap(), Role::Replica)
}

pub(super) fn clock() -> Clock {
    Arc::new(|| Timestamp::from_micros(1_800_000_000_000_000))
}

pub(super) fn start_with(log: &Arc<dyn Log>, store: Box<dyn Sink>) -> Consumer {
    let instance = InstanceId::from_bytes([5; 16]);
    Consumer::start(Arc::clone(log), store, settings(), instance, clock())
}

pub(super) fn start(log: &Arc<dyn Log>, path: &Path) -> Consumer {
    start_with(log, Box::new(SqliteStore::open(path).unwrap()))
}

pub(super) fn dynamic(log: RiggedLog) -> Arc<dyn Log> {
    Arc::new(log)
}

/// Waits until the progress is as wanted.
pub(super) async fn until(consumer: &Consumer, is: impl FnMut(&Progress) -> bool) -> Progress {
    let mut progress = consumer.progress();
    let found = timeout(DEADLINE, progress.wait_for(is)).await;
    match found {
        Ok(found) => found.expect("the consumer is there").clone(),
        Err(_) => panic!("not in time: {:?}", consumer.progress().borrow()),
    }
}

pub(super) async fn until_index(consumer: &Consumer, index: u64) -> Progress {
    let is = |progress: &Progress| {
        let at = progress.cursor.as_ref().map(|cursor| cursor.position.index);
        at.is_some_and(|at| at >= index) || progress.phase.is_ended()
    };
    let progress = until(consumer, is).await;
    assert!(!progress.phase.is_ended(), "{progress:?}");
    progress
}

pub(super) async fn failure(consumer: &Consumer) -> Arc<ConsumerError> {
    timeout(DEADLINE, consumer.finished()).await.expect("it ends").unwrap_err()
}

pub(super) async fn receipt(log: &dyn Log) -> Receipt {
    log.board().await.unwrap().receipts.first().cloned().expect("a receipt")
}

pub(super) fn digest(path: &Path) -> Digest {
    content_digest(&SqliteReader::open(path).unwrap()).unwrap()
}

/// Digest of the store that a consumer makes of the entries when nothing disturbs it.
pub(super) async fn undisturbed(entries: &[Entry]) -> Digest {
    let (_directory, path) = place();
    let log = dynamic(RiggedLog::new(history::log(), entries).await);
    let consumer = start(&log, &path);
    until_index(&consumer, entries.len() as u64).await;
    consumer.shutdown().await.unwrap();
    digest(&path)
}
