//! The digest against the table in its documentation, written a second time here by hand, and
//! against alterations.

use bytes::Bytes;
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::arbitrary;
use super::examples::{self, EPOCH, LINEAGE, TIME};
use crate::{
    Digest, Entry, Event, Hash, Key, Kind, Label, LogIdentity, OutboxId, Position, Timestamp,
    TransactionId,
};

fn blake3(parts: &[&[u8]]) -> [u8; 32] {
    blake3::hash(&parts.concat()).into()
}

#[test]
fn the_origin_hashes_the_documented_bytes() {
    let by_hand = blake3(&[
        b"tipline.origin.v1",
        &LINEAGE,
        &[0, 13],
        b"Example Chain",
        &[0, 32],
        &[0x60; 32],
    ]);
    assert_eq!(*Digest::origin(&examples::identity()).as_bytes(), by_hand);
    let by_hand = blake3(&[
        b"tipline.origin.v2",
        &LINEAGE,
        &[0, 13],
        b"Example Chain",
        &[0, 32],
        &[0x60; 32],
        &5_000_000u64.to_be_bytes(),
    ]);
    assert_eq!(*Digest::origin(&examples::late_identity()).as_bytes(), by_hand);
}

/// The fields of the table from the kind on, and the payload.
type Row = (u8, u64, &'static [u8], &'static [u8], u8, Vec<u8>);

fn rows() -> Vec<Row> {
    let parted = (0..1100u32).map(|n| (n % 251) as u8).collect();
    vec![
        (1, 0, b"\x00\x06node-a", b"\x00\x10outbox--16-bytes", 0, vec![]),
        (2, 1, &B1, &G60, 0, b"block one".to_vec()),
        (3, 1, &B1, NONE, 0, b"proof of one".to_vec()),
        (3, 1, &B1, NONE, 0, vec![]),
        (4, 0, b"\x00\x02tx", NONE, 0, b"transaction".to_vec()),
        (5, 0, b"\x00\x0bconfig/fees", NONE, 0, b"value".to_vec()),
        (5, 0, b"\x00\x0bconfig/fees", NONE, 0, vec![]),
        (5, 0, b"\x00\x0bconfig/fees", NONE, 1, vec![]),
        (6, 0, &G60, NONE, 0, vec![]),
        (7, 0, b"\x00\x14before-upgrade 7 \xe2\x9c\x93", NONE, 0, vec![]),
        (2, 1, &C1, &G60, 0, parted),
    ]
}

const NONE: &[u8] = &[0, 0];
const B1: [u8; 34] = with_length(0xb1);
const G60: [u8; 34] = with_length(0x60);
const C1: [u8; 66] = with_length(0xc1);

/// A hash of one byte repeated, after its length in two bytes.
const fn with_length<const N: usize>(byte: u8) -> [u8; N] {
    let mut bytes = [byte; N];
    bytes[0] = 0;
    bytes[1] = (N - 2) as u8;
    bytes
}

#[test]
fn entries_hash_the_documented_bytes() {
    let entries = examples::entries();
    assert_eq!(rows().len(), entries.len(), "a row for each entry");
    let mut previous = *Digest::origin(&examples::identity()).as_bytes();
    for (n, (row, (name, entry))) in (0u64..).zip(rows().into_iter().zip(entries)) {
        let (kind, height, first, second, erased, payload) = row;
        let head = [
            &b"tipline.entry.v1"[..],
            &previous,
            &(n + 1).to_be_bytes(),
            &EPOCH.to_be_bytes(),
            &(TIME + n).to_be_bytes(),
            &n.to_be_bytes(),
            &[kind],
            &height.to_be_bytes(),
        ]
        .concat();
        assert_eq!(head.len(), 89, "offset of the first text");
        let length = (payload.len() as u64).to_be_bytes();
        let payload = blake3(&[&payload]);
        let by_hand = blake3(&[&head, first, second, &[erased], &length, &payload]);
        assert_eq!(*entry.digest.as_bytes(), by_hand, "{name}: keep stable, digests are persisted");
        previous = by_hand;
    }
}

#[test]
fn kinds_keep_their_numbers() {
    let numbers: Vec<(u8, &str)> =
        Kind::ALL.into_iter().map(|kind| (kind as u8, kind.as_str())).collect();
    let persisted = [
        (1, "epoch_started"),
        (2, "block_committed"),
        (3, "block_proven"),
        (4, "transaction_validated"),
        (5, "state_recorded"),
        (6, "rolled_back"),
        (7, "marked"),
    ];
    assert_eq!(numbers, persisted, "persisted: keep stable");
}

#[test]
fn every_example_follows_the_one_before_it_only() {
    let entries: Vec<Entry> = examples::entries().into_iter().map(|(_, entry)| entry).collect();
    let positions: Vec<Position> =
        std::iter::once(examples::position()).chain(entries.iter().map(Entry::position)).collect();
    for (n, entry) in entries.iter().enumerate() {
        for (m, position) in positions.iter().enumerate() {
            assert_eq!(entry.follows(position), n == m, "entry {} after {position}", n + 1);
        }
    }
}

proptest! {
    #[test]
    fn logs_of_another_chain_or_lineage_have_another_origin(
        one in arbitrary::identity(),
        other in arbitrary::identity(),
    ) {
        let with = |change: fn(&mut LogIdentity, LogIdentity)| {
            let mut changed = one.clone();
            change(&mut changed, other.clone());
            (changed.clone(), Digest::origin(&changed) == Digest::origin(&one))
        };
        let (changed, same) = with(|log, other| log.lineage = other.lineage);
        prop_assert_eq!(same, changed.lineage == one.lineage);
        let (changed, same) = with(|log, other| log.chain.name = other.chain.name);
        prop_assert_eq!(same, changed.chain == one.chain);
        let (changed, same) = with(|log, other| log.chain.genesis = other.chain.genesis);
        prop_assert_eq!(same, changed.chain == one.chain);
        let (changed, same) = with(|log, other| log.chain.proofs_from = other.chain.proofs_from);
        prop_assert_eq!(same, changed.chain == one.chain);
        let (_, same) = with(|log, other| log.name = other.name);
        prop_assert!(same, "the name of a log is only where it is found");
    }

    #[test]
    fn what_is_sealed_follows((previous, entry) in arbitrary::sealed()) {
        prop_assert!(entry.follows(&previous));
    }

    #[test]
    fn no_single_change_goes_unseen((previous, entry) in arbitrary::sealed(), bit in 0..256usize) {
        for (what, changed) in alterations(&entry, bit) {
            prop_assert!(changed != entry, "{what} was not changed");
            prop_assert!(!changed.follows(&previous), "a changed {what} follows");
        }
        let mut digest = *previous.digest.as_bytes();
        digest[bit / 8] ^= 1 << (bit % 8);
        let other = Position { digest: Digest::from_bytes(digest), ..previous };
        prop_assert!(!entry.follows(&other), "after another history");
    }
}

/// The entry with one field changed, for each of its fields.
fn alterations(entry: &Entry, bit: usize) -> Vec<(&'static str, Entry)> {
    let flip = |number: u64| number ^ (1 << (bit % 64));
    let mut digest = *entry.digest.as_bytes();
    digest[bit / 8] ^= 1 << (bit % 8);
    let mut altered = vec![
        ("index", Entry { index: flip(entry.index), ..entry.clone() }),
        ("epoch", Entry { epoch: flip(entry.epoch), ..entry.clone() }),
        (
            "time",
            Entry { time: Timestamp::from_micros(flip(entry.time.as_micros())), ..entry.clone() },
        ),
        (
            "outbox sequence",
            Entry { outbox_sequence: flip(entry.outbox_sequence), ..entry.clone() },
        ),
        ("digest", Entry { digest: Digest::from_bytes(digest), ..entry.clone() }),
    ];
    let events = altered_events(&entry.event, bit);
    altered.extend(events.into_iter().map(|event| ("event", Entry { event, ..entry.clone() })));
    altered
}

fn altered_events(event: &Event, bit: usize) -> Vec<Event> {
    let number = |n: &u64| n ^ (1 << (bit % 64));
    let byte = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let at = bit / 8 % bytes.len();
        bytes[at] ^= 1 << (bit % 8);
        bytes
    };
    let hash = |hash: &Hash| Hash::new(byte(hash.as_ref())).unwrap();
    // Not only other bytes, but also other lengths: the end of one field may not pass for
    // the beginning of the next.
    let payload = |payload: &Bytes| Bytes::from([payload, &[0][..]].concat());
    let name = |name: &Label| Label::new(if name.as_str() == "x" { "y" } else { "x" }).unwrap();
    match event.clone() {
        Event::EpochStarted { primary, outbox } => {
            let other: [u8; 16] = byte(outbox.as_bytes()).try_into().unwrap();
            let other = OutboxId::from_bytes(other);
            vec![
                Event::EpochStarted { primary: name(&primary), outbox },
                Event::EpochStarted { primary, outbox: other },
            ]
        }
        Event::BlockCommitted { height, hash: own, parent_hash, payload: block } => {
            let with = |height, hash, parent_hash, payload| Event::BlockCommitted {
                height,
                hash,
                parent_hash,
                payload,
            };
            vec![
                with(number(&height), own.clone(), parent_hash.clone(), block.clone()),
                with(height, hash(&own), parent_hash.clone(), block.clone()),
                with(height, own.clone(), hash(&parent_hash), block.clone()),
                with(height, own.clone(), parent_hash.clone(), payload(&block)),
                Event::BlockProven { height, block_hash: own, payload: block },
            ]
        }
        Event::BlockProven { height, block_hash, payload: proof } => vec![
            Event::BlockProven {
                height: number(&height),
                block_hash: block_hash.clone(),
                payload: proof.clone(),
            },
            Event::BlockProven { height, block_hash: hash(&block_hash), payload: proof.clone() },
            Event::BlockProven { height, block_hash, payload: payload(&proof) },
        ],
        Event::TransactionValidated { id, payload: transaction } => {
            let other = TransactionId::new(byte(id.as_ref())).unwrap();
            vec![
                Event::TransactionValidated { id: other, payload: transaction.clone() },
                Event::TransactionValidated { id, payload: payload(&transaction) },
            ]
        }
        Event::StateRecorded { key, value } => {
            let other = Key::new(byte(key.as_ref())).unwrap();
            let turned = match &value {
                Some(_) => None,
                None => Some(Bytes::new()),
            };
            vec![
                Event::StateRecorded { key: other, value: value.clone() },
                Event::StateRecorded { key: key.clone(), value: turned },
                Event::StateRecorded { key, value: Some(payload(&value.unwrap_or_default())) },
            ]
        }
        Event::RolledBack { to_height, to_hash } => vec![
            Event::RolledBack { to_height: number(&to_height), to_hash: to_hash.clone() },
            Event::RolledBack { to_height, to_hash: hash(&to_hash) },
            Event::BlockProven { height: to_height, block_hash: to_hash, payload: Bytes::new() },
        ],
        Event::Marked { name: own } => vec![Event::Marked { name: name(&own) }],
    }
}
