//! The outbox in a producer.

use super::Node;
use crate::outbox::SqliteOutbox;
use crate::outbox::conformance::Subject;
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
