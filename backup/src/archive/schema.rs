//! The messages of a segment. The numbers are persisted: keep stable.

use std::ops::RangeInclusive;

use bytes::{Buf, Bytes};
use prost::Message;
use tipline_proto::limits::{MAX_LABEL_BYTES, MAX_PROOF_RANGES};
use tipline_proto::{
    Chain, Cursor, Digest, Hash, HeightRanges, Kind, Lineage, Position, ProofsFrom, Timestamp, Tip,
    fields,
};
use tipline_store::{StoreIdentity, StoredLinks};

use super::index::{Outline, OutlineBlock, Row};
use super::parts::Part;
use super::segment::MAX_ENTRIES;

#[derive(Clone, PartialEq, Message)]
struct OutlineMessage {
    #[prost(bytes = "bytes", tag = "1")]
    lineage: Bytes,
    #[prost(string, tag = "2")]
    chain: String,
    #[prost(bytes = "bytes", tag = "3")]
    genesis: Bytes,
    #[prost(uint64, tag = "4")]
    before_index: u64,
    #[prost(bytes = "bytes", tag = "5")]
    before_digest: Bytes,
    #[prost(bytes = "bytes", tag = "6")]
    after: Bytes,
    #[prost(message, optional, tag = "7")]
    base: Option<BlockMessage>,
    /// Ranges of the heights above the proof tip that have their proof.
    #[prost(message, repeated, tag = "8")]
    proven_above: Vec<RangeMessage>,
    #[prost(uint64, tag = "9")]
    latest_before_us: u64,
    #[prost(uint64, tag = "10")]
    latest_us: u64,
    #[prost(message, repeated, tag = "11")]
    blocks: Vec<BlockMessage>,
    /// From which height on proofs are expected, if that is not the default. `archive.json` has a
    /// newer format then.
    #[prost(uint64, optional, tag = "12")]
    proofs_from: Option<u64>,
    /// What body and index are made of, if they are encrypted.
    #[prost(message, repeated, tag = "13")]
    parts: Vec<PartMessage>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct PartMessage {
    #[prost(uint64, tag = "1")]
    body: u64,
    #[prost(uint64, tag = "2")]
    index: u64,
    #[prost(uint64, tag = "3")]
    entries: u64,
    #[prost(uint64, optional, tag = "4")]
    unpacked: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct BlockMessage {
    #[prost(uint64, tag = "1")]
    height: u64,
    #[prost(bytes = "bytes", tag = "2")]
    hash: Bytes,
    /// Index of its entry; 0 for the base, which is not in the log.
    #[prost(uint64, tag = "3")]
    index: u64,
}

/// Both ends are in the range.
#[derive(Clone, Copy, PartialEq, Message)]
struct RangeMessage {
    #[prost(uint64, tag = "1")]
    first: u64,
    #[prost(uint64, tag = "2")]
    last: u64,
}

/// How each of the rows begins: field 1 of the message, with a length.
const ROW_TAG: u8 = (1 << 3) | 2;

#[derive(Clone, PartialEq, Message)]
struct RowsMessage {
    #[prost(message, repeated, tag = "1")]
    rows: Vec<RowMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct RowMessage {
    /// The number of the kind.
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint64, optional, tag = "2")]
    height: Option<u64>,
    #[prost(uint64, tag = "3")]
    time_us: u64,
    #[prost(bytes = "bytes", tag = "4")]
    label: Bytes,
}

pub(super) fn put_outline(outline: &Outline, parts: &[Part]) -> Vec<u8> {
    let Outline { log, before, after, links, latest_before, latest, blocks } = outline;
    let block = |block: &OutlineBlock| BlockMessage {
        height: block.height,
        hash: copied(&block.hash),
        index: block.index,
    };
    let base =
        |base: &Tip| BlockMessage { height: base.height, hash: copied(&base.hash), index: 0 };
    let part = |Part { body, index, entries, unpacked }: &Part| PartMessage {
        body: *body,
        index: *index,
        entries: *entries,
        unpacked: *unpacked,
    };
    let message = OutlineMessage {
        lineage: Bytes::copy_from_slice(log.lineage.as_bytes()),
        chain: log.chain.name.as_str().to_owned(),
        genesis: copied(&log.chain.genesis),
        before_index: before.index,
        before_digest: Bytes::copy_from_slice(before.digest.as_bytes()),
        after: after.encode(),
        base: links.base.as_ref().map(base),
        proven_above: ranges(&links.proven_above),
        latest_before_us: latest_before.as_micros(),
        latest_us: latest.as_micros(),
        blocks: blocks.iter().map(block).collect(),
        proofs_from: log.chain.proofs_from.late(),
        parts: parts.iter().map(part).collect(),
    };
    message.encode_to_vec()
}

/// The outline, and what it says of the parts.
pub(super) fn take_outline(bytes: &[u8]) -> Result<(Outline, Vec<Part>), String> {
    check_counts(bytes)?;
    let message = OutlineMessage::decode(bytes).map_err(|e| e.to_string())?;
    let lineage: [u8; 16] = array("lineage", &message.lineage)?;
    let name = message.chain.parse().map_err(|e| format!("chain: {e}"))?;
    let proofs_from = message.proofs_from.map(ProofsFrom::new).transpose();
    let proofs_from = proofs_from.map_err(|e| format!("proofs: {e}"))?.unwrap_or_default();
    let chain = Chain { name, genesis: hash(&message.genesis)?, proofs_from };
    let after = Cursor::decode(copied(&message.after)).map_err(|e| format!("cursor: {e}"))?;
    let digest = Digest::from_bytes(array("digest", &message.before_digest)?);
    let tip = |m: BlockMessage| Ok::<_, String>(Tip { height: m.height, hash: hash(&m.hash)? });
    let base = message.base.map(tip).transpose()?;
    let proven_above = heights(&message.proven_above)?;
    let block = |m: BlockMessage| {
        Ok(OutlineBlock { index: m.index, height: m.height, hash: hash(&m.hash)? })
    };
    let part =
        |PartMessage { body, index, entries, unpacked }| Part { body, index, entries, unpacked };
    let parts = message.parts.into_iter().map(part).collect();
    let outline = Outline {
        log: StoreIdentity { lineage: Lineage::from_bytes(lineage), chain },
        before: Position { index: message.before_index, digest },
        after,
        links: StoredLinks { base, proven_above },
        latest_before: Timestamp::from_micros(message.latest_before_us),
        latest: Timestamp::from_micros(message.latest_us),
        blocks: message.blocks.into_iter().map(block).collect::<Result<_, String>>()?,
    };
    Ok((outline, parts))
}

/// So that few bytes do not make many blocks.
fn check_counts(bytes: &[u8]) -> Result<(), String> {
    let counted = [
        (8, "runs of proven heights", MAX_PROOF_RANGES),
        (11, "blocks", MAX_ENTRIES),
        (13, "parts", MAX_ENTRIES),
    ];
    let mut counts = [0; 3];
    for field in fields(bytes) {
        let field = field.map_err(|e| e.to_string())?;
        if let Some(at) = counted.iter().position(|(number, ..)| *number == field.number) {
            let (_, what, most) = counted[at];
            counts[at] += 1;
            if counts[at] > most {
                return Err(format!("more than {most} {what}"));
            }
        }
    }
    Ok(())
}

pub(super) fn put_rows(rows: &[Row]) -> Vec<u8> {
    let row = |row: &Row| RowMessage {
        kind: row.kind as u32,
        height: row.height,
        time_us: row.time.as_micros(),
        label: row.label.clone(),
    };
    RowsMessage { rows: rows.iter().map(row).collect() }.encode_to_vec()
}

/// The rows, the first of which is that of the entry `first`, and `count` at most: one after the other,
/// so that few bytes do not make many rows.
pub(super) fn take_rows(mut bytes: Bytes, first: u64, count: u64) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    while bytes.has_remaining() {
        if bytes.get_u8() != ROW_TAG {
            return Err("something else than rows".to_owned());
        }
        let length = prost::decode_length_delimiter(&mut bytes).map_err(|e| e.to_string())?;
        if length > bytes.len() {
            return Err("it ends within a row".to_owned());
        }
        if rows.len() as u64 == count {
            return Err(format!("more than {count} rows"));
        }
        let row = RowMessage::decode(bytes.split_to(length)).map_err(|e| e.to_string())?;
        let index = first.checked_add(rows.len() as u64).ok_or("a row of no entry")?;
        rows.push(take_row(index, row)?);
    }
    Ok(rows)
}

fn take_row(index: u64, message: RowMessage) -> Result<Row, String> {
    let RowMessage { kind, height, time_us, label } = message;
    let found = Kind::ALL.into_iter().find(|known| *known as u32 == kind);
    let kind = found.ok_or_else(|| format!("row of entry {index}: there is no kind {kind}"))?;
    if label.len() > MAX_LABEL_BYTES {
        return Err(format!("row of entry {index}: a label of {} bytes", label.len()));
    }
    Ok(Row { index, kind, height, time: Timestamp::from_micros(time_us), label: copied(&label) })
}

fn ranges(heights: &HeightRanges) -> Vec<RangeMessage> {
    let message =
        |range: RangeInclusive<u64>| RangeMessage { first: *range.start(), last: *range.end() };
    heights.ranges().map(message).collect()
}

fn heights(ranges: &[RangeMessage]) -> Result<HeightRanges, String> {
    check_ranges(ranges.len())?;
    let mut heights = HeightRanges::default();
    for RangeMessage { first, last } in ranges {
        if last < first {
            return Err("a range of heights that ends before it starts".to_owned());
        }
        heights.insert_range(*first..=*last);
    }
    Ok(heights)
}

/// Whether an outline may have this many ranges of proven heights. What writes it asks, too.
pub(super) fn check_ranges(count: usize) -> Result<(), String> {
    if count > MAX_PROOF_RANGES {
        return Err(format!(
            "{count} runs of proven heights above the proof tip, over {MAX_PROOF_RANGES}"
        ));
    }
    Ok(())
}

fn array<const N: usize>(field: &str, value: &[u8]) -> Result<[u8; N], String> {
    value.try_into().map_err(|_| format!("{field}: {} bytes, not {N}", value.len()))
}

fn hash(value: &Bytes) -> Result<Hash, String> {
    Hash::new(value).map_err(|e| e.to_string())
}

/// What is kept must not hold on to the message that it came in.
fn copied(value: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(value.as_ref())
}
