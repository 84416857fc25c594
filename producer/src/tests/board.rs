//! Receipts, compared with the log; and those who follow them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tipline_log::memory::MemoryLog;
use tipline_log::{Appender, Clock, Log, LogError, Reader, Receipts, Trimmer, system_clock};
use tipline_proto::{Agreement, Lineage};
use tokio::time::Instant;
use tracing::Level;

use super::heard::Heard;
use super::{block, log, outbox, receipt, settings, start};
use crate::board::{Said, Troubles};
use crate::digests::Digests;
use crate::status::{Assessed, assess};
use crate::{ConsumerStatus, EndReason, Producer};

/// A log of 20 blocks, with a receipt of so many consumers, each at an entry of its own.
async fn with_receipts(count: u64) -> MemoryLog {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, settings());
    for height in 1..=20 {
        producer.committed(outbox.enqueue(&block(height)).unwrap()).logged().await.unwrap();
    }
    producer.shutdown(Duration::from_secs(10)).await.unwrap();
    for index in 1..=count {
        let position = log.entry(index).await.unwrap().position();
        log.put_receipt(&receipt(&log, &format!("replica-{index:02}"), position)).await.unwrap();
    }
    log
}

/// As a primary that has just been started: it remembers no digest.
async fn assessed(log: &MemoryLog) -> Vec<ConsumerStatus> {
    looked(log).await.consumers
}

async fn looked(log: &MemoryLog) -> Assessed {
    let tail = log.tail().await.unwrap().position;
    let board = log.board().await.unwrap();
    let log: Arc<dyn Log> = Arc::new(log.clone());
    assess(&log, &Digests::default(), tail, &[], board).await.unwrap()
}

/// Over a slow link the primary would know for long of no backup at all.
#[tokio::test(start_paused = true)]
async fn receipts_are_compared_side_by_side() {
    let log = with_receipts(16).await;
    let latency = Duration::from_secs(1);
    log.delay_reads(latency);
    let start = Instant::now();
    let consumers = assessed(&log).await;
    // Eight at a time, so that a log with many consumers is not asked for all at once.
    assert_eq!(start.elapsed().as_secs(), 2, "{:?}", start.elapsed());
    let names: Vec<_> = consumers.iter().map(|c| c.receipt.consumer.to_string()).collect();
    assert!(names.is_sorted() && names.len() == 16, "{names:?}");
    assert!(consumers.iter().all(|c| c.agreement == Agreement::Agrees), "{consumers:?}");

    // Consumers that are at the same place, as most of them are, cost one look together.
    log.delay_reads(Duration::ZERO);
    let position = log.entry(5).await.unwrap().position();
    for index in 1..=16 {
        let name = format!("replica-{index:02}");
        log.put_receipt(&receipt(&log, &name, position)).await.unwrap();
    }
    log.delay_reads(latency);
    let start = Instant::now();
    assert_eq!(assessed(&log).await.len(), 16);
    assert_eq!(start.elapsed().as_secs(), 1, "{:?}", start.elapsed());
}

/// That concerns whoever is at it, and nobody else.
#[tokio::test]
async fn an_entry_that_cannot_be_read_hides_no_other_receipt() {
    let log = with_receipts(9).await;
    log.corrupt(4);
    let found = looked(&log).await;
    assert!(matches!(found.unreadable[..], [(4, LogError::Corrupt { .. })]), "{found:?}");
    for (index, consumer) in (1..).zip(found.consumers) {
        let expected = if index == 4 { Agreement::Unknown } else { Agreement::Agrees };
        assert_eq!(consumer.agreement, expected, "{}", consumer.receipt.consumer);
    }
    // And that the log is away is no answer.
    log.set_available(false);
    let board = with_receipts(1).await.board().await.unwrap();
    let tail = with_receipts(0).await.tail().await.unwrap().position;
    let away: Arc<dyn Log> = Arc::new(log);
    let error = assess(&away, &Digests::default(), tail, &[], board).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
}

/// Only that an entry is trimmed says so. A log that is another one, or that has lost its end, has
/// trimmed nothing.
#[tokio::test]
async fn what_is_wrong_with_the_log_is_not_taken_for_a_trimmed_entry() {
    let log = with_receipts(9).await;
    log.trim(5).await.unwrap();
    let found = looked(&log).await;
    assert!(found.unreadable.is_empty(), "{found:?}");
    for (index, consumer) in (1..).zip(&found.consumers) {
        let expected = if index < 5 { Agreement::Unknown } else { Agreement::Agrees };
        assert_eq!(consumer.agreement, expected, "{}", consumer.receipt.consumer);
    }
    let (tail, board) = (log.tail().await.unwrap().position, log.board().await.unwrap());
    let shared: Arc<dyn Log> = Arc::new(log.clone());
    log.truncate(7);
    let shorter = assess(&shared, &Digests::default(), tail, &[], board.clone()).await;
    assert!(shorter.as_ref().is_err_and(LogError::is_retryable), "{shorter:?}");
    log.recreate(Lineage::from_bytes([9; 16]));
    let other = assess(&shared, &Digests::default(), tail, &[], board).await;
    assert!(matches!(other, Err(LogError::WrongLog { .. })), "{other:?}");
}

/// It would be silent for ever, and nothing known of the backups.
#[tokio::test(start_paused = true)]
async fn receipts_that_never_come_again_are_an_error_and_said_once() {
    let heard = Heard::default();
    let _listening = tracing::subscriber::set_default(heard.clone());
    let (log, outbox) = (log(), outbox(1));
    let mut slow = settings();
    slow.announce_every = Duration::from_secs(1_000_000);
    let producer = start(&log, &outbox, slow);
    producer.ready().await.unwrap();
    log.recreate(Lineage::from_bytes([9; 16]));
    tokio::time::sleep(Duration::from_secs(300)).await;
    let said = heard.of("it is another log");
    let [(Level::ERROR, text)] = &said[..] else { panic!("{said:?}") };
    assert!(
        text.contains("no receipt is received") && text.contains("start this primary again"),
        "{text}"
    );
}

/// A server has a part in what the errors say, and in which of them come.
#[tokio::test(start_paused = true)]
async fn what_keeps_receipts_away_is_said_once_in_a_while() {
    let (mut troubles, place) = (Troubles::default(), String::from("test"));
    let mut due = 0;
    for number in 0..1000 {
        let (what, place) = (number.to_string(), place.clone());
        let passing = LogError::Unavailable { place, what, source: None };
        let lasting = LogError::NotFound { place: number.to_string(), hint: String::new() };
        due += usize::from(troubles.is_due(&passing)) + usize::from(troubles.is_due(&lasting));
    }
    assert_eq!(due, 2, "one of each kind");
    tokio::time::advance(Duration::from_secs(600)).await;
    assert!(troubles.is_due(&LogError::NotFound { place, hint: String::new() }));
}

/// Nothing would be known of the backups any more, while everything looks well.
#[tokio::test]
async fn a_follower_of_the_board_that_panics_ends_the_primary() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, settings());
    producer.committed(outbox.enqueue(&block(1)).unwrap()).logged().await.unwrap();
    log.panic_in_feeds();
    let ended = tokio::time::timeout(Duration::from_secs(60), producer.ended()).await.unwrap();
    assert!(matches!(ended, EndReason::Panicked), "{ended:?}");
    let said = log.board().await.unwrap().primary.unwrap();
    assert!(said.failure.is_some_and(|why| why.contains("a worker panicked")), "others learn it");
    let late = producer.committed(outbox.enqueue(&block(2)).unwrap()).logged().await;
    assert!(matches!(late, Err(EndReason::Panicked)), "{late:?}");
}

/// Others would take it for dead.
#[tokio::test]
async fn an_announcer_that_panics_ends_the_primary() {
    let (log, outbox) = (log(), outbox(1));
    let is_broken = Arc::new(AtomicBool::new(false));
    let clock: Clock = {
        let (is_broken, now) = (Arc::clone(&is_broken), system_clock());
        Arc::new(move || {
            // Once it has claimed the log, only announcements ask for the time.
            assert!(!is_broken.swap(false, Ordering::SeqCst), "a clock that panics was asked for");
            now()
        })
    };
    let connect = {
        let log = log.clone();
        move || {
            let log: Arc<dyn Log> = Arc::new(log.clone());
            async move { Ok(log) }
        }
    };
    let producer = Producer::start(connect, Box::new(outbox), settings(), clock).unwrap();
    producer.ready().await.unwrap();
    is_broken.store(true, Ordering::SeqCst);
    producer.set_source_failure(Some("to be announced at once".to_owned()));
    let ended = tokio::time::timeout(Duration::from_secs(60), producer.ended()).await.unwrap();
    assert!(matches!(ended, EndReason::Panicked), "{ended:?}");
    let said = log.board().await.unwrap().primary.unwrap();
    assert!(said.failure.is_some_and(|why| why.contains("a worker panicked")), "others learn it");
}

/// Whoever may put receipts would wake somebody as often as he likes.
#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_receipt_is_said_once_in_a_while_and_not_of_everybody() {
    let mut said = Said::default();
    for _ in 0..100 {
        said.is_due("replica-1");
    }
    assert!(!said.is_due("replica-1"));
    let due = (0..1000).filter(|number| said.is_due(&format!("name-{number}"))).count();
    assert_eq!(due, 15, "16 with the first");
    tokio::time::advance(Duration::from_secs(599)).await;
    assert!(!said.is_due("replica-1"));
    assert!(!said.is_due("name-999"));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(said.is_due("name-999") && said.is_due("replica-1"));
}
