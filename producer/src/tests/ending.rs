//! What is said at the end, and how long the end is waited for.

use std::future::pending;
use std::time::Duration;

use tipline_log::system_clock;
use tipline_proto::Policy;

use super::{block, log, outbox, settings, start};
use crate::{EndReason, MemoryOutbox, Producer};

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
