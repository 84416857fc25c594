//! Files that are replaced.

use tipline_producer::Outbox;
use tipline_proto::Event;

use super::kept::copies;
use super::{Node, block, hash, proof};
use crate::directory::layout::Key;

fn rolled_back(to_height: u64, to: &str) -> Event {
    Event::RolledBack { to_height, to_hash: hash(to) }
}

#[test]
fn a_tip_that_is_replaced_is_rolled_back_and_what_it_was_is_still_given() {
    let node = Node::new();
    node.settled(Key::block(1), "b1");
    node.settled(Key::block(2), "b2");
    let mut outbox = node.open();
    node.rows(&mut outbox, 2);
    node.rename_in(Key::block(2), "b2 signed again");
    let mut expected = vec![
        block(1, "b1", "genesis"),
        block(2, "b2", "b1"),
        rolled_back(1, "b1"),
        block(2, "b2 signed again", "b1"),
    ];
    assert_eq!(node.events(&mut outbox, 4), expected);

    // In place, and while nobody looks.
    drop(outbox);
    std::fs::write(node.path(Key::block(2)), "b2 in place").unwrap();
    node.settled(Key::block(3), "b3");
    let mut outbox = node.open();
    expected.extend([
        rolled_back(1, "b1"),
        block(2, "b2 in place", "b1"),
        block(3, "b3", "b2 in place"),
    ]);
    assert_eq!(node.events(&mut outbox, 7), expected);
}

#[test]
fn the_only_block_can_be_replaced() {
    let node = Node::new();
    node.settled(Key::block(1), "b1");
    let mut outbox = node.open();
    node.rows(&mut outbox, 1);
    node.rename_in(Key::block(1), "b1 again");
    let expected =
        [block(1, "b1", "genesis"), rolled_back(0, "genesis"), block(1, "b1 again", "genesis")];
    assert_eq!(node.events(&mut outbox, 3), expected);
}

#[test]
fn a_file_that_was_only_touched_is_not_published_again() {
    let node = Node::new();
    node.settled(Key::block(1), "b1");
    node.settled(Key::block(2), "b2");
    node.settled(Key::proof(1), "p1");
    let mut outbox = node.open();
    node.rows(&mut outbox, 3);
    for key in [Key::block(1), Key::block(2), Key::proof(1)] {
        let content = std::fs::read_to_string(node.path(key)).unwrap();
        node.rename_in(key, &content);
    }
    node.rename_in(Key::block(3), "b3");
    assert_eq!(node.events(&mut outbox, 4)[3], block(3, "b3", "b2"));
    drop(outbox);
    let mut outbox = node.open();
    node.rename_in(Key::block(4), "b4");
    assert_eq!(node.events(&mut outbox, 5)[4], block(4, "b4", "b3"));
}

#[test]
fn a_proof_that_is_replaced_is_published_again() {
    let node = Node::new();
    node.settled(Key::block(1), "b1");
    let mut outbox = node.open();
    node.rename_in(Key::proof(1), "p1");
    node.rows(&mut outbox, 2);
    node.rename_in(Key::proof(1), "p1 again");
    let expected = [block(1, "b1", "genesis"), proof(1, "p1", "b1"), proof(1, "p1 again", "b1")];
    assert_eq!(node.events(&mut outbox, 3), expected);
}

#[test]
fn a_proof_that_is_replaced_before_it_was_published_is_still_given() {
    let node = Node::new();
    node.settled(Key::block(1), "b1");
    node.settled(Key::proof(1), "p1");
    let mut outbox = node.open();
    node.rows(&mut outbox, 2);
    drop(outbox);
    node.rename_in(Key::proof(1), "p1 again");
    let mut outbox = node.open();
    let expected = [block(1, "b1", "genesis"), proof(1, "p1", "b1"), proof(1, "p1 again", "b1")];
    assert_eq!(node.events(&mut outbox, 3), expected);
    std::fs::remove_file(node.path(Key::proof(1))).unwrap();
    drop(outbox);
    assert_eq!(node.events(&mut node.open(), 3), expected);
}

#[test]
fn a_proof_of_the_new_block_is_another_proof_even_with_the_same_bytes() {
    for bytes in ["", "abc"] {
        let node = Node::new();
        node.settled(Key::block(1), "b1");
        node.settled(Key::proof(1), bytes);
        let mut outbox = node.open();
        node.rows(&mut outbox, 2);
        node.rename_in(Key::block(1), "b1 again");
        node.rows(&mut outbox, 4);
        // The proof that is there is not one of the new block.
        node.rename_in(Key::block(2), "b2");
        let mut expected = vec![
            block(1, "b1", "genesis"),
            proof(1, bytes, "b1"),
            rolled_back(0, "genesis"),
            block(1, "b1 again", "genesis"),
            block(2, "b2", "b1 again"),
        ];
        assert_eq!(node.events(&mut outbox, 5), expected);
        drop(outbox);
        let mut outbox = node.open();
        node.rename_in(Key::block(3), "b3");
        expected.push(block(3, "b3", "b2"));
        assert_eq!(node.events(&mut outbox, 6), expected);
        node.rename_in(Key::proof(1), bytes);
        expected.push(proof(1, bytes, "b1 again"));
        assert_eq!(node.events(&mut outbox, 7), expected);
    }
}

#[test]
fn a_proof_that_is_older_than_the_block_that_replaced_its_own_is_not_of_that() {
    let node = Node::new();
    node.settled(Key::block(1), "b1");
    let mut outbox = node.open();
    node.rows(&mut outbox, 1);
    drop(outbox);
    // The node proves the block, and replaces it, while nobody looks.
    node.settled(Key::proof(1), "p1");
    node.rename_in(Key::block(1), "b1 again");
    node.rename_in(Key::block(2), "b2");
    let mut outbox = node.open();
    assert_eq!(node.events(&mut outbox, 4)[3], block(2, "b2", "b1 again"));
    node.rename_in(Key::proof(1), "p1 again");
    assert_eq!(node.events(&mut outbox, 5)[4], proof(1, "p1 again", "b1 again"));
}

#[test]
fn a_node_that_replaces_nothing_can_say_so() {
    let node = Node::new();
    node.settled(Key::block(1), "b1");
    let open = || {
        let mut settings = node.settings();
        settings.tip_is_final = true;
        node.open_with(settings)
    };
    let mut outbox = open();
    node.rows(&mut outbox, 1);
    node.rename_in(Key::block(1), "b2");
    let failure = super::text(&node.failure(&outbox));
    assert!(failure.contains("which this node never replaces"), "{failure}");
    assert_eq!(outbox.read(0, 9, 999).unwrap()[0].event, block(1, "b1", "genesis"));
}

#[test]
fn of_what_is_logged_the_newest_block_and_every_proof_are_in_the_index() {
    let node = Node::new();
    for height in 1..=100 {
        node.settled(Key::block(height), &format!("b{height}"));
    }
    let mut outbox = node.open();
    node.rows(&mut outbox, 100);
    node.rename_in(Key::proof(7), "p7");
    node.rows(&mut outbox, 101);
    node.rename_in(Key::proof(8), "p8");
    node.rows(&mut outbox, 102);
    let all: Vec<i64> = (1..=102).collect();
    assert_eq!(copies(&node), all, "all of it waits");
    outbox.release(102).unwrap();
    node.rename_in(Key::block(101), "b101");
    node.rows(&mut outbox, 103);
    assert_eq!(copies(&node), [101, 102, 103], "the newest block, and the proofs");
    outbox.trim(102).unwrap();
    assert_eq!(outbox.pending().unwrap().bytes, 4);
}
