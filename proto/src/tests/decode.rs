//! No input makes a decoder or a parser panic, and what it accepts is stable.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use bytes::Bytes;
use proptest::arbitrary::any;
use proptest::collection::vec;
use proptest::sample::select;
use proptest::strategy::Strategy;
use proptest::{prop_oneof, proptest};

use super::{arbitrary, examples};
use crate::subject::{Part, Subject};
use crate::{
    Announcement, Assembler, ChainName, ConsumerName, Cursor, DecodeError, Digest, Entry, Hash,
    Head, InstanceId, Key, Label, Level, Lineage, LogName, OutboxId, Policy, Receipt, Signature,
    TransactionId, split,
};

fn stable<T: Debug + PartialEq>(
    bytes: &Bytes,
    decode: fn(Bytes) -> Result<T, DecodeError>,
    encode: fn(&T) -> Bytes,
) {
    let Ok(value) = decode(bytes.clone()) else { return };
    let again = encode(&value);
    assert_eq!(decode(again.clone()).expect("own bytes are read"), value);
    assert_eq!(encode(&value), again, "one value, one encoding");
}

fn decode_as_everything(bytes: &Bytes) {
    stable(bytes, Entry::decode, Entry::encode);
    stable(bytes, Cursor::decode, Cursor::encode);
    stable(bytes, Receipt::decode, Receipt::encode);
    stable(bytes, Announcement::decode, Announcement::encode);
    stable(bytes, |bytes| Signature::decode(&bytes), Signature::encode);
    if let Ok(entry) = Entry::decode(bytes.clone()) {
        assert_eq!(entry.encode().len(), bytes.len(), "all of it was understood");
        assert_eq!(Head::decode(bytes.clone()).unwrap().position, entry.position());
    }
    if let Ok(head) = Head::decode(bytes.clone()) {
        assert!(head.position.index > 0);
    }
    let mut assembler = Assembler::default();
    assert_eq!(assembler.push(bytes.clone()).is_ok(), !bytes.is_empty());
    if let Ok(entry) = assembler.finish(bytes.clone()) {
        assert!(entry.event.payload().starts_with(bytes));
    }
    assert!(assembler.is_empty());
}

/// A way to damage bytes; places are taken modulo what is there.
#[derive(Debug, Clone)]
enum Damage {
    Flip(usize),
    Truncate(usize),
    /// Copies a range to its own end: a field that comes twice, if it hits one.
    Repeat(usize, usize),
    Remove(usize, usize),
    Insert(usize, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<usize>;
    prop_oneof![
        at().prop_map(Damage::Flip),
        at().prop_map(Damage::Truncate),
        (at(), 1..80usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
        (at(), 1..80usize).prop_map(|(at, length)| Damage::Remove(at, length)),
        (at(), bits()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
    ]
}

/// Random bytes, and the ones that protobuf stumbles over: endless varints, huge lengths,
/// wrong wire types, groups.
fn bits() -> impl Strategy<Value = Vec<u8>> {
    let nasty: Vec<&[u8]> = vec![
        &[0xff; 11],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0x32, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x0b, 0x0c],
        &[0x0d, 0x00],
        &[0x00],
        &[0x80, 0x01],
        &[0x8a, 0x01, 0x00],
        &[0x92, 0x01, 0x02, 0x08, 0x01],
    ];
    prop_oneof![vec(any::<u8>(), 1..20), select(nasty).prop_map(<[u8]>::to_vec)]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let range =
            |at: usize, n: usize| (at % length)..(at % length).saturating_add(n).min(length);
        match self {
            Damage::Insert(at, new) => {
                let at = at % (length + 1);
                bytes.splice(at..at, new.iter().copied());
            }
            _ if length == 0 => {}
            Damage::Flip(bit) => bytes[bit / 8 % length] ^= 1 << (bit % 8),
            Damage::Truncate(at) => bytes.truncate(at % length),
            Damage::Repeat(at, n) => bytes.extend_from_within(range(*at, *n)),
            Damage::Remove(at, n) => {
                bytes.drain(range(*at, *n));
            }
        }
    }
}

fn message() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        arbitrary::entry().prop_map(|entry| entry.encode()),
        arbitrary::entry().prop_map(|entry| split(&entry, 2048).pop().unwrap()),
        arbitrary::cursor().prop_map(|cursor| cursor.encode()),
        arbitrary::receipt().prop_map(|receipt| receipt.encode()),
        arbitrary::announcement().prop_map(|announcement| announcement.encode()),
    ]
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        decode_as_everything(&bytes.into());
    }

    #[test]
    fn damaged_messages_never_panic(message in message(), damage in vec(damage(), 1..4)) {
        let mut bytes = message.to_vec();
        for damage in damage {
            damage.apply(&mut bytes);
        }
        decode_as_everything(&bytes.into());
    }

    #[test]
    fn random_text_never_panics(text in proptest::string::string_regex("(?s).{0,80}").unwrap()) {
        parse_as_everything(&text);
    }

    #[test]
    fn nearly_right_text_never_panics(words in vec(select(WORDS.to_vec()), 0..16)) {
        parse_as_everything(&words.concat());
        parse_as_everything(&words.join(" "));
    }
}

const WORDS: [&str; 27] = [
    "any",
    "2",
    "0",
    "+1",
    "4294967296",
    "of",
    "*",
    "backup-*",
    "archive",
    ",",
    "at",
    "durable",
    "and",
    "tipline",
    ".",
    "main",
    "event",
    "receipt",
    "primary",
    "marked",
    "/",
    "1",
    "5",
    "00",
    "fF",
    "é",
    "\u{0}",
];

fn parse_as_everything(text: &str) {
    parse::<Policy>(text);
    parse::<Level>(text);
    parse::<LogName>(text);
    parse::<ConsumerName>(text);
    parse::<ChainName>(text);
    parse::<Label>(text);
    parse::<Subject>(text);
    parse::<Part>(text);
    parse::<Hash>(text);
    parse::<TransactionId>(text);
    parse::<Key>(text);
    parse::<Digest>(text);
    parse::<Lineage>(text);
    parse::<OutboxId>(text);
    parse::<InstanceId>(text);
}

fn parse<T: FromStr<Err: Debug + Display> + Display + Debug + PartialEq>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => {
            let printed = value.to_string();
            assert_eq!(printed.parse::<T>().expect("own text is read"), value);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Every single bit of every example, and every length of it: small enough to try all.
#[test]
fn every_flipped_bit_and_every_cut_of_the_examples() {
    for (_, entry) in examples::entries() {
        let bytes = entry.encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            decode_as_everything(&flipped.into());
        }
        for length in 0..bytes.len() {
            assert!(Entry::decode(bytes.slice(..length)).is_err(), "cut to {length} bytes");
        }
    }
}
