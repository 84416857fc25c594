//! What a consumer waits for, in a state of its own that everybody sees.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tipline_log::memory::rigged::{RiggedLog, append};
use tipline_log::{LogError, Reader};
use tipline_proto::{InstanceId, Level};
use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;
use tipline_store::{CompositeStore, Sink, SqliteReader, SqliteStore, Store};
use tokio::time::timeout;

use super::gated::{GatedStore, Go, HeldStore};
use super::running::{
    DEADLINE, clock, dynamic, failure, place, receipt, settings, start, start_with, until,
    until_index,
};
use crate::{Consumer, ConsumerError, ConsumerSettings, Phase, Progress};

/// A log that lost its newest entries under a store that has them.
#[tokio::test]
async fn a_log_that_lost_its_tail_is_waited_for_until_it_is_published_again() {
    let (_directory, path) = place();
    let entries = History::blocks(39, 10).entries;
    let rigged = RiggedLog::new(log(), &entries[..30]).await;
    let memory = rigged.inner.clone();
    let log = dynamic(rigged);
    let consumer = start(&log, &path);
    until_index(&consumer, 30).await;
    consumer.shutdown().await.unwrap();
    memory.truncate(20);
    let consumer = start(&log, &path);
    let short = |progress: &Progress| matches!(progress.phase, Phase::StoreAhead(_));
    let phase = until(&consumer, short).await.phase;
    assert!(!phase.is_healthy() && !phase.is_ended(), "{phase:?}");
    let mut board = log.follow_board().await.unwrap();
    let told = async {
        loop {
            let receipts = board.next().await.unwrap().receipts;
            let failure = receipts.first().and_then(|receipt| receipt.failure.clone());
            if failure.is_some_and(|failure| failure.contains("the log ends at 20")) {
                return receipts[0].clone();
            }
        }
    };
    let told = timeout(DEADLINE, told).await.expect("the receipt says why");
    assert_eq!(
        told.reached.at(Level::Durable),
        Some(entries[29].position()),
        "it is not taken back"
    );
    append(&memory, &entries[20..25]).await;
    append(&memory, &entries[25..]).await;
    let progress = until_index(&consumer, 40).await;
    assert!(progress.phase.is_healthy(), "{progress:?}");
    consumer.shutdown().await.unwrap();
    Model::of(log.identity(), &entries).assert_is(&SqliteReader::open(&path).unwrap(), "again");
}

#[tokio::test]
async fn a_log_that_comes_back_with_another_history_ends_it() {
    let (_directory, path) = place();
    let mut ours = History::new(31);
    ours.claim();
    (0..10).for_each(|_| ours.block());
    let mut theirs = ours.twin(32);
    (0..10).for_each(|_| ours.block());
    (0..20).for_each(|_| theirs.block());
    let rigged = RiggedLog::new(log(), &ours.entries).await;
    let memory = rigged.inner.clone();
    let log = dynamic(rigged);
    let consumer = start(&log, &path);
    until_index(&consumer, 21).await;
    consumer.shutdown().await.unwrap();
    memory.truncate(11);
    let consumer = start(&log, &path);
    until(&consumer, |progress| matches!(progress.phase, Phase::StoreAhead(_))).await;
    append(&memory, &theirs.entries[11..15]).await;
    append(&memory, &theirs.entries[15..]).await;
    let error = failure(&consumer).await;
    assert!(matches!(*error, ConsumerError::Diverged { index: 21, .. }), "{error:?}");
    ours.model.assert_is(&SqliteReader::open(&path).unwrap(), "unchanged");
}

#[tokio::test]
async fn a_subscription_that_is_gone_is_taken_up_again_but_not_for_ever() {
    let (_directory, path) = place();
    let entries = History::blocks(29, 10).entries;
    let rigged = RiggedLog::new(log(), &entries[..10]).await;
    let memory = rigged.inner.clone();
    let log = dynamic(rigged);
    let store = Box::new(SqliteStore::open(&path).unwrap());
    let quick = ConsumerSettings { heartbeat: Duration::from_millis(20), ..settings() };
    let instance = InstanceId::from_bytes([5; 16]);
    let consumer = Consumer::start(log, store, quick, instance, clock());
    until_index(&consumer, 10).await;
    // Somebody ends it, and sends no receipt.
    let end = || async {
        memory.subscribe(Some(&settings().name), 0).await.map(drop).unwrap();
    };
    end().await;
    append(&memory, &entries[10..20]).await;
    until_index(&consumer, 20).await;
    // Nothing comes of it any more, and it is ended again and again.
    let error = loop {
        end().await;
        match timeout(Duration::from_millis(50), consumer.finished()).await {
            Ok(ended) => break ended.unwrap_err(),
            Err(_) => continue,
        }
    };
    assert!(matches!(*error, ConsumerError::Log(LogError::Unusable { .. })), "{error:?}");
}

/// A disk that hangs: the store's thread is in a call that does not come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_is_shown_and_heartbeats_continue() {
    let (_directory, path) = place();
    let writer = History::random(21, 50);
    let rigged = RiggedLog::new(log(), &writer.entries).await;
    let receipts = Arc::clone(&rigged.receipts);
    let log = dynamic(rigged);
    let (store, gate) = GatedStore::new(SqliteStore::open(&path).unwrap());
    let heartbeat = Duration::from_millis(20);
    let settings = ConsumerSettings { heartbeat, ..settings() };
    let instance = InstanceId::from_bytes([5; 16]);
    let consumer = Consumer::start(log.clone(), Box::new(store), settings, instance, clock());
    gate.batch();
    let stalled = |progress: &Progress| matches!(progress.phase, Phase::StoreStalled(_));
    let progress = until(&consumer, stalled).await;
    assert!(progress.applying.is_some() && !progress.phase.is_healthy(), "{progress:?}");
    let sent = receipts.lock().unwrap().len();
    let told = async {
        while receipts.lock().unwrap().len() < sent + 4 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, told).await.expect("heartbeats");
    let newest = receipts.lock().unwrap().last().unwrap().1.clone();
    assert!(newest.applying.is_some_and(|applying| applying >= heartbeat * 6), "{newest:?}");
    assert!(newest.failure.as_ref().is_some_and(|text| text.contains("does not answer")));
    gate.go(Go::Apply);
    drop(gate);
    let progress = until_index(&consumer, 50).await;
    assert!(progress.phase.is_healthy() && progress.applying.is_none(), "{progress:?}");
    consumer.shutdown().await.unwrap();
    let newest = receipt(&*log).await;
    assert_eq!((newest.applying, newest.failure), (None, None));
}

/// It hangs before it has said what it is for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_while_it_is_joined_is_shown() {
    let (_directory, path) = place();
    let entries = History::random(24, 50).entries;
    let rigged = RiggedLog::new(log(), &entries).await;
    let receipts = Arc::clone(&rigged.receipts);
    let log = dynamic(rigged);
    let (go, held) = sync_channel::<()>(0);
    let store = HeldStore { inner: SqliteStore::open(&path).unwrap(), held };
    let settings = ConsumerSettings { heartbeat: Duration::from_millis(20), ..settings() };
    let instance = InstanceId::from_bytes([5; 16]);
    let consumer = Consumer::start(log.clone(), Box::new(store), settings, instance, clock());
    let stalled = |progress: &Progress| matches!(progress.phase, Phase::StoreStalled(_));
    let progress = until(&consumer, stalled).await;
    assert!(progress.cursor.is_none() && !progress.phase.is_healthy(), "{progress:?}");
    let told = async {
        while receipts.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, told).await.expect("a receipt says it");
    let failure = receipts.lock().unwrap()[0].1.failure.clone().unwrap();
    let says = failure.contains("compared with the log") && failure.contains("does not answer");
    assert!(says, "{failure}");
    drop(go);
    let progress = until_index(&consumer, 50).await;
    assert!(progress.phase.is_healthy(), "{progress:?}");
    consumer.shutdown().await.unwrap();
    assert_eq!(receipt(&*log).await.failure, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_knows_how_far_the_log_is_although_it_takes_in_no_more() {
    let (_directory, path) = place();
    let entries = History::blocks(5999, 5).entries;
    let rigged = RiggedLog::new(log(), &entries[..10]).await;
    let memory = rigged.inner.clone();
    let log = dynamic(rigged);
    let (store, gate) = GatedStore::new(SqliteStore::open(&path).unwrap());
    let settings = ConsumerSettings { heartbeat: Duration::from_millis(20), ..settings() };
    let instance = InstanceId::from_bytes([5; 16]);
    let consumer = Consumer::start(log, Box::new(store), settings, instance, clock());
    gate.batch();
    for unit in entries[10..].chunks(100) {
        append(&memory, unit).await;
    }
    let progress = until(&consumer, |progress| progress.tail == Some(6000)).await;
    assert_eq!(progress.behind(), Some(6000));
    drop(gate);
    until_index(&consumer, 6000).await;
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_lost_store_is_not_taken_for_a_first_day() {
    let (_directory, path) = place();
    let rigged = RiggedLog::new(log(), &History::blocks(9, 5).entries).await;
    let shut = Arc::clone(&rigged.shut);
    let log = dynamic(rigged);
    let consumer = start(&log, &path);
    until_index(&consumer, 10).await;
    consumer.shutdown().await.unwrap();
    let said = receipt(&*log).await.reached;

    let (_other, empty) = place();
    for again in 0..2 {
        let error = failure(&start(&log, &empty)).await;
        let lost = matches!(*error, ConsumerError::StoreLost { known: 10, .. });
        assert!(lost, "{again}: {error:?}");
        assert!(error.to_string().contains("--new"), "{error}");
        // What it was stays known, but nothing is there to be durable. The new store is still of
        // no log.
        let reached = receipt(&*log).await.reached;
        assert_eq!(reached.at(Level::Applied), said.at(Level::Durable));
        assert_eq!(reached.at(Level::Durable), None);
        assert_eq!(SqliteReader::open(&empty).unwrap().identity().unwrap(), None);
    }
    // The store itself resumes, whatever the board can or cannot say.
    shut.store(true, Ordering::SeqCst);
    let consumer = start(&log, &path);
    until_index(&consumer, 10).await;
    consumer.shutdown().await.unwrap();
    shut.store(false, Ordering::SeqCst);

    let settings = ConsumerSettings { new_store: true, ..settings() };
    let store = Box::new(SqliteStore::open(&empty).unwrap());
    let instance = InstanceId::from_bytes([6; 16]);
    let consumer = Consumer::start(Arc::clone(&log), store, settings, instance, clock());
    until_index(&consumer, 10).await;
    consumer.shutdown().await.unwrap();
}

/// Its file is removed while it runs: from then on it vouches for nothing, whatever it said.
#[tokio::test]
async fn a_store_that_is_gone_while_it_runs_is_no_longer_durable() {
    let (_directory, path) = place();
    let entries = History::blocks(19, 5).entries;
    let rigged = RiggedLog::new(log(), &entries[..10]).await;
    let memory = rigged.inner.clone();
    let log = dynamic(rigged);
    let consumer = start(&log, &path);
    until_index(&consumer, 10).await;
    std::fs::remove_file(&path).unwrap();
    append(&memory, &entries[10..]).await;
    let error = failure(&consumer).await;
    assert!(error.to_string().contains("failed"), "{error}");
    let said = receipt(&*log).await;
    assert!(said.failure.is_some_and(|failure| failure.contains("was removed")));
    assert_eq!(said.reached.at(Level::Durable), None);
    assert_eq!(said.reached.at(Level::Applied), Some(entries[9].position()));
}

/// A part of a composite that has more than the last one, of another history: found before a
/// batch counts as durable in it.
#[tokio::test]
async fn a_part_that_is_ahead_in_another_history_is_found_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut ours = History::new(33);
    ours.claim();
    (0..10).for_each(|_| ours.block());
    let mut theirs = ours.twin(34);
    (0..50).for_each(|_| ours.block());
    (0..50).for_each(|_| theirs.block());
    let part = |name: &str, history: &History, to: usize| {
        let mut store = SqliteStore::open(directory.path().join(name)).unwrap();
        store.create(&log()).unwrap();
        store.apply(&Model::new(&log()).batch(&history.entries[..to])).unwrap();
        Box::new(store) as Box<dyn Store>
    };
    let composite = CompositeStore::new(vec![part("a.db", &theirs, 40), part("b.db", &ours, 20)]);
    let log = dynamic(RiggedLog::new(log(), &ours.entries).await.chunked(5));
    let error = failure(&start_with(&log, Box::new(composite.unwrap()))).await;
    assert!(matches!(*error, ConsumerError::Diverged { index: 40, .. }), "{error:?}");
    let last = SqliteReader::open(directory.path().join("b.db")).unwrap();
    Model::of(log.identity(), &ours.entries[..20]).assert_is(&last, "nothing was applied");
}
