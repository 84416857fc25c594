//! Consumers at work, on a log in memory and a store in a real file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::TempDir;
use tipline_log::memory::{DeliveryFault, MemoryLog};
use tipline_log::{Clock, Log, LogError};
use tipline_proto::limits::{MAX_APPLY_EVENTS, MAX_RECEIPTS_PER_SECOND};
use tipline_proto::{Digest, Entry, InstanceId, Level, Receipt, Role, Timestamp};
use tokio::time::{Instant, timeout};

use super::history::{Writer, log, log_with_lineage};
use super::model::Model;
use super::rigged::{GatedStore, Go, RiggedLog, append};
use crate::content::content_digest;
use crate::sqlite::{SqliteReader, SqliteStore};
use crate::store::{Store, StoreReader};
use crate::{Consumer, ConsumerError, ConsumerSettings, Phase, Progress, Refusal, StoreError};

const DEADLINE: Duration = Duration::from_secs(30);

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("replica.db");
    (directory, path)
}

fn settings() -> ConsumerSettings {
    ConsumerSettings::new("replica-1".parse().unwrap(), Role::Replica)
}

fn clock() -> Clock {
    Arc::new(|| Timestamp::from_micros(1_800_000_000_000_000))
}

fn start_with(log: &Arc<dyn Log>, store: Box<dyn Store>) -> Consumer {
    let instance = InstanceId::from_bytes([5; 16]);
    Consumer::start(Arc::clone(log), store, settings(), instance, clock())
}

fn start(log: &Arc<dyn Log>, path: &Path) -> Consumer {
    start_with(log, Box::new(SqliteStore::open(path).unwrap()))
}

fn dynamic(log: RiggedLog) -> Arc<dyn Log> {
    Arc::new(log)
}

/// Waits until the progress is as wanted.
async fn until(consumer: &Consumer, is: impl FnMut(&Progress) -> bool) -> Progress {
    let mut progress = consumer.progress();
    let found = timeout(DEADLINE, progress.wait_for(is)).await;
    match found {
        Ok(found) => found.expect("the consumer is there").clone(),
        Err(_) => panic!("not in time: {:?}", consumer.progress().borrow()),
    }
}

async fn until_index(consumer: &Consumer, index: u64) -> Progress {
    let is = |progress: &Progress| {
        let at = progress.cursor.as_ref().map(|cursor| cursor.position.index);
        at.is_some_and(|at| at >= index) || progress.phase.is_ended()
    };
    let progress = until(consumer, is).await;
    assert!(!progress.phase.is_ended(), "{progress:?}");
    progress
}

async fn failure(consumer: &Consumer) -> Arc<ConsumerError> {
    timeout(DEADLINE, consumer.finished()).await.expect("it ends").unwrap_err()
}

async fn receipt(log: &dyn Log) -> Receipt {
    log.board().await.unwrap().receipts.first().cloned().expect("a receipt")
}

fn digest(path: &Path) -> Digest {
    content_digest(&SqliteReader::open(path).unwrap()).unwrap()
}

/// Digest of the store that a consumer makes of the entries when nothing disturbs it.
async fn undisturbed(entries: &[Entry]) -> Digest {
    let (_directory, path) = place();
    let log = dynamic(RiggedLog::of(entries).await);
    let consumer = start(&log, &path);
    until_index(&consumer, entries.len() as u64).await;
    consumer.shutdown().await.unwrap();
    digest(&path)
}

#[tokio::test]
async fn a_store_becomes_what_the_log_says_and_the_receipt_tells_it() {
    for seed in 0..5 {
        println!("seed {seed}");
        let (_directory, path) = place();
        let mut writer = Writer::history(seed, 500);
        let memory = RiggedLog::of(&writer.entries).await;
        let inner = memory.inner.clone();
        let log = dynamic(memory);
        let consumer = start(&log, &path);
        until_index(&consumer, 500).await;
        // What comes later is pushed.
        for _ in 0..20 {
            let from = writer.entries.len();
            writer.step();
            if writer.entries.len() > from {
                append(&inner, &writer.entries[from..]).await;
            }
        }
        let end = writer.entries.len() as u64;
        let progress = until_index(&consumer, end).await;
        assert_eq!((progress.applied, progress.duplicates, progress.void), (end, 0, 0));
        assert_eq!(progress.behind(), Some(0));
        consumer.shutdown().await.unwrap();
        let context = format!("seed {seed}");
        writer.model.assert_is(&SqliteReader::open(&path).unwrap(), &context);

        let receipt = receipt(&*log).await;
        let cursor = &writer.model.cursor;
        assert_eq!(receipt.reached.said(Level::Durable), Some(cursor.position));
        assert_eq!(receipt.reached.highest(), Some((Level::Durable, cursor.position)));
        assert_eq!(receipt.block_tip, cursor.block_tip);
        assert_eq!(receipt.proof_tip, cursor.proof_tip);
        assert_eq!((receipt.failure, receipt.role), (None, Role::Replica));
        assert_eq!(receipt.store, format!("sqlite:{}", path.display()));
    }
}

#[tokio::test]
async fn every_entry_twice_ends_with_the_same_store() {
    let entries = Writer::history(11, 400).entries;
    for chunk in [1, 7, 1000] {
        let (_directory, path) = place();
        let twice = RiggedLog::of(&entries).await.rigged(|entry| vec![entry.clone(), entry]);
        let log = dynamic(twice.chunked(chunk));
        let consumer = start(&log, &path);
        let progress =
            until(&consumer, |p| p.applied + p.duplicates == 800 || p.phase.is_ended()).await;
        assert_eq!((progress.applied, progress.duplicates), (400, 400), "{progress:?}");
        consumer.shutdown().await.unwrap();
        assert_eq!(digest(&path), undisturbed(&entries).await);
    }
}

#[tokio::test]
async fn restarted_after_every_batch_it_ends_with_the_same_store() {
    let entries = Writer::history(12, 120).entries;
    let (_directory, path) = place();
    let log = dynamic(RiggedLog::of(&entries).await.chunked(3));
    let mut at = 0;
    while at < 120 {
        let consumer = start(&log, &path);
        let progress = until_index(&consumer, at + 1).await;
        at = progress.cursor.unwrap().position.index;
        consumer.shutdown().await.unwrap();
        let durable = SqliteReader::open(&path).unwrap().cursor().unwrap().unwrap();
        assert!(durable.position.index >= at, "{durable:?} after {at}");
        assert_eq!(receipt(&*log).await.reached.said(Level::Durable), Some(durable.position));
    }
    assert_eq!(digest(&path), undisturbed(&entries).await);
}

#[tokio::test]
async fn dropped_at_any_time_it_ends_with_the_same_store() {
    let entries = Writer::history(13, 200).entries;
    let (_directory, path) = place();
    let log = dynamic(RiggedLog::of(&entries).await.chunked(2));
    let mut at = 0;
    while at < 200 {
        // A dropped one closes its store in the background.
        let store = loop {
            match SqliteStore::open(&path) {
                Ok(store) => break store,
                Err(StoreError::InUse { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        let consumer = start_with(&log, Box::new(store));
        at = until_index(&consumer, (at + 5).min(200)).await.cursor.unwrap().position.index;
    }
    let consumer = loop {
        match SqliteStore::open(&path) {
            Ok(store) => break start_with(&log, Box::new(store)),
            Err(_) => tokio::task::yield_now().await,
        }
    };
    until_index(&consumer, 200).await;
    consumer.shutdown().await.unwrap();
    assert_eq!(digest(&path), undisturbed(&entries).await);
}

#[tokio::test]
async fn what_is_missing_once_is_asked_for_again() {
    let (_directory, path) = place();
    let writer = Writer::history(14, 100);
    let rigged = RiggedLog::of(&writer.entries[..50]).await;
    let memory = rigged.inner.clone();
    let log = dynamic(rigged);
    let consumer = start(&log, &path);
    until_index(&consumer, 50).await;
    memory.fail_delivery(DeliveryFault::Skip(10));
    append(&memory, &writer.entries[50..]).await;
    until_index(&consumer, 100).await;
    memory.fail_delivery(DeliveryFault::Repeat(30));
    until(&consumer, |progress| progress.duplicates == 30).await;
    consumer.shutdown().await.unwrap();
    writer.model.assert_is(&SqliteReader::open(&path).unwrap(), "after a gap");
}

#[tokio::test]
async fn what_is_missing_for_good_is_refused_with_its_index() {
    let (_directory, path) = place();
    let entries = Writer::history(15, 100).entries;
    let rigged = RiggedLog::of(&entries).await;
    let log = dynamic(rigged.rigged(|entry| if entry.index == 42 { vec![] } else { vec![entry] }));
    let consumer = start(&log, &path);
    let error = failure(&consumer).await;
    let refused =
        matches!(*error, ConsumerError::Refused(Refusal::Gap { expected: 42, found: 43 }));
    assert!(refused, "{error:?}");
    // All before it is there, and everyone knows why it goes no further.
    assert_eq!(SqliteReader::open(&path).unwrap().cursor().unwrap().unwrap().position.index, 41);
    let receipt = receipt(&*log).await;
    assert_eq!(receipt.reached.at(Level::Durable), Some(entries[40].position()));
    assert_eq!(receipt.failure.as_deref(), Some(error.to_string().as_str()));
    assert!(error.to_string().contains("entry 42"), "{error}");
}

#[tokio::test]
async fn a_fork_stops_it_in_front_of_the_entry() {
    let (_directory, path) = place();
    let entries = Writer::history(16, 100).entries;
    let forged = |mut entry: Entry| {
        if entry.index == 60 {
            entry.time = Timestamp::from_micros(1);
        }
        vec![entry]
    };
    let log = dynamic(RiggedLog::of(&entries).await.rigged(forged).chunked(9));
    let consumer = start(&log, &path);
    let error = failure(&consumer).await;
    assert!(matches!(*error, ConsumerError::Refused(Refusal::Fork { index: 60, .. })), "{error:?}");
    let reader = SqliteReader::open(&path).unwrap();
    Model::of(log.identity(), &entries[..59]).assert_is(&reader, "before");
    // It stays stopped, and says so to everyone who asks.
    assert!(Arc::ptr_eq(&error, &failure(&consumer).await));
    assert!(matches!(consumer.progress().borrow().phase, Phase::Failed(_)));
}

#[tokio::test]
async fn what_a_fenced_primary_wrote_is_ignored_and_counted() {
    let (_directory, path) = place();
    let mut old = Writer::history(17, 50);
    let mut new = old.twin(1);
    (0..10).for_each(|_| old.block());
    new.claim();
    (0..10).for_each(|_| new.block());
    let claim = new.entries[50].index;
    let void = old.entries[50..].to_vec();
    let rig = move |entry: Entry| {
        let behind_the_claim = if entry.index == claim { void.clone() } else { vec![] };
        std::iter::once(entry).chain(behind_the_claim).collect()
    };
    let log = dynamic(RiggedLog::of(&new.entries).await.rigged(rig));
    let consumer = start(&log, &path);
    let progress = until_index(&consumer, new.entries.len() as u64).await;
    assert_eq!((progress.void, progress.duplicates), (10, 0));
    consumer.shutdown().await.unwrap();
    new.model.assert_is(&SqliteReader::open(&path).unwrap(), "without what is void");
}

#[tokio::test]
async fn a_store_of_another_lineage_is_refused() {
    let (_directory, path) = place();
    SqliteStore::open(&path).unwrap().create(&log_with_lineage(9)).unwrap();
    let log = dynamic(RiggedLog::of(&Writer::blocks(5, 5).entries).await);
    let consumer = start(&log, &path);
    let error = failure(&consumer).await;
    let wrong = matches!(*error, ConsumerError::Store(StoreError::WrongLog { .. }));
    assert!(wrong, "{error:?}");
    let message = error.to_string();
    assert!(message.contains("09090909") && message.contains("07070707"), "{message}");
    assert!(receipt(&*log).await.failure.is_some());
}

#[tokio::test]
async fn a_store_of_another_history_is_refused_with_the_height_where_it_diverges() {
    for shared in [0, 1, 7, 30] {
        let (_directory, path) = place();
        let mut ours = Writer::new(18);
        ours.claim();
        ours.block();
        let first = ours.model.cursor.block_tip.clone().unwrap().height;
        (0..shared).for_each(|_| ours.block());
        let mut theirs = ours.twin(19);
        (0..20).for_each(|_| ours.block());
        (0..40).for_each(|_| theirs.block());

        let log = dynamic(RiggedLog::of(&ours.entries).await);
        let consumer = start(&log, &path);
        until_index(&consumer, ours.entries.len() as u64).await;
        consumer.shutdown().await.unwrap();

        let log = dynamic(RiggedLog::of(&theirs.entries).await);
        let error = failure(&start(&log, &path)).await;
        let ConsumerError::Diverged { at, index, stored, found, .. } = &*error else {
            panic!("{error:?}");
        };
        assert_eq!(*index, ours.entries.len() as u64);
        assert_eq!(*stored, ours.entries.last().unwrap().digest);
        assert_eq!(*found, theirs.entries[ours.entries.len() - 1].digest);
        let height = first + shared + 1;
        let block = ours.model.block_hash(height).unwrap();
        assert!(at.starts_with(&format!("height {height}: ")), "{at}");
        assert!(at.contains(&block.to_string()), "{at}");
        ours.model.assert_is(&SqliteReader::open(&path).unwrap(), "unchanged");
    }
}

#[tokio::test]
async fn a_store_ahead_of_the_log_is_refused() {
    let (_directory, path) = place();
    let entries = Writer::blocks(29, 10).entries;
    let rigged = RiggedLog::of(&entries).await;
    let memory = rigged.inner.clone();
    let log = dynamic(rigged);
    let consumer = start(&log, &path);
    until_index(&consumer, 30).await;
    consumer.shutdown().await.unwrap();
    memory.truncate(20);
    let error = failure(&start(&log, &path)).await;
    let ahead = matches!(*error, ConsumerError::Ahead { cursor: 30, tail: 20, .. });
    assert!(ahead, "{error:?}");
    // When the primary has published them again, all is well.
    append(&memory, &entries[20..]).await;
    let consumer = start(&log, &path);
    until_index(&consumer, 30).await;
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_log_that_was_trimmed_too_far_is_refused_with_what_it_holds() {
    let (_directory, path) = place();
    let entries = Writer::blocks(49, 10).entries;
    let needs = |error: &ConsumerError, index: u64| {
        let is = matches!(*error, ConsumerError::OutOfRange { needed, first: 20, last: 50, .. }
            if needed == index);
        assert!(is, "{error:?}");
    };
    let trimmed = dynamic(RiggedLog::of(&entries).await.trimmed(20));
    needs(&*failure(&start(&trimmed, &path)).await, 1);
    // The new store is still of no log, so that it can be filled from elsewhere.
    assert_eq!(SqliteReader::open(&path).unwrap().identity().unwrap(), None);

    let short = dynamic(RiggedLog::of(&entries[..15]).await);
    let consumer = start(&short, &path);
    until_index(&consumer, 15).await;
    consumer.shutdown().await.unwrap();
    needs(&*failure(&start(&trimmed, &path)).await, 16);

    // With the entry at the cursor gone and the one behind it there, it goes on.
    let long = dynamic(RiggedLog::of(&entries).await.trimmed(16));
    let consumer = start(&long, &path);
    until_index(&consumer, 50).await;
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn it_waits_for_a_log_that_is_away_and_says_so() {
    let (_directory, path) = place();
    let writer = Writer::history(20, 100);
    let rigged = RiggedLog::of(&writer.entries[..50]).await;
    let memory = rigged.inner.clone();
    memory.set_available(false);
    let log = dynamic(rigged);
    let consumer = start(&log, &path);
    let away = |progress: &Progress| matches!(progress.phase, Phase::LogAway(_));
    assert!(!until(&consumer, away).await.phase.is_healthy());
    memory.set_available(true);
    until_index(&consumer, 50).await;

    memory.fail_delivery(DeliveryFault::End);
    memory.set_available(false);
    until(&consumer, away).await;
    memory.set_available(true);
    append(&memory, &writer.entries[50..]).await;
    let progress = until_index(&consumer, 100).await;
    assert!(progress.phase.is_healthy(), "{progress:?}");
    consumer.shutdown().await.unwrap();
    writer.model.assert_is(&SqliteReader::open(&path).unwrap(), "after it was away");
    assert_eq!(receipt(&*log).await.reached.at(Level::Durable).unwrap().index, 100);
}

#[tokio::test]
async fn a_second_consumer_of_the_name_ends_the_first() {
    let (_directory, path) = place();
    let log = dynamic(RiggedLog::of(&Writer::blocks(5, 5).entries).await);
    let first = start(&log, &path);
    until_index(&first, 6).await;
    let (_other, path) = place();
    let second = start(&log, &path);
    until_index(&second, 6).await;
    let error = failure(&first).await;
    assert!(matches!(*error, ConsumerError::Log(LogError::Unusable { .. })), "{error:?}");
    second.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_is_tried_again_and_nothing_is_lost() {
    let (_directory, path) = place();
    let writer = Writer::history(21, 50);
    let log = dynamic(RiggedLog::of(&writer.entries).await.chunked(10));
    let (store, gate) = GatedStore::new(SqliteStore::open(&path).unwrap());
    let consumer = start_with(&log, Box::new(store));
    let first = gate.batch();
    for _ in 0..3 {
        gate.go(Go::Full);
        assert_eq!(gate.batch(), first);
    }
    let progress = consumer.progress().borrow().clone();
    assert!(matches!(progress.phase, Phase::StoreHeld(_)), "{progress:?}");
    assert!(!progress.phase.is_healthy());
    let mut board = log.follow_board().await.unwrap();
    let told = async {
        loop {
            let board = board.next().await.unwrap();
            let failure = board.receipts.first().and_then(|receipt| receipt.failure.clone());
            if failure.is_some_and(|failure| failure.contains("make room")) {
                return;
            }
        }
    };
    timeout(DEADLINE, told).await.expect("the receipt says why");
    drop(gate);
    until_index(&consumer, 50).await;
    assert!(consumer.progress().borrow().phase.is_healthy());
    consumer.shutdown().await.unwrap();
    writer.model.assert_is(&SqliteReader::open(&path).unwrap(), "with room again");
    assert_eq!(receipt(&*log).await.failure, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shut_down_while_the_store_is_full_it_leaves_the_rest_to_the_next_run() {
    let (_directory, path) = place();
    let writer = Writer::history(22, 50);
    let log = dynamic(RiggedLog::of(&writer.entries).await.chunked(10));
    let (store, gate) = GatedStore::new(SqliteStore::open(&path).unwrap());
    let consumer = start_with(&log, Box::new(store));
    gate.batch();
    gate.go(Go::Full);
    let held = |progress: &Progress| matches!(progress.phase, Phase::StoreHeld(_));
    until(&consumer, held).await;
    // It may be trying again just now.
    let shutdown = tokio::spawn(consumer.shutdown());
    while !shutdown.is_finished() {
        gate.try_go(Go::Full);
        tokio::task::yield_now().await;
    }
    timeout(DEADLINE, shutdown).await.unwrap().unwrap().unwrap();
    let consumer = start(&log, &path);
    until_index(&consumer, 50).await;
    consumer.shutdown().await.unwrap();
    writer.model.assert_is(&SqliteReader::open(&path).unwrap(), "the next run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_store_ends_it_with_an_error() {
    let (_directory, path) = place();
    let log = dynamic(RiggedLog::of(&Writer::blocks(5, 5).entries).await);
    let (store, gate) = GatedStore::new(SqliteStore::open(&path).unwrap());
    let consumer = start_with(&log, Box::new(store));
    gate.batch();
    gate.go(Go::Panic);
    let error = failure(&consumer).await;
    assert!(matches!(*error, ConsumerError::Panicked { .. }), "{error:?}");
    SqliteStore::open(&path).expect("the store was closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_is_taken_in_while_the_store_is_busy_up_to_a_limit() {
    let (_directory, path) = place();
    let entries = Writer::blocks(9999, 5).entries;
    let rigged = RiggedLog::of(&entries).await.chunked(300);
    let mut delivered = rigged.delivered.subscribe();
    let log = dynamic(rigged);
    let (store, gate) = GatedStore::new(SqliteStore::open(&path).unwrap());
    let consumer = start_with(&log, Box::new(store));
    assert_eq!(gate.batch().len(), 300, "what has arrived is applied at once");
    // Three deliveries make the batch that waits, a fourth did not fit into it.
    let limit = 300 + MAX_APPLY_EVENTS / 300 * 300 + 300;
    let all = delivered.wait_for(|count| *count >= limit);
    timeout(DEADLINE, all).await.expect("more is taken in").unwrap();
    // The store asks for the second batch when it is done with the first; until then, and long
    // after all of it was there, nothing more was taken.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(*delivered.borrow(), limit);
    gate.go(Go::Apply);
    assert_eq!(gate.batch(), (301..=1200).collect::<Vec<_>>(), "they were put together");
    drop(gate);
    until_index(&consumer, 10_000).await;
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn receipts_are_few_and_the_newest_is_always_among_them() {
    let (_directory, path) = place();
    let entries = Writer::blocks(1999, 5).entries;
    let rigged = RiggedLog::of(&entries).await.chunked(1);
    let receipts = Arc::clone(&rigged.receipts);
    let log = dynamic(rigged);
    let consumer = start(&log, &path);
    until_index(&consumer, 2000).await;
    let newest = |receipts: &[(Instant, Receipt)]| {
        receipts.last().and_then(|(_, receipt)| receipt.reached.at(Level::Durable))
    };
    let told = async {
        while newest(&receipts.lock().unwrap()) != Some(entries[1999].position()) {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, told).await.expect("the newest is sent without any shutdown");
    consumer.shutdown().await.unwrap();
    let receipts = receipts.lock().unwrap();
    let spacing = Duration::from_secs(1) / MAX_RECEIPTS_PER_SECOND;
    // The last one of all does not wait.
    for pair in receipts[..receipts.len() - 1].windows(2) {
        let apart = pair[1].0 - pair[0].0;
        assert!(apart >= spacing.mul_f64(0.8), "{apart:?}");
        let index = |at: usize| pair[at].1.reached.at(Level::Durable).map(|p| p.index);
        assert!(index(0) <= index(1), "{:?} then {:?}", index(0), index(1));
    }
}

#[tokio::test]
async fn a_receipt_is_repeated_while_nothing_happens() {
    let (_directory, path) = place();
    let rigged = RiggedLog::of(&Writer::blocks(3, 5).entries).await;
    let receipts = Arc::clone(&rigged.receipts);
    let log = dynamic(rigged);
    let heartbeat = Duration::from_millis(60);
    let settings = ConsumerSettings { heartbeat, ..settings() };
    let store = Box::new(SqliteStore::open(&path).unwrap());
    let instance = InstanceId::from_bytes([5; 16]);
    let consumer = Consumer::start(log, store, settings, instance, clock());
    until_index(&consumer, 4).await;
    let repeated = async {
        while receipts.lock().unwrap().len() < 8 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, repeated).await.expect("heartbeats");
    let receipts = receipts.lock().unwrap().clone();
    for pair in receipts[3..].windows(2) {
        assert_eq!(pair[0].1.reached, pair[1].1.reached);
        let apart = pair[1].0 - pair[0].0;
        assert!(apart >= heartbeat.mul_f64(0.8), "{apart:?}");
    }
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn receipts_that_cannot_be_sent_do_not_stop_it_and_the_newest_comes_later() {
    let (_directory, path) = place();
    let writer = Writer::history(23, 100);
    let rigged = RiggedLog::of(&writer.entries).await;
    let shut = Arc::clone(&rigged.shut);
    shut.store(true, Ordering::SeqCst);
    let log = dynamic(rigged);
    let consumer = start(&log, &path);
    until_index(&consumer, 100).await;
    assert_eq!(log.board().await.unwrap().receipts, vec![]);
    shut.store(false, Ordering::SeqCst);
    let mut board = log.follow_board().await.unwrap();
    let told = async { while board.next().await.unwrap().receipts.is_empty() {} };
    timeout(DEADLINE, told).await.expect("it was tried again");
    let position = writer.model.cursor.position;
    assert_eq!(receipt(&*log).await.reached.at(Level::Durable), Some(position));
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn readers_are_answered_while_it_applies() {
    let (_directory, path) = place();
    let entries = Writer::blocks(1999, 2000).entries;
    let log = dynamic(RiggedLog::of(&entries).await.chunked(20));
    let store = SqliteStore::open(&path).unwrap();
    let reader = store.reader().unwrap();
    let consumer = start_with(&log, Box::new(store));
    let reading = tokio::task::spawn_blocking(move || {
        let mut slowest = Duration::ZERO;
        loop {
            let begun = std::time::Instant::now();
            let cursor = reader.cursor().unwrap();
            if let Some(tip) = cursor.as_ref().and_then(|cursor| cursor.block_tip.clone()) {
                assert_eq!(reader.block(tip.height).unwrap().unwrap().hash, tip.hash);
            }
            slowest = slowest.max(begun.elapsed());
            if cursor.is_some_and(|cursor| cursor.position.index == 2000) {
                return slowest;
            }
        }
    });
    until_index(&consumer, 2000).await;
    let slowest = timeout(DEADLINE, reading).await.unwrap().unwrap();
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    consumer.shutdown().await.unwrap();
}

/// `MemoryLog` is a log: the consumer needs nothing of the rigged one.
#[tokio::test]
async fn it_follows_a_plain_log() {
    let (_directory, path) = place();
    let memory = MemoryLog::new(log());
    let writer = Writer::blocks(9, 5);
    append(&memory, &writer.entries).await;
    let log: Arc<dyn Log> = Arc::new(memory);
    let consumer = start(&log, &path);
    until_index(&consumer, 10).await;
    consumer.shutdown().await.unwrap();
}
