//! What counts on a board where signatures are required.

use std::sync::Arc;

use tipline_proto::{
    Announcement, ConsumerName, Digest, Entry, InstanceId, Level, Position, Reached, Receipt, Role,
    SignatureError, SigningKey, Timestamp, Trust,
};

use super::{block, label, log, start_epoch};
use crate::memory::MemoryLog;
use crate::{Appender, Forged, ForgedBy, Log, Reader, Receipts, SignedLog, Signing};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn name(name: &str) -> ConsumerName {
    name.parse().unwrap()
}

/// Primary 1, `backup-1` with key 2 and `backup-2` with key 3.
fn trust() -> Trust {
    let consumers = [(name("backup-1"), key(2).public()), (name("backup-2"), key(3).public())];
    Trust::new(vec![key(1).public()], consumers)
}

/// The log as one with a key says things there.
fn signing(log: &MemoryLog, seed: u8) -> SignedLog {
    let key = Some(Arc::new(key(seed)));
    SignedLog::new(Arc::new(log.clone()), Signing { key, trust: Trust::default() })
}

/// The log as one who believes nobody else sees it.
fn watching(log: &MemoryLog) -> SignedLog {
    SignedLog::new(Arc::new(log.clone()), Signing { key: None, trust: trust() })
}

fn receipt(log: &MemoryLog, of: &str, index: u64, time: u64) -> Receipt {
    let position = Position { index, digest: Digest::from_bytes([index as u8; 32]) };
    Receipt {
        lineage: log.identity().lineage,
        consumer: name(of),
        role: Role::Backup,
        instance: InstanceId::from_bytes([1; 16]),
        reached: Reached::up_to(position, Level::Durable),
        block_tip: None,
        proof_tip: None,
        time: Timestamp::from_micros(time),
        failure: None,
        store: "memory".to_owned(),
        applying: None,
        frozen: None,
        seal: None,
    }
}

fn announcement(log: &MemoryLog, epoch: u64, time: u64) -> Announcement {
    Announcement {
        lineage: log.identity().lineage,
        primary: label("first"),
        epoch,
        tail: Position::origin(log.identity()),
        block_tip: None,
        proof_tip: None,
        outbox_events: 0,
        outbox_bytes: 0,
        outbox_waiting_bytes: 0,
        outbox_oldest: None,
        outbox_max_events: 0,
        outbox_max_bytes: 0,
        held_up: None,
        source_failure: None,
        time: Timestamp::from_micros(time),
        failure: None,
        seal: None,
    }
}

/// What counts, by consumer and index, and why something does not.
async fn seen(log: &SignedLog) -> (Vec<(String, u64)>, Vec<Forged>) {
    let board = log.board().await.unwrap();
    let counted = board.receipts.iter().map(|receipt| {
        let (_, position) = receipt.reached.highest().unwrap();
        (receipt.consumer.to_string(), position.index)
    });
    (counted.collect(), board.forged.clone())
}

fn untrusted(seed: u8) -> ForgedBy {
    SignatureError::Untrusted { key: key(seed).public() }.into()
}

#[tokio::test]
async fn the_last_entry_of_a_unit_is_signed() {
    let log = log();
    start_epoch(&log).await;
    let (signing, lineage) = (signing(&log, 1), log.identity().lineage);
    let tail = signing.tail().await.unwrap();
    let (mut unit, mut after) = (Vec::new(), tail.position);
    for height in 1..=3 {
        let time = Timestamp::from_micros(height);
        unit.push(Entry::seal(&after, 1, time, height, block(height)));
        after = unit[unit.len() - 1].position();
    }
    signing.append(&tail, &unit).await.unwrap();
    for index in 1..=4 {
        let entry = log.entry(index).await.unwrap();
        assert_eq!(entry.signature.is_some(), index == 4, "entry {index}");
    }
    trust().check_entry(lineage, &log.entry(4).await.unwrap()).unwrap();
    assert!(signing.trust().is_none());
    assert!(watching(&log).trust().is_some());
}

#[tokio::test]
async fn forged_receipts_never_count_and_are_named() {
    let log = log();
    let watching = watching(&log);
    signing(&log, 2).put_receipt(&receipt(&log, "backup-1", 5, 100)).await.unwrap();
    assert_eq!(seen(&watching).await, (vec![("backup-1".to_owned(), 5)], vec![]));

    let forged = |why: ForgedBy| vec![Forged { consumer: Some(name("backup-2")), why }];
    // Not signed; by a stranger; by another consumer in its name.
    log.put_receipt(&receipt(&log, "backup-2", 9, 100)).await.unwrap();
    let (counted, found) = seen(&watching).await;
    assert_eq!(counted, [("backup-1".to_owned(), 5)]);
    assert_eq!(found, forged(SignatureError::Unsigned.into()));
    for seed in [9, 2, 1] {
        signing(&log, seed).put_receipt(&receipt(&log, "backup-2", 9, 100)).await.unwrap();
        let (counted, found) = seen(&watching).await;
        assert_eq!(counted, [("backup-1".to_owned(), 5)], "key {seed}");
        assert_eq!(found, forged(untrusted(seed)));
    }
    // A position that was not reached, and another history, under a signature of its own.
    let mut genuine = receipt(&log, "backup-2", 3, 100);
    key(3).sign_receipt(&mut genuine);
    for (index, digest) in [(9, [9; 32]), (3, [8; 32])] {
        let position = Position { index, digest: Digest::from_bytes(digest) };
        let reached = Reached::up_to(position, Level::Durable);
        let altered = Receipt { reached, ..genuine.clone() };
        // As it comes over the wire.
        let altered = Receipt::decode(altered.encode()).unwrap();
        log.put_receipt(&altered).await.unwrap();
        let (counted, found) = seen(&watching).await;
        assert_eq!(counted, [("backup-1".to_owned(), 5)]);
        assert_eq!(found, forged(SignatureError::Wrong { key: key(3).public() }.into()));
    }
    // A name that nobody is trusted for.
    signing(&log, 3).put_receipt(&receipt(&log, "backup-2", 3, 100)).await.unwrap();
    signing(&log, 3).put_receipt(&receipt(&log, "backup-3", 3, 100)).await.unwrap();
    let (counted, found) = seen(&watching).await;
    assert_eq!(counted, [("backup-1".to_owned(), 5), ("backup-2".to_owned(), 3)]);
    assert_eq!(found, [Forged { consumer: Some(name("backup-3")), why: untrusted(3) }]);
}

#[tokio::test]
async fn an_old_receipt_that_is_put_there_again_neither_raises_nor_lowers_anything() {
    let log = log();
    let watching = watching(&log);
    let mut feed = watching.follow_board().await.unwrap();
    feed.next().await.unwrap();
    let mut put = Vec::new();
    // Its store was lost in between: the old one says more than is there.
    for (index, time) in [(40, 100), (2, 200), (3, 300)] {
        let mut receipt = receipt(&log, "backup-1", index, time);
        key(2).sign_receipt(&mut receipt);
        log.put_receipt(&receipt).await.unwrap();
        put.push(receipt);
        let board = feed.next().await.unwrap();
        assert_eq!(board.receipts, [put[put.len() - 1].clone()]);
    }
    for old in [&put[0], &put[1]] {
        log.put_receipt(old).await.unwrap();
        let board = feed.next().await.unwrap();
        assert_eq!(board.receipts, [put[2].clone()], "the newest stands");
        let newest = put[2].time;
        let why = ForgedBy::Replayed { found: old.time, newest };
        assert_eq!(board.forged, [Forged { consumer: Some(name("backup-1")), why }]);
        assert!(board.heard.contains_key(&name("backup-1")));
        // Whoever has just begun to look has seen no newer one: it was true once.
        let board = self::watching(&log).board().await.unwrap();
        assert_eq!((&board.receipts[..], board.forged.len()), (&[old.clone()][..], 0));
    }
    // The next one counts, and all is well again.
    signing(&log, 2).put_receipt(&receipt(&log, "backup-1", 4, 400)).await.unwrap();
    let board = feed.next().await.unwrap();
    assert_eq!((board.receipts.len(), board.forged.len()), (1, 0));
    assert_eq!(board.receipts[0].reached.highest().unwrap().1.index, 4);
}

#[tokio::test]
async fn what_is_signed_later_is_dated_later_also_if_the_clock_went_back() {
    let log = log();
    let (signing, watching) = (signing(&log, 2), watching(&log));
    let mut last = Timestamp::from_micros(0);
    for time in [500, 400, 400, 600] {
        signing.put_receipt(&receipt(&log, "backup-1", time, time)).await.unwrap();
        let board = watching.board().await.unwrap();
        assert!(board.forged.is_empty() && board.receipts[0].time > last, "{board:?}");
        last = board.receipts[0].time;
    }
}

#[tokio::test]
async fn an_announcement_is_the_primarys_or_it_is_not_believed() {
    let log = log();
    let watching = watching(&log);
    log.announce(&announcement(&log, 1, 100)).await.unwrap();
    let board = watching.board().await.unwrap();
    assert_eq!((board.primary, board.primary_heard), (None, None));
    let why = ForgedBy::from(SignatureError::Unsigned);
    assert_eq!(board.forged, [Forged { consumer: None, why }]);
    // A consumer's key is none of a primary.
    signing(&log, 2).announce(&announcement(&log, 9, 100)).await.unwrap();
    let board = watching.board().await.unwrap();
    assert_eq!((board.primary, board.forged[0].why.clone()), (None, untrusted(2)));

    let mut old = announcement(&log, 1, 100);
    key(1).sign_announcement(&mut old);
    log.announce(&old).await.unwrap();
    assert_eq!(watching.board().await.unwrap().primary, Some(old.clone()));
    // Of a new epoch it is of another primary, whose clock may be behind.
    signing(&log, 1).announce(&announcement(&log, 2, 50)).await.unwrap();
    let newer = watching.board().await.unwrap().primary.unwrap();
    assert_eq!(newer.epoch, 2);
    log.announce(&old).await.unwrap();
    let board = watching.board().await.unwrap();
    assert_eq!(board.primary, Some(newer), "the newest stands");
    assert!(matches!(board.forged[0].why, ForgedBy::Replayed { .. }), "{board:?}");
}

#[tokio::test]
async fn without_keys_everything_is_as_it_is() {
    let log = log();
    let plain = SignedLog::new(Arc::new(log.clone()), Signing::default());
    log.put_receipt(&receipt(&log, "backup-1", 5, 100)).await.unwrap();
    log.put_receipt(&receipt(&log, "backup-1", 4, 90)).await.unwrap();
    log.announce(&announcement(&log, 1, 100)).await.unwrap();
    let (found, expected) = (plain.board().await.unwrap(), log.board().await.unwrap());
    assert_eq!((found.receipts, found.primary), (expected.receipts, expected.primary));
    assert!(found.forged.is_empty() && plain.trust().is_none());
    let plain: Arc<dyn Log> = Arc::new(plain);
    assert_eq!(plain.identity(), log.identity());
}
