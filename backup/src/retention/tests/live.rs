//! A log that is trimmed under running consumers, honest ones and others.

use std::sync::Arc;
use std::time::Duration;

use tipline_consumer::ConsumerError;
use tipline_log::memory::rigged::{RiggedLog, append};
use tipline_log::{Extent, Log, Reader, Receipts};
use tipline_proto::{InstanceId, Level, Position, Reached, Receipt, Role, Timestamp};
use tipline_store::conformance::history::{History, log};

use crate::retention::{NotProven, Proven, ProvenKind, RetentionRule, plan, survey};
use crate::tests::{clock, digest, dynamic, failure, place, start, undisturbed, until_index};

fn rule() -> RetentionRule {
    RetentionRule {
        policy: "any 1 of archive at verified".parse().unwrap(),
        keep_events: 0,
        keep_for: Duration::ZERO,
        reserve: 1000,
    }
}

/// Looks, decides, and does it.
async fn retain(log: &dyn Log, proven: &[Proven]) -> Extent {
    let survey = survey(log, proven, Duration::ZERO, clock()()).await.unwrap();
    log.trim(plan(&survey, proven, &rule()).first).await.unwrap()
}

fn proven(position: Position) -> Proven {
    Proven { kind: ProvenKind::Archive, place: "dir:/archive".into(), covered: Ok(position) }
}

/// What an archiver sends that has lost its destination without noticing, or lies.
fn hollow(position: Position) -> Receipt {
    Receipt {
        applying: None,
        frozen: None,
        seal: None,
        lineage: log().lineage,
        consumer: "archive".parse().unwrap(),
        role: Role::Archive,
        instance: InstanceId::from_bytes([9; 16]),
        reached: Reached::up_to(position, Level::Verified),
        block_tip: None,
        proof_tip: None,
        time: Timestamp::from_micros(1),
        failure: None,
        store: "dir:/archive".to_owned(),
    }
}

#[tokio::test]
async fn receipts_without_copies_do_not_trim_the_log() {
    let entries = History::blocks(99, 10).entries;
    let log = RiggedLog::new(log(), &entries).await;
    log.put_receipt(&hollow(entries[99].position())).await.unwrap();
    let whole = Extent { first: 1, last: 100 };
    assert_eq!(retain(&log, &[]).await, whole);
    let empty = Proven { covered: Err(NotProven::Empty), ..proven(entries[0].position()) };
    assert_eq!(retain(&log, &[empty]).await, whole);
    // Only as far as somebody has read there.
    let found = proven(entries[29].position());
    assert_eq!(retain(&log, &[found]).await, Extent { first: 31, last: 100 });
}

#[tokio::test]
async fn a_log_is_trimmed_under_a_consumer_that_follows() {
    let (_directory, path) = place();
    let entries = History::blocks(299, 10).entries;
    let rigged = RiggedLog::new(log(), &entries[..100]).await;
    let memory = rigged.inner.clone();
    let log = dynamic(rigged);
    let consumer = start(&log, &path);
    let mut oldest = 1;
    for upto in [100, 200, 300] {
        if upto > 100 {
            append(&memory, &entries[upto - 100..upto]).await;
        }
        let progress = until_index(&consumer, upto as u64).await;
        let position = progress.cursor.unwrap().position;
        memory.put_receipt(&hollow(position)).await.unwrap();
        let held = retain(&memory, &[proven(position)]).await;
        // As far as its receipt is on the board already: it restricts.
        assert!(held.first >= oldest && held.first <= upto as u64, "{held:?}");
        oldest = held.first;
    }
    consumer.shutdown().await.unwrap();
    // Its last receipt is there now.
    let end = proven(entries[299].position());
    assert_eq!(retain(&memory, &[end]).await, Extent { first: 300, last: 300 });
    // It resumes after what it has, although the log no longer has the entry at its cursor.
    let consumer = start(&(Arc::new(memory.clone()) as Arc<dyn Log>), &path);
    until_index(&consumer, 300).await;
    consumer.shutdown().await.unwrap();
    assert_eq!(digest(&path), undisturbed(&entries).await);
}

#[tokio::test]
async fn a_fresh_consumer_is_refused_with_what_is_there_after_trimming() {
    let (_directory, path) = place();
    let entries = History::blocks(99, 10).entries;
    let rigged = RiggedLog::new(log(), &entries).await;
    let memory = rigged.inner.clone();
    memory.put_receipt(&hollow(entries[99].position())).await.unwrap();
    let held = retain(&memory, &[proven(entries[39].position())]).await;
    assert_eq!(held, Extent { first: 41, last: 100 });
    assert_eq!(memory.extent().await.unwrap(), held);
    let error = failure(&start(&(Arc::new(memory) as Arc<dyn Log>), &path)).await;
    let found = matches!(*error, ConsumerError::OutOfRange { needed: 1, first: 41, last: 100, .. });
    assert!(found, "{error:?}");
}
