//! Reading single entries, and what a log says of itself.

use bytes::Bytes;
use tipline_proto::{Event, Key, Label, TransactionId};

use super::Fixture;
use super::script::{append, assert_same, filled, follow, hash, identity, payload};
use crate::error::LogError;

/// Every kind of event comes back as it was.
pub(super) async fn every_kind(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("every_kind")).await;
    let (mut script, tail, mut entries) = filled(&*log, 3).await;
    let key = || Key::new(&b"protocol/config"[..]).unwrap();
    let events = [
        Event::BlockProven { height: 2, block_hash: hash(2), payload: payload(2, 50) },
        Event::BlockProven { height: 1, block_hash: hash(1), payload: Bytes::new() },
        Event::TransactionValidated {
            id: TransactionId::new(vec![5; 64]).unwrap(),
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

/// The log says what its settings are.
pub(super) async fn preflight(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("preflight")).await;
    let found = log.preflight().await.unwrap();
    assert!(!found.good.is_empty(), "nothing was checked: {found:?}");
}
