//! What the primary says of itself.

use std::time::Duration;

use tipline_log::memory::MemoryLog;
use tipline_log::{Appender, Reader, Receipts};
use tipline_proto::{Announcement, Hash, Lineage, OutboxId, Receipt};

use super::{block, log, outbox, proof, receipt, settings, start, start_boxed};
use crate::{EndReason, MemoryOutbox, Outbox, OutboxError, Pending, Producer, Row, Waiting};

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
    let said = announced(&log, |said| said.held_up.is_some()).await;
    assert_eq!(said.outbox_events, 3, "never that nothing waits, while something is held up");
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

/// A proof tip above the newest block is of no block. It counts nowhere, and nobody else's is hidden.
#[tokio::test]
async fn no_receipt_raises_the_proof_tip_above_the_newest_block() {
    let (log, outbox) = (log(), outbox(1));
    let first = start(&log, &outbox, settings());
    for height in 1..=3 {
        first.committed(outbox.enqueue(&block(height)).unwrap()).logged().await.unwrap();
    }
    first.shutdown(Duration::from_secs(10)).await.unwrap();
    // It has not seen which proofs there are.
    let producer = start(&log, &outbox, settings());
    producer.ready().await.unwrap();
    let tail = log.tail().await.unwrap().position;
    for (name, proof_tip) in [("honest", 2), ("liar-1", 5), ("liar-2", u64::MAX >> 1)] {
        let receipt = Receipt { proof_tip: Some(proof_tip), ..receipt(&log, name, tail) };
        log.put_receipt(&receipt).await.unwrap();
    }
    let mut status = producer.backup_status();
    status.wait_for(|status| status.consumers.len() == 3).await.unwrap();
    producer.committed(outbox.enqueue(&block(4)).unwrap()).logged().await.unwrap();
    let progress = producer.progress().borrow().clone();
    assert_eq!(progress.block_tip.map(|tip| tip.height), Some(4));
    assert_eq!(progress.proof_tip, Some(2));
}

/// An outbox that takes everything but what the publisher tells it.
#[derive(Debug)]
struct Deaf(MemoryOutbox);

impl Deaf {
    fn refuse(&self) -> Result<(), OutboxError> {
        let (place, what) = (self.0.place(), "the database is read-only".to_owned());
        Err(OutboxError::Failed { place, what, source: None })
    }
}

impl Outbox for Deaf {
    fn id(&self) -> OutboxId {
        self.0.id()
    }
    fn place(&self) -> String {
        self.0.place()
    }
    fn genesis(&self) -> Hash {
        self.0.genesis()
    }
    fn lineage(&mut self) -> Result<Option<Lineage>, OutboxError> {
        self.0.lineage()
    }
    fn bind(&mut self, lineage: Lineage) -> Result<(), OutboxError> {
        self.0.bind(lineage)
    }
    fn pending(&mut self) -> Result<Pending, OutboxError> {
        self.0.pending()
    }
    fn read(&mut self, after: u64, rows: usize, bytes: usize) -> Result<Vec<Row>, OutboxError> {
        self.0.read(after, rows, bytes)
    }
    fn waiting(&mut self, after: u64) -> Result<Waiting, OutboxError> {
        self.0.waiting(after)
    }
    fn release(&mut self, _: u64) -> Result<(), OutboxError> {
        self.refuse()
    }
    fn trim(&mut self, _: u64) -> Result<(), OutboxError> {
        self.refuse()
    }
}

/// It is full in the end, however much the log takes.
#[tokio::test(start_paused = true)]
async fn that_the_outbox_does_not_let_go_of_what_is_logged() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start_boxed(&log, Box::new(Deaf(outbox.clone())), settings());
    producer.committed(outbox.enqueue(&block(1)).unwrap()).logged().await.unwrap();
    let said = announced(&log, |said| said.source_failure.is_some()).await;
    let why = said.source_failure.unwrap();
    assert!(why.contains("the database is read-only") && why.contains("will be full"), "{why}");
    assert_eq!((said.outbox_events, said.outbox_bytes), (0, 100), "the gauge goes on");
}

/// Why it ended is for whoever started it. On the board it would hide the primary that publishes.
#[tokio::test]
async fn a_primary_that_never_held_the_log_says_nothing_on_its_board() {
    let log = log();
    let (own, other) = (outbox(1), outbox(2));
    let mut slow = settings();
    slow.announce_every = Duration::from_secs(3600);
    let producer = start(&log, &own, slow);
    producer.committed(own.enqueue(&block(1)).unwrap()).logged().await.unwrap();
    let tail = log.tail().await.unwrap().position;
    announced(&log, |said| said.tail == tail).await;
    let ended = start(&log, &other, settings()).ended().await;
    assert!(matches!(ended, EndReason::WrongOutbox { .. }), "{ended}");
    let said = log.board().await.unwrap().primary.unwrap();
    assert_eq!((said.epoch, said.failure), (1, None));
}

/// Its successor has spoken, and its claim may be what the log lost.
#[tokio::test(start_paused = true)]
async fn a_primary_that_has_a_successor_does_not_say_how_it_ended() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, settings());
    producer.committed(outbox.enqueue(&block(1)).unwrap()).logged().await.unwrap();
    let tail = log.tail().await.unwrap().position;
    let mut said = announced(&log, |said| said.tail == tail).await;
    said.epoch = 7;
    log.announce(&said).await.unwrap();
    log.truncate(0);
    let ended = producer.ended().await;
    assert!(matches!(ended, EndReason::Halted { .. }), "{ended}");
    assert_eq!(log.board().await.unwrap().primary.unwrap().failure, None);
}

/// The only one there is says why it ended.
#[tokio::test(start_paused = true)]
async fn a_primary_that_held_the_log_says_how_it_ended() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, settings());
    producer.committed(outbox.enqueue(&block(1)).unwrap()).logged().await.unwrap();
    log.truncate(0);
    producer.ended().await;
    let said = log.board().await.unwrap().primary.unwrap();
    assert!(said.failure.is_some_and(|failure| failure.contains("the log is empty")));
}
