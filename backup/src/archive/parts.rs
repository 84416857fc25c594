//! What the body and the index of a segment are made of. Pure.

use super::index::Outline;
use super::segment::{MAX_BODY, MAX_ENTRIES, SegmentError, corrupt};

/// Entries that were packed together: all of a segment, or those of one that was joined with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Length of its body as stored.
    pub(super) body: u64,
    /// Length of its index as stored.
    pub(super) index: u64,
    /// How many entries.
    pub(super) entries: u64,
    /// Bytes of the body before it was packed. Not known of what is not encrypted, and of what was
    /// encrypted before segments were joined.
    pub(super) unpacked: Option<u64>,
}

/// The parts of a segment whose body and index are so long, which says that it has these.
pub(super) fn check(
    said: Vec<Part>,
    is_joined: bool,
    body: u64,
    index: u64,
    outline: &Outline,
) -> Result<Vec<Part>, SegmentError> {
    let entries = outline.after.position.index.saturating_sub(outline.before.index);
    if !is_joined && said.is_empty() {
        return Ok(vec![Part { body, index, entries, unpacked: None }]);
    }
    let bad = || corrupt("what it says of its parts is not so");
    let sum = |of: fn(&Part) -> u64| said.iter().map(of).try_fold(0, u64::checked_add);
    let is_so = sum(|part| part.body) == Some(body)
        && sum(|part| part.index) == Some(index)
        && sum(|part| part.entries) == Some(entries)
        && said.iter().all(|part| part.entries > 0)
        && is_joined == (said.len() > 1);
    if !is_so {
        return Err(bad());
    }
    if is_joined && !fit(&said) {
        return Err(corrupt("its parts are larger than one segment may be"));
    }
    Ok(said)
}

/// Whether these are few and small enough to be joined.
pub(super) fn fit<'a>(parts: impl IntoIterator<Item = &'a Part>) -> bool {
    let (mut bytes, mut entries) = (0u64, 0u64);
    for part in parts {
        let Some(unpacked) = part.unpacked else { return false };
        (bytes, entries) = (bytes.saturating_add(unpacked), entries.saturating_add(part.entries));
    }
    bytes <= MAX_BODY as u64 && entries <= MAX_ENTRIES as u64
}

/// The bytes of each part, of all of them in a row, whose lengths were checked.
pub(super) fn split<'a>(
    parts: &'a [Part],
    length: fn(&Part) -> u64,
    mut bytes: &'a [u8],
) -> impl Iterator<Item = (&'a Part, &'a [u8])> {
    parts.iter().map(move |part| {
        let length = usize::try_from(length(part)).unwrap_or(usize::MAX).min(bytes.len());
        let (own, rest) = bytes.split_at(length);
        bytes = rest;
        (part, own)
    })
}
