//! Units: all of them dense and in commit order, whatever becomes of their batches.

use std::sync::{Arc, Barrier};
use std::thread;

use proptest::prelude::*;
use rocksdb::{MultiThreaded, SingleThreaded, WriteBatch, WriteOptions};
use tipline_proto::limits::MAX_PROOF_RANGES;
use tipline_proto::{Event, Label, LinkError};

use super::super::keys;
use super::{BLOCKS, Node, commit};
use crate::outbox::conformance::{self, Subject, block, proof, rollback};
use crate::outbox::tests::histories::{Model, WINDOW, proven, tries};
use crate::outbox::tests::room;
use crate::outbox::{Outbox, OutboxError};

fn mark(name: &str) -> Event {
    Event::Marked { name: Label::new(name).unwrap() }
}

#[test]
fn a_row_is_there_exactly_if_the_unit_is_committed() {
    let mut node = Node::<SingleThreaded>::new();
    let mut batch = WriteBatch::default();
    let mut unit = node.outbox.begin().unwrap();
    assert_eq!(unit.enqueue(&mut batch, &block(1, 1, 0)).unwrap(), 1);
    drop(unit);
    assert_eq!(node.publisher.pending().unwrap().last, 0, "not without the commit");

    let mut batch = WriteBatch::default();
    batch.put_cf(node.db.cf_handle(BLOCKS).unwrap(), b"1", b"block 1");
    let mut unit = node.outbox.begin().unwrap();
    assert_eq!(unit.enqueue(&mut batch, &block(1, 0, 0)).unwrap(), 1, "the number is free again");
    let refused = unit.enqueue(&mut batch, &block(3, 0, 0));
    assert!(matches!(refused, Err(OutboxError::DoesNotLink { .. })), "{refused:?}");
    assert_eq!(unit.enqueue(&mut batch, &proof(1, 0)).unwrap(), 2, "the unit continues");
    assert_eq!(node.outbox.publisher().pending().unwrap().last, 0, "not before the commit");
    unit.commit(batch).unwrap();
    let own = node.db.get_cf(node.db.cf_handle(BLOCKS).unwrap(), b"1").unwrap();
    assert_eq!(own.as_deref(), Some(&b"block 1"[..]));
    conformance::gives(&mut node.publisher, &[block(1, 0, 0), proof(1, 0)]);
}

#[test]
fn a_batch_without_events_is_written_and_changes_nothing_here() {
    let mut node = Node::<SingleThreaded>::new();
    let mut batch = WriteBatch::default();
    batch.put_cf(node.db.cf_handle(BLOCKS).unwrap(), b"own", b"value");
    node.outbox.begin().unwrap().commit(batch).unwrap();
    assert!(node.db.get_cf(node.db.cf_handle(BLOCKS).unwrap(), b"own").unwrap().is_some());
    node.outbox.begin().unwrap().commit(WriteBatch::default()).unwrap();
    conformance::gives(node.outbox(), &[]);
    commit(&node.outbox, &block(1, 0, 0)).unwrap();
}

#[test]
fn a_unit_has_one_batch() {
    let mut node = Node::<SingleThreaded>::new();
    let (mut first, mut second) = (WriteBatch::default(), WriteBatch::default());
    let expect_refusal = |result: Result<u64, OutboxError>| match result {
        Err(OutboxError::Refused { why, .. }) => assert!(why.contains("not the batch"), "{why}"),
        other => panic!("{other:?}"),
    };
    let mut unit = node.outbox.begin().unwrap();
    unit.enqueue(&mut first, &block(1, 0, 0)).unwrap();
    expect_refusal(unit.enqueue(&mut second, &block(2, 0, 0)));
    expect_refusal(unit.commit(second).map(|()| 0));

    let mut unit = node.outbox.begin().unwrap();
    let mut batch = WriteBatch::default();
    unit.enqueue(&mut batch, &block(1, 0, 0)).unwrap();
    batch.clear();
    batch.put_cf(node.db.cf_handle(BLOCKS).unwrap(), b"own", [7; 99]);
    expect_refusal(unit.commit(batch).map(|()| 0));
    assert!(node.db.get_cf(node.db.cf_handle(BLOCKS).unwrap(), b"own").unwrap().is_none());
    conformance::gives(node.outbox(), &[]);
    assert_eq!(commit(&node.outbox, &block(1, 0, 0)).unwrap(), 1);
}

#[test]
fn a_batch_that_was_written_past_its_unit_is_found() {
    let mut node = Node::<SingleThreaded>::new();
    let mut batch = WriteBatch::default();
    let mut unit = node.outbox.begin().unwrap();
    unit.enqueue(&mut batch, &block(1, 0, 0)).unwrap();
    drop(unit);
    node.db.write(batch).unwrap();
    conformance::gives(node.outbox(), &[]);
    let found = node.outbox.begin().unwrap_err();
    let OutboxError::Corrupt { at, .. } = &found else { panic!("{found:?}") };
    assert_eq!(at, "row 1");
}

/// The batch has an entry for a column family that is gone. RocksDB notices that in the middle of
/// the write, and refuses every other write from then on.
#[test]
fn a_failed_write_leaves_no_hole() {
    let mut node = Node::<MultiThreaded>::new();
    commit(&node.outbox, &block(1, 0, 0)).unwrap();
    let db = Arc::clone(&node.db);
    db.create_cf("gone", &rocksdb::Options::default()).unwrap();
    let gone = db.cf_handle("gone").unwrap();
    db.drop_cf("gone").unwrap();

    let mut batch = WriteBatch::default();
    let mut unit = node.outbox.begin().unwrap();
    assert_eq!(unit.enqueue(&mut batch, &block(2, 1, 0)).unwrap(), 2);
    batch.put_cf(&gone, b"key", b"value");
    let failed = unit.commit(batch).unwrap_err();
    assert!(matches!(failed, OutboxError::Failed { .. }), "{failed:?}");
    conformance::gives(node.outbox(), &[block(1, 0, 0)]);
    let refused = commit(&node.outbox, &block(2, 0, 0)).unwrap_err();
    assert!(matches!(refused, OutboxError::Failed { .. }), "{refused:?}");
    drop(gone);
    drop(db);

    // Whether it was written after all, only the files know.
    let mut node = node.reopen();
    let last = node.publisher.pending().unwrap().last;
    let mut events = vec![block(1, 0, 0), block(2, 1, 0)];
    events.truncate(last as usize);
    conformance::gives(node.outbox(), &events);
    events.push(Event::Marked { name: Label::new("on it goes").unwrap() });
    assert_eq!(node.enqueue(&events[last as usize]).unwrap(), last + 1);
    conformance::gives(node.outbox(), &events);
}

#[test]
fn a_block_is_known_that_takes_the_place_of_one_forgotten_in_the_same_unit() {
    let mut node = Node::<SingleThreaded>::new();
    node.outbox.window = WINDOW;
    let mut batch = WriteBatch::default();
    let mut unit = node.outbox.begin().unwrap();
    for height in 1..=WINDOW + 2 {
        unit.enqueue(&mut batch, &block(height, 0, 0)).unwrap();
    }
    let forgotten = unit.enqueue(&mut batch, &proof(1, 0));
    assert!(matches!(forgotten, Err(OutboxError::DoesNotLink { .. })), "{forgotten:?}");
    unit.enqueue(&mut batch, &rollback(0, 0)).unwrap();
    unit.enqueue(&mut batch, &block(1, 1, 0)).unwrap();
    unit.enqueue(&mut batch, &proof(1, 1)).unwrap();
    unit.commit(batch).unwrap();
}

/// Threads that each mark what they do, in the order in which they did it.
#[test]
fn threads_enqueue_densely_and_in_the_order_of_their_commits() {
    const THREADS: u64 = 4;
    const UNITS: u64 = 50;
    let mut node = Node::<SingleThreaded>::new();
    let start = Barrier::new(THREADS as usize);
    let sequences: Vec<Vec<u64>> = thread::scope(|scope| {
        let run = |thread: u64| {
            let (outbox, start) = (node.outbox.clone(), &start);
            move || {
                start.wait();
                let mut sequences = Vec::new();
                for unit in 0..UNITS {
                    let mut batch = WriteBatch::default();
                    let mut open = outbox.begin().unwrap();
                    let events = 1 + unit % 3;
                    let mut own = Vec::new();
                    for event in 0..events {
                        let name = format!("{thread} {unit} {event}");
                        own.push(open.enqueue(&mut batch, &mark(&name)).unwrap());
                    }
                    if unit % 5 == 4 {
                        drop(open);
                    } else {
                        open.commit_opt(batch, WriteOptions::default()).unwrap();
                        sequences.extend(own);
                    }
                }
                sequences
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(run(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let rows = node.publisher.read(0, usize::MAX, usize::MAX).unwrap();
    let mut all: Vec<u64> = sequences.iter().flatten().copied().collect();
    all.sort_unstable();
    let last = all.len() as u64;
    assert!(all.into_iter().eq(1..=last), "dense, and none twice");
    assert_eq!(rows.len() as u64, last);
    for (thread, sequences) in sequences.iter().enumerate() {
        assert!(sequences.is_sorted());
        let of_thread = |row: &&crate::Row| match &row.event {
            Event::Marked { name } => name.as_str().starts_with(&format!("{thread} ")),
            _ => false,
        };
        let found: Vec<u64> = rows.iter().filter(of_thread).map(|row| row.sequence).collect();
        assert_eq!(&found, sequences, "each thread's events have its numbers, in its order");
    }
    assert!(rows.is_sorted_by_key(|row| row.time), "in the order of the commits");
}

/// The runs of proven heights in the database, whose number must be the one that is noted.
fn runs(node: &Node<SingleThreaded>) -> Vec<(u64, u64)> {
    let family = node.db.cf_handle(crate::OutboxFamily::NAME).unwrap();
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
    let entries = node.db.prefix_iterator_cf(family, [0x11]).map(Result::unwrap);
    let entries = entries.take_while(|(key, _)| key[0] == 0x11);
    let runs: Vec<_> = entries.map(|(key, value)| (number(&value), number(&key[1..]))).collect();
    let count = node.db.get_cf(family, [0x06]).unwrap().map_or(0, |value| number(&value));
    assert_eq!(count, runs.len() as u64, "they are counted");
    runs
}

/// As if every second block below had its proof: so many runs, with the lowest.
fn fill(node: &Node<SingleThreaded>, count: u64) {
    let family = node.db.cf_handle(crate::OutboxFamily::NAME).unwrap();
    for (_, last) in runs(node) {
        node.db.delete_cf(family, keys::proven(last)).unwrap();
    }
    let mut batch = WriteBatch::default();
    for last in (0..count).map(|run| 2 * run) {
        batch.put_cf(family, keys::proven(last), last.to_be_bytes());
    }
    batch.put_cf(family, keys::PROVEN_RUNS, count.to_be_bytes());
    node.db.write(batch).unwrap();
}

#[test]
fn more_proofs_that_nothing_joins_than_can_be_remembered_are_refused() {
    let mut node = Node::<SingleThreaded>::new();
    let base = 4 * MAX_PROOF_RANGES as u64;
    for height in 0..6 {
        Subject::enqueue(&mut node, &block(base + height, 0, 0)).unwrap();
    }
    // One more fits.
    fill(&node, MAX_PROOF_RANGES as u64);
    Subject::enqueue(&mut node, &proof(base + 1, 0)).unwrap();
    match Subject::enqueue(&mut node, &proof(base + 3, 0)).unwrap_err() {
        OutboxError::DoesNotLink { source, .. } => {
            let LinkError::TooManyGaps { height, lowest } = *source else { panic!("{source:?}") };
            assert_eq!((height, lowest), (base + 3, 1));
        }
        other => panic!("{other:?}"),
    }
    // Beside one that is there, and instead of one.
    Subject::enqueue(&mut node, &proof(base + 2, 0)).unwrap();
    Subject::enqueue(&mut node, &rollback(base, 0)).unwrap();
    Subject::enqueue(&mut node, &proof(base, 0)).unwrap();
    assert_eq!(runs(&node).len(), MAX_PROOF_RANGES + 1);
}

/// An outbox of an earlier version did not know what is proven: all that there was is taken for it.
#[test]
fn an_outbox_that_did_not_know_what_is_proven_begins_with_all_of_it() {
    let mut node = Node::<SingleThreaded>::new();
    for height in 1..8 {
        Subject::enqueue(&mut node, &block(height, 0, 0)).unwrap();
    }
    fill(&node, 0);
    let family = node.db.cf_handle(crate::OutboxFamily::NAME).unwrap();
    node.db.delete_cf(family, keys::PROVEN_RUNS).unwrap();
    for event in [proof(5, 0), block(8, 0, 0), block(9, 0, 0), proof(9, 0)] {
        Subject::enqueue(&mut node, &event).unwrap();
    }
    assert_eq!(runs(&node), [(0, 7), (9, 9)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn units_follow_the_rule_of_what_fits(steps in room::steps()) {
        room::follows_the_rule(&mut Node::<SingleThreaded>::new(), &steps);
    }

    /// Each unit tries some events, and commits or does not.
    #[test]
    fn units_accept_what_links_accepts(
        units in prop::collection::vec((tries(), prop::bool::weighted(0.8)), 1..16),
    ) {
        let mut node = Node::<SingleThreaded>::new();
        node.outbox.window = WINDOW;
        let mut model = Model::default();
        let mut accepted = Vec::new();
        for (tries, commits) in &units {
            let mut batch = WriteBatch::default();
            let mut unit = node.outbox.begin().unwrap();
            let mut tried = model.clone();
            let mut events = Vec::new();
            for given in tries {
                let event = given.event(&tried.links);
                let admits = tried.admits(&event);
                match unit.enqueue(&mut batch, &event) {
                    Ok(_) => prop_assert!(admits, "{} was enqueued", event),
                    Err(OutboxError::DoesNotLink { .. }) => prop_assert!(!admits, "{} was refused", event),
                    Err(other) => prop_assert!(false, "{event} gave {other:?}"),
                }
                events.extend(admits.then_some(event));
            }
            if *commits {
                unit.commit_opt(batch, WriteOptions::default()).unwrap();
                model = tried;
                accepted.extend(events);
            }
        }
        conformance::gives(node.outbox(), &accepted);
        let mut known = Vec::new();
        let family = node.db.cf_handle(crate::OutboxFamily::NAME).unwrap();
        for entry in node.db.prefix_iterator_cf(family, [0x10]) {
            let (key, hash) = entry.unwrap();
            if key[0] == 0x10 {
                known.push((u64::from_be_bytes(key[1..].try_into().unwrap()), hash.to_vec()));
            }
        }
        let expected: Vec<_> =
            model.blocks.iter().map(|(height, hash)| (*height, hash.as_ref().to_vec())).collect();
        prop_assert_eq!(known, expected, "the blocks of the chain are known, and nothing for ever");
        prop_assert_eq!(runs(&node), proven(&accepted), "what is proven");
    }
}
