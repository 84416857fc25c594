//! Any bytes, read as every message of the contract: no panic, and what is read is stable.

#![no_main]

use std::fmt::Debug;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tipline_proto::{
    Announcement, Assembler, Cursor, DecodeError, Entry, Head, Receipt, Signature, split,
};

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    stable(&bytes, Cursor::decode, Cursor::encode);
    stable(&bytes, Receipt::decode, Receipt::encode);
    stable(&bytes, Announcement::decode, Announcement::encode);
    stable(&bytes, |bytes| Signature::decode(&bytes), Signature::encode);
    stable(&bytes, Entry::decode, Entry::encode);
    if let Ok(entry) = Entry::decode(bytes.clone()) {
        assert_eq!(entry.encode().len(), bytes.len(), "all of it was understood");
        assert_eq!(assemble(split(&entry, 0)), entry);
        assert_eq!(Head::decode(bytes.clone()).expect("of an entry").position, entry.position());
    }
    if let Ok(head) = Head::decode(bytes.clone()) {
        assert!(head.position.index > 0);
    }
    halves(&bytes);
});

fn stable<T: Debug + PartialEq>(
    bytes: &Bytes,
    decode: fn(Bytes) -> Result<T, DecodeError>,
    encode: fn(&T) -> Bytes,
) {
    match decode(bytes.clone()) {
        Ok(value) => {
            let again = encode(&value);
            assert_eq!(decode(again.clone()).expect("own bytes are read"), value);
            assert_eq!(encode(&value), again, "one value, one encoding");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn assemble(mut messages: Vec<Bytes>) -> Entry {
    let last = messages.pop().expect("at least one");
    let mut assembler = Assembler::default();
    for message in messages {
        assembler.push(message).expect("a part of an entry");
    }
    assembler.finish(last).expect("all parts of an entry")
}

/// The input as the last part of an event, behind a part of the length in its first byte.
fn halves(bytes: &Bytes) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let mut assembler = Assembler::default();
    assert_eq!(assembler.push(vec![7; usize::from(*first)].into()).is_ok(), *first > 0);
    if let Ok(entry) = assembler.finish(bytes.slice_ref(rest)) {
        assert!(entry.event.payload().len() >= usize::from(*first));
    }
}
