//! Appending: order, exactly once, fencing, all or nothing.

use bytes::Bytes;
use tipline_proto::limits::{MAX_PAYLOAD_BYTES, MAX_UNIT_BYTES, MAX_UNIT_MESSAGES};
use tipline_proto::{Entry, Event, Key, Position, ProofsFrom, Timestamp};

use super::Fixture;
use super::script::{Script, append, assert_same, filled, follow, identity, take};
use crate::error::{AppendError, LogError};
use crate::spec::{Extent, Tail};

/// A new log is empty: its tail is the origin, and it holds nothing.
pub(super) async fn empty_log(fixture: &dyn Fixture) {
    let identity = identity("empty_log");
    let log = fixture.create(&identity).await;
    assert_eq!(log.identity(), &identity);
    let tail = log.tail().await.unwrap();
    assert_eq!(tail.position, Position::origin(&identity));
    assert_eq!((tail.epoch, tail.outbox_sequence, tail.outbox), (0, 0, None));
    assert_eq!(tail.time, Timestamp::from_micros(0));
    assert_eq!(log.extent().await.unwrap(), Extent { first: 1, last: 0 });
    let error = log.entry(1).await.unwrap_err();
    assert!(matches!(error, LogError::OutOfRange { asked: 1, first: 1, last: 0 }), "{error:?}");
    assert_eq!(log.board().await.unwrap(), crate::Board::default());
}

/// What a chain says of its proofs comes back, and is in every digest.
pub(super) async fn proofs_that_begin_late(fixture: &dyn Fixture) {
    let plain = identity("proofs_that_begin_late");
    let mut late = plain.clone();
    late.chain.proofs_from = ProofsFrom::new(5_000_000).unwrap();
    let log = fixture.create(&late).await;
    for log in [log, fixture.open().await] {
        assert_eq!(log.identity(), &late);
        let tail = log.tail().await.unwrap();
        assert_eq!(tail.position, Position::origin(&late));
        assert_ne!(tail.position, Position::origin(&plain));
    }
}

/// One entry: the tail that append gives is the tail that is read, by every handle.
pub(super) async fn append_one(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("append_one")).await;
    let origin = log.tail().await.unwrap();
    let mut script = Script::after(&origin, 9);
    let claim = script.claim();
    let tail = log.append(&origin, std::slice::from_ref(&claim)).await.unwrap();
    assert_tail(&tail, &claim, 9);
    assert_eq!(log.tail().await.unwrap(), tail);
    assert_eq!(fixture.open().await.tail().await.unwrap(), tail);

    let block = script.block(1024);
    let tail = log.append(&tail, std::slice::from_ref(&block)).await.unwrap();
    assert_tail(&tail, &block, 9);
    assert_eq!(log.tail().await.unwrap(), tail);
    assert_eq!(log.extent().await.unwrap(), Extent { first: 1, last: 2 });
    assert_eq!(log.entry(2).await.unwrap(), block);
}

fn assert_tail(tail: &Tail, newest: &Entry, outbox: u8) {
    assert_eq!(tail.position, newest.position());
    assert_eq!((tail.epoch, tail.time), (newest.epoch, newest.time));
    assert_eq!(tail.outbox_sequence, newest.outbox_sequence);
    assert_eq!(tail.outbox.map(|outbox| *outbox.as_bytes()), Some([outbox; 16]));
}

/// Units of many sizes, one after the other; the tail that is read may be appended to just
/// like the one that was returned.
pub(super) async fn append_many(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("append_many")).await;
    let (mut script, mut tail, mut entries) = filled(&*log, 1).await;
    for count in [1, 2, 3, 10, 99, 1, 300] {
        let unit = script.blocks(count, count);
        let returned = append(&*log, &tail, &unit).await;
        tail = log.tail().await.unwrap();
        assert_eq!(tail, returned);
        entries.extend(unit);
    }
    assert_same(&follow(&*log, entries.len()).await, &entries);
}

/// The largest unit by count.
pub(super) async fn append_full_unit(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("append_full_unit")).await;
    let (mut script, tail, mut entries) = filled(&*log, 1).await;
    let unit = script.blocks(MAX_UNIT_MESSAGES, 1024);
    let tail = append(&*log, &tail, &unit).await;
    assert_tail(&tail, &unit[unit.len() - 1], 1);
    assert_eq!(log.tail().await.unwrap(), tail);
    entries.extend(unit);
    assert_same(&follow(&*log, entries.len()).await, &entries);
}

/// After a tail that is no more, nothing is written; not even what is there already.
pub(super) async fn stale_tail(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("stale_tail")).await;
    let origin = log.tail().await.unwrap();
    let (mut script, stale, entries) = filled(&*log, 3).await;
    let unit = script.blocks(2, 10);
    let tail = log.append(&stale, &unit).await.unwrap();
    let other = fixture.open().await;
    for log in [&log, &other] {
        assert_conflict(log.append(&stale, &unit).await);
        assert_conflict(log.append(&origin, &entries[..1]).await);
        assert_conflict(log.append(&stale, &unit[..1]).await);
        assert_eq!(log.tail().await.unwrap(), tail);
    }
    // The log continues as if nothing had been tried.
    let next = script.block(10);
    let tail = other.append(&tail, std::slice::from_ref(&next)).await.unwrap();
    assert_eq!(log.tail().await.unwrap(), tail);
    assert_eq!(log.extent().await.unwrap().last, next.index);
}

fn assert_conflict(result: Result<Tail, AppendError>) {
    assert!(matches!(result, Err(AppendError::Conflict)), "not a conflict: {result:?}");
}

/// What can never be appended is refused, and the log is as it was.
pub(super) async fn refused_units(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("refused_units")).await;
    let (script, tail, _) = filled(&*log, 3).await;
    let refused = async |what: &str, unit: &[Entry]| {
        let result = log.append(&tail, unit).await;
        assert!(matches!(result, Err(AppendError::Refused(_))), "{what}: {result:?}");
        assert_eq!(log.tail().await.unwrap(), tail, "{what}: something was written");
    };
    let fresh = || script.clone();
    refused("empty", &[]).await;
    refused("one too many", &fresh().blocks(MAX_UNIT_MESSAGES + 1, 1)).await;
    refused("too many bytes", &fresh().blocks(17, MAX_UNIT_BYTES / 16)).await;
    let value = Some(Bytes::from(vec![0; MAX_PAYLOAD_BYTES + 1]));
    let record = Event::StateRecorded { key: Key::new(&b"key"[..]).unwrap(), value };
    refused("one too large", &[fresh().publish(record)]).await;
    let unit = fresh().blocks(5, 10);
    refused("does not start after the tail", &unit[1..]).await;
    refused("one missing", &[&unit[..2], &unit[3..]].concat()).await;
    refused("one twice", &[&unit[..2], &unit[1..]].concat()).await;
    let mut elsewhere = fresh();
    elsewhere.block(11);
    refused("another history", &[&unit[..1], &[elsewhere.block(10)]].concat()).await;
    let mut altered = unit.clone();
    altered[2].outbox_sequence += 1;
    refused("altered after sealing", &altered).await;
    log.append(&tail, &unit).await.unwrap();
}

/// Two writers that append after the same tail at the same time: one wins, one conflicts.
pub(super) async fn racing_writers(fixture: &dyn Fixture) {
    let one = fixture.create(&identity("racing_writers")).await;
    let other = fixture.open().await;
    let (script, mut tail, mut entries) = filled(&*one, 1).await;
    let mut scripts = [script.clone(), script];
    let mut won = [0, 0];
    for round in 0..60_usize {
        let units = [scripts[0].blocks(1 + round % 3, 10), scripts[1].blocks(1 + round % 2, 20)];
        // Whose future is polled first takes turns.
        let (first, second) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let (a, b) = tokio::join!(first.append(&tail, &units[0]), second.append(&tail, &units[1]));
        let winner = match (a, b) {
            (Ok(new), Err(AppendError::Conflict)) => (0, new),
            (Err(AppendError::Conflict), Ok(new)) => (1, new),
            both => panic!("round {round}: not one that wins and one that conflicts: {both:?}"),
        };
        tail = winner.1;
        won[winner.0] += 1;
        let kept = scripts[winner.0].clone();
        scripts = [kept.clone(), kept];
        let [a, b] = units;
        entries.extend(if winner.0 == 0 { a } else { b });
        assert_eq!(one.tail().await.unwrap(), tail);
        assert_eq!(other.tail().await.unwrap(), tail);
    }
    assert_eq!(won[0] + won[1], 60);
    assert_same(&follow(&*one, entries.len()).await, &entries);
}

/// A claim by another primary fences the one before.
pub(super) async fn claim(fixture: &dyn Fixture) {
    let old = fixture.create(&identity("claim")).await;
    let (mut old_script, old_tail, _) = filled(&*old, 5).await;
    let new = fixture.open().await;
    let seen = new.tail().await.unwrap();
    assert_eq!(seen, old_tail);
    let mut new_script = Script::after(&seen, 2);
    let claimed = new.append(&seen, &[new_script.claim()]).await.unwrap();
    assert_eq!(claimed.epoch, seen.epoch + 1);
    assert_eq!(claimed.outbox.map(|outbox| *outbox.as_bytes()), Some([2; 16]));
    assert_eq!(claimed.outbox_sequence, seen.outbox_sequence);

    assert_conflict(old.append(&old_tail, &[old_script.block(10)]).await);
    assert_eq!(old.tail().await.unwrap(), claimed);
    let next = new.append(&claimed, &[new_script.block(10)]).await.unwrap();
    assert_eq!((next.epoch, next.outbox), (claimed.epoch, claimed.outbox));
    assert_eq!(old.tail().await.unwrap(), next);
}

/// A claim may be lost after others have seen it. The next one leaves its number out, and everything
/// is found as ever.
pub(super) async fn lost_claim(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("lost_claim")).await;
    let (_, mut tail, mut entries) = filled(&*log, 5).await;
    for (outbox, lost) in [(2, 1), (3, 0), (4, 7)] {
        let before = tail.epoch;
        let mut script = Script::after(&tail, outbox).after_lost_claims(lost);
        let unit = [script.claim(), script.block(10), script.block(3 << 20), script.block(10)];
        tail = append(&*log, &tail, &unit).await;
        assert_eq!(tail.epoch, before + lost + 1);
        entries.extend(unit);
    }
    let other = fixture.open().await;
    assert_eq!(other.tail().await.unwrap(), tail);
    for first in [1, 4, 8, entries.len() as u64 - 1] {
        let extent = Extent { first, last: entries.len() as u64 };
        assert_eq!(log.trim(first).await.unwrap(), extent);
        assert_eq!(other.extent().await.unwrap(), extent);
        for entry in &entries[first as usize - 1..] {
            let found = other.entry(entry.index).await.unwrap();
            assert_same(std::slice::from_ref(&found), std::slice::from_ref(entry));
            let head = other.head(entry.index).await.unwrap();
            assert_eq!((head.position, head.epoch), (entry.position(), entry.epoch));
        }
    }
    // Whoever follows from anywhere begins where it should.
    let last = entries.len();
    let mut subscription = other.subscribe(None, last as u64 - 2).await.unwrap();
    assert_same(&take(&mut *subscription, 2).await, &entries[last - 2..]);
}

/// Payloads around and above the size of a message come back byte for byte.
pub(super) async fn large_payloads(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("large_payloads")).await;
    let other = fixture.open().await;
    let (mut script, mut tail, _) = filled(&*log, 1).await;
    let limit = fixture.max_message();
    for length in [0, 1, limit - 1, limit, limit + 1, 3 * limit, 3 << 20, 20 << 20] {
        let entry = script.block(length);
        let one = std::slice::from_ref(&entry);
        assert_eq!(log.unit_len(one), 1, "an event of {length} bytes is a unit by itself");
        tail = append(&*log, &tail, std::slice::from_ref(&entry)).await;
        assert_eq!(tail.position, entry.position());
        assert_eq!(other.tail().await.unwrap(), tail, "{length} bytes");
        let found = other.entry(entry.index).await.unwrap();
        assert_same(std::slice::from_ref(&found), std::slice::from_ref(&entry));
    }
}

/// Small and large events in one unit.
pub(super) async fn mixed_unit(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("mixed_unit")).await;
    let (mut script, tail, mut entries) = filled(&*log, 1).await;
    let lengths = [10, 3 << 20, 0, 5 << 20, 1, 1, 2 << 20, 100];
    let unit: Vec<Entry> = lengths.map(|length| script.block(length)).into();
    let tail = append(&*log, &tail, &unit).await;
    assert_tail(&tail, &unit[unit.len() - 1], 1);
    let next = script.block(1);
    append(&*log, &tail, std::slice::from_ref(&next)).await;
    entries.extend(unit);
    entries.push(next);
    assert_same(&follow(&*fixture.open().await, entries.len()).await, &entries);
    for entry in &entries {
        let found = log.entry(entry.index).await.unwrap();
        assert_same(std::slice::from_ref(&found), std::slice::from_ref(entry));
    }
}

/// A log that is opened again is the same, and continues.
pub(super) async fn reopened(fixture: &dyn Fixture) {
    let identity = identity("reopened");
    let log = fixture.create(&identity).await;
    let (mut script, tail, mut entries) = filled(&*log, 20).await;
    log.put_receipt(&super::script::receipt(&identity, "replica-1", 7)).await.unwrap();
    let board = log.board().await.unwrap();
    drop(log);
    let log = fixture.open().await;
    assert_eq!(log.identity(), &identity);
    assert_eq!(log.tail().await.unwrap(), tail);
    assert!(log.board().await.unwrap().says_the_same(&board));
    let next = script.block(10);
    append(&*log, &tail, std::slice::from_ref(&next)).await;
    entries.push(next);
    assert_same(&follow(&*log, entries.len()).await, &entries);
}
