//! To bytes and back; and what decoding refuses.

use bytes::Bytes;
use proptest::{prop_assert_eq, proptest};
use prost::Message;

use super::{arbitrary, examples};
use crate::limits::{MAX_INDEX, MAX_PAYLOAD_BYTES, MAX_TEXT_BYTES};
use crate::{
    Announcement, Cursor, DecodeError, Entry, Event, Head, Receipt, Role, fields, generated as pb,
};

proptest! {
    #[test]
    fn entries_come_back(entry in arbitrary::entry()) {
        prop_assert_eq!(Entry::decode(entry.encode()).unwrap(), entry);
    }

    #[test]
    fn cursors_come_back(cursor in arbitrary::cursor()) {
        prop_assert_eq!(Cursor::decode(cursor.encode()).unwrap(), cursor);
    }

    #[test]
    fn receipts_come_back(receipt in arbitrary::receipt()) {
        prop_assert_eq!(Receipt::decode(receipt.encode()).unwrap(), receipt);
    }

    #[test]
    fn announcements_come_back(announcement in arbitrary::announcement()) {
        prop_assert_eq!(Announcement::decode(announcement.encode()).unwrap(), announcement);
    }
}

/// The message of an error and of everything below it, one line each.
fn chain(error: &dyn std::error::Error) -> String {
    let below = error.source().map(|source| format!("\n{}", chain(source)));
    format!("{error}{}", below.unwrap_or_default())
}

/// The error of a block whose message was tampered with.
fn refusal(tamper: impl FnOnce(&mut pb::Entry)) -> String {
    let mut message = pb::Entry::decode(examples::entries()[1].1.encode()).unwrap();
    tamper(&mut message);
    chain(&Entry::decode(message.encode_to_vec().into()).unwrap_err())
}

fn other_event(name: &str) -> Option<pb::entry::Event> {
    let (_, entry) = examples::entries().into_iter().find(|(n, _)| *n == name).unwrap();
    pb::Entry::decode(entry.encode()).unwrap().event
}

#[test]
fn an_entry_that_cannot_be_is_refused_with_the_field() {
    let cases: [(&str, String); 9] = [
        (
            "a Tipline entry without index; a newer version may have written it",
            refusal(|m| m.index = 0),
        ),
        (
            "a Tipline entry without epoch; a newer version may have written it",
            refusal(|m| m.epoch = 0),
        ),
        (
            "a Tipline entry without outbox sequence; a newer version may have written it",
            refusal(|m| m.outbox_sequence = 0),
        ),
        (
            "a Tipline entry without an event; a newer version may have written it",
            refusal(|m| m.event = None),
        ),
        (
            "a Tipline entry whose digest cannot be\n31 bytes, not 32",
            refusal(|m| m.digest.truncate(31)),
        ),
        (
            "a Tipline entry whose payload cannot be\n8 bytes are there, 9 were written, 67108864 are allowed",
            refusal(|m| m.payload.truncate(8)),
        ),
        (
            "a Tipline entry whose payload cannot be\nit has none",
            refusal(|m| m.event = other_event("marked")),
        ),
        (
            "a Tipline entry whose payload cannot be\nit has none",
            refusal(|m| m.event = other_event("state_recorded erased")),
        ),
        (
            "a Tipline entry whose hash cannot be\na hash of 0 bytes; it must have 1 to 64",
            refusal(|m| match &mut m.event {
                Some(pb::entry::Event::BlockCommitted(block)) => block.hash.clear(),
                _ => panic!("not a block"),
            }),
        ),
    ];
    for (expected, found) in cases {
        assert_eq!(found, expected);
    }
    assert_eq!(
        chain(&Entry::decode(Bytes::from_static(b"nonsense")).unwrap_err()).lines().next(),
        Some("the bytes are not a Tipline entry")
    );
}

#[test]
fn a_payload_over_the_limit_is_refused_by_both_sides() {
    let event = |length| Event::TransactionValidated {
        id: crate::TransactionId::new(&b"tx"[..]).unwrap(),
        payload: vec![0; length].into(),
    };
    let largest = Entry::seal(
        &examples::position(),
        1,
        crate::Timestamp::default(),
        1,
        event(MAX_PAYLOAD_BYTES),
    );
    largest.event.check_limits().unwrap();
    assert_eq!(Entry::decode(largest.encode()).unwrap(), largest);

    let larger = Entry { event: event(MAX_PAYLOAD_BYTES + 1), ..largest };
    assert_eq!(
        larger.event.check_limits().unwrap_err().to_string(),
        "the payload of transaction 7478 has 67108865 bytes; the limit is 67108864 (64 MiB): \
         split it, or store it by reference"
    );
    assert!(matches!(
        Entry::decode(larger.encode()).unwrap_err(),
        DecodeError::Invalid { field: "payload", .. }
    ));
}

#[test]
fn what_is_kept_may_hold_nothing_unknown() {
    // Field 99 with the number 1, as a newer version might add it.
    let newer = |bytes: Bytes| Bytes::from([&bytes[..], &[0x98, 0x06, 0x01]].concat());
    let (_, entry) = &examples::entries()[1];
    let (_, cursor) = &examples::cursors()[1];
    let (_, receipt) = &examples::receipts()[1];
    let (_, announcement) = &examples::announcements()[1];

    let expected = "a Tipline entry with 3 bytes too many: a newer version may have written it";
    assert_eq!(Entry::decode(newer(entry.encode())).unwrap_err().to_string(), expected);
    assert!(matches!(
        Cursor::decode(newer(cursor.encode())).unwrap_err(),
        DecodeError::Excess { message: "cursor", bytes: 3 }
    ));
    // These two are not copied on, and an upgrade is one process after the other.
    assert_eq!(Receipt::decode(newer(receipt.encode())).unwrap(), *receipt);
    assert_eq!(Announcement::decode(newer(announcement.encode())).unwrap(), *announcement);
}

#[test]
fn fields_that_come_twice_are_refused() {
    let (_, entry) = &examples::entries()[1];
    let twice = Bytes::from([entry.encode(), entry.encode()].concat());
    assert!(matches!(Entry::decode(twice).unwrap_err(), DecodeError::Excess { .. }));

    // In another order they are the same entry: encoders may differ in that.
    let bytes = entry.encode();
    assert_eq!(bytes[0], 0x08, "the index, one byte of it, comes first");
    let rotated = Bytes::from([&bytes[2..], &bytes[..2]].concat());
    assert_eq!(Entry::decode(rotated).unwrap(), *entry);
}

#[test]
fn a_receipt_says_each_level_once() {
    let (_, receipt) = &examples::receipts()[1];
    let mut message = pb::Receipt::decode(receipt.encode()).unwrap();
    message.reached.push(message.reached[0].clone());
    let error = Receipt::decode(message.encode_to_vec().into()).unwrap_err();
    assert_eq!(chain(&error), "a Tipline receipt whose reached cannot be\napplied comes twice");
}

#[test]
fn a_receipt_of_a_newer_version_counts_for_what_is_known_of_it() {
    let (_, receipt) = &examples::receipts()[1];
    let mut message = pb::Receipt::decode(receipt.encode()).unwrap();
    message.role = 9;
    message.reached.push(pb::Reached { level: 5, ..message.reached[0].clone() });
    let read = Receipt::decode(message.encode_to_vec().into()).unwrap();
    assert_eq!(read.role, Role::Unknown(9));
    assert_eq!(read.role.as_str(), "unknown");
    assert_eq!(read.reached, receipt.reached, "without the level that this version does not know");
    assert_eq!(pb::Receipt::decode(read.encode()).unwrap().role, 9, "it is carried on");
}

/// Two bytes of an empty level become 56 in memory.
#[test]
fn what_the_board_holds_is_small() {
    let (_, receipt) = &examples::receipts()[1];
    let mut message = pb::Receipt::decode(receipt.encode()).unwrap();
    message.reached.resize(100_000, pb::Reached::default());
    let error = Receipt::decode(message.encode_to_vec().into()).unwrap_err();
    assert!(chain(&error).contains("65536 are allowed"), "{}", chain(&error));
    let (_, announcement) = &examples::announcements()[1];
    let large = Bytes::from([&announcement.encode()[..], &[0; 65536]].concat());
    let error = Announcement::decode(large).unwrap_err();
    assert!(chain(&error).contains("65536 are allowed"), "{}", chain(&error));
}

#[test]
fn a_failure_is_never_lost_and_texts_are_cut_at_a_character() {
    let (_, mut receipt) = examples::receipts().remove(1);
    receipt.failure = Some(String::new());
    receipt.store = "€".repeat(MAX_TEXT_BYTES);
    let back = Receipt::decode(receipt.encode()).unwrap();
    assert_eq!(back.failure.as_deref(), Some("no reason given"));
    assert_eq!(back.store, "€".repeat(MAX_TEXT_BYTES / 3));

    let mut message = pb::Receipt::decode(receipt.encode()).unwrap();
    message.store = "x".repeat(MAX_TEXT_BYTES + 1);
    let error = Receipt::decode(message.encode_to_vec().into()).unwrap_err();
    assert_eq!(chain(&error), "a Tipline receipt whose store cannot be\n4097 bytes, over 4096");

    let (_, mut announcement) = examples::announcements().remove(1);
    announcement.failure = Some(String::new());
    let back = Announcement::decode(announcement.encode()).unwrap();
    assert_eq!(back.failure.as_deref(), Some("no reason given"));
}

/// Two bytes each, and thirty times as much in memory.
#[test]
fn what_would_take_more_memory_than_it_has_bytes_is_refused_before_it_is_decoded() {
    let entry = examples::entries()[1].1.encode();
    let mut message = pb::Entry::decode(entry.clone()).unwrap();
    let predecessors = vec![pb::Predecessor::default(); 1 << 20];
    message.signature = Some(pb::Signature { predecessors, ..pb::Signature::default() });
    let bytes = Bytes::from(message.encode_to_vec());
    for refused in [Entry::decode(bytes.clone()).map(drop), Head::decode(bytes).map(drop)] {
        let error = refused.unwrap_err();
        assert!(matches!(error, DecodeError::Excess { bytes: 2_000_000.., .. }), "{error:?}");
    }
    // A group, which is skipped by those who do not know it: it ends what can be counted.
    let group = [entry, Bytes::from_static(&[0x1b, 0x1c])].concat();
    let error = Entry::decode(group.into()).unwrap_err();
    assert!(matches!(error, DecodeError::Malformed { .. }), "{error:?}");
}

#[test]
fn an_index_is_no_larger_than_what_a_database_can_hold() {
    let mut message = pb::Entry::decode(examples::entries()[1].1.encode()).unwrap();
    message.index = MAX_INDEX;
    Entry::decode(message.encode_to_vec().into()).unwrap();
    message.index += 1;
    let bytes = Bytes::from(message.encode_to_vec());
    for refused in [Entry::decode(bytes.clone()).map(drop), Head::decode(bytes).map(drop)] {
        let error = chain(&refused.unwrap_err());
        assert!(error.contains("index") && error.contains("is over"), "{error}");
    }
}

#[test]
fn fields_are_found_as_a_decoder_finds_them() {
    let message = pb::Entry::decode(examples::entries()[1].1.encode()).unwrap();
    let bytes = message.encode_to_vec();
    let found: Vec<_> = fields(&bytes).map(Result::unwrap).collect();
    let value = |number| found.iter().find(|field| field.number == number).unwrap().value;
    assert_eq!(value(5), message.digest);
    assert_eq!(value(6), message.payload);
    assert!(value(1).is_empty(), "a number has no length");
    // A number of a field may be written in more bytes than it needs. Cut off anywhere else than
    // between two fields it is no message.
    let long = [&[0xb2, 0x80, 0x00, 0x01, 7][..], &bytes].concat();
    let first = fields(&long).next().unwrap().unwrap();
    assert_eq!((first.number, first.value), (6, &[7][..]));
    let whole = |end: &usize| fields(&bytes[..*end]).all(|field| field.is_ok());
    let ends = (0..=bytes.len()).filter(whole).count();
    assert_eq!(ends, found.len() + 1);
    for bad in [&[0x0b][..], &[0x0c], &[0x0f], &[0x80; 11], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
        assert!(fields(bad).any(|field| field.is_err()), "{bad:?}");
    }
}
