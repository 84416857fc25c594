//! Encrypted segments become one without being opened. Pure.

use bytes::Bytes;

use super::format::{self, Trailer};
use super::index::Outline;
use super::parts::{self, Part};
use super::segment::SegmentError;

/// A segment that is encrypted, and whose checksums were compared.
pub(super) struct Sealed {
    pub(super) outline: Outline,
    parts: Vec<Part>,
    trailer: Trailer,
    bytes: Bytes,
}

impl Sealed {
    /// A whole segment.
    pub(super) fn read(bytes: Bytes) -> Result<Self, SegmentError> {
        let trailer = format::whole(&bytes)?;
        let (outline, parts) = trailer.outline_and_parts(&bytes)?;
        trailer.body(&bytes)?;
        trailer.rows(&bytes)?;
        Ok(Self { outline, parts, trailer, bytes })
    }

    /// Bytes of its entries before they were packed, if they are known.
    pub(super) fn unpacked(&self) -> u64 {
        self.parts.iter().map(|part| part.unpacked.unwrap_or(0)).sum()
    }

    /// How many entries it has.
    pub(super) fn entries(&self) -> u64 {
        self.parts.iter().map(|part| part.entries).sum()
    }

    /// Whether it has this one as a part of it, or several in a row, to the last byte.
    pub(super) fn holds(&self, other: &Self) -> Result<bool, SegmentError> {
        let (bodies, rows) = (self.trailer.body(&self.bytes)?, self.trailer.rows(&self.bytes)?);
        let (body, row) = (other.trailer.body(&other.bytes)?, other.trailer.rows(&other.bytes)?);
        let (mut at, mut in_bodies, mut in_rows) = (self.outline.before.index, 0u64, 0u64);
        for part in &self.parts {
            if at == other.outline.before.index {
                let starts = |whole: &[u8], from: u64, one: &[u8]| {
                    let from = usize::try_from(from).unwrap_or(usize::MAX);
                    whole.get(from..).is_some_and(|rest| rest.starts_with(one))
                };
                return Ok(starts(bodies, in_bodies, body) && starts(rows, in_rows, row));
            }
            at = at.saturating_add(part.entries);
            in_bodies = in_bodies.saturating_add(part.body);
            in_rows = in_rows.saturating_add(part.index);
        }
        Ok(false)
    }
}

/// Segments in a row that become one.
pub(super) struct Joining(Vec<Sealed>);

impl Joining {
    pub(super) fn new(first: Sealed) -> Self {
        Self(vec![first])
    }

    /// Whether this one continues them, and they are no more than one segment may hold.
    pub(super) fn takes(&self, next: &Sealed) -> bool {
        let parts = self.0.iter().chain([next]).flat_map(|sealed| &sealed.parts);
        self.end().is_some_and(|end| end.after.position == next.outline.before) && parts::fit(parts)
    }

    pub(super) fn push(&mut self, next: Sealed) {
        self.0.push(next);
    }

    pub(super) fn segments(&self) -> usize {
        self.0.len()
    }

    pub(super) fn unpacked(&self) -> u64 {
        self.0.iter().map(Sealed::unpacked).sum()
    }

    pub(super) fn entries(&self) -> u64 {
        self.0.iter().map(Sealed::entries).sum()
    }

    pub(super) fn end(&self) -> Option<&Outline> {
        self.0.last().map(|last| &last.outline)
    }

    /// The outline of all of them, and the bytes of the segment that holds them.
    pub(super) fn finish(&self) -> Result<Option<(Outline, Vec<u8>)>, SegmentError> {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else { return Ok(None) };
        let outline = Outline {
            log: first.outline.log.clone(),
            before: first.outline.before,
            after: last.outline.after.clone(),
            links: last.outline.links.clone(),
            latest_before: first.outline.latest_before,
            latest: last.outline.latest,
            blocks: self.0.iter().flat_map(|sealed| sealed.outline.blocks.clone()).collect(),
        };
        let parts: Vec<Part> = self.0.iter().flat_map(|sealed| sealed.parts.clone()).collect();
        let (mut body, mut rows) = (Vec::new(), Vec::new());
        for sealed in &self.0 {
            body.extend_from_slice(sealed.trailer.body(&sealed.bytes)?);
            rows.extend_from_slice(sealed.trailer.rows(&sealed.bytes)?);
        }
        let bytes = format::seal_joined(&body, &rows, &outline, &parts);
        Ok(Some((outline, bytes)))
    }
}
