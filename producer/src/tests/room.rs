//! Publisher and small limits together: what is kept of logged rows is nobody's obstacle.

use std::time::{Duration, Instant};

use tipline_log::Appender;
use tipline_proto::Event;

use super::{block, log, outbox, settings, start, start_boxed};
use crate::{Keep, Outbox, OutboxError};

/// More than any number of rows that is kept.
const ROWS: u64 = 1_200;
/// Far more than it takes on a loaded machine.
const WITHIN: Duration = Duration::from_secs(30);

/// A node with limits far below what is kept commits block after block. It waits where the outbox is
/// full, which must pass while the log takes what waits.
pub(crate) async fn goes_on_for_ever(
    mut enqueue: impl FnMut(&Event) -> Result<u64, OutboxError>,
    outbox: Box<dyn Outbox>,
) {
    let log = log();
    let producer = start_boxed(&log, outbox, settings());
    for height in 1..=ROWS {
        let full = Instant::now();
        loop {
            match enqueue(&block(height)) {
                Ok(sequence) => {
                    assert_eq!(sequence, height);
                    drop(producer.committed(sequence));
                    break;
                }
                Err(OutboxError::Full { events, .. }) => {
                    let logged = producer.progress().borrow().logged;
                    assert!(events <= 7, "{events} count");
                    assert!(full.elapsed() < WITHIN, "{height}: full, with {logged} logged");
                    // As a node does that holds its commit back.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Err(other) => panic!("{height}: {other}"),
            }
        }
    }
    producer.committed(ROWS).logged().await.unwrap();
    assert_eq!(producer.shutdown(Duration::from_secs(10)).await.unwrap(), 0);
    assert_eq!(log.tail().await.unwrap().outbox_sequence, ROWS);
}

#[tokio::test]
async fn in_memory() {
    let outbox = outbox(1);
    outbox.set_limits(7, 500).unwrap();
    let node = outbox.clone();
    goes_on_for_ever(move |event| node.enqueue(event), Box::new(outbox)).await;
}

#[tokio::test]
async fn what_is_kept_is_bounded_by_half_of_what_may_wait() {
    let (log, mut outbox) = (log(), outbox(1));
    outbox.set_limits(1000, 20_000).unwrap();
    let mut settings = settings();
    settings.keep = Some(Keep { rows: u64::MAX, time: Duration::MAX, bytes: u64::MAX });
    let producer = start(&log, &outbox, settings);
    for height in 1..=500 {
        producer.committed(outbox.enqueue(&block(height)).unwrap()).logged().await.unwrap();
    }
    producer.shutdown(Duration::from_secs(10)).await.unwrap();
    let pending = outbox.pending().unwrap();
    // Of 100 bytes each, and 128 for the row.
    let kept = pending.last + 1 - pending.first;
    assert!((30..=10_000 / 228).contains(&kept), "{kept} rows are kept");
}

/// What the outbox was told is known before the log is reached.
#[tokio::test]
async fn nothing_is_waited_for_where_only_logged_rows_are_left() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, settings());
    producer.committed(outbox.enqueue(&block(1)).unwrap()).logged().await.unwrap();
    producer.shutdown(Duration::from_secs(10)).await.unwrap();
    log.set_available(false);
    let (hour, soon) = (Duration::from_secs(3600), Duration::from_secs(10));
    let again = start(&log, &outbox, settings());
    let left =
        tokio::time::timeout(soon, again.shutdown(hour)).await.expect("it is not waited for");
    assert_eq!(left.unwrap(), 0);
}
