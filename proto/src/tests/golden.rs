//! The bytes of every message and the digests of every kind of event, as they are in logs,
//! stores and archives. They stand in `proto/golden/`, one section for each value of `examples`.
//!
//! A new message is added by pasting what the failing test prints.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;

use super::examples;
use crate::{Announcement, Assembler, Cursor, DecodeError, Digest, Entry, Receipt, hex, split};

const MESSAGES: &str = include_str!("../../golden/messages.txt");
const DIGESTS: &str = include_str!("../../golden/digests.txt");

/// A text file of sections: a line `[name]`, then hex in as many lines as it takes.
struct Golden {
    unchecked: BTreeMap<&'static str, Bytes>,
    missing: String,
}

impl Golden {
    fn read(text: &'static str) -> Self {
        let sections = text.split("\n[").skip(1).map(|section| {
            let (name, hex) = section.split_once("]\n").expect("a line [name]");
            let digits: String = hex.split_whitespace().collect();
            (name, Bytes::from(hex::decode(&digits).expect("lines of hex")))
        });
        Self { unchecked: sections.collect(), missing: String::new() }
    }

    /// Each value once: what is left over at the end has no value any more. Gives the golden
    /// bytes.
    fn check(&mut self, name: &str, found: &[u8]) -> Bytes {
        let Some(golden) = self.unchecked.remove(name) else {
            self.missing += &format!("\n[{name}]\n{}", show(found));
            return Bytes::copy_from_slice(found);
        };
        assert!(
            golden == found,
            "persisted: keep stable. The bytes of {name} have changed, so that logs, stores and \
             archives written before cannot be read any more. They were\n{}\nand are now\n{}",
            show(&golden),
            show(found)
        );
        golden
    }

    fn finish(self) {
        let Self { unchecked, missing } = self;
        assert!(
            unchecked.is_empty(),
            "persisted: keep stable. No value for {:?}",
            unchecked.keys()
        );
        assert!(missing.is_empty(), "no golden bytes; if these are new, add\n{missing}");
    }
}

fn show(bytes: &[u8]) -> String {
    bytes.chunks(32).map(|line| format!("{:?}\n", Digits(line))).collect()
}

struct Digits<'a>(&'a [u8]);

impl Debug for Digits<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        hex::fmt(self.0, f)
    }
}

fn check_all<T: Debug + PartialEq>(
    golden: &mut Golden,
    message: &str,
    values: Vec<(&str, T)>,
    encode: impl Fn(&T) -> Bytes,
    decode: impl Fn(Bytes) -> Result<T, DecodeError>,
) {
    for (name, value) in values {
        let bytes = golden.check(&format!("{message} {name}"), &encode(&value));
        assert_eq!(decode(bytes).unwrap(), value, "golden bytes of {message} {name}");
    }
}

#[test]
fn messages_keep_their_bytes() {
    let mut golden = Golden::read(MESSAGES);
    let (parted, whole) =
        examples::entries().into_iter().partition(|(name, _)| name.ends_with("in parts"));
    check_all(&mut golden, "entry", whole, Entry::encode, Entry::decode);
    check_parts(&mut golden, parted);
    check_all(&mut golden, "cursor", examples::cursors(), Cursor::encode, Cursor::decode);
    check_all(&mut golden, "receipt", examples::receipts(), Receipt::encode, Receipt::decode);
    check_all(
        &mut golden,
        "announcement",
        examples::announcements(),
        Announcement::encode,
        Announcement::decode,
    );
    let (entries, receipts, announcements) = examples::signed();
    check_all(&mut golden, "entry", entries, Entry::encode, Entry::decode);
    check_all(&mut golden, "receipt", receipts, Receipt::encode, Receipt::decode);
    let (encode, decode) = (Announcement::encode, Announcement::decode);
    check_all(&mut golden, "announcement", announcements, encode, decode);
    golden.finish();
}

fn check_parts(golden: &mut Golden, entries: Vec<(&str, Entry)>) {
    for (name, entry) in entries {
        let parts = split(&entry, 2048);
        let mut assembler = Assembler::default();
        for (n, part) in parts.iter().enumerate() {
            let part = golden.check(&format!("part {} of {name}", n + 1), part);
            if n + 1 < parts.len() {
                assembler.push(part).unwrap();
            } else {
                assert_eq!(std::mem::take(&mut assembler).finish(part).unwrap(), entry);
            }
        }
    }
}

#[test]
fn digests_stay_what_they_are() {
    let mut golden = Golden::read(DIGESTS);
    golden.check("origin", Digest::origin(&examples::identity()).as_bytes());
    golden.check("origin late", Digest::origin(&examples::late_identity()).as_bytes());
    for (name, entry) in examples::entries() {
        golden.check(name, entry.digest.as_bytes());
    }
    golden.finish();
}
