//! One fixed value of every message: what the golden bytes are made of. Never change one; add.

use bytes::Bytes;

use crate::{
    Announcement, Chain, Cursor, Entry, Event, Hash, InstanceId, Key, Level, Lineage, LogIdentity,
    OutboxId, Position, ProofsFrom, Reached, Receipt, Role, SigningKey, Timestamp, Tip,
    TransactionId,
};

pub(super) const LINEAGE: [u8; 16] = *b"lineage-16-bytes";
pub(super) const OUTBOX: [u8; 16] = *b"outbox--16-bytes";
pub(super) const EPOCH: u64 = 0x0102;
/// Microseconds since 1970; entry n is n microseconds later.
pub(super) const TIME: u64 = 0x0006_4395_4fa7_8000;

pub(super) fn identity() -> LogIdentity {
    LogIdentity {
        name: "main".parse().unwrap(),
        chain: Chain::new("Example Chain".parse().unwrap(), hash(0x60, 32)),
        lineage: Lineage::from_bytes(LINEAGE),
    }
}

/// The same, of a chain that began to prove at a height.
pub(super) fn late_identity() -> LogIdentity {
    let mut identity = identity();
    identity.chain.proofs_from = ProofsFrom::new(5_000_000).unwrap();
    identity
}

pub(super) fn hash(byte: u8, length: usize) -> Hash {
    Hash::new(vec![byte; length]).unwrap()
}

/// Every kind of event, and every shape that its bytes can have, by name.
pub(super) fn events() -> Vec<(&'static str, Event)> {
    let block_hash = hash(0xb1, 32);
    let payload = Bytes::from_static;
    vec![
        (
            "epoch_started",
            Event::EpochStarted {
                primary: "node-a".parse().unwrap(),
                outbox: OutboxId::from_bytes(OUTBOX),
            },
        ),
        (
            "block_committed",
            Event::BlockCommitted {
                height: 1,
                hash: block_hash.clone(),
                parent_hash: hash(0x60, 32),
                payload: payload(b"block one"),
            },
        ),
        (
            "block_proven",
            Event::BlockProven {
                height: 1,
                block_hash: block_hash.clone(),
                payload: payload(b"proof of one"),
            },
        ),
        ("block_proven empty", Event::BlockProven { height: 1, block_hash, payload: Bytes::new() }),
        (
            "transaction_validated",
            Event::TransactionValidated {
                id: TransactionId::new(&b"tx"[..]).unwrap(),
                payload: payload(b"transaction"),
            },
        ),
        ("state_recorded", Event::StateRecorded { key: key(), value: Some(payload(b"value")) }),
        ("state_recorded empty", Event::StateRecorded { key: key(), value: Some(Bytes::new()) }),
        ("state_recorded erased", Event::StateRecorded { key: key(), value: None }),
        ("rolled_back", Event::RolledBack { to_height: 0, to_hash: hash(0x60, 32) }),
        ("marked", Event::Marked { name: "before-upgrade 7 ✓".parse().unwrap() }),
        (
            "block_committed in parts",
            Event::BlockCommitted {
                height: 1,
                hash: hash(0xc1, 64),
                parent_hash: hash(0x60, 32),
                payload: (0..1100u32).map(|n| (n % 251) as u8).collect(),
            },
        ),
    ]
}

fn key() -> Key {
    Key::new(&b"config/fees"[..]).unwrap()
}

/// The events as a log, sealed one after the other.
pub(super) fn entries() -> Vec<(&'static str, Entry)> {
    let mut previous = Position::origin(&identity());
    let seal = |(n, (name, event)): (u64, (&'static str, Event))| {
        let time = Timestamp::from_micros(TIME + n);
        // An epoch start says what is complete, here nothing; the others count on from there.
        let entry = Entry::seal(&previous, EPOCH, time, n, event);
        previous = entry.position();
        (name, entry)
    };
    (0..).zip(events()).map(seal).collect()
}

pub(super) fn position() -> Position {
    Position::origin(&identity())
}

fn tip() -> Tip {
    Tip { height: 300, hash: hash(0xb1, 32) }
}

pub(super) fn cursors() -> Vec<(&'static str, Cursor)> {
    let full = Cursor {
        position: entries()[1].1.position(),
        epoch: EPOCH,
        block_tip: Some(tip()),
        proof_tip: Some(0),
    };
    vec![("origin", Cursor::origin(&identity())), ("full", full)]
}

pub(super) fn receipts() -> Vec<(&'static str, Receipt)> {
    let entries = entries();
    let mut reached = Reached::up_to(entries[1].1.position(), Level::Durable);
    reached.set(Level::Applied, entries[2].1.position());
    reached.set(Level::Offsite, entries[0].1.position());
    let full = Receipt {
        applying: None,
        frozen: None,
        seal: None,
        lineage: Lineage::from_bytes(LINEAGE),
        consumer: "backup-1".parse().unwrap(),
        role: Role::Backup,
        instance: InstanceId::from_bytes(*b"instance16-bytes"),
        reached,
        block_tip: Some(tip()),
        proof_tip: Some(299),
        time: Timestamp::from_micros(TIME),
        failure: Some("disk full".to_owned()),
        store: "sqlite:/data/b.db".to_owned(),
    };
    let fresh = Receipt {
        reached: Reached::default(),
        role: Role::Replica,
        block_tip: None,
        proof_tip: None,
        failure: None,
        ..full.clone()
    };
    let applying = Receipt {
        failure: None,
        applying: Some(std::time::Duration::from_micros(1_500_000)),
        ..full.clone()
    };
    let frozen = Receipt {
        failure: None,
        frozen: Some(std::time::Duration::from_micros(2_500_000)),
        ..full.clone()
    };
    vec![("fresh", fresh), ("full", full), ("applying", applying), ("frozen", frozen)]
}

pub(super) fn announcements() -> Vec<(&'static str, Announcement)> {
    let full = Announcement {
        outbox_waiting_bytes: 0,
        outbox_oldest: None,
        outbox_max_events: 0,
        outbox_max_bytes: 0,
        held_up: None,
        source_failure: None,
        seal: None,
        lineage: Lineage::from_bytes(LINEAGE),
        primary: "node-a".parse().unwrap(),
        epoch: EPOCH,
        tail: entries()[1].1.position(),
        block_tip: Some(tip()),
        proof_tip: Some(0),
        outbox_events: 3,
        outbox_bytes: 4096,
        time: Timestamp::from_micros(TIME),
        failure: Some("fenced".to_owned()),
    };
    let fresh = Announcement {
        tail: position(),
        block_tip: None,
        proof_tip: None,
        outbox_events: 0,
        outbox_bytes: 0,
        failure: None,
        ..full.clone()
    };
    let held_up = Announcement {
        failure: None,
        outbox_waiting_bytes: 1000,
        outbox_oldest: Some(Timestamp::from_micros(TIME - 7_000_000)),
        outbox_max_events: 100_000,
        outbox_max_bytes: 1 << 30,
        held_up: Some("no space".to_owned()),
        source_failure: Some("block 7 is gone".to_owned()),
        ..full.clone()
    };
    vec![("fresh", fresh), ("full", full), ("held_up", held_up)]
}

type Named<T> = Vec<(&'static str, T)>;

/// One of each that is signed: by a key without predecessors, and by one with two.
pub(super) fn signed() -> (Named<Entry>, Named<Receipt>, Named<Announcement>) {
    let first = SigningKey::from_seed(&[1; 32]);
    let second = first.succeeded_by(SigningKey::from_seed(&[2; 32]));
    let third = second.succeeded_by(SigningKey::from_seed(&[3; 32]));
    let (_, mut entry) = entries().swap_remove(1);
    let (_, mut receipt) = receipts().swap_remove(0);
    let (_, mut said) = announcements().swap_remove(0);
    let mut rotated = entry.clone();
    first.sign_entry(Lineage::from_bytes(LINEAGE), &mut entry);
    third.sign_entry(Lineage::from_bytes(LINEAGE), &mut rotated);
    first.sign_receipt(&mut receipt);
    first.sign_announcement(&mut said);
    (
        vec![("signed", entry), ("signed by a successor", rotated)],
        vec![("signed", receipt)],
        vec![("signed", said)],
    )
}
