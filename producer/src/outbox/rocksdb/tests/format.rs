//! What is written is written for good: golden bytes.

use bytes::Bytes;
use tipline_proto::{Event, Hash, Key, Label, OutboxId, Timestamp, Tip, TransactionId};

use super::super::keys;
use super::super::row::{Head, Place};
use super::super::state::{Identity, Newest, Trimmed};
use crate::outbox::Limits;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(byte: u8) -> Hash {
    Hash::new([byte; 2]).unwrap()
}

#[test]
fn keys_stay_what_they_are() {
    let single = [keys::IDENTITY, keys::LIMITS, keys::NEWEST, keys::TRIMMED, keys::LINEAGE];
    assert_eq!(single.map(hex), ["00", "01", "02", "03", "04"]);
    assert_eq!(hex(&keys::block(258)), "100000000000000102");
    assert_eq!(hex(keys::PROVEN_RUNS), "06");
    assert_eq!(hex(&keys::proven(3)), "110000000000000003");
    assert_eq!(hex(&keys::payload(1)), "200000000000000001");
    assert_eq!(hex(&keys::row(u64::MAX)), "30ffffffffffffffff");
}

#[test]
fn values_stay_what_they_are_and_are_read_exactly() {
    let identity = Identity { id: OutboxId::from_bytes([5; 16]), genesis: hash(0xaa) };
    let value = identity.encode();
    let golden = format!("0000000000000001{}0002aaaa", "05".repeat(16));
    assert_eq!(hex(&value), golden);
    assert_eq!(Identity::decode(&value).unwrap(), identity);

    let limits = Limits { events: 3, bytes: 4 };
    assert_eq!(hex(&limits.encode()), "00000000000000030000000000000004");
    assert_eq!(Limits::decode(&limits.encode()).unwrap(), limits);

    let trimmed = Trimmed { sequence: 7, bytes: 8 };
    assert_eq!(hex(&trimmed.encode()), "00000000000000070000000000000008");
    assert_eq!(Trimmed::decode(&trimmed.encode()).unwrap(), trimmed);

    let tip = Some(Tip { height: 9, hash: hash(0xbb) });
    let newest = Newest { sequence: 1, bytes: 2, base: None, tip };
    let value = newest.encode();
    assert_eq!(
        hex(&value),
        "0000000000000001000000000000000200010000000000000009".to_owned() + "0002bbbb"
    );
    assert_eq!(Newest::decode(&value).unwrap(), newest);
    for end in 0..value.len() {
        assert!(Newest::decode(&value[..end]).is_err(), "cut at {end}");
    }
    assert!(Newest::decode(&[&value[..], &[0]].concat()).is_err(), "more than it should be");
}

#[test]
fn rows_stay_what_they_are_and_are_read_exactly() {
    let payload = Bytes::new();
    let own = Place::Own { length: 3 };
    let key = Key::new([0xcc]).unwrap();
    let family = "blocks".to_owned();
    let elsewhere = Place::Elsewhere { length: 3, blake3: [6; 32], family, key: vec![0xdd] };
    let place = format!("020000000000000003{}0006626c6f636b730001dd", "06".repeat(32));
    let rows = [
        (
            Event::BlockCommitted {
                height: 1,
                hash: hash(0xaa),
                parent_hash: hash(0xbb),
                payload: payload.clone(),
            },
            own.clone(),
            "02",
            "01000000000000000300000000000000010002aaaa0002bbbb".to_owned(),
        ),
        (
            Event::BlockProven { height: 1, block_hash: hash(0xaa), payload: payload.clone() },
            elsewhere,
            "03",
            place + "00000000000000010002aaaa",
        ),
        (
            Event::TransactionValidated {
                id: TransactionId::new([0xee]).unwrap(),
                payload: payload.clone(),
            },
            own.clone(),
            "04",
            "0100000000000000030001ee".to_owned(),
        ),
        (
            Event::StateRecorded { key: key.clone(), value: Some(payload) },
            own,
            "05",
            "0100000000000000030001cc".to_owned(),
        ),
        (Event::StateRecorded { key, value: None }, Place::None, "05", "000001cc".to_owned()),
        (
            Event::RolledBack { to_height: 1, to_hash: hash(0xaa) },
            Place::None,
            "06",
            "0000000000000000010002aaaa".to_owned(),
        ),
        (
            Event::Marked { name: Label::new("x").unwrap() },
            Place::None,
            "07",
            "00000178".to_owned(),
        ),
    ];
    for (event, payload, kind, rest) in rows {
        let head = Head { time: Timestamp::from_micros(16), bytes: 17, payload, event };
        let value = head.encode();
        let golden = format!("{kind}00000000000000100000000000000011{rest}");
        assert_eq!(hex(&value), golden, "{}", head.event);
        assert_eq!(Head::decode(&value).unwrap(), head);
        for end in 0..value.len() {
            assert!(Head::decode(&value[..end]).is_err(), "{} cut at {end}", head.event);
        }
        assert!(Head::decode(&[&value[..], &[0]].concat()).is_err(), "{} and more", head.event);
        let mut unknown = value.clone();
        unknown[0] = 1;
        assert!(Head::decode(&unknown).is_err(), "an epoch's start is no row");
        unknown[0] = 8;
        assert!(Head::decode(&unknown).is_err(), "no such kind");
    }
}

#[test]
fn an_event_without_a_payload_and_one_with_an_empty_one_are_not_mixed_up() {
    let mark = Event::Marked { name: Label::new("x").unwrap() };
    for (event, payload) in [
        (mark, Place::Own { length: 0 }),
        (Event::BlockProven { height: 1, block_hash: hash(1), payload: Bytes::new() }, Place::None),
    ] {
        let head = Head { time: Timestamp::default(), bytes: 0, payload, event };
        let error = Head::decode(&head.encode()).unwrap_err();
        assert!(error.to_string().contains("payload's place"), "{error}");
    }
}
