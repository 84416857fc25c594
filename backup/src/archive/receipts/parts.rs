//! Several objects of one run, merged into one: their bytes as they were, one after the other. Pure. So
//! no key is needed to merge, and each keeps its own checksum: what is damaged in it costs no more than
//! before.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use tipline_proto::Timestamp;

use super::format::{MAGIC, SHORTEST, Sealed, Unreadable, corrupt};
use super::name::ReceiptSpan;

const MERGED: u8 = b'2';
const LENGTH: usize = 4;

/// An object of the history, or one of those that it was merged of.
#[derive(Debug, Clone)]
pub struct ReceiptPart {
    /// What it is: the name that it had, or has. If it is damaged, what it must be by the sound ones
    /// around it.
    pub span: ReceiptSpan,
    /// Name of the object that it is in.
    pub(super) object: String,
    pub(super) bytes: Result<Bytes, Unreadable>,
}

impl ReceiptPart {
    pub(super) fn is_readable(&self) -> bool {
        self.bytes.is_ok()
    }

    /// The newest object of the history when the run began whose first object this is. Nothing if it is
    /// damaged, or does not say.
    pub fn follows(&self) -> Option<ReceiptSpan> {
        Sealed::read(self.bytes.as_ref().ok()?).ok()?.follows
    }
}

/// One object of all these, which are in order.
pub(super) fn join(objects: &[Bytes]) -> Vec<u8> {
    let length: usize = objects.iter().map(|object| LENGTH + object.len()).sum();
    let mut bytes = Vec::with_capacity(MAGIC.len() + 1 + length);
    bytes.extend_from_slice(MAGIC);
    bytes.push(MERGED);
    for object in objects {
        // Together they have some MiB.
        bytes.extend_from_slice(&(object.len() as u32).to_le_bytes());
        bytes.extend_from_slice(object);
    }
    bytes
}

/// What is in an object of this name. Whatever of it is damaged is in its place.
pub(super) fn split(bytes: Bytes, whole: &ReceiptSpan) -> Result<Vec<ReceiptPart>, Unreadable> {
    let part = |span, bytes| ReceiptPart { span, object: whole.to_string(), bytes };
    if !whole.is_merged() {
        return Ok(vec![part(whole.clone(), Ok(bytes))]);
    }
    let mut rest = bytes;
    if !rest.starts_with(MAGIC) {
        return Err(corrupt("it does not begin as it should"));
    }
    rest.advance(MAGIC.len());
    match rest.first() {
        Some(&MERGED) => rest.advance(1),
        Some(newer) if newer.is_ascii_digit() && *newer > MERGED => {
            return Err(Unreadable::Newer(u32::from(newer - b'0')));
        }
        _ => return Err(corrupt("it does not begin as it should")),
    }
    let (mut parts, mut last) = (Vec::new(), Last { to: whole.from, is_sound: true });
    for number in whole.number..=whole.last {
        let span = ReceiptSpan { to: whole.from, number, last: number, ..whole.clone() };
        let Some(bytes) = next(&mut rest) else {
            // Where the next ones begin nobody knows.
            let span = ReceiptSpan { last: whole.last, ..span };
            parts.push(part(span, Err(corrupt("it is cut off"))));
            give_times(&mut parts, whole);
            return Ok(parts);
        };
        match read(&bytes, number, &last, whole) {
            Ok(said) => {
                last = Last { to: said.to, is_sound: true };
                parts.push(part(said, Ok(bytes)));
            }
            Err(error) => {
                last.is_sound = false;
                parts.push(part(span, Err(error)));
            }
        }
    }
    if !rest.is_empty() {
        return Err(corrupt("it has more in it than its name says"));
    }
    give_times(&mut parts, whole);
    Ok(parts)
}

/// A merged object of which nothing can be read, as a part of it.
pub(super) fn unreadable(whole: &ReceiptSpan, what: &str) -> Vec<ReceiptPart> {
    let (span, object) = (whole.clone(), whole.to_string());
    vec![ReceiptPart { span, object, bytes: Err(corrupt(what)) }]
}

/// The parts of a merged object, with sound objects in the place of what is damaged.
pub(super) fn mend(
    parts: Vec<ReceiptPart>,
    sound: Vec<(ReceiptSpan, Bytes)>,
    whole: &ReceiptSpan,
) -> Vec<ReceiptPart> {
    let sound: BTreeMap<u64, (ReceiptSpan, Bytes)> =
        sound.into_iter().map(|(span, bytes)| (span.number, (span, bytes))).collect();
    let mut mended = Vec::new();
    for part in parts {
        if part.is_readable() {
            mended.push(part);
            continue;
        }
        let damaged = |number, last| {
            let span = ReceiptSpan { number, last, ..part.span.clone() };
            ReceiptPart { span, ..part.clone() }
        };
        // The first one that nothing was found of yet.
        let mut next = Some(part.span.number);
        for (number, (span, bytes)) in sound.range(part.span.number..=part.span.last) {
            if let Some(first) = next.filter(|next| next < number) {
                mended.push(damaged(first, number - 1));
            }
            let (span, object) = (span.clone(), span.to_string());
            mended.push(ReceiptPart { span, object, bytes: Ok(bytes.clone()) });
            next = number.checked_add(1);
        }
        if let Some(first) = next.filter(|next| *next <= part.span.last) {
            mended.push(damaged(first, part.span.last));
        }
    }
    give_times(&mut mended, whole);
    mended
}

/// The bytes of the next one; nothing if they are cut off, or none: few bytes must not make many parts.
fn next(rest: &mut Bytes) -> Option<Bytes> {
    if rest.len() < LENGTH {
        return None;
    }
    let length = rest.get_u32_le() as usize;
    (SHORTEST..=rest.len()).contains(&length).then(|| rest.split_to(length))
}

/// What is before a part.
struct Last {
    /// Where the last sound one ends.
    to: Timestamp,
    /// Whether nothing damaged is between.
    is_sound: bool,
}

/// What the part in this place says that it is.
fn read(
    bytes: &[u8],
    number: u64,
    last: &Last,
    whole: &ReceiptSpan,
) -> Result<ReceiptSpan, Unreadable> {
    let said = Sealed::read(bytes)?.span;
    let is_numbered = (&said.run, said.number) == (&whole.run, number);
    // Where something damaged ends nobody knows.
    let is_next = said.from == last.to || (!last.is_sound && said.from > last.to);
    let is_within = said.to <= whole.to && (number < whole.last || said.to == whole.to);
    let is_it = is_numbered && is_next && is_within;
    is_it.then_some(said).ok_or_else(|| corrupt("it has another object in it"))
}

/// Gives damaged ones the time that the sound ones around them leave. What of it is whose nobody knows:
/// the first in a row has all of it, and the others begin and end where it ends.
fn give_times(parts: &mut [ReceiptPart], whole: &ReceiptSpan) {
    let mut from = whole.from;
    let mut rows =
        parts.chunk_by_mut(|one, next| one.is_readable() == next.is_readable()).peekable();
    while let Some(row) = rows.next() {
        if row.iter().any(ReceiptPart::is_readable) {
            from = row.last().map_or(from, |part| part.span.to);
            continue;
        }
        let to =
            rows.peek().and_then(|sound| sound.first()).map_or(whole.to, |part| part.span.from);
        for part in row {
            (part.span.from, part.span.to) = (from, to);
            from = to;
        }
    }
}
