//! Several objects of one run, merged into one: their bytes as they were, one after the other. Pure. So
//! no key is needed to merge, and each keeps its own checksum: what is damaged in it costs no more than
//! before.

use bytes::{Buf, Bytes};

use super::format::{MAGIC, Sealed, Unreadable, corrupt};
use super::name::ReceiptSpan;

const MERGED: u8 = b'2';
const LENGTH: usize = 4;

/// An object of the history, or one of those that it was merged of.
#[derive(Debug, Clone)]
pub struct ReceiptPart {
    /// What it is: the name that it had, or has. If it is damaged, what it must be by its neighbours.
    pub span: ReceiptSpan,
    /// Name of the object that it is in.
    pub(super) object: String,
    pub(super) bytes: Result<Bytes, Unreadable>,
}

impl ReceiptPart {
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
    let mut parts = Vec::new();
    let mut span = ReceiptSpan { to: whole.from, last: whole.number, ..whole.clone() };
    for number in whole.number..=whole.last {
        span = ReceiptSpan { from: span.to, number, last: number, ..span };
        let Some(bytes) = next(&mut rest) else {
            // Where the next ones begin nobody knows.
            span = ReceiptSpan { to: whole.to, last: whole.last, ..span };
            parts.push(part(span, Err(corrupt("it is cut off"))));
            return Ok(parts);
        };
        let read = Sealed::read(&bytes).and_then(|sealed| {
            let said = sealed.span;
            let is_next = (&said.run, said.number, said.from) == (&span.run, number, span.from);
            let is_within = said.to <= whole.to && (number < whole.last || said.to == whole.to);
            let is_it = is_next && is_within;
            is_it.then_some(said).ok_or_else(|| corrupt("it has another object in it"))
        });
        match read {
            Ok(said) => {
                span = said.clone();
                parts.push(part(said, Ok(bytes)));
            }
            Err(error) => {
                // It goes up to where the next one begins, if that can be read.
                span.to = begins(&rest)
                    .filter(|to| (span.from..=whole.to).contains(to))
                    .unwrap_or(whole.to);
                parts.push(part(span.clone(), Err(error)));
            }
        }
    }
    if !rest.is_empty() {
        return Err(corrupt("it has more in it than its name says"));
    }
    Ok(parts)
}

/// The bytes of the next one; nothing if they are cut off.
fn next(rest: &mut Bytes) -> Option<Bytes> {
    if rest.len() < LENGTH {
        return None;
    }
    let length = rest.get_u32_le() as usize;
    (length <= rest.len()).then(|| rest.split_to(length))
}

/// When the next one begins.
fn begins(rest: &Bytes) -> Option<tipline_proto::Timestamp> {
    Some(Sealed::read(&next(&mut rest.clone())?).ok()?.span.from)
}
