//! The bytes of an object of the history of receipts. Pure. The numbers are persisted: keep stable.
//!
//! # FORMAT, version 1
//!
//! | bytes | piece |
//! |---|---|
//! | 8 | magic `TIPLRCP1`; the last byte is the version |
//! | 4 | length of the head, little-endian |
//! | n | head: the message `Head` |
//! | n | body: the message `Body` as one zstd frame; if the archive has recipients, as one age file |
//! | 32 | BLAKE3 of everything before |

use bytes::{Buf, Bytes};
use prost::Message;
use tipline_proto::{Announcement, Lineage, Receipt, Timestamp};

use super::name::ReceiptSpan;
use super::record::{ReceiptRecord, ReceiptSaid};
use crate::archive::format::{pack, unpack};
use crate::archive::segment::SegmentError;
use crate::keys::Keys;

const MAGIC: &[u8; 7] = b"TIPLRCP";
const VERSION: u8 = b'1';
const HASH: usize = 32;
/// Many times what a minute of a large fleet is.
const MAX_UNPACKED: usize = 64 << 20;

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
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
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

fn corrupt(what: impl Into<String>) -> Unreadable {
    Unreadable::Corrupt(what.into())
}

pub(super) fn encode(
    lineage: Lineage,
    span: &ReceiptSpan,
    records: &[ReceiptRecord],
    keys: &Keys,
) -> std::io::Result<Vec<u8>> {
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
    let body = pack(body.encode_to_vec(), encrypted, keys)?;
    let head = Head {
        lineage: Bytes::copy_from_slice(lineage.as_bytes()),
        run: span.run.clone(),
        number: span.number,
        from_us: span.from.as_micros(),
        to_us: span.to.as_micros(),
        encrypted,
    };
    let head = head.encode_to_vec();
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    // A head has some dozens of bytes.
    bytes.extend_from_slice(&(head.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&body);
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    Ok(bytes)
}

/// What is in an object of this name.
pub(super) fn decode(
    bytes: &[u8],
    lineage: Lineage,
    span: &ReceiptSpan,
    keys: &Keys,
) -> Result<Vec<ReceiptRecord>, Unreadable> {
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
    if head.lineage != lineage.as_bytes()[..] {
        return Err(corrupt("it belongs to another log"));
    }
    let [from, to] = [head.from_us, head.to_us].map(Timestamp::from_micros);
    let said = ReceiptSpan { from, to, run: head.run, number: head.number };
    if said != *span {
        return Err(corrupt(format!("it should be called {said}")));
    }
    let plain = unpack("body", body, head.encrypted, keys, MAX_UNPACKED)?;
    let body = Body::decode(&plain[..]).map_err(|e| corrupt(format!("its body: {e}")))?;
    body.records.into_iter().map(|record| take(record, lineage)).collect()
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
