//! The archive as the store of a consumer.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tipline_consumer::{Consumer, ConsumerSettings, Phase};
use tipline_log::Log;
use tipline_log::memory::rigged::RiggedLog;
use tipline_proto::{InstanceId, Level, Role};
use tipline_store::conformance::history;
use tipline_store::conformance::history::History;

use super::{destination, everything, open};
use crate::tests::{clock, receipt, until, until_index};
use crate::{ArchiveStore, Keys};

fn settings(linger: Duration) -> ConsumerSettings {
    let name = "archive".parse().unwrap();
    let (level, heartbeat) = (Level::Verified, Duration::from_millis(50));
    ConsumerSettings { level, linger, heartbeat, ..ConsumerSettings::new(name, Role::Archive) }
}

fn start(log: &Arc<dyn Log>, directory: &Path, settings: ConsumerSettings) -> Consumer {
    let store = Box::new(ArchiveStore::new(destination(directory), Keys::default(), 0));
    let instance = InstanceId::from_bytes([5; 16]);
    Consumer::start(Arc::clone(log), store, settings, instance, clock())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_log_is_in_the_archive_and_its_receipt_says_verified() {
    let within = tempfile::tempdir().unwrap();
    let directory = within.path().join("archive");
    let history = History::random(2, 2_500);
    let log: Arc<dyn Log> =
        Arc::new(RiggedLog::new(history::log(), &history.entries).await.chunked(40));
    for _ in 0..2 {
        let consumer = start(&log, &directory, settings(Duration::ZERO));
        until_index(&consumer, history.entries.len() as u64).await;
        consumer.shutdown().await.unwrap();
    }
    assert_eq!(everything(&open(&directory).await).await.unwrap(), history.entries);
    let reached = receipt(&*log).await.reached;
    assert_eq!(reached.reported(Level::Verified), Some(history.model.cursor.position));
    assert_eq!(reached.reported(Level::Offsite), None);
}

/// What has arrived waits for more, but not to the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gathered_is_not_applied_one_by_one() {
    let within = tempfile::tempdir().unwrap();
    let directory = within.path().join("archive");
    let history = History::random(2, 50);
    let rigged = RiggedLog::new(history::log(), &history.entries).await.chunked(1);
    let mut delivered = rigged.delivered.subscribe();
    let log: Arc<dyn Log> = Arc::new(rigged);
    let consumer = start(&log, &directory, settings(Duration::from_secs(3600)));
    delivered.wait_for(|count| *count == history.entries.len()).await.unwrap();
    assert_eq!(consumer.progress().borrow().applied, 0, "it waits");
    consumer.shutdown().await.unwrap();
    let archive = open(&directory).await;
    // What was being verified when it was stopped comes alone.
    assert!(archive.segments().await.unwrap().len() <= 2);
    assert_eq!(everything(&archive).await.unwrap(), history.entries);
}

/// A full batch waits for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_enough_does_not_wait_to_be_gathered() {
    let within = tempfile::tempdir().unwrap();
    let directory = within.path().join("archive");
    let history = History::random(2, 3_000);
    let log: Arc<dyn Log> =
        Arc::new(RiggedLog::new(history::log(), &history.entries).await.chunked(100));
    let consumer = start(&log, &directory, settings(Duration::from_secs(3600)));
    until_index(&consumer, 1_000).await;
    consumer.shutdown().await.unwrap();
}

/// Nothing happens in the log, and yet it is noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_goes_away_is_shown_while_nothing_happens() {
    let within = tempfile::tempdir().unwrap();
    let (directory, away) = (within.path().join("archive"), within.path().join("away"));
    let history = History::random(2, 50);
    let log: Arc<dyn Log> = Arc::new(RiggedLog::new(history::log(), &history.entries).await);
    let consumer = start(&log, &directory, settings(Duration::ZERO));
    until_index(&consumer, history.entries.len() as u64).await;
    for _ in 0..2 {
        fs::rename(&directory, &away).unwrap();
        until(&consumer, |progress| matches!(progress.phase, Phase::StoreStalled(_))).await;
        fs::rename(&away, &directory).unwrap();
        until(&consumer, |progress| matches!(progress.phase, Phase::Following)).await;
    }
    fs::rename(&directory, &away).unwrap();
    let progress = until(&consumer, |progress| !progress.phase.is_healthy()).await;
    assert!(!progress.phase.is_ended(), "{progress:?}");
    let mut board = log.follow_board().await.unwrap();
    let told = async {
        loop {
            let board = board.next().await.unwrap();
            if board.receipts.iter().any(|receipt| receipt.failure.is_some()) {
                return;
            }
        }
    };
    tokio::time::timeout(crate::tests::DEADLINE, told).await.unwrap();
    consumer.shutdown().await.unwrap();
}

/// It starts before its destination is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_comes_late_is_waited_for() {
    let within = tempfile::tempdir().unwrap();
    let (directory, away) = (within.path().join("archive"), within.path().join("away"));
    let history = History::random(2, 500);
    let log: Arc<dyn Log> = Arc::new(RiggedLog::new(history::log(), &history.entries[..300]).await);
    let consumer = start(&log, &directory, settings(Duration::ZERO));
    until_index(&consumer, 300).await;
    consumer.shutdown().await.unwrap();
    fs::rename(&directory, &away).unwrap();
    let log: Arc<dyn Log> = Arc::new(RiggedLog::new(history::log(), &history.entries).await);
    let store = Box::new(ArchiveStore::new(destination(&directory), Keys::default(), 300));
    let instance = InstanceId::from_bytes([6; 16]);
    let settings = settings(Duration::ZERO);
    let consumer = Consumer::start(Arc::clone(&log), store, settings, instance, clock());
    until(&consumer, |progress| matches!(progress.phase, Phase::StoreStalled(_))).await;
    fs::rename(&away, &directory).unwrap();
    until_index(&consumer, history.entries.len() as u64).await;
    consumer.shutdown().await.unwrap();
    assert_eq!(everything(&open(&directory).await).await.unwrap(), history.entries);
}
