//! Consumers at work, on a log in memory and a store in a real file.

use std::sync::Arc;
use std::time::Duration;

use tipline_log::Log;
use tipline_log::memory::rigged::{RiggedLog, append};
use tipline_log::memory::{DeliveryFault, MemoryLog};
use tipline_proto::limits::MAX_APPLY_EVENTS;
use tipline_proto::{Entry, Level, Role};
use tipline_store::conformance::history::{History, log};
use tipline_store::{ChainView, SqliteReader, SqliteStore, Store, StoreError};
use tokio::time::timeout;

use super::gated::{GatedStore, Go};
use super::running::{
    DEADLINE, digest, dynamic, place, receipt, start, start_with, undisturbed, until, until_index,
};
use crate::{Phase, Progress};

#[tokio::test]
async fn a_store_becomes_what_the_log_says_and_the_receipt_tells_it() {
    for seed in 0..5 {
        println!("seed {seed}");
        let (_directory, path) = place();
        let mut writer = History::random(seed, 500);
        let memory = RiggedLog::new(log(), &writer.entries).await;
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
        assert_eq!(receipt.reached.reported(Level::Durable), Some(cursor.position));
        assert_eq!(receipt.reached.highest(), Some((Level::Durable, cursor.position)));
        assert_eq!(receipt.block_tip, cursor.block_tip);
        assert_eq!(receipt.proof_tip, cursor.proof_tip);
        assert_eq!((receipt.failure, receipt.role), (None, Role::Replica));
        assert_eq!(receipt.store, format!("sqlite:{}", path.display()));
    }
}

#[tokio::test]
async fn every_entry_twice_ends_with_the_same_store() {
    let entries = History::random(11, 400).entries;
    for chunk in [1, 7, 1000] {
        let (_directory, path) = place();
        let twice =
            RiggedLog::new(log(), &entries).await.rigged(|entry| vec![entry.clone(), entry]);
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
    let entries = History::random(12, 120).entries;
    let (_directory, path) = place();
    let log = dynamic(RiggedLog::new(log(), &entries).await.chunked(3));
    let mut at = 0;
    while at < 120 {
        let consumer = start(&log, &path);
        let progress = until_index(&consumer, at + 1).await;
        at = progress.cursor.unwrap().position.index;
        consumer.shutdown().await.unwrap();
        let durable = SqliteReader::open(&path).unwrap().cursor().unwrap().unwrap();
        assert!(durable.position.index >= at, "{durable:?} after {at}");
        assert_eq!(receipt(&*log).await.reached.reported(Level::Durable), Some(durable.position));
    }
    assert_eq!(digest(&path), undisturbed(&entries).await);
}

#[tokio::test]
async fn dropped_at_any_time_it_ends_with_the_same_store() {
    let entries = History::random(13, 200).entries;
    let (_directory, path) = place();
    let log = dynamic(RiggedLog::new(log(), &entries).await.chunked(2));
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
    let writer = History::random(14, 100);
    let rigged = RiggedLog::new(log(), &writer.entries[..50]).await;
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
async fn what_a_fenced_primary_wrote_is_ignored_and_counted() {
    let (_directory, path) = place();
    let mut old = History::random(17, 50);
    let mut new = old.twin(1);
    (0..10).for_each(|_| old.block());
    new.claim();
    (0..10).for_each(|_| new.block());
    let claim = new.entries[50].index;
    let void = old.entries[50..].to_vec();
    let rig = move |entry: Entry| {
        let after_the_claim = if entry.index == claim { void.clone() } else { vec![] };
        std::iter::once(entry).chain(after_the_claim).collect()
    };
    let log = dynamic(RiggedLog::new(log(), &new.entries).await.rigged(rig));
    let consumer = start(&log, &path);
    let progress = until_index(&consumer, new.entries.len() as u64).await;
    assert_eq!((progress.void, progress.duplicates), (10, 0));
    consumer.shutdown().await.unwrap();
    new.model.assert_is(&SqliteReader::open(&path).unwrap(), "without what is void");
}

#[tokio::test]
async fn it_waits_for_a_log_that_is_away_and_says_so() {
    let (_directory, path) = place();
    let writer = History::random(20, 100);
    let rigged = RiggedLog::new(log(), &writer.entries[..50]).await;
    let memory = rigged.inner.clone();
    memory.set_available(false);
    let log = dynamic(rigged);
    let consumer = start(&log, &path);
    let away = |progress: &Progress| matches!(progress.phase, Phase::LogUnavailable(_));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_is_tried_again_and_nothing_is_lost() {
    let (_directory, path) = place();
    let writer = History::random(21, 50);
    let log = dynamic(RiggedLog::new(log(), &writer.entries).await.chunked(10));
    let (store, gate) = GatedStore::new(SqliteStore::open(&path).unwrap());
    let consumer = start_with(&log, Box::new(store));
    let first = gate.batch();
    for _ in 0..3 {
        gate.go(Go::Full);
        assert_eq!(gate.batch(), first);
    }
    let progress = consumer.progress().borrow().clone();
    assert!(matches!(progress.phase, Phase::StoreStalled(_)), "{progress:?}");
    assert!(!progress.phase.is_healthy());
    let mut board = log.follow_board().await.unwrap();
    let told = async {
        loop {
            let board = board.next().await.unwrap();
            let failure = board.receipts.first().and_then(|receipt| receipt.failure.clone());
            if failure.is_some_and(|failure| failure.contains("free some")) {
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
    let writer = History::random(22, 50);
    let log = dynamic(RiggedLog::new(log(), &writer.entries).await.chunked(10));
    let (store, gate) = GatedStore::new(SqliteStore::open(&path).unwrap());
    let consumer = start_with(&log, Box::new(store));
    gate.batch();
    gate.go(Go::Full);
    let held = |progress: &Progress| matches!(progress.phase, Phase::StoreStalled(_));
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
async fn more_is_taken_in_while_the_store_is_busy_up_to_a_limit() {
    let (_directory, path) = place();
    let entries = History::blocks(9999, 5).entries;
    let rigged = RiggedLog::new(log(), &entries).await.chunked(300);
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
async fn readers_are_answered_while_it_applies() {
    let (_directory, path) = place();
    let entries = History::blocks(1999, 2000).entries;
    let log = dynamic(RiggedLog::new(log(), &entries).await.chunked(20));
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

#[tokio::test]
async fn it_follows_a_plain_log() {
    let (_directory, path) = place();
    let memory = MemoryLog::new(log());
    let writer = History::blocks(9, 5);
    append(&memory, &writer.entries).await;
    let log: Arc<dyn Log> = Arc::new(memory);
    let consumer = start(&log, &path);
    until_index(&consumer, 10).await;
    consumer.shutdown().await.unwrap();
}
