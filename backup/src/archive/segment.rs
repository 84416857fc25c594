//! What a segment may hold, and what is wrong with one.

/// Most bytes, by `format::body_bytes`, in a segment of more than one entry.
pub(super) const MAX_BODY: usize = 64 << 20;
/// Most entries in a segment.
pub(super) const MAX_ENTRIES: usize = 1 << 16;
/// Longest object that is written, and read into memory. Only joined segments come near it: of many
/// small parts that are each encrypted for many recipients.
pub(super) const MAX_OBJECT: u64 = 1 << 30;

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
