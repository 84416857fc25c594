//! The producer as a node sees it, over a log and an outbox in memory.

mod board;
mod durability;
mod ending;
mod forged;
mod heard;
mod losses;
pub(crate) mod room;
mod said;
mod schedules;
mod starting;

use std::sync::Arc;
use std::time::Duration;

use tipline_log::memory::MemoryLog;
use tipline_log::{Accepted, Appender, Log, Reader, Receipts, Trimmer, system_clock};
use tipline_proto::{
    Agreement, Chain, Event, Hash, InstanceId, Label, Level, Lineage, Links, LogIdentity, OutboxId,
    Policy, Position, ProofsFrom, Reached, Receipt, Role, Timestamp,
};

use crate::{EndReason, Keep, MemoryOutbox, Outbox, Producer, ProducerSettings, ResumeFrom, Stage};

fn genesis() -> Hash {
    crate::outbox::conformance::genesis()
}

pub(crate) fn log() -> MemoryLog {
    let chain = Chain::new("test".parse().unwrap(), genesis());
    let lineage = Lineage::from_bytes([3; 16]);
    MemoryLog::new(LogIdentity { name: "test".parse().unwrap(), chain, lineage })
}

fn outbox(id: u8) -> MemoryOutbox {
    MemoryOutbox::new(OutboxId::from_bytes([id; 16]), genesis(), system_clock())
}

fn hash(height: u64) -> Hash {
    if height == 0 { genesis() } else { Hash::new(height.to_be_bytes()).unwrap() }
}

fn block(height: u64) -> Event {
    let (hash, parent_hash) = (hash(height), hash(height - 1));
    Event::BlockCommitted { height, hash, parent_hash, payload: vec![1; 100].into() }
}

fn proof(height: u64) -> Event {
    Event::BlockProven { height, block_hash: hash(height), payload: vec![2; 10].into() }
}

fn start(log: &MemoryLog, outbox: &MemoryOutbox, settings: ProducerSettings) -> Producer {
    start_boxed(log, Box::new(outbox.clone()), settings)
}

pub(crate) fn start_boxed(
    log: &MemoryLog,
    outbox: Box<dyn Outbox>,
    settings: ProducerSettings,
) -> Producer {
    let log = log.clone();
    let connect = move || {
        let log: Arc<dyn Log> = Arc::new(log.clone());
        async move { Ok(log) }
    };
    Producer::start(connect, outbox, settings, system_clock()).unwrap()
}

/// Of an outbox of any medium, which belongs to the chain of these tests.
pub(crate) async fn refuses_the_log_of_another_chain(outbox: Box<dyn Outbox>) {
    let chain = Chain::new("test".parse().unwrap(), hash(9));
    let log = MemoryLog::new(LogIdentity { chain, ..log().identity().clone() });
    let refused = start_boxed(&log, outbox, settings()).ready().await;
    assert!(matches!(refused, Err(EndReason::WrongChain { .. })), "{refused:?}");
    assert_eq!(log.extent().await.unwrap().last, 0);
}

pub(crate) fn settings() -> ProducerSettings {
    let mut settings = ProducerSettings::new(Label::new("test").unwrap());
    settings.accept_shortfalls = Accepted::Everything;
    settings
}

fn receipt(log: &MemoryLog, name: &str, position: Position) -> Receipt {
    Receipt {
        applying: None,
        frozen: None,
        seal: None,
        lineage: log.identity().lineage,
        consumer: name.parse().unwrap(),
        role: Role::Backup,
        instance: InstanceId::from_bytes([1; 16]),
        reached: Reached::up_to(position, Level::Durable),
        block_tip: None,
        proof_tip: None,
        time: Timestamp::default(),
        failure: None,
        store: "test".into(),
    }
}

#[tokio::test]
async fn logged_and_backed_up_are_two_awaits() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, settings());
    let ticket = producer.committed(outbox.enqueue(&block(1)).unwrap());
    assert_eq!(ticket.logged().await.unwrap(), 2, "after the claim");

    let policy: Policy = "any 1 of backup-*, archive at durable".parse().unwrap();
    let waiting = tokio::spawn({
        let (ticket, policy) = (ticket.clone(), policy.clone());
        async move { ticket.backed_up(&policy).await }
    });
    let mut status = producer.backup_status();
    let position = log.entry(1).await.unwrap().position();
    log.put_receipt(&receipt(&log, "backup-1", position)).await.unwrap();
    status.wait_for(|status| status.consumer("backup-1").is_some()).await.unwrap();
    assert!(!waiting.is_finished(), "the backup has only the claim");

    let mut forged = log.entry(2).await.unwrap().position();
    forged.digest = position.digest;
    log.put_receipt(&receipt(&log, "archive", forged)).await.unwrap();
    let diverged = |status: &crate::BackupStatus| {
        status.consumer("archive").map(|c| c.agreement) == Some(Agreement::Diverged { index: 2 })
    };
    status.wait_for(diverged).await.unwrap();
    assert!(!waiting.is_finished(), "a receipt of another history never counts");

    let tail = log.entry(2).await.unwrap().position();
    log.put_receipt(&receipt(&log, "backup-1", tail)).await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_fenced_primary_says_so_to_every_caller() {
    let (log, outbox) = (log(), outbox(1));
    let old = start(&log, &outbox, settings());
    old.ready().await.unwrap();
    let new = start(&log, &outbox, settings());
    new.ready().await.unwrap();
    // It has nothing to publish, and learns it all the same.
    assert!(matches!(old.ended().await, EndReason::Fenced { epoch: 1, by: 2 }));
    let ticket = old.committed(outbox.enqueue(&block(1)).unwrap());
    assert!(matches!(ticket.logged().await, Err(EndReason::Fenced { .. })));
    new.committed(1).logged().await.unwrap();
}

#[tokio::test]
async fn the_outbox_fills_while_the_log_is_away_and_drains_behind_it() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, settings());
    producer.ready().await.unwrap();
    log.set_available(false);
    let sequences: Vec<u64> =
        (1..=500).map(|height| outbox.enqueue(&block(height)).unwrap()).collect();
    let ticket = producer.committed(500);
    let mut progress = producer.progress();
    progress.wait_for(|progress| progress.waiting_events == 500).await.unwrap();
    log.set_available(true);
    ticket.logged().await.unwrap();
    assert_eq!(producer.shutdown(Duration::from_secs(10)).await.unwrap(), 0);
    let tail = log.tail().await.unwrap();
    assert_eq!(tail.outbox_sequence, *sequences.last().unwrap());
}

/// To stop is to publish first, also where the log was away from the start and nobody knows yet
/// what it holds.
#[tokio::test]
async fn what_is_in_the_outbox_is_published_before_it_stops_once_the_log_is_there() {
    let (log, outbox) = (log(), outbox(1));
    log.set_available(false);
    let producer = start(&log, &outbox, settings());
    for height in 1..=3 {
        outbox.enqueue(&block(height)).unwrap();
    }
    let mut progress = producer.progress();
    progress.wait_for(|progress| progress.waiting_events == 3).await.unwrap();
    let back = async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        log.set_available(true);
    };
    let (left, ()) = tokio::join!(producer.shutdown(Duration::from_secs(60)), back);
    assert_eq!(left.unwrap(), 0);
    assert_eq!(log.tail().await.unwrap().outbox_sequence, 3);
}

#[tokio::test]
async fn what_is_left_when_the_log_never_comes_is_counted_and_nothing_is_not_waited_for() {
    let (log, outbox) = (log(), outbox(1));
    log.set_available(false);
    let producer = start(&log, &outbox, settings());
    let (hour, soon) = (Duration::from_secs(3600), Duration::from_secs(10));
    let left = tokio::time::timeout(soon, producer.shutdown(hour)).await.unwrap();
    assert_eq!(left.unwrap(), 0);

    let producer = start(&log, &outbox, settings());
    outbox.enqueue(&block(1)).unwrap();
    let mut progress = producer.progress();
    progress.wait_for(|progress| progress.waiting_events == 1).await.unwrap();
    assert_eq!(producer.shutdown(Duration::from_millis(1)).await.unwrap(), 1);
}

#[tokio::test]
async fn logged_rows_leave_the_outbox_but_for_the_newest() {
    let (log, mut outbox) = (log(), outbox(1));
    for height in 1..=3000 {
        outbox.enqueue(&block(height)).unwrap();
    }
    let mut settings = settings();
    settings.keep = Some(Keep::DURABLE);
    let producer = start(&log, &outbox, settings);
    producer.committed(3000).logged().await.unwrap();
    producer.shutdown(Duration::from_secs(10)).await.unwrap();
    let pending = outbox.pending().unwrap();
    let kept = pending.last + 1 - pending.first;
    assert!((875..=1000).contains(&kept), "{kept} rows are kept");
    assert_eq!(pending.counted_events(), 0, "and none of them counts");
}

#[tokio::test]
async fn a_log_that_was_created_again_is_noticed_and_nothing_is_published() {
    let outbox = outbox(1);
    let first = start(&log(), &outbox, settings());
    first.committed(outbox.enqueue(&block(1)).unwrap()).logged().await.unwrap();
    first.shutdown(Duration::from_secs(10)).await.unwrap();

    let again = MemoryLog::new(LogIdentity {
        lineage: Lineage::from_bytes([4; 16]),
        ..log().identity().clone()
    });
    let refused = start(&again, &outbox, settings()).ready().await;
    assert!(matches!(refused, Err(EndReason::WrongLog { .. })), "{refused:?}");
    assert_eq!(again.extent().await.unwrap().last, 0);

    let mut resuming = settings();
    resuming.continue_at =
        Some(ResumeFrom { position: Position::origin(again.identity()), sequence: 0 });
    start(&again, &outbox, resuming).committed(1).logged().await.unwrap();
}

#[tokio::test]
async fn another_outbox_must_say_where_it_continues() {
    let (log, first) = (log(), outbox(1));
    let producer = start(&log, &first, settings());
    for height in 1..=3 {
        producer.committed(first.enqueue(&block(height)).unwrap()).logged().await.unwrap();
    }
    producer.shutdown(Duration::from_secs(10)).await.unwrap();

    // A rebuilt node: it committed the same blocks again, and one more.
    let second = outbox(2);
    for height in 1..=4 {
        second.enqueue(&block(height)).unwrap();
    }
    let refused = start(&log, &second, settings()).ready().await;
    assert!(matches!(refused, Err(EndReason::WrongOutbox { sequence: 3, .. })), "{refused:?}");

    let mut wrong = settings();
    let tail = log.tail().await.unwrap().position;
    wrong.continue_at = Some(ResumeFrom { position: tail, sequence: 2 });
    let producer = start(&log, &second, wrong);
    let ended = producer.ended().await.to_string();
    assert!(ended.contains("does not continue after row 2"), "{ended}");

    assert_eq!(log.tail().await.unwrap().position, tail, "it has not claimed the log");
    let mut right = settings();
    right.continue_at = Some(ResumeFrom { position: tail, sequence: 3 });
    let producer = start(&log, &second, right.clone());
    producer.committed(4).logged().await.unwrap_or_else(|e| panic!("{e}"));
    producer.shutdown(Duration::from_secs(10)).await.unwrap();
    // Started once more with the same settings: the log knows this outbox by now.
    let producer = start(&log, &second, right);
    producer.ready().await.unwrap();
    let mut links = Links::new(genesis(), ProofsFrom::default());
    for index in 1..=log.extent().await.unwrap().last {
        links.admit(&log.entry(index).await.unwrap().event, None).unwrap();
    }
    assert_eq!(links.tip().map(|tip| tip.height), Some(4), "every block once");
}

/// A view over block files may still be looking through them when the primary starts.
#[tokio::test]
async fn where_it_continues_is_waited_for_while_the_outbox_fills() {
    let (log, first) = (log(), outbox(1));
    let producer = start(&log, &first, settings());
    for height in 1..=3 {
        producer.committed(first.enqueue(&block(height)).unwrap()).logged().await.unwrap();
    }
    producer.shutdown(Duration::from_secs(10)).await.unwrap();
    let second = outbox(2);
    for height in 1..=2 {
        second.enqueue(&block(height)).unwrap();
    }
    let mut resuming = settings();
    let position = log.tail().await.unwrap().position;
    resuming.continue_at = Some(ResumeFrom { position, sequence: 3 });
    let producer = start(&log, &second, resuming);
    let mut progress = producer.progress();
    let waits = |progress: &crate::Progress| match &progress.stage {
        Stage::Retrying { why, .. } => why.contains("waiting for row 3"),
        _ => false,
    };
    let waiting = tokio::time::timeout(Duration::from_secs(10), progress.wait_for(waits)).await;
    assert!(waiting.expect("it waits").is_ok(), "it runs");
    for height in 3..=4 {
        second.enqueue(&block(height)).unwrap();
    }
    producer.committed(4).logged().await.unwrap_or_else(|e| panic!("{e}"));
}

#[tokio::test]
async fn a_producer_resumes_with_a_log_whose_claim_was_trimmed_away() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, settings());
    for height in 1..=10 {
        producer.committed(outbox.enqueue(&block(height)).unwrap()).logged().await.unwrap();
    }
    // While it runs, and before it is started again.
    log.trim(6).await.unwrap();
    producer.committed(outbox.enqueue(&block(11)).unwrap()).logged().await.unwrap();
    producer.shutdown(Duration::from_secs(10)).await.unwrap();
    let last = log.trim(u64::MAX).await.unwrap().last;

    let restored = self::outbox(2);
    restored.enqueue(&block(1)).unwrap();
    let refused = start(&log, &restored, settings()).ready().await;
    assert!(matches!(refused, Err(EndReason::WrongOutbox { sequence: 11, .. })), "{refused:?}");

    let producer = start(&log, &outbox, settings());
    producer.committed(outbox.enqueue(&block(12)).unwrap()).logged().await.unwrap();
    let tail = log.tail().await.unwrap();
    assert_eq!((tail.position.index, tail.epoch, tail.outbox_sequence), (last + 2, 2, 12));
    let newest = log.entry(last + 2).await.unwrap().event;
    assert!(matches!(newest, Event::BlockCommitted { height: 12, .. }), "{newest}");
}
