//! An older state of a log in the place of the log, with good signatures: a primary that goes on from
//! there signs two histories.

use std::sync::Arc;
use std::time::Duration;

use tipline_log::memory::MemoryLog;
use tipline_log::{Appender, Log, Reader, system_clock};
use tipline_proto::{Entry, Event, Position};

use super::forged::signed;
use super::{block, log, outbox, settings};
use crate::{EndReason, MemoryOutbox, Outbox as _, Producer, ProducerSettings};

fn start(log: &MemoryLog, outbox: &MemoryOutbox, settings: ProducerSettings) -> Producer {
    let log = log.clone();
    let connect = move || {
        let log: Arc<dyn Log> = Arc::new(signed(&log, 1));
        async move { Ok(log) }
    };
    Producer::start(connect, Box::new(outbox.clone()), settings, system_clock()).unwrap()
}

/// A run of a primary that publishes these blocks.
async fn publish(log: &MemoryLog, outbox: &MemoryOutbox, blocks: std::ops::RangeInclusive<u64>) {
    let producer = start(log, outbox, settings());
    producer.ready().await.unwrap();
    for height in blocks {
        producer.committed(outbox.enqueue(&block(height)).unwrap()).logged().await.unwrap();
    }
    producer.shutdown(Duration::from_secs(10)).await.unwrap();
}

async fn refused(log: &MemoryLog, outbox: &MemoryOutbox, settings: ProducerSettings) -> String {
    let before = log.extent().await.unwrap();
    // It looks for 15 s. Only here: a paused clock does not wait for the outbox's thread.
    tokio::time::pause();
    let ended = start(log, outbox, settings).ready().await.expect_err("it goes on");
    tokio::time::resume();
    assert!(matches!(ended, EndReason::Halted { .. }), "{ended}");
    assert_eq!(log.extent().await.unwrap(), before, "nothing was written");
    ended.to_string()
}

async fn entries(log: &MemoryLog) -> Vec<Entry> {
    let mut found = Vec::new();
    for index in 1..=log.extent().await.unwrap().last {
        found.push(log.entry(index).await.unwrap());
    }
    found
}

fn positions(entries: &[Entry]) -> Vec<Position> {
    entries.iter().map(Entry::position).collect()
}

/// What is lost is nothing but a claim: no row shows it. Or a claim with rows; or all.
#[tokio::test]
async fn an_older_end_before_the_last_claim_is_not_gone_on_from() {
    for (last, end) in [(3, 4), (6, 4), (6, 2), (6, 0)] {
        let (log, outbox) = (log(), outbox(1));
        publish(&log, &outbox, 1..=3).await;
        publish(&log, &outbox, 4..=last).await;
        let known = log.tail().await.unwrap().position;
        log.truncate(end);
        let why = refused(&log, &outbox, settings()).await;
        assert!(why.contains(&format!("ends at entry {end}:")), "{why}");
        assert!(why.contains("`tipline refill`"), "{why}");
        let lost = format!("--accept-lost {}@{}", known.index, known.digest);
        assert!(why.contains(&lost), "{why}");
    }
}

/// A running primary, too, cannot make its claim again as it was.
#[tokio::test]
async fn a_claim_that_was_lost_is_not_made_again_by_who_runs() {
    let (log, outbox) = (log(), outbox(1));
    publish(&log, &outbox, 1..=3).await;
    let producer = start(&log, &outbox, settings());
    producer.ready().await.unwrap();
    log.truncate(4);
    tokio::time::pause();
    let mut progress = producer.progress();
    let ended = tokio::select! {
        ended = producer.ended() => ended,
        Ok(_) = progress.wait_for(|progress| progress.epoch == 3) => panic!("it claims again"),
    };
    assert!(ended.to_string().contains("--accept-lost 5@"), "{ended}");
    assert_eq!(log.extent().await.unwrap().last, 4);
}

/// Rows of the last epoch can be only the entries that they were.
#[tokio::test]
async fn lost_rows_are_published_again_as_they_were() {
    let (log, outbox) = (log(), outbox(1));
    publish(&log, &outbox, 1..=20).await;
    let before = positions(&entries(&log).await);
    log.truncate(5);
    outbox.enqueue(&block(21)).unwrap();
    let producer = start(&log, &outbox, settings());
    producer.committed(21).logged().await.unwrap();
    assert_eq!(producer.progress().borrow().losses, 1, "it is an alarm all the same");
    let after = entries(&log).await;
    assert_eq!(positions(&after)[..before.len()], before);
    let [claim, next] = &after[before.len()..] else { panic!("{after:?}") };
    assert!(matches!(claim.event, Event::EpochStarted { .. }), "{claim:?}");
    assert_eq!(next.outbox_sequence, 21);
    assert!(after[before.len() - 1].signature.is_some());
}

/// If one of them is gone from the outbox, they cannot.
#[tokio::test]
async fn lost_rows_that_are_not_held_are_not_replaced() {
    let (log, mut outbox) = (log(), outbox(1));
    publish(&log, &outbox, 1..=20).await;
    outbox.trim(10).unwrap();
    log.truncate(5);
    let why = refused(&log, &outbox, settings()).await;
    assert!(why.contains("ends at entry 5"), "{why}");
}

/// A server that was cut off gives an older end for a while.
#[tokio::test]
async fn an_older_end_is_not_believed_at_once() {
    let (log, outbox) = (log(), outbox(1));
    publish(&log, &outbox, 1..=3).await;
    publish(&log, &outbox, 4..=4).await;
    let whole = entries(&log).await;
    log.truncate(4);
    let producer = start(&log, &outbox, settings());
    let mut progress = producer.progress();
    let goes_on = |progress: &crate::Progress| progress.epoch > 0;
    progress.wait_for(|found| found.held_up.is_some() || goes_on(found)).await.unwrap();
    assert!(!goes_on(&progress.borrow()), "it has claimed the log");
    let tail = log.tail().await.unwrap();
    log.append(&tail, &whole[4..]).await.unwrap();
    producer.committed(outbox.enqueue(&block(5)).unwrap()).logged().await.unwrap();
    assert_eq!(positions(&entries(&log).await)[..6], positions(&whole));
    assert_eq!(producer.progress().borrow().losses, 0);
}

/// What is accepted is what the error names. It is of no effect afterwards.
#[tokio::test]
async fn a_loss_that_is_accepted_is_gone_on_after_once() {
    let (log, outbox) = (log(), outbox(1));
    publish(&log, &outbox, 1..=3).await;
    publish(&log, &outbox, 4..=4).await;
    let known = log.tail().await.unwrap().position;
    log.truncate(4);
    let mut accepting = settings();
    accepting.accept_lost = Some(log.tail().await.unwrap().position);
    refused(&log, &outbox, accepting.clone()).await;
    accepting.accept_lost = Some(known);
    let producer = start(&log, &outbox, accepting.clone());
    producer.committed(4).logged().await.unwrap();
    producer.shutdown(Duration::from_secs(10)).await.unwrap();
    log.truncate(4);
    refused(&log, &outbox, accepting).await;
}

/// Somebody else went on from where the log had lost its end, or altered it.
#[tokio::test]
async fn another_history_is_not_gone_on_from() {
    let (log, outbox) = (log(), outbox(1));
    publish(&log, &outbox, 1..=5).await;
    let whole = entries(&log).await;
    log.truncate(3);
    for altered in &whole[3..] {
        let tail = log.tail().await.unwrap();
        let Entry { epoch, time, outbox_sequence, event, .. } = altered.clone();
        let time = tipline_proto::Timestamp::from_micros(time.as_micros() + 1);
        let entry = Entry::seal(&tail.position, epoch, time, outbox_sequence, event);
        signed(&log, 1).append(&tail, &[entry]).await.unwrap();
    }
    let why = refused(&log, &outbox, settings()).await;
    assert!(why.contains("entry 6") && why.contains("has another one there"), "{why}");
}

/// Nobody vouches for what is not signed: an alarm, and the outbox makes it good, as ever.
#[tokio::test]
async fn what_nobody_signs_is_published_again_and_is_an_alarm() {
    let (log, outbox) = (log(), outbox(1));
    for height in 1..=2 {
        let producer = super::start(&log, &outbox, settings());
        producer.committed(outbox.enqueue(&block(height)).unwrap()).logged().await.unwrap();
        producer.shutdown(Duration::from_secs(10)).await.unwrap();
    }
    // The last claim, and no row.
    let producer = super::start(&log, &outbox, settings());
    producer.ready().await.unwrap();
    producer.shutdown(Duration::from_secs(10)).await.unwrap();
    log.truncate(4);
    let producer = super::start(&log, &outbox, settings());
    let end = log.tail().await.unwrap().position;
    producer.ready().await.unwrap();
    assert_eq!(producer.progress().borrow().losses, 1);
    // A crash of just now would find nothing else there.
    let noted = outbox.clone().acknowledged().unwrap().unwrap().position;
    assert!(noted == end || noted == log.tail().await.unwrap().position, "{noted}");
}

/// A log that was trimmed, or that went on, is no older one.
#[tokio::test]
async fn what_was_acknowledged_may_be_trimmed() {
    use tipline_log::Trimmer;
    let (log, outbox) = (log(), outbox(1));
    publish(&log, &outbox, 1..=3).await;
    let noted = outbox.clone().acknowledged().unwrap().unwrap();
    assert_eq!(noted.position, log.tail().await.unwrap().position);
    publish(&log, &outbox, 4..=6).await;
    outbox.clone().acknowledge(&noted).unwrap();
    log.trim(6).await.unwrap();
    publish(&log, &outbox, 7..=7).await;
}
