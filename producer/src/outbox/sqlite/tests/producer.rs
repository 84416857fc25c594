//! The outbox in a producer.

use super::Node;
use crate::outbox::conformance::Subject;
use crate::outbox::{Outbox, SqliteOutbox};
use crate::tests::refuses_the_log_of_another_chain;
use crate::tests::room::goes_on_for_ever;

#[tokio::test]
async fn with_small_limits_the_node_goes_on_for_ever() {
    let mut node = Node::new();
    // As a node may: what is visible is not on the disk yet.
    node.conn.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000").unwrap();
    node.set_limits(7, 500).unwrap();
    let publisher = Box::new(SqliteOutbox::open(&node.path()).unwrap());
    goes_on_for_ever(move |event| node.enqueue(event), publisher).await;
}

#[tokio::test]
async fn the_log_of_another_chain_is_refused() {
    let mut node = Node::new();
    refuses_the_log_of_another_chain(Box::new(SqliteOutbox::open(&node.path()).unwrap())).await;
    assert_eq!(node.publisher.lineage().unwrap(), None, "it is bound to nothing");
}
