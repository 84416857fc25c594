//! The two sides together: opening, references, trimming, durability, and what was tampered with.

use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use rocksdb::{
    Cache, DB, DBWithThreadMode, LruCacheOptions, MultiThreaded, SingleThreaded, WriteBatch,
    WriteOptions,
};
use tipline_proto::{Event, Lineage};

use super::super::keys;
use super::{BLOCKS, Node, clock, commit, open, options};
use crate::outbox::conformance::{self, Subject, block, genesis, hash, proof, rollback};
use crate::outbox::{Outbox, OutboxError, OutboxFamily};

type Single = Node<SingleThreaded>;

fn put(node: &Single, family: &str, key: &[u8], value: &[u8]) {
    node.db.put_cf(node.db.cf_handle(family).unwrap(), key, value).unwrap();
}

fn remove(node: &Single, key: &[u8]) {
    node.db.delete_cf(node.db.cf_handle(OutboxFamily::NAME).unwrap(), key).unwrap();
}

#[test]
fn opening_again_changes_nothing_and_another_chain_is_refused() {
    let mut node = Single::new();
    node.enqueue(&block(1, 0, 0)).unwrap();
    node.outbox.set_limits(2, 100).unwrap();
    node.publisher.bind(Lineage::from_bytes([3; 16])).unwrap();
    let id = node.publisher.id();
    let mut node = node.reopen();
    assert_eq!(node.publisher.id(), id);
    assert_eq!(node.publisher.lineage().unwrap(), Some(Lineage::from_bytes([3; 16])));
    conformance::gives(node.outbox(), &[block(1, 0, 0)]);
    assert_eq!(node.enqueue(&block(2, 0, 0)).unwrap(), 2);
    let full = node.enqueue(&block(3, 0, 0)).unwrap_err();
    assert!(matches!(full, OutboxError::Full { events: 2, .. }), "{full}");

    let foreign = OutboxFamily::open(Arc::clone(&node.db), &hash(9, 9), clock()).unwrap_err();
    let message = foreign.to_string();
    assert!(message.contains(&genesis().to_string()), "{message}");
    assert!(message.contains(&hash(9, 9).to_string()), "{message}");
    assert_ne!(Single::new().publisher.id(), id, "two outboxes have two ids");
}

#[test]
fn an_outbox_that_is_opened_twice_is_one() {
    let mut node = Single::new();
    let again = OutboxFamily::open(Arc::clone(&node.db), &genesis(), clock()).unwrap();
    assert!(Arc::ptr_eq(&again.shared, &node.outbox.shared));
    let mut batch = WriteBatch::default();
    let mut unit = node.outbox.begin().unwrap();
    unit.enqueue(&mut batch, &block(1, 0, 0)).unwrap();
    let second = thread::scope(|scope| {
        let other = scope.spawn(|| commit(&again, &block(2, 0, 0)));
        unit.commit(batch).unwrap();
        other.join().unwrap()
    });
    assert_eq!(second.unwrap(), 2, "it waited for the unit that was open");
    conformance::gives(&mut again.publisher(), &[block(1, 0, 0), block(2, 0, 0)]);
    conformance::gives(node.outbox(), &[block(1, 0, 0), block(2, 0, 0)]);
}

#[test]
fn databases_that_cannot_be_used_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let why = |db: DB| {
        let place = format!("rocksdb:{}", db.path().display());
        match OutboxFamily::open(Arc::new(db), &genesis(), clock()).unwrap_err() {
            OutboxError::Unusable { place: found, why, .. } => {
                assert_eq!(found, place);
                why
            }
            other => panic!("{other:?}"),
        }
    };
    let without = why(DB::open(&options(), dir.path()).unwrap());
    assert!(without.contains("create_missing_column_families"), "{without}");

    let with = || DB::open_cf(&options(), dir.path(), [OutboxFamily::NAME]).unwrap();
    let db = with();
    db.put_cf(db.cf_handle(OutboxFamily::NAME).unwrap(), b"own", b"value").unwrap();
    let foreign = why(db);
    assert!(foreign.contains("holds something else"), "{foreign}");

    let db = with();
    let mut identity = vec![0; 99];
    identity[7] = 2;
    db.put_cf(db.cf_handle(OutboxFamily::NAME).unwrap(), keys::IDENTITY, identity).unwrap();
    let newer = why(db);
    assert!(newer.contains("version 2"), "{newer}");
}

#[test]
fn a_column_family_that_is_dropped_is_named() {
    let mut node = Node::<MultiThreaded>::new();
    let mut batch = WriteBatch::default();
    let mut unit = node.outbox.begin().unwrap();
    unit.enqueue_reference(&mut batch, &block(1, 0, 0), BLOCKS, b"1").unwrap();
    batch.put_cf(&node.db.cf_handle(BLOCKS).unwrap(), b"1", block(1, 0, 0).payload());
    unit.commit(batch).unwrap();
    conformance::gives(node.outbox(), &[block(1, 0, 0)]);
    node.db.drop_cf(BLOCKS).unwrap();
    let read = node.publisher.read(0, 9, 999).unwrap_err();
    assert!(matches!(read, OutboxError::Unusable { .. }), "{read:?}");
    assert!(read.to_string().contains("the column family blocks"), "{read}");
    node.db.drop_cf(OutboxFamily::NAME).unwrap();
    let begun = node.outbox.begin().unwrap_err();
    assert!(begun.to_string().contains(OutboxFamily::NAME), "{begun}");
    let read = node.publisher.read(0, 9, 999).unwrap_err();
    assert!(matches!(read, OutboxError::Unusable { .. }), "{read:?}");
}

#[test]
fn payloads_that_are_kept_elsewhere_are_read_and_compared() {
    let mut node = Single::new();
    let events = [block(1, 0, 0), block(2, 0, 0), proof(1, 0), rollback(1, 0)];
    let mut batch = WriteBatch::default();
    let mut unit = node.outbox.begin().unwrap();
    unit.enqueue_reference(&mut batch, &events[0], BLOCKS, &[0xab, 1]).unwrap();
    unit.enqueue(&mut batch, &events[1]).unwrap();
    unit.enqueue_reference(&mut batch, &events[2], BLOCKS, b"").unwrap();
    batch.put_cf(node.db.cf_handle(BLOCKS).unwrap(), b"", b"");
    for (event, family, length) in
        [(&events[3], BLOCKS, 1), (&events[2], "nowhere", 1), (&events[2], BLOCKS, 4091)]
    {
        let refused = unit.enqueue_reference(&mut batch, event, family, &vec![0; length]);
        assert!(matches!(refused, Err(OutboxError::Refused { .. })), "{refused:?}");
    }
    unit.commit(batch).unwrap();

    let expect_damage = |node: &mut Single| {
        let damaged = node.publisher.read(0, 9, 999).unwrap_err();
        let OutboxError::Corrupt { at, source, .. } = damaged else { panic!("{damaged:?}") };
        assert!(at.contains("row 1") && at.contains("blocks at ab01"), "{at}");
        assert!(source.is_some());
    };
    expect_damage(&mut node);
    put(&node, BLOCKS, &[0xab, 1], b"block 1 X");
    expect_damage(&mut node);
    put(&node, BLOCKS, &[0xab, 1], b"block 1 0 and more");
    expect_damage(&mut node);
    put(&node, BLOCKS, &[0xab, 1], events[0].payload());
    conformance::gives(node.outbox(), &events[..3]);
    let own = node.db.prefix_iterator_cf(node.db.cf_handle(OutboxFamily::NAME).unwrap(), [0x20]);
    let stored = own.filter(|entry| entry.as_ref().unwrap().0[0] == 0x20).count();
    assert_eq!(stored, 1, "the others are not stored twice");
}

#[test]
fn a_long_backlog_is_trimmed_in_steps_and_counted_right() {
    let mut node = Single::new();
    let mut batch = WriteBatch::default();
    let mut unit = node.outbox.begin().unwrap();
    for height in 1..=2501 {
        unit.enqueue(&mut batch, &block(height, 0, 0)).unwrap();
    }
    unit.commit(batch).unwrap();
    node.publisher.trim(2500).unwrap();
    let left = block(2501, 0, 0).payload().len() as u64;
    let pending = node.publisher.pending().unwrap();
    assert_eq!((pending.first, pending.last, pending.bytes), (2501, 2501, left));
    let family = node.db.cf_handle(OutboxFamily::NAME).unwrap();
    let from = rocksdb::IteratorMode::From(&[0x20], rocksdb::Direction::Forward);
    let left = node.db.iterator_cf(family, from).count();
    assert_eq!(left, 2, "a row and its payload; the others are gone, not only forgotten");
    node.publisher.trim(u64::MAX).unwrap();
    assert_eq!(node.publisher.pending().unwrap().bytes, 0, "no further than there are rows");
}

#[test]
fn a_node_that_holds_a_unit_does_not_hold_up_the_publisher() {
    let mut node = Single::new();
    conformance::fill(&mut node, &[1, 2, 3].map(|height| block(height, 0, 0)));
    let mut batch = WriteBatch::default();
    let outbox = node.outbox.clone();
    let mut unit = outbox.begin().unwrap();
    unit.enqueue(&mut batch, &block(4, 0, 0)).unwrap();
    assert_eq!(node.publisher.read(0, 9, 999).unwrap().len(), 3);
    node.publisher.trim(2).unwrap();
    unit.commit(batch).unwrap();
    let pending = node.publisher.pending().unwrap();
    assert_eq!((pending.first, pending.last), (3, 4));
    let waiting = [3, 4].map(|height| block(height, 0, 0).payload().len() as u64);
    assert_eq!(pending.bytes, waiting.iter().sum::<u64>());
}

#[test]
fn something_that_writes_behind_the_back_is_found() {
    let expect_damage = |tamper: fn(&Single), named: &str| {
        let mut node = Single::new();
        conformance::fill(&mut node, &[1, 2, 3].map(|height| block(height, 0, 0)));
        tamper(&node);
        let whole = node.publisher.read(0, 9, 999).unwrap().len();
        assert_eq!(whole, 1, "what is before it is whole: {named}");
        let damaged = node.publisher.read(1, 9, 999).unwrap_err();
        let OutboxError::Corrupt { at, .. } = &damaged else { panic!("{damaged:?}") };
        assert_eq!(at, named);
    };
    expect_damage(|node| remove(node, &keys::row(2)), "row 2");
    expect_damage(|node| remove(node, &keys::payload(2)), "the payload of row 2");
    expect_damage(|node| put(node, OutboxFamily::NAME, &keys::row(2), b"none"), "row 2");
    expect_damage(
        |node| put(node, OutboxFamily::NAME, &keys::payload(2), b"other"),
        "the payload of row 2",
    );

    let mut node = Single::new();
    remove(&node, keys::NEWEST);
    let begun = node.outbox.begin().unwrap_err();
    assert!(matches!(begun, OutboxError::Corrupt { .. }), "{begun:?}");
    let pending = node.publisher.pending().unwrap_err();
    assert!(matches!(pending, OutboxError::Corrupt { .. }), "{pending:?}");
}

#[test]
fn a_database_with_a_row_cache_is_none_the_worse() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    let mut cache = LruCacheOptions::default();
    cache.set_capacity(1 << 20);
    options.set_row_cache(&Cache::new_lru_cache_opts(&cache));
    let db: Arc<DB> = open(dir.path(), &options);
    let outbox = OutboxFamily::open(db, &genesis(), clock()).unwrap();
    for event in [block(1, 0, 0), block(2, 0, 0), rollback(1, 0), block(2, 1, 0)] {
        commit(&outbox, &event).unwrap();
    }
    outbox.publisher().trim(3).unwrap();
    assert_eq!(outbox.publisher().read(3, 9, 999).unwrap()[0].event, block(2, 1, 0));
}

/// The write-ahead log stays in the process: what is lost with it must not have been given out.
/// The copy of the directory is what a crash would leave behind.
#[test]
fn what_is_given_out_survives_whatever_the_node_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    options.set_manual_wal_flush(true);
    let db: Arc<DB> = open(dir.path(), &options);
    let outbox = OutboxFamily::open(Arc::clone(&db), &genesis(), clock()).unwrap();
    let survivors = || {
        let crashed = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), crashed.path().join(file.file_name())).unwrap();
        }
        let db: Arc<DBWithThreadMode<SingleThreaded>> = open(crashed.path(), &options);
        OutboxFamily::open(db, &genesis(), clock()).unwrap().publisher().pending().unwrap().last
    };
    let unsynced = |event: &Event| {
        let mut batch = WriteBatch::default();
        let mut unit = outbox.begin().unwrap();
        unit.enqueue(&mut batch, event).unwrap();
        let mut careless = WriteOptions::default();
        careless.disable_wal(true);
        unit.commit_opt(batch, careless).unwrap();
    };
    unsynced(&block(1, 0, 0));
    assert_eq!(survivors(), 0, "the test would notice");
    let mut publisher = outbox.publisher();
    assert_eq!(publisher.read(0, 9, 999).unwrap().len(), 1);
    assert_eq!(survivors(), 1);
    unsynced(&block(2, 0, 0));
    assert_eq!(publisher.read(1, 9, 999).unwrap().len(), 1);
    assert_eq!(survivors(), 2);
    let mut batch = WriteBatch::default();
    let mut unit = outbox.begin().unwrap();
    unit.enqueue(&mut batch, &block(3, 0, 0)).unwrap();
    unit.commit(batch).unwrap();
    assert_eq!(survivors(), 3, "a plain commit is durable by itself");
}

#[test]
fn the_largest_payload_and_an_empty_one_come_through() {
    let mut node = Single::new();
    let Event::BlockCommitted { height, hash, parent_hash, .. } = block(1, 0, 0) else { return };
    let payload = Bytes::from(vec![7; tipline_proto::limits::MAX_PAYLOAD_BYTES]);
    let events = [Event::BlockCommitted { height, hash, parent_hash, payload }, proof(1, 0)];
    conformance::fill(&mut node, &events);
    conformance::gives(node.outbox(), &events);
    assert_eq!(node.publisher.read(0, 9, 1).unwrap().len(), 1);
}
