//! What a segment may hold, and what is wrong with one.

/// Most bytes, by `format::body_bytes`, in a segment of more than one entry.
pub(super) const MAX_BODY: usize = 64 << 20;
/// Most entries in a segment.
pub(super) const MAX_ENTRIES: usize = 1 << 16;
/// Longest object that is read into memory. A segment that is written has a body of 64 MiB at most, 20 MiB
/// of rows, and an outline of 30 MiB, if a million runs of proofs are missing.
pub(super) const MAX_OBJECT: u64 = 128 << 20;

/// Why bytes are not the segment they should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SegmentError {
    /// They are damaged, or something else.
    Corrupt(String),
    /// No key opens them.
    NeedsKey,
}

pub(super) fn corrupt(what: impl Into<String>) -> SegmentError {
    SegmentError::Corrupt(what.into())
}
