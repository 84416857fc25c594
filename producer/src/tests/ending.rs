//! What is said at the end, and how long the end is waited for.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tipline_log::system_clock;
use tipline_proto::{Hash, Lineage, OutboxId, Policy};

use super::{block, log, outbox, settings, start, start_boxed};
use crate::{EndReason, MemoryOutbox, Outbox, OutboxError, Pending, Producer, Row, Waiting};

/// A log that never answers.
fn start_in_vain(outbox: &MemoryOutbox) -> Producer {
    let connect = || async { pending().await };
    Producer::start(connect, Box::new(outbox.clone()), settings(), system_clock()).unwrap()
}

#[tokio::test]
async fn a_log_that_hangs_is_not_waited_for_where_nothing_waits() {
    let hour = Duration::from_secs(3600);
    let shutdown = start_in_vain(&outbox(1)).shutdown(hour);
    let left = tokio::time::timeout(Duration::from_secs(30), shutdown).await.expect("in time");
    assert_eq!(left.unwrap(), 0);
}

#[tokio::test]
async fn what_waits_for_a_log_that_hangs_is_counted() {
    let outbox = outbox(1);
    for height in 1..=3 {
        outbox.enqueue(&block(height)).unwrap();
    }
    let left = start_in_vain(&outbox).shutdown(Duration::from_millis(1)).await;
    assert_eq!(left.unwrap(), 3);
}

#[tokio::test]
async fn who_waits_for_backups_is_told_how_it_ended() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, settings());
    let ticket = producer.committed(outbox.enqueue(&block(1)).unwrap());
    ticket.logged().await.unwrap();
    let policy: Policy = "any 1 of backup at durable".parse().unwrap();
    let waiting = tokio::spawn({
        let (ticket, policy) = (ticket.clone(), policy.clone());
        async move { ticket.backed_up(&policy).await }
    });
    tokio::task::yield_now().await;
    producer.shutdown(Duration::from_secs(10)).await.unwrap();
    for ended in [waiting.await.unwrap(), ticket.backed_up(&policy).await] {
        assert!(matches!(ended, Err(EndReason::Stopped)), "{ended:?}");
    }
}

/// An outbox whose database takes its time to close.
#[derive(Debug)]
struct SlowToClose {
    rows: MemoryOutbox,
    is_free: Arc<AtomicBool>,
}

impl Drop for SlowToClose {
    fn drop(&mut self) {
        thread::sleep(Duration::from_millis(300));
        self.is_free.store(true, Ordering::SeqCst);
    }
}

impl Outbox for SlowToClose {
    fn id(&self) -> OutboxId {
        self.rows.id()
    }

    fn place(&self) -> String {
        self.rows.place()
    }

    fn genesis(&self) -> Hash {
        self.rows.genesis()
    }

    fn lineage(&mut self) -> Result<Option<Lineage>, OutboxError> {
        self.rows.lineage()
    }

    fn bind(&mut self, lineage: Lineage) -> Result<(), OutboxError> {
        self.rows.bind(lineage)
    }

    fn pending(&mut self) -> Result<Pending, OutboxError> {
        self.rows.pending()
    }

    fn read(
        &mut self,
        after: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<Row>, OutboxError> {
        self.rows.read(after, max_rows, max_bytes)
    }

    fn waiting(&mut self, after: u64) -> Result<Waiting, OutboxError> {
        self.rows.waiting(after)
    }

    fn release(&mut self, sequence: u64) -> Result<(), OutboxError> {
        self.rows.release(sequence)
    }

    fn trim(&mut self, sequence: u64) -> Result<(), OutboxError> {
        self.rows.trim(sequence)
    }
}

/// The node closes its database next, or opens it again, which one that is open refuses.
#[tokio::test]
async fn a_shutdown_returns_when_nothing_has_the_outbox_open() {
    for is_away in [false, true] {
        let (log, rows, is_free) = (log(), outbox(1), Arc::new(AtomicBool::new(false)));
        let slow = SlowToClose { rows: rows.clone(), is_free: Arc::clone(&is_free) };
        let producer = start_boxed(&log, Box::new(slow), settings());
        producer.ready().await.unwrap();
        log.set_available(!is_away);
        let left = match is_away {
            true => {
                drop(producer.committed(rows.enqueue(&block(1)).unwrap()));
                producer.shutdown(Duration::from_millis(1)).await.unwrap()
            }
            false => producer.shutdown(Duration::from_secs(30)).await.unwrap(),
        };
        assert_eq!(left, u64::from(is_away));
        assert!(is_free.load(Ordering::SeqCst), "is away: {is_away}");
    }
}
