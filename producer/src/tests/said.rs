//! What the primary says of itself.

use std::time::Duration;

use tipline_log::memory::MemoryLog;
use tipline_log::{Reader, Receipts};
use tipline_proto::Announcement;

use super::{block, log, outbox, proof, settings, start};
use crate::Producer;

async fn announced(log: &MemoryLog, wanted: impl Fn(&Announcement) -> bool) -> Announcement {
    let mut feed = log.follow_board().await.unwrap();
    loop {
        let board = feed.next().await.unwrap();
        if let Some(primary) = board.primary.filter(|primary| wanted(primary)) {
            return primary;
        }
    }
}

#[tokio::test]
async fn what_waits_and_how_much_may() {
    let (log, outbox) = (log(), outbox(1));
    outbox.set_limits(10, 5000).unwrap();
    let producer = start(&log, &outbox, settings());
    producer.committed(outbox.enqueue(&block(1)).unwrap()).logged().await.unwrap();
    let idle =
        announced(&log, |said| said.outbox_max_events == 10 && said.outbox_events == 0).await;
    assert_eq!(
        (idle.outbox_max_bytes, idle.outbox_waiting_bytes, idle.outbox_oldest),
        (5000, 0, None)
    );
    assert_eq!((idle.held_up, idle.source_failure), (None, None));
    assert_eq!(idle.outbox_bytes, 100, "what is kept");
}

/// The log takes announcements, but no events.
#[tokio::test]
async fn why_the_log_does_not_take_what_waits() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, settings());
    producer.ready().await.unwrap();
    for _ in 0..8 {
        log.fail_append(tipline_log::memory::AppendFault::LostInDoubt);
    }
    for height in 1..=3 {
        outbox.enqueue(&block(height)).unwrap();
    }
    let ticket = producer.committed(3);
    let said = announced(&log, |said| said.held_up.is_some() && said.outbox_events == 3).await;
    assert!(said.held_up.unwrap().contains("a fault was asked for"), "with the log's own reason");
    assert_eq!(said.outbox_waiting_bytes, 300);
    assert!(said.outbox_oldest.is_some_and(|oldest| oldest <= said.time));
    ticket.logged().await.unwrap();
    announced(&log, |said| said.held_up.is_none() && said.outbox_events == 0).await;
}

#[tokio::test]
async fn what_is_wrong_with_the_source_at_once() {
    let (log, outbox) = (log(), outbox(1));
    let mut slow = settings();
    slow.announce_every = Duration::from_secs(3600);
    let producer: Producer = start(&log, &outbox, slow);
    producer.ready().await.unwrap();
    announced(&log, |said| said.source_failure.is_none()).await;
    producer.set_source_failure(Some("a file is gone".to_owned()));
    announced(&log, |said| said.source_failure.as_deref() == Some("a file is gone")).await;
    producer.set_source_failure(None);
    announced(&log, |said| said.source_failure.is_none()).await;
    producer.committed(outbox.enqueue(&block(1)).unwrap()).logged().await.unwrap();
}

#[tokio::test]
async fn up_to_where_everything_is_proven() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, settings());
    for event in [block(1), block(2), block(3), proof(3), proof(1)] {
        producer.committed(outbox.enqueue(&event).unwrap()).logged().await.unwrap();
    }
    announced(&log, |said| said.proof_tip == Some(1)).await;
    producer.committed(outbox.enqueue(&proof(2)).unwrap()).logged().await.unwrap();
    let said = announced(&log, |said| said.proof_tip == Some(3)).await;
    assert_eq!(said.lineage, log.identity().lineage);
}
