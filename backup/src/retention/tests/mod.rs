//! What may go, and what must not.

mod gate;
mod live;
mod prove;
mod survey;

use std::time::Duration;

use tipline_log::{Ages, Extent, Survey};
use tipline_proto::{
    Digest, InstanceId, Level, Lineage, Position, Reached, Receipt, Role, Timestamp,
};

use super::{NotProven, Proven, ProvenKind, RetentionRule};

/// The log's position at an index.
fn at(index: u64) -> Position {
    let mut digest = [0x11; 32];
    digest[..8].copy_from_slice(&index.to_be_bytes());
    Position { index, digest: Digest::from_bytes(digest) }
}

fn elsewhere(index: u64) -> Position {
    Position { index, digest: Digest::from_bytes([0xEE; 32]) }
}

fn receipt_at(name: &str, level: Level, position: Position) -> Receipt {
    Receipt {
        applying: None,
        frozen: None,
        seal: None,
        lineage: Lineage::from_bytes([7; 16]),
        consumer: name.parse().unwrap(),
        role: Role::Backup,
        instance: InstanceId::from_bytes([1; 16]),
        reached: Reached::up_to(position, level),
        block_tip: None,
        proof_tip: None,
        time: Timestamp::from_micros(1),
        failure: None,
        store: "memory".to_owned(),
    }
}

fn receipt(name: &str, index: u64) -> Receipt {
    receipt_at(name, Level::Durable, at(index))
}

fn archive(position: Position) -> Proven {
    Proven { kind: ProvenKind::Archive, place: "dir:/archive".into(), covered: Ok(position) }
}

fn checkpoint(position: Position) -> Proven {
    Proven { kind: ProvenKind::Checkpoint, place: "dir:/points".into(), covered: Ok(position) }
}

fn unread(place: &str, why: &str) -> Proven {
    Proven {
        kind: ProvenKind::Archive,
        place: place.into(),
        covered: Err(NotProven::Unavailable { why: why.into() }),
    }
}

/// Nothing is kept but for what is not backed up by anyone.
fn lenient() -> RetentionRule {
    RetentionRule {
        policy: "any 1 of * at durable".parse().unwrap(),
        keep_events: 0,
        keep_for: Duration::ZERO,
        reserve: 10_000,
    }
}

/// A log of the entries 101 to 1000, one a second, that knows its own digests.
fn survey(receipts: impl IntoIterator<Item = Receipt>) -> Survey {
    Survey {
        tail: at(1000),
        held: Extent { first: 101, last: 1000 },
        receipts: receipts.into_iter().collect(),
        digests: (101..=1000).map(|index| (index, at(index).digest)).collect(),
        ages: Ages::new(Timestamp::from_micros(1), Timestamp::from_micros(1)),
        young_from: 1001,
        per_event: Some(Duration::from_secs(1)),
    }
}
