//! Receipts: how many, when, and which.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tipline_log::memory::rigged::RiggedLog;
use tipline_log::{Receipts as _, SignedLog, Signing};
use tipline_proto::limits::MAX_RECEIPTS_PER_SECOND;
use tipline_proto::{InstanceId, Level, Reached, Receipt, SigningKey};
use tipline_store::SqliteStore;
use tipline_store::conformance::history;
use tipline_store::conformance::history::History;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::running::{DEADLINE, clock, dynamic, place, receipt, settings, start, until_index};
use crate::receipts::{EARLY, Issuer, Receipts};
use crate::telemetry::Telemetry;
use crate::{Consumer, ConsumerSettings, Phase, Progress};

#[tokio::test]
async fn receipts_are_few_and_the_newest_is_always_among_them() {
    let (_directory, path) = place();
    let entries = History::blocks(1999, 5).entries;
    let rigged = RiggedLog::new(history::log(), &entries).await.chunked(1);
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
    let paced = &receipts[..receipts.len() - 1];
    for (first, (from, _)) in paced.iter().enumerate() {
        for (after, (to, _)) in (1..).zip(&paced[first + 1..]) {
            let least = spacing * u32::saturating_sub(after, EARLY);
            assert!(*to - *from >= least.mul_f64(0.8), "{after} receipts within {:?}", *to - *from);
        }
    }
    for pair in paced.windows(2) {
        let index = |at: usize| pair[at].1.reached.at(Level::Durable).map(|p| p.index);
        assert!(index(0) <= index(1), "{:?} then {:?}", index(0), index(1));
    }
}

#[tokio::test]
async fn a_receipt_is_repeated_while_nothing_happens() {
    let (_directory, path) = place();
    let rigged = RiggedLog::new(history::log(), &History::blocks(3, 5).entries).await;
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
    let writer = History::random(23, 100);
    let rigged = RiggedLog::new(history::log(), &writer.entries).await;
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

/// The last word of a run is not the last one of its name, if another run took that while the receipts
/// of this one failed. The clock is tokio's, and stands still while anybody is at work.
#[tokio::test(start_paused = true)]
async fn a_run_whose_receipts_failed_does_not_speak_over_a_newer_one() {
    let writer = History::random(29, 10);
    let rigged = RiggedLog::new(history::log(), &writer.entries).await;
    let (memory, shut) = (rigged.inner.clone(), Arc::clone(&rigged.shut));
    let settings = settings();
    let heartbeat = settings.heartbeat;
    let (name, level) = (&settings.name, settings.level);
    let telemetry = Telemetry::begin(&history::log().name, name, level, clock());
    let issuer = Issuer {
        log: dynamic(rigged),
        settings,
        instance: InstanceId::from_bytes([5; 16]),
        store: "a store".to_owned(),
        clock: clock(),
        telemetry: Arc::new(telemetry),
    };
    let cursor = Some(writer.model.cursor.clone());
    let (progress, receiver) = watch::channel(Progress { cursor, ..Progress::new() });
    let receipts = Receipts::start(issuer, receiver);
    sleep(heartbeat / 2).await;
    let own = receipt(&memory).await;
    shut.store(true, Ordering::SeqCst);
    sleep(heartbeat).await;
    let other = Receipt { instance: InstanceId::from_bytes([6; 16]), ..own };
    memory.put_receipt(&other).await.unwrap();
    shut.store(false, Ordering::SeqCst);
    receipts.finish(None).await;
    assert_eq!(receipt(&memory).await, other);
    drop(progress);
}

/// What the board has after a run whose store cannot be asked, if this receipt was there before.
/// Its log signs with this key.
async fn taken_up(before: Receipt, key: Option<&Arc<SigningKey>>) -> Receipt {
    let settings = key.map_or_else(settings, |key| settings().signing(key));
    let writer = History::random(29, 10);
    let rigged = RiggedLog::new(history::log(), &writer.entries).await;
    let memory = rigged.inner.clone();
    memory.put_receipt(&before).await.unwrap();
    let telemetry = Telemetry::begin(&history::log().name, &settings.name, settings.level, clock());
    let signing = Signing { key: key.cloned(), ..Signing::default() };
    let issuer = Issuer {
        log: Arc::new(SignedLog::new(dynamic(rigged), signing)),
        settings,
        instance: InstanceId::from_bytes([5; 16]),
        store: "a store".to_owned(),
        clock: clock(),
        telemetry: Arc::new(telemetry),
    };
    let phase = Phase::StoreStalled("no space".to_owned());
    let (_progress, receiver) = watch::channel(Progress { phase, ..Progress::new() });
    let receipts = Receipts::start(issuer, receiver);
    sleep(Duration::from_secs(1)).await;
    receipts.finish(None).await;
    let said = receipt(&memory).await;
    assert_eq!(said.instance, InstanceId::from_bytes([5; 16]));
    said
}

fn earlier(level: Level) -> Receipt {
    let cursor = History::random(29, 10).model.cursor;
    Receipt {
        lineage: history::log().lineage,
        consumer: settings().name,
        role: settings().role,
        instance: InstanceId::from_bytes([6; 16]),
        reached: Reached::up_to(cursor.position, level),
        block_tip: cursor.block_tip,
        proof_tip: cursor.proof_tip,
        time: clock()(),
        failure: None,
        store: "a store".to_owned(),
        applying: None,
        frozen: None,
        seal: None,
    }
}

/// Its signature would vouch for what somebody else has put there.
#[tokio::test(start_paused = true)]
async fn who_signs_takes_up_only_what_it_has_signed_itself() {
    let keys = [1, 2, 3].map(|seed| SigningKey::from_seed(&[seed; 32]));
    let [old, next, other] = keys;
    let own = Arc::new(old.succeeded_by(next));
    let old = SigningKey::from_seed(&[1; 32]);
    for (by, is_own) in
        [(None, false), (Some(&other), false), (Some(&own), true), (Some(&old), true)]
    {
        let mut before = earlier(Level::Durable);
        if let Some(key) = by {
            key.sign_receipt(&mut before);
        }
        let said = taken_up(before.clone(), Some(&own)).await;
        let found = (said.reached, said.block_tip, said.proof_tip);
        let taken = (before.reached, before.block_tip, before.proof_tip);
        assert_eq!(found, if is_own { taken } else { Default::default() }, "{by:?}");
    }
    // Without a key nobody can tell.
    let before = earlier(Level::Durable);
    assert_eq!(taken_up(before.clone(), None).await.reached, before.reached);
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_up_is_at_no_higher_level_than_the_settings_allow() {
    let mut before = earlier(Level::Offsite);
    let position = before.reached.at(Level::Offsite).unwrap();
    let said = taken_up(before.clone(), None).await;
    assert_eq!(said.reached, Reached::up_to(position, Level::Durable));
    before.reached = Reached::up_to(position, Level::Applied);
    let said = taken_up(before.clone(), None).await;
    assert_eq!(said.reached, before.reached);
}
