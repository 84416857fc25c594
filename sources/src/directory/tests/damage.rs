//! What must not be published.

use std::fs::File;

use tipline_producer::{Outbox, OutboxError};

use super::{Node, block, hash, text};
use crate::directory::layout::Key;
use crate::files::{FileChanges, Scan};

#[test]
fn a_block_below_the_tip_that_changes_stops_the_outbox_by_name() {
    let node = Node::new();
    for height in 1..=3 {
        node.settled(Key::block(height), &format!("b{height}"));
    }
    let mut outbox = node.open();
    node.rows(&mut outbox, 3);
    node.rename_in(Key::block(2), "another history");
    let failure = node.failure(&outbox);
    assert!(matches!(failure, OutboxError::Corrupt { .. }), "{failure:?}");
    assert!(
        text(&failure).contains("block_00000002.dat: it is below the newest block"),
        "{failure:?}"
    );
    // What waits is given as it was, and then the reason, to everyone who asks.
    let rows = outbox.read(0, 9, 999).unwrap();
    let expected = [block(1, "b1", "genesis"), block(2, "b2", "b1"), block(3, "b3", "b2")];
    assert!(rows.into_iter().map(|row| row.event).eq(expected));
    for _ in 0..2 {
        assert!(text(&outbox.read(3, 9, 999).unwrap_err()).contains("block_00000002.dat"));
    }
    drop(outbox);
    let outbox = node.open();
    assert!(text(&node.failure(&outbox)).contains("block_00000002.dat"), "after a restart too");
}

/// Whoever copies over all of it makes more notifications than are kept.
#[test]
fn a_change_far_below_the_tip_is_found_when_notifications_were_lost() {
    let node = Node::new();
    for height in 1..=1100 {
        node.settled(Key::block(height), &format!("b{height}"));
    }
    let mut scan = node.scan();
    let mut changes = FileChanges::new();
    scan.scan(&mut changes).unwrap();
    node.settled(Key::block(2), "another history");
    changes.look_at_everything();
    scan.scan(&mut changes).expect("it is too old to be compared each time");
    changes.forget();
    let failure = text(&scan.scan(&mut changes).unwrap_err());
    assert!(failure.contains("block_00000002.dat: it is below the newest block"), "{failure}");
}

#[test]
fn a_file_over_the_limit_is_named_and_not_read() {
    let node = Node::new();
    let file = File::create(node.path(Key::block(1))).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    file.set_modified(super::long_ago()).unwrap();
    let mut outbox = node.open();
    let failure = node.failure(&outbox);
    assert!(matches!(failure, OutboxError::TooLarge(_)), "{failure:?}");
    assert!(failure.to_string().contains("block_00000001.dat"), "{failure}");
    let read = outbox.read(0, 1, 1).unwrap_err();
    assert!(matches!(read, OutboxError::TooLarge(_)), "{read:?}");
}

#[test]
fn another_genesis_is_refused_with_the_hash_that_it_has() {
    let node = Node::new();
    node.settled(Key::block(0), "b0");
    let outbox = node.open();
    let failure = node.failure(&outbox);
    assert!(matches!(failure, OutboxError::DoesNotLink { .. }), "{failure:?}");
    let text = text(&failure);
    assert!(text.contains(&hash("b0").to_string()), "{text}");
    assert!(text.contains("block_00000000.dat"), "{text}");
    drop(outbox);

    let genesis = Node::new();
    genesis.settled(Key::block(0), "genesis");
    genesis.settled(Key::block(1), "b1");
    let mut outbox = genesis.open();
    assert_eq!(genesis.events(&mut outbox, 2)[1], block(1, "b1", "genesis"));
}

#[test]
fn a_directory_that_is_not_there_says_so() {
    let node = Node::new();
    let mut settings = node.settings();
    settings.root = settings.root.join("missing");
    let wake = std::sync::Arc::new(tokio::sync::Notify::new());
    let format = Box::new(crate::ContentHash);
    let clock = tipline_log::system_clock();
    let error = crate::FileOutbox::directory(settings, format, clock, wake).unwrap_err();
    assert!(matches!(error, OutboxError::Unusable { .. }), "{error:?}");
    assert!(error.to_string().contains("no such directory"), "{error}");
}
