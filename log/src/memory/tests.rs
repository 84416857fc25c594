//! The log in memory keeps the promises, and breaks them as asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tipline_proto::{Chain, Entry, Event, Hash, Label, Lineage, LogIdentity, Position, Timestamp};
use tokio::time::Instant;

use super::{AppendFault, DeliveryFault, MAX_MESSAGE_BYTES, MemoryLog};
use crate::conformance::Fixture;
use crate::error::{AppendError, LogError};
use crate::spec::{Appender, Log, Reader, Receipts, Subscription, Tail};

#[derive(Default)]
struct Memory(Mutex<Option<MemoryLog>>);

#[async_trait]
impl Fixture for Memory {
    async fn create(&self, identity: &LogIdentity) -> Arc<dyn Log> {
        Arc::new(self.0.lock().unwrap().insert(MemoryLog::new(identity.clone())).clone())
    }

    async fn open(&self) -> Arc<dyn Log> {
        Arc::new(self.0.lock().unwrap().clone().unwrap())
    }

    async fn garble_receipt(&self, name: &str, bytes: Bytes) {
        self.0.lock().unwrap().as_ref().unwrap().garble_receipt(name, bytes);
    }

    fn checks(&self) -> Vec<&'static [&'static str]> {
        vec![&["memory-storage"][..]]
    }

    fn max_message(&self) -> usize {
        MAX_MESSAGE_BYTES
    }
}

crate::log_conformance!(Memory::default());

fn log() -> MemoryLog {
    MemoryLog::new(LogIdentity {
        name: "faults".parse().unwrap(),
        chain: Chain::new("Test".parse().unwrap(), Hash::new([1; 32]).unwrap()),
        lineage: Lineage::from_bytes([7; 16]),
    })
}

fn mark(after: &Position) -> Entry {
    let event = Event::Marked { name: Label::new("here").unwrap() };
    Entry::seal(after, 1, Timestamp::from_micros(1), after.index + 1, event)
}

async fn append(log: &MemoryLog, after: &Tail) -> Result<Tail, AppendError> {
    log.append(after, &[mark(&after.position)]).await
}

async fn filled(log: &MemoryLog, count: u64) -> Tail {
    let mut tail = log.tail().await.unwrap();
    for _ in 0..count {
        tail = append(log, &tail).await.unwrap();
    }
    tail
}

fn assert_doubt(answer: Result<Tail, AppendError>) {
    assert!(matches!(answer, Err(AppendError::Doubt(ref e)) if e.is_retryable()), "{answer:?}");
}

#[tokio::test]
async fn doubtful_appends() {
    let log = log();
    let first = filled(&log, 1).await;
    log.fail_append(AppendFault::LostInDoubt);
    log.fail_append(AppendFault::StoredInDoubt);
    assert_doubt(append(&log, &first).await);
    assert_eq!(log.tail().await.unwrap(), first);
    assert_doubt(append(&log, &first).await);
    let second = log.tail().await.unwrap();
    assert_eq!(second.position, mark(&first.position).position());
    append(&log, &second).await.unwrap();
}

/// Sent again after a doubt, the same entry is not stored twice: the late one was first.
#[tokio::test]
async fn late_append() {
    let log = log();
    let first = filled(&log, 1).await;
    log.fail_append(AppendFault::LateInDoubt);
    assert_doubt(append(&log, &first).await);
    assert_eq!(log.tail().await.unwrap(), first);
    let again = append(&log, &first).await;
    assert!(matches!(again, Err(AppendError::Conflict)), "{again:?}");
    assert_eq!(log.tail().await.unwrap().position, mark(&first.position).position());
}

#[tokio::test(start_paused = true)]
async fn delayed_append() {
    let log = log();
    let first = filled(&log, 1).await;
    log.fail_append(AppendFault::Delayed(Duration::from_secs(7)));
    let start = Instant::now();
    let (slow, fast) = tokio::join!(append(&log, &first), append(&log, &first));
    assert_eq!(start.elapsed(), Duration::from_secs(7));
    assert!(matches!(slow, Err(AppendError::Conflict)), "{slow:?}");
    assert_eq!(fast.unwrap(), log.tail().await.unwrap());
}

#[tokio::test]
async fn away() {
    let log = log();
    let tail = filled(&log, 3).await;
    let mut subscription = log.subscribe(None, 1).await.unwrap();
    log.set_available(false);
    assert_doubt(append(&log, &tail).await);
    let errors = [
        log.tail().await.map(drop).unwrap_err(),
        log.entry(1).await.map(drop).unwrap_err(),
        log.board().await.map(drop).unwrap_err(),
        log.subscribe(None, 0).await.map(drop).unwrap_err(),
    ];
    assert!(errors.iter().all(LogError::is_retryable), "{errors:?}");
    let waiting = tokio::spawn(async move { subscription.next().await.unwrap().len() });
    tokio::task::yield_now().await;
    log.set_available(true);
    assert_eq!(waiting.await.unwrap(), 2);
    assert_eq!(log.tail().await.unwrap(), tail);
}

#[tokio::test]
async fn lost_tail() {
    let log = log();
    let tail = filled(&log, 5).await;
    log.truncate(3);
    assert_eq!(log.tail().await.unwrap().position.index, 3);
    assert_eq!(log.extent().await.unwrap().last, 3);
    let answer = append(&log, &tail).await;
    assert!(matches!(answer, Err(AppendError::Conflict)), "{answer:?}");
    assert_eq!(filled(&log, 2).await, tail);
}

async fn indices(subscription: &mut dyn Subscription) -> Vec<u64> {
    subscription.next().await.unwrap().iter().map(|entry| entry.index).collect()
}

#[tokio::test]
async fn faulty_delivery() {
    let log = log();
    filled(&log, 5).await;
    let mut subscription = log.subscribe(None, 0).await.unwrap();
    assert_eq!(indices(&mut *subscription).await, [1, 2, 3, 4, 5]);
    log.fail_delivery(DeliveryFault::Repeat(2));
    assert_eq!(indices(&mut *subscription).await, [4, 5]);
    log.fail_delivery(DeliveryFault::Skip(1));
    filled(&log, 3).await;
    assert_eq!(indices(&mut *subscription).await, [7, 8]);
    let waiting = tokio::spawn(async move {
        let ended = subscription.next().await.unwrap_err();
        (ended, subscription.next().await.unwrap_err())
    });
    tokio::task::yield_now().await;
    log.fail_delivery(DeliveryFault::End);
    let (ended, after) = waiting.await.unwrap();
    assert!(ended.is_retryable(), "{ended:?}");
    assert!(!after.is_retryable(), "{after:?}");
    // A new one is not concerned.
    let mut subscription = log.subscribe(None, 0).await.unwrap();
    assert_eq!(indices(&mut *subscription).await.len(), 8);
}
