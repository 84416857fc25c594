//! The genesis, as the blocks have it.

use tipline_producer::{Outbox, OutboxError};
use tipline_proto::Hash;

use super::{Node, hash, text};
use crate::directory::format::{BlockFormat, BlockHeader, ContentHash};
use crate::directory::layout::Key;
use crate::directory::{DirectorySettings, find_genesis};
use crate::{FileOutbox, Genesis};

/// Every block says that it is on top of `below`.
#[derive(Debug)]
struct Linked;

impl BlockFormat for Linked {
    fn name(&self) -> &str {
        "linked"
    }

    fn read(
        &self,
        _height: u64,
        payload: &[u8],
    ) -> Result<BlockHeader, Box<dyn std::error::Error + Send + Sync>> {
        let own = hash(std::str::from_utf8(payload)?);
        Ok(BlockHeader { hash: own, parent: Some(hash("below")) })
    }
}

fn found(node: &Node, format: &dyn BlockFormat) -> Result<Hash, String> {
    find_genesis(&node.root(), format).map(|genesis| genesis.hash).map_err(|error| text(&error))
}

#[test]
fn the_genesis_is_block_0_or_the_parent_of_block_1() {
    let node = Node::new();
    let refused = found(&node, &ContentHash).unwrap_err();
    assert!(refused.contains("neither block 0 nor block 1"), "{refused}");
    node.settled(Key::block(1), "b1");
    let refused = found(&node, &ContentHash).unwrap_err();
    assert!(refused.contains("format=content does not say"), "{refused}");
    assert_eq!(found(&node, &Linked), Ok(hash("below")));
    // Just written, and waited for.
    node.rename_in(Key::block(0), "b0");
    assert_eq!(found(&node, &Linked), Ok(hash("b0")));
    let Genesis { found, .. } = find_genesis(&node.root(), &ContentHash).unwrap();
    assert!(found.starts_with("block 0 in ") && found.contains("block_00000000.dat"), "{found}");
    node.settled(Key::block(0), "");
    let error = find_genesis(&node.root(), &ContentHash).unwrap_err();
    assert!(matches!(error, OutboxError::Failed { .. }), "{error:?}");
}

/// An operator who gave a wrong genesis at first makes the log again, and that is all.
#[test]
fn an_index_without_an_event_takes_another_genesis_and_one_with_events_does_not() {
    let node = Node::new();
    node.settled(Key::block(0), "b0");
    let open = |genesis: &str| {
        let settings = DirectorySettings { genesis: hash(genesis), ..node.settings() };
        FileOutbox::directory(
            settings,
            Box::new(ContentHash),
            tipline_log::system_clock(),
            node.waker(),
        )
    };
    let wrong = open("another").unwrap();
    let failure = text(&node.failure(&wrong));
    for part in ["(format=content)", &hash("b0").to_string(), &hash("another").to_string()] {
        assert!(failure.contains(part), "{part} in {failure}");
    }
    drop(wrong);
    let mut right = open("b0").unwrap();
    node.rows(&mut right, 1);
    right.trim(1).unwrap();
    drop(right);
    let refused = open("another").unwrap_err();
    assert!(text(&refused).contains("it belongs to the chain with genesis"), "{refused:?}");
}
