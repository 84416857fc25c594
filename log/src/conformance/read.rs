//! Reading single entries, and what a log says of itself.

use std::collections::BTreeSet;

use bytes::Bytes;
use tipline_proto::{Event, Key, Label, TransactionId};

use super::Fixture;
use super::script::{append, assert_same, filled, follow, hash, identity, payload};
use crate::error::LogError;
use crate::preflight::{SHORTFALL_NAMES, Shortfall};

/// Every kind of event comes back as it was.
pub(super) async fn every_kind(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("every_kind")).await;
    let (mut script, tail, mut entries) = filled(&*log, 3).await;
    let key = || Key::new(&b"protocol/config"[..]).unwrap();
    let events = [
        Event::BlockProven { height: 2, block_hash: hash(2), payload: payload(2, 50) },
        Event::BlockProven { height: 1, block_hash: hash(1), payload: Bytes::new() },
        Event::TransactionValidated {
            id: TransactionId::new([5; 64]).unwrap(),
            payload: payload(3, 10),
        },
        Event::StateRecorded { key: key(), value: Some(payload(4, 10)) },
        Event::StateRecorded { key: key(), value: Some(Bytes::new()) },
        Event::StateRecorded { key: key(), value: None },
        Event::RolledBack { to_height: 2, to_hash: hash(2) },
        Event::Marked { name: Label::new("before the upgrade").unwrap() },
    ];
    let unit: Vec<_> = events.into_iter().map(|event| script.publish(event)).collect();
    append(&*log, &tail, &unit).await;
    entries.extend(unit);
    for entry in &entries {
        assert_eq!(&log.entry(entry.index).await.unwrap(), entry);
    }
    assert_same(&follow(&*log, entries.len()).await, &entries);
}

/// What travels with an entry comes with it, whole or in parts, and with no other.
pub(super) async fn headers(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("headers")).await;
    let (mut script, tail, mut entries) = filled(&*log, 1).await;
    let mut unit = script.blocks(3, 10);
    unit.push(script.block(fixture.max_message() + 1));
    for at in [1, 3] {
        unit[at].headers.set("traceparent", &format!("00-{at}")).unwrap();
        unit[at].headers.set("X-Unknown", "a, b").unwrap();
    }
    let tail = append(&*log, &tail, &unit).await;
    entries.extend(unit);
    let mut alone = script.block(10);
    alone.headers.set("traceparent", "00-alone").unwrap();
    append(&*log, &tail, std::slice::from_ref(&alone)).await;
    entries.push(alone);
    let other = fixture.open().await;
    assert_same(&follow(&*other, entries.len()).await, &entries);
    for entry in &entries {
        let found = other.entry(entry.index).await.unwrap();
        assert_eq!(found.headers, entry.headers, "entry {}", entry.index);
    }
}

/// Each entry by its index; outside of the log the answer says what is there.
pub(super) async fn range(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("range")).await;
    let (_, tail, entries) = filled(&*log, 9).await;
    let extent = log.extent().await.unwrap();
    assert_eq!((extent.first, extent.last), (1, tail.position.index));
    for entry in &entries {
        assert_eq!(&log.entry(entry.index).await.unwrap(), entry);
        let head = log.head(entry.index).await.unwrap();
        assert_eq!(
            (head.position, head.epoch, head.time),
            (entry.position(), entry.epoch, entry.time)
        );
        assert_eq!(head.outbox_sequence, entry.outbox_sequence);
    }
    for index in [0, 11, 12, 1_000_000, u64::MAX] {
        for error in [log.entry(index).await.unwrap_err(), log.head(index).await.unwrap_err()] {
            let LogError::OutOfRange { asked, first, last } = error else {
                panic!("entry {index}: {error:?}");
            };
            assert_eq!((asked, first, last), (index, 1, 10));
        }
    }
}

/// The log says of each of its settings, once, whether it is as it should be, by the names by which
/// shortfalls are accepted. Who opens it is told the same.
pub(super) async fn preflight(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("preflight")).await;
    let found = log.preflight().await.unwrap();
    let short = || found.shortfalls.iter().map(Shortfall::name);
    let mut due = fixture.checks();
    for name in found.passed().iter().copied().chain(short()) {
        assert!(SHORTFALL_NAMES.contains(&name), "there is no shortfall {name}: {found:?}");
        let at = due.iter().position(|names| names.contains(&name));
        assert!(at.is_some(), "{name} is said too often, or is no check of it: {found:?}");
        due.remove(at.unwrap());
    }
    assert!(due.is_empty(), "nothing is said of {due:?}: {found:?}");

    let lines = found.good.iter().chain(found.shortfalls.iter().map(|short| &short.found));
    let once: BTreeSet<&String> = lines.clone().collect();
    assert_eq!(once.len(), lines.count(), "a line is there twice: {found:?}");
    assert!(!once.contains(&String::new()), "a line says nothing: {found:?}");
    for Shortfall { risk, remedy, .. } in &found.shortfalls {
        assert!(!risk.is_empty() && !remedy.is_empty(), "what it means, and what to do: {found:?}");
    }
    assert!(found.drops.is_empty() || !found.is_durable(), "it drops entries: {found:?}");

    let other = fixture.open().await.preflight().await.unwrap();
    assert_eq!((other.passed(), &other.shortfalls), (found.passed(), &found.shortfalls));
}
