//! Events larger than a message.

use bytes::Bytes;
use proptest::{prop_assert, prop_assert_eq, proptest};
use prost::Message;

use super::{arbitrary, examples};
use crate::limits::{
    MAX_HASH_BYTES, MAX_KEY_BYTES, MAX_LABEL_BYTES, MAX_PAYLOAD_BYTES, MAX_UNIT_MESSAGES,
};
use crate::{
    Assembler, DecodeError, Digest, Entry, Event, Hash, Head, Headers, Key, Label,
    MAX_ENTRY_OVERHEAD, OutboxId, Position, Timestamp, TransactionId, generated as pb, split,
};

fn assemble(messages: Vec<Bytes>) -> Entry {
    let mut assembler = Assembler::default();
    let last = messages.len() - 1;
    for (n, message) in messages.into_iter().enumerate() {
        assert_eq!((assembler.len(), assembler.is_empty()), (n, n == 0));
        if n == last {
            let entry = assembler.finish(message).unwrap();
            assert!(assembler.is_empty());
            return entry;
        }
        assembler.push(message).unwrap();
    }
    unreachable!("there is a last message")
}

fn head(entry: &Entry) -> Head {
    let Entry { epoch, time, outbox_sequence, .. } = *entry;
    Head { position: entry.position(), epoch, time, outbox_sequence }
}

fn with_payload(length: usize) -> Entry {
    let payload = (0..length).map(|n| (n % 251) as u8).collect();
    let id = TransactionId::new(&b"tx"[..]).unwrap();
    let event = Event::TransactionValidated { id, payload };
    Entry::seal(&examples::position(), 1, Timestamp::default(), 1, event)
}

proptest! {
    #[test]
    fn parts_make_up_the_entry(entry in arbitrary::entry(), max_message in 0..8000usize) {
        let messages = split(&entry, max_message);
        let limit = max_message.max(2 * MAX_ENTRY_OVERHEAD);
        prop_assert!(messages.iter().all(|message| (1..=limit).contains(&message.len())));
        prop_assert_eq!(Head::decode(messages.last().unwrap().clone()).unwrap(), head(&entry));
        prop_assert_eq!(assemble(messages), entry);
    }

    #[test]
    fn parts_of_any_length_make_up_the_entry(
        length in 0..300_000usize,
        max_message in 2048..40_000usize,
    ) {
        let entry = with_payload(length);
        let messages = split(&entry, max_message);
        prop_assert!(messages.iter().all(|message| (1..=max_message).contains(&message.len())));
        let whole = length + MAX_ENTRY_OVERHEAD <= max_message;
        prop_assert_eq!(messages.len() == 1, whole, "as few messages as it takes");
        prop_assert_eq!(assemble(messages), entry);
    }

    #[test]
    fn a_missing_or_swapped_part_is_seen(length in 6000..20_000usize, part in 0..2usize) {
        let entry = with_payload(length);
        let mut messages = split(&entry, 2048);
        let last = messages.pop().unwrap();

        let mut swapped = Assembler::default();
        let mut order = messages.clone();
        order.swap(part, part + 1);
        order.into_iter().for_each(|part| swapped.push(part).unwrap());
        let altered = swapped.finish(last.clone()).unwrap();
        prop_assert!(!altered.follows(&examples::position()), "the digest tells");

        messages.remove(part);
        let mut missing = Assembler::default();
        messages.into_iter().for_each(|part| missing.push(part).unwrap());
        prop_assert!(missing.finish(last).is_err());
        prop_assert!(missing.is_empty());
    }
}

/// At each limit exactly, and one byte beside it.
#[test]
fn the_edges_of_a_message() {
    let whole = 2048 - MAX_ENTRY_OVERHEAD;
    for (length, messages) in
        [(0, 1), (whole, 1), (whole + 1, 2), (whole + 2048, 2), (whole + 2049, 3)]
    {
        let parts = split(&with_payload(length), 2048);
        assert_eq!(parts.len(), messages, "payload of {length}");
        assert_eq!(assemble(parts), with_payload(length));
    }
}

#[test]
fn no_entry_has_more_overhead_than_is_kept_free() {
    let hash = || Hash::new([1; MAX_HASH_BYTES]).unwrap();
    let label = || Label::new(&"x".repeat(MAX_LABEL_BYTES)).unwrap();
    let payload = Bytes::from(vec![1; MAX_PAYLOAD_BYTES]);
    let largest = [
        Event::EpochStarted { primary: label(), outbox: OutboxId::from_bytes([1; 16]) },
        Event::BlockCommitted {
            height: u64::MAX,
            hash: hash(),
            parent_hash: hash(),
            payload: payload.clone(),
        },
        Event::BlockProven { height: u64::MAX, block_hash: hash(), payload: payload.clone() },
        Event::TransactionValidated {
            id: TransactionId::new([1; MAX_HASH_BYTES]).unwrap(),
            payload: payload.clone(),
        },
        Event::StateRecorded { key: Key::new([1; MAX_KEY_BYTES]).unwrap(), value: Some(payload) },
        Event::RolledBack { to_height: u64::MAX, to_hash: hash() },
        Event::Marked { name: label() },
    ];
    for event in largest {
        let entry = Entry {
            index: u64::MAX,
            epoch: u64::MAX,
            time: Timestamp::from_micros(u64::MAX),
            outbox_sequence: u64::MAX,
            digest: Digest::from_bytes([1; 32]),
            event,
            signature: None,
            headers: Headers::default(),
        };
        let overhead = entry.encode().len() - entry.event.payload().len();
        assert!(
            overhead <= MAX_ENTRY_OVERHEAD,
            "{overhead} bytes: {}",
            entry.event.kind().as_str()
        );
    }
}

#[test]
fn the_largest_event_is_one_unit_of_66_kib_messages() {
    let parts = split(&with_payload(MAX_PAYLOAD_BYTES), 66 << 10);
    assert!(parts.len() <= MAX_UNIT_MESSAGES, "{} parts", parts.len());
    assert_eq!(assemble(parts), with_payload(MAX_PAYLOAD_BYTES));
}

fn reason(error: &dyn std::error::Error) -> String {
    assert_eq!(error.to_string(), "a Tipline entry whose payload cannot be");
    error.source().unwrap().to_string()
}

#[test]
fn what_waits_is_bounded_in_bytes_and_in_count() {
    let mut assembler = Assembler::default();
    let part = Bytes::from(vec![0; MAX_PAYLOAD_BYTES / 4]);
    (0..4).for_each(|_| assembler.push(part.clone()).unwrap());
    let error = assembler.push(Bytes::from_static(b"x")).unwrap_err();
    assert_eq!(reason(&error), "its parts have over 67108864 bytes together");
    assert!(assembler.is_empty(), "they are dropped");

    let byte = Bytes::from_static(b"x");
    (1..MAX_UNIT_MESSAGES).for_each(|_| assembler.push(byte.clone()).unwrap());
    let error = assembler.push(byte.clone()).unwrap_err();
    assert_eq!(reason(&error), "it has over 1000 parts");
    assert!(assembler.is_empty());

    assembler.push(byte).unwrap();
    let error = assembler.push(Bytes::new()).unwrap_err();
    assert_eq!(reason(&error), "a part of it is empty");
    assert!(assembler.is_empty());
}

/// A publisher resumes by it, so it may not be more lenient than whoever reads the entry.
#[test]
fn a_head_is_read_as_strictly_as_its_entry() {
    let last = split(&with_payload(9000), 4096).pop().unwrap();
    assert_eq!(Head::decode(last.clone()).unwrap(), head(&with_payload(9000)));
    assert!(Entry::decode(last.clone()).is_err(), "the beginning of the payload is not here");

    let tampered = |tamper: fn(&mut pb::Entry)| {
        let mut message = pb::Entry::decode(last.clone()).unwrap();
        tamper(&mut message);
        Head::decode(message.encode_to_vec().into()).unwrap_err().to_string()
    };
    let without =
        |field| format!("a Tipline entry without {field}; a newer version may have written it");
    assert_eq!(tampered(|message| message.index = 0), without("index"));
    assert_eq!(tampered(|message| message.epoch = 0), without("epoch"));
    assert_eq!(tampered(|message| message.outbox_sequence = 0), without("outbox sequence"));
    assert_eq!(tampered(|message| message.event = None), without("an event"));
    let twice = Bytes::from([&last[..], &last[..]].concat());
    assert!(matches!(Head::decode(twice).unwrap_err(), DecodeError::Excess { .. }));
    assert!(Head::decode(Bytes::from_static(b"nonsense")).is_err());
}

#[test]
fn parts_before_a_whole_message_are_an_error() {
    let entry = with_payload(10);
    let mut assembler = Assembler::default();
    assembler.push(Bytes::from_static(b"of another event")).unwrap();
    assert!(assembler.finish(entry.encode()).is_err());
    assert_eq!(assembler.finish(entry.encode()).unwrap(), entry, "and are gone");
    let previous = Position::origin(&examples::identity());
    assert!(entry.follows(&previous));
}
