//! The outbox in a producer, from the node's commit to the log.

use std::sync::Arc;
use std::time::Duration;

use rocksdb::{SingleThreaded, WriteBatch, WriteOptions};
use tipline_log::memory::MemoryLog;
use tipline_log::{Accepted, Log, Reader, system_clock};
use tipline_proto::{Chain, Label, Lineage, LogIdentity};

use super::{Node, commit};
use crate::outbox::Outbox;
use crate::outbox::conformance::{block, genesis, proof, rollback};
use crate::tests::refuses_the_log_of_another_chain;
use crate::tests::room::goes_on_for_ever;
use crate::{EndReason, Keep, Producer, ProducerSettings};

fn log(lineage: u8) -> MemoryLog {
    let chain = Chain::new("test".parse().unwrap(), genesis());
    let lineage = Lineage::from_bytes([lineage; 16]);
    MemoryLog::new(LogIdentity { name: "test".parse().unwrap(), chain, lineage })
}

fn start(log: &MemoryLog, node: &Node<SingleThreaded>) -> Producer {
    let log = log.clone();
    let connect = move || {
        let log: Arc<dyn Log> = Arc::new(log.clone());
        async move { Ok(log) }
    };
    let mut settings = ProducerSettings::new(Label::new("test").unwrap());
    settings.accept_shortfalls = Accepted::Everything;
    settings.keep = Some(Keep::DURABLE);
    Producer::start(connect, Box::new(node.outbox.publisher()), settings, system_clock()).unwrap()
}

#[tokio::test]
async fn what_the_node_commits_is_logged_once_and_in_order() {
    let (log, mut node) = (log(3), Node::<SingleThreaded>::new());
    let mut expected = vec![block(1, 0, 0), block(2, 0, 0)];
    // Before there is a producer, in one unit.
    let mut batch = WriteBatch::default();
    let mut unit = node.outbox.begin().unwrap();
    for event in &expected {
        unit.enqueue(&mut batch, event).unwrap();
    }
    unit.commit_opt(batch, WriteOptions::default()).unwrap();

    let producer = start(&log, &node);
    for event in [proof(2, 0), rollback(1, 0), block(2, 1, 0), proof(1, 0)] {
        let sequence = commit(&node.outbox, &event).unwrap();
        producer.committed(sequence).logged().await.unwrap();
        expected.push(event);
    }
    assert_eq!(producer.shutdown(Duration::from_secs(10)).await.unwrap(), 0);

    // Started again it continues after what the log has.
    let producer = start(&log, &node);
    for height in 3..=3000 {
        let event = block(height, 1, 1);
        commit(&node.outbox, &event).unwrap();
        expected.push(event);
    }
    let last = expected.len() as u64;
    producer.committed(last).logged().await.unwrap();
    assert_eq!(producer.shutdown(Duration::from_secs(10)).await.unwrap(), 0);

    let mut logged = Vec::new();
    for index in 1..=log.extent().await.unwrap().last {
        let entry = log.entry(index).await.unwrap();
        if entry.event.kind() != tipline_proto::Kind::EpochStarted {
            assert_eq!(entry.outbox_sequence, logged.len() as u64 + 1);
            logged.push(entry.event);
        }
    }
    assert_eq!(logged, expected);
    let pending = node.publisher.pending().unwrap();
    let kept = last + 1 - pending.first;
    assert!((875..=1000).contains(&kept), "{kept} rows are kept");
    assert_eq!((pending.last, pending.counted_bytes), (last, 0));
}

#[tokio::test]
async fn with_small_limits_the_node_goes_on_for_ever() {
    let node = Node::<SingleThreaded>::new();
    let (small, publisher) = (node.outbox.clone(), Box::new(node.outbox.publisher()));
    node.outbox.set_limits(7, 500).unwrap();
    goes_on_for_ever(move |event| commit(&small, event), publisher).await;
}

/// RocksDB locks its directory, so a node could not open it again.
#[tokio::test]
async fn after_a_shutdown_the_database_can_be_opened_again() {
    let (log, node) = (log(3), Node::<SingleThreaded>::new());
    let producer = start(&log, &node);
    let sequence = commit(&node.outbox, &block(1, 0, 0)).unwrap();
    producer.committed(sequence).logged().await.unwrap();
    producer.shutdown(Duration::from_secs(10)).await.unwrap();
    let node = node.reopen();
    // While the log is away and something waits it is given up at the deadline.
    log.set_available(false);
    let producer = start(&log, &node);
    let sequence = commit(&node.outbox, &block(2, 0, 0)).unwrap();
    drop(producer.committed(sequence));
    producer.shutdown(Duration::from_millis(100)).await.unwrap();
    node.reopen();
}

#[tokio::test]
async fn a_log_that_was_created_again_is_noticed() {
    let node = Node::<SingleThreaded>::new();
    let first = start(&log(3), &node);
    let sequence = commit(&node.outbox, &block(1, 0, 0)).unwrap();
    first.committed(sequence).logged().await.unwrap();
    first.shutdown(Duration::from_secs(10)).await.unwrap();
    let refused = start(&log(4), &node).ready().await;
    assert!(matches!(refused, Err(EndReason::WrongLog { .. })), "{refused:?}");
}

#[tokio::test]
async fn the_log_of_another_chain_is_refused() {
    let mut node = Node::<SingleThreaded>::new();
    refuses_the_log_of_another_chain(Box::new(node.outbox.publisher())).await;
    assert_eq!(node.publisher.lineage().unwrap(), None, "it is bound to nothing");
}
