//! What stops a consumer, and what it says then.

use std::sync::Arc;

use tipline_log::LogError;
use tipline_log::memory::rigged::RiggedLog;
use tipline_proto::{Entry, InstanceId, Level, Timestamp};
use tipline_store::conformance::history;
use tipline_store::conformance::history::{History, log_with_lineage};
use tipline_store::conformance::model::Model;
use tipline_store::{ChainView, Sink, SqliteReader, SqliteStore, StoreError};

use super::gated::{GatedStore, Go};
use super::running::{
    clock, dynamic, failure, place, receipt, settings, start, start_with, until_index,
};
use crate::{Consumer, ConsumerError, ConsumerSettings, Phase, Refusal};

#[tokio::test]
async fn what_is_missing_for_good_is_refused_with_its_index() {
    let (_directory, path) = place();
    let entries = History::random(15, 100).entries;
    let rigged = RiggedLog::new(history::log(), &entries).await;
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
    let entries = History::random(16, 100).entries;
    let forged = |mut entry: Entry| {
        if entry.index == 60 {
            entry.time = Timestamp::from_micros(1);
        }
        vec![entry]
    };
    let log = dynamic(RiggedLog::new(history::log(), &entries).await.rigged(forged).chunked(9));
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
async fn a_store_of_another_lineage_is_refused() {
    let (_directory, path) = place();
    SqliteStore::open(&path).unwrap().create(&log_with_lineage(9)).unwrap();
    let log = dynamic(RiggedLog::new(history::log(), &History::blocks(5, 5).entries).await);
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
        let mut ours = History::new(18);
        ours.claim();
        ours.block();
        let first = ours.model.cursor.block_tip.clone().unwrap().height;
        (0..shared).for_each(|_| ours.block());
        let mut theirs = ours.twin(19);
        (0..20).for_each(|_| ours.block());
        (0..40).for_each(|_| theirs.block());

        let log = dynamic(RiggedLog::new(history::log(), &ours.entries).await);
        let consumer = start(&log, &path);
        until_index(&consumer, ours.entries.len() as u64).await;
        consumer.shutdown().await.unwrap();

        let log = dynamic(RiggedLog::new(history::log(), &theirs.entries).await);
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
async fn a_log_that_was_trimmed_too_far_is_refused_with_what_it_holds() {
    let (_directory, path) = place();
    let entries = History::blocks(49, 10).entries;
    let needs = |error: &ConsumerError, index: u64| {
        let is = matches!(*error, ConsumerError::OutOfRange { needed, first: 20, last: 50, .. }
            if needed == index);
        assert!(is, "{error:?}");
    };
    let trimmed = dynamic(RiggedLog::new(history::log(), &entries).await.trimmed(20));
    needs(&*failure(&start(&trimmed, &path)).await, 1);
    // The new store is still of no log, so that it can be filled from elsewhere.
    assert_eq!(SqliteReader::open(&path).unwrap().identity().unwrap(), None);

    let short = dynamic(RiggedLog::new(history::log(), &entries[..15]).await);
    let consumer = start(&short, &path);
    until_index(&consumer, 15).await;
    consumer.shutdown().await.unwrap();
    needs(&*failure(&start(&trimmed, &path)).await, 16);

    // With the entry at the cursor gone and the one after it there, it continues.
    let long = dynamic(RiggedLog::new(history::log(), &entries).await.trimmed(16));
    let consumer = start(&long, &path);
    until_index(&consumer, 50).await;
    consumer.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_second_consumer_of_the_name_ends_the_first() {
    let (_directory, path) = place();
    let log = dynamic(RiggedLog::new(history::log(), &History::blocks(5, 5).entries).await);
    let first = start(&log, &path);
    until_index(&first, 6).await;
    let (_other, path) = place();
    let settings = ConsumerSettings { new_store: true, ..settings() };
    let store = Box::new(SqliteStore::open(&path).unwrap());
    let instance = InstanceId::from_bytes([6; 16]);
    let second = Consumer::start(Arc::clone(&log), store, settings, instance, clock());
    until_index(&second, 6).await;
    let error = failure(&first).await;
    assert!(matches!(*error, ConsumerError::Log(LogError::Unusable { .. })), "{error:?}");
    second.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_store_ends_it_with_an_error() {
    let (_directory, path) = place();
    let log = dynamic(RiggedLog::new(history::log(), &History::blocks(5, 5).entries).await);
    let (store, gate) = GatedStore::new(SqliteStore::open(&path).unwrap());
    let consumer = start_with(&log, Box::new(store));
    gate.batch();
    gate.go(Go::Panic);
    let error = failure(&consumer).await;
    assert!(matches!(*error, ConsumerError::Panicked { .. }), "{error:?}");
    SqliteStore::open(&path).expect("the store was closed");
}
