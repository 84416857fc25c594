//! Two runs of one name: the newer one has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tipline_log::memory::rigged::{RiggedLog, append};
use tipline_log::memory::{DeliveryFault, MemoryLog};
use tipline_log::{Log, LogError, Reader, Receipts as _};
use tipline_proto::InstanceId;
use tipline_store::SqliteStore;
use tipline_store::conformance::history;
use tipline_store::conformance::history::History;
use tokio::sync::watch;
use tokio::time::timeout;

use super::running::{
    DEADLINE, clock, dynamic, failure, place, settings, start, until, until_index,
};
use crate::{Consumer, ConsumerError, ConsumerSettings, Phase};

/// A run with this number, with a new store.
fn run(log: &Arc<dyn Log>, number: u8, path: &std::path::Path, heartbeat: Duration) -> Consumer {
    let settings = ConsumerSettings { heartbeat, new_store: true, ..settings() };
    let store = Box::new(SqliteStore::open(path).unwrap());
    Consumer::start(Arc::clone(log), store, settings, InstanceId::from_bytes([number; 16]), clock())
}

/// The older one says so much that hardly anything else is to be seen on the board.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_run_that_talks_all_the_time_does_not_end_a_newer_one() {
    let entries = History::blocks(19, 5).entries;
    let rigged = RiggedLog::new(history::log(), &entries[..10]).await;
    let memory = rigged.inner.clone();
    let log = dynamic(rigged);
    let ((_one, old), (_other, new)) = (place(), place());
    let old = run(&log, 5, &old, Duration::from_millis(1));
    until_index(&old, 10).await;
    let new = run(&log, 6, &new, Duration::from_secs(1));
    until_index(&new, 10).await;
    let error = failure(&old).await;
    assert!(matches!(*error, ConsumerError::Log(LogError::Unusable { .. })), "{error:?}");
    append(&memory, &entries[10..]).await;
    until_index(&new, 20).await;
    new.shutdown().await.unwrap();
}

/// What the run before said is on the board for as long as this one could not say anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_run_is_not_taken_for_a_newer_one() {
    let entries = History::blocks(29, 5).entries;
    let rigged = RiggedLog::new(history::log(), &entries[..10]).await;
    let (memory, shut) = (rigged.inner.clone(), Arc::clone(&rigged.shut));
    let log = dynamic(rigged);
    let (_directory, path) = place();
    let earlier = start(&log, &path);
    until_index(&earlier, 10).await;
    earlier.shutdown().await.unwrap();
    shut.store(true, Ordering::SeqCst);
    let consumer = run(&log, 6, &path, Duration::from_millis(20));
    append(&memory, &entries[10..20]).await;
    until_index(&consumer, 20).await;
    // Somebody ends its subscription, and does not have the name.
    memory.subscribe(Some(&settings().name), 0).await.map(drop).unwrap();
    append(&memory, &entries[20..]).await;
    until_index(&consumer, 30).await;
    consumer.shutdown().await.unwrap();
}

/// A machine is cut off, and another one is set up in its place. When it is back, it does not end the
/// one that came after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_run_that_was_cut_off_does_not_take_the_name_back() {
    let entries = History::blocks(39, 5).entries;
    let rigged = RiggedLog::new(history::log(), &entries[..10]).await;
    let (memory, away) = (rigged.inner.clone(), Arc::clone(&rigged.away));
    let refused = rigged.refused.subscribe();
    let log = dynamic(rigged);
    let ((_one, old), (_other, new)) = (place(), place());
    let old = run(&log, 5, &old, Duration::from_millis(20));
    until_index(&old, 10).await;
    has_spoken(&memory, 5).await;
    cut_off(&old, &memory, &away, refused).await;
    let whole: Arc<dyn Log> = Arc::new(memory.clone());
    let new = run(&whole, 6, &new, Duration::from_millis(20));
    until_index(&new, 10).await;
    has_spoken(&memory, 6).await;
    away.store(false, Ordering::SeqCst);
    let error = failure(&old).await;
    assert!(matches!(*error, ConsumerError::Log(LogError::Unusable { .. })), "{error:?}");
    append(&memory, &entries[10..]).await;
    until_index(&new, 20).await;
    new.shutdown().await.unwrap();
}

/// If the other one has ended meanwhile, nobody has the name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_run_that_was_cut_off_continues_after_a_newer_one_that_ended() {
    let entries = History::blocks(49, 5).entries;
    let rigged = RiggedLog::new(history::log(), &entries[..10]).await;
    let (memory, away) = (rigged.inner.clone(), Arc::clone(&rigged.away));
    let refused = rigged.refused.subscribe();
    let log = dynamic(rigged);
    let ((_one, old), (_other, new)) = (place(), place());
    let old = run(&log, 5, &old, Duration::from_millis(20));
    until_index(&old, 10).await;
    has_spoken(&memory, 5).await;
    cut_off(&old, &memory, &away, refused).await;
    let whole: Arc<dyn Log> = Arc::new(memory.clone());
    let new = run(&whole, 6, &new, Duration::from_millis(20));
    until_index(&new, 10).await;
    has_spoken(&memory, 6).await;
    new.shutdown().await.unwrap();
    away.store(false, Ordering::SeqCst);
    append(&memory, &entries[10..]).await;
    until_index(&old, 20).await;
    has_spoken(&memory, 5).await;
    old.shutdown().await.unwrap();
}

/// The run has no subscription any more, gets none, and knows that its receipts do not arrive.
async fn cut_off(
    run: &Consumer,
    memory: &MemoryLog,
    away: &AtomicBool,
    mut refused: watch::Receiver<usize>,
) {
    away.store(true, Ordering::SeqCst);
    memory.fail_delivery(DeliveryFault::End);
    until(run, |progress| matches!(progress.phase, Phase::LogUnavailable(_))).await;
    let refused = refused.wait_for(|refused| *refused > 0);
    timeout(DEADLINE, refused).await.expect("receipts are tried").expect("the log is there");
}

/// The newest receipt of the name is of this run.
async fn has_spoken(memory: &MemoryLog, number: u8) {
    let mut board = memory.follow_board().await.unwrap();
    let instance = InstanceId::from_bytes([number; 16]);
    let heard = async {
        while !board.next().await.unwrap().receipts.iter().any(|one| one.instance == instance) {}
    };
    timeout(DEADLINE, heard).await.expect("it sends a receipt");
}
