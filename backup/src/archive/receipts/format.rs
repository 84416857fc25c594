//! The bytes of an object of the history of receipts. Pure. The numbers are persisted: keep stable.
//!
//! # FORMAT, version 1: what was on the board from one moment to another
//!
//! | bytes | piece |
//! |---|---|
//! | 8 | magic `TIPLRCP1`; the last byte is the version |
//! | 4 | length of the head, little-endian |
//! | n | head: the message `Head` |
//! | n | body: the message `Body` as one zstd frame; if the archive has recipients, as one age file |
//! | 32 | BLAKE3 of everything before |
//!
//! # FORMAT, version 2: several of those, merged
//!
//! After the magic `TIPLRCP2`, of each its length, 4 bytes, little-endian, and its bytes as they were: see
//! `parts.rs`.

use std::collections::BTreeSet;

use bytes::{Buf, Bytes};
use prost::Message;
use tipline_proto::{Announcement, Lineage, Receipt, Timestamp};

use super::name::{MAX_NAME, ReceiptSpan};
use super::record::{ReceiptRecord, ReceiptSaid};
use crate::archive::format::{pack, unpack};
use crate::archive::segment::SegmentError;
use crate::keys::Keys;

pub(super) const MAGIC: &[u8; 7] = b"TIPLRCP";
const VERSION: u8 = b'1';
const HASH: usize = 32;
/// No object is shorter.
pub(super) const SHORTEST: usize = MAGIC.len() + 1 + 4 + HASH;
/// Many times what a minute of a large fleet is.
const MAX_UNPACKED: usize = 64 << 20;
/// The same in records: ten thousand consumers that change all the time. In memory a record is larger
/// than the fewest bytes that can say it.
const MAX_RECORDS: usize = 1 << 17;
/// Before each record: field 1, of some length.
const RECORD_TAG: u8 = (1 << 3) | 2;

#[derive(Clone, PartialEq, Message)]
struct Head {
    #[prost(bytes = "bytes", tag = "1")]
    lineage: Bytes,
    #[prost(string, tag = "2")]
    run: String,
    #[prost(uint64, tag = "3")]
    number: u64,
    #[prost(uint64, tag = "4")]
    from_us: u64,
    #[prost(uint64, tag = "5")]
    to_us: u64,
    #[prost(bool, tag = "6")]
    encrypted: bool,
    /// Name of the newest object of the history when the run began; in its first object.
    #[prost(string, optional, tag = "7")]
    follows: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Body {
    #[prost(message, repeated, tag = "1")]
    records: Vec<Record>,
}

/// One of the three.
#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(uint64, tag = "1")]
    seen_us: u64,
    #[prost(bytes = "bytes", optional, tag = "2")]
    receipt: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    announcement: Option<Bytes>,
    #[prost(string, optional, tag = "4")]
    forgotten: Option<String>,
}

/// Why bytes are not the object that they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Corrupt(String),
    NeedsKey,
    Newer(u32),
}

impl From<SegmentError> for Unreadable {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Corrupt(what) => Self::Corrupt(what),
            SegmentError::NeedsKey => Self::NeedsKey,
        }
    }
}

pub(super) fn corrupt(what: impl Into<String>) -> Unreadable {
    Unreadable::Corrupt(what.into())
}

/// An object of one recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReceiptObject {
    pub(crate) lineage: Lineage,
    pub(super) span: ReceiptSpan,
    /// The newest object of the history when the run began; in the first object of a run.
    pub(super) follows: Option<ReceiptSpan>,
    pub(super) records: Vec<ReceiptRecord>,
}

pub(crate) fn encode(object: &ReceiptObject, keys: &Keys) -> std::io::Result<Vec<u8>> {
    let ReceiptObject { lineage, span, follows, records } = object;
    let record = |ReceiptRecord { seen, said }: &ReceiptRecord| {
        let mut record = Record { seen_us: seen.as_micros(), ..Record::default() };
        match said {
            ReceiptSaid::Receipt(receipt) => record.receipt = Some(receipt.original()),
            ReceiptSaid::Announcement(said) => record.announcement = Some(said.original()),
            ReceiptSaid::Forgotten(name) => record.forgotten = Some(name.as_str().to_owned()),
        }
        record
    };
    let encrypted = !keys.recipients().is_empty();
    let body = Body { records: records.iter().map(record).collect() };
    let body = body.encode_to_vec();
    if records.len() > MAX_RECORDS || body.len() > MAX_UNPACKED {
        let (count, bytes) = (records.len(), body.len());
        let what = format!("{count} records of {bytes} bytes are too many for one object");
        return Err(std::io::Error::other(what));
    }
    let body = pack(body, encrypted, keys)?;
    let head = Head {
        lineage: Bytes::copy_from_slice(lineage.as_bytes()),
        run: span.run.clone(),
        number: span.number,
        from_us: span.from.as_micros(),
        to_us: span.to.as_micros(),
        encrypted,
        follows: follows.as_ref().map(ToString::to_string),
    };
    Ok(seal(&head.encode_to_vec(), &body))
}

/// An object with this head and body.
pub(crate) fn seal(head: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    // A head has some dozens of bytes.
    bytes.extend_from_slice(&(head.len() as u32).to_le_bytes());
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(body);
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes
}

/// An object whose checksum is right, and what its head says. No key is needed to know that.
#[derive(Debug)]
pub(super) struct Sealed<'a> {
    pub(super) lineage: Lineage,
    pub(super) span: ReceiptSpan,
    pub(super) follows: Option<ReceiptSpan>,
    encrypted: bool,
    body: &'a [u8],
}

impl<'a> Sealed<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let sealed = bytes.len().checked_sub(HASH).ok_or_else(|| corrupt("it is too short"))?;
        let (mut rest, hash) = bytes.split_at(sealed);
        if blake3::hash(rest).as_bytes() != hash {
            return Err(corrupt("it does not have its checksum"));
        }
        rest = rest.strip_prefix(MAGIC).ok_or_else(|| corrupt("it does not begin as it should"))?;
        match rest.first() {
            Some(&VERSION) => rest.advance(1),
            Some(newer) if newer.is_ascii_digit() => {
                return Err(Unreadable::Newer(u32::from(newer - b'0')));
            }
            _ => return Err(corrupt("it does not begin as it should")),
        }
        if rest.len() < 4 {
            return Err(corrupt("it is too short"));
        }
        let length = usize::try_from(rest.get_u32_le()).unwrap_or(usize::MAX);
        let (head, body) =
            rest.split_at_checked(length).ok_or_else(|| corrupt("its head is cut off"))?;
        let head = Head::decode(head).map_err(|e| corrupt(format!("its head: {e}")))?;
        let lineage = <[u8; 16]>::try_from(&head.lineage[..]);
        let lineage = lineage.map_err(|_| corrupt("its head has no lineage"))?;
        let [from, to] = [head.from_us, head.to_us].map(Timestamp::from_micros);
        let (run, number) = (head.run, head.number);
        let span = ReceiptSpan { from, to, run, number, last: number };
        if from > to || ReceiptSpan::parse(&span.to_string()).as_ref() != Some(&span) {
            return Err(corrupt("no object is called as it says"));
        }
        let name = head.follows.as_ref().filter(|name| name.len() <= MAX_NAME);
        let follows = name.and_then(|name| ReceiptSpan::parse(name));
        if follows.is_some() != head.follows.is_some() {
            return Err(corrupt("its head does not say what it follows"));
        }
        let lineage = Lineage::from_bytes(lineage);
        Ok(Self { lineage, span, follows, encrypted: head.encrypted, body })
    }

    /// Of this log, and of this name.
    pub(super) fn check(&self, lineage: Lineage, span: &ReceiptSpan) -> Result<(), Unreadable> {
        if self.lineage != lineage {
            return Err(corrupt("it belongs to another log"));
        }
        if self.span != *span {
            return Err(corrupt(format!("it should be called {}", self.span)));
        }
        Ok(())
    }

    /// What is in it.
    pub(super) fn open(self, keys: &Keys) -> Result<ReceiptObject, Unreadable> {
        let Self { lineage, span, follows, encrypted, body } = self;
        let plain = unpack("body", body, encrypted, keys, MAX_UNPACKED)?;
        let records = take_records(plain.into(), lineage)?;
        check_seen(&span, &records)?;
        Ok(ReceiptObject { lineage, span, follows, records })
    }
}

/// The object with these bytes, whatever its name.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn decode(bytes: &[u8], keys: &Keys) -> Result<ReceiptObject, Unreadable> {
    Sealed::read(bytes)?.open(keys)
}

/// Those of a body, one after the other: few bytes must not make many records.
fn take_records(mut body: Bytes, lineage: Lineage) -> Result<Vec<ReceiptRecord>, Unreadable> {
    let bad = |e: &dyn std::fmt::Display| corrupt(format!("its body: {e}"));
    let mut records = Vec::new();
    while body.has_remaining() {
        if body.get_u8() != RECORD_TAG {
            return Err(corrupt("its body has something else than records"));
        }
        let length = prost::decode_length_delimiter(&mut body).map_err(|e| bad(&e))?;
        if length > body.len() {
            return Err(corrupt("its body ends within a record"));
        }
        if records.len() == MAX_RECORDS {
            return Err(corrupt(format!("it has more than {MAX_RECORDS} records")));
        }
        let record = Record::decode(body.split_to(length)).map_err(|e| bad(&e))?;
        records.push(take(record, lineage)?);
    }
    Ok(records)
}

/// What is in an object was seen while it was recorded. What stood when it began may have been seen
/// before: it comes first, and once of each. The first object of a run begins with nothing of that.
fn check_seen(span: &ReceiptSpan, records: &[ReceiptRecord]) -> Result<(), Unreadable> {
    let (mut known, mut has_begun) = (BTreeSet::new(), span.number == 0);
    for ReceiptRecord { seen, said } in records {
        let (who, can_stand) = match said {
            ReceiptSaid::Receipt(receipt) => (Some(&receipt.consumer), true),
            ReceiptSaid::Announcement(_) => (None, true),
            ReceiptSaid::Forgotten(name) => (Some(name), false),
        };
        has_begun |= *seen > span.from;
        let stood = known.insert(who) && can_stand && !has_begun;
        if *seen > span.to || (*seen < span.from && !stood) {
            return Err(corrupt("a record was seen at a time that is not within it"));
        }
    }
    Ok(())
}

fn take(record: Record, lineage: Lineage) -> Result<ReceiptRecord, Unreadable> {
    let bad = |e: &dyn std::fmt::Display| corrupt(format!("a record: {e}"));
    let (said, of) = match (record.receipt, record.announcement, record.forgotten) {
        (Some(bytes), None, None) => {
            let receipt = Receipt::decode(bytes).map_err(|e| bad(&e))?;
            let of = receipt.lineage;
            (ReceiptSaid::Receipt(Box::new(receipt)), of)
        }
        (None, Some(bytes), None) => {
            let said = Announcement::decode(bytes).map_err(|e| bad(&e))?;
            let of = said.lineage;
            (ReceiptSaid::Announcement(Box::new(said)), of)
        }
        (None, None, Some(name)) => {
            (ReceiptSaid::Forgotten(name.parse().map_err(|e| bad(&e))?), lineage)
        }
        _ => return Err(corrupt("a record is not one thing")),
    };
    if of != lineage {
        return Err(corrupt("a record is of another log"));
    }
    Ok(ReceiptRecord { seen: Timestamp::from_micros(record.seen_us), said })
}
