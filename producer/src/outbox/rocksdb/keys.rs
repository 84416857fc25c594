//! The keys of the column family, version 1. Keep stable.
//!
//! | key | value | who writes it |
//! |---|---|---|
//! | `00` | identity: version, outbox id, genesis | created with the outbox, never changed |
//! | `01` | limits: events and bytes that may wait | the node |
//! | `02` | newest: newest row, bytes so far, first block's parent, tip | the node, with every unit |
//! | `03` | trimmed: newest row that is gone, bytes up to it | the publisher |
//! | `04` | lineage of the log that it publishes to: 16 bytes | the publisher |
//! | `05` | released: newest row that counts no more, bytes up to it; none at first | the publisher |
//! | `06` | how many runs of proven heights there are; none before the first block | the node |
//! | `10` height | hash of the block, for what refers to it | the node |
//! | `11` height | a run of proven heights, by its last one: its first one | the node |
//! | `20` sequence | a payload; none if it is empty, or kept elsewhere | the node |
//! | `30` sequence | a row without its payload | the node |
//!
//! Heights and sequences have 8 bytes, big-endian, and so has every number in the values.
//! The two sides never write the same key, so neither waits for the other.

/// Name of the column family.
pub(super) const FAMILY: &str = "tipline_outbox";

/// Version, id and genesis of the outbox.
pub(super) const IDENTITY: &[u8] = &[0x00];
/// How much may wait.
pub(super) const LIMITS: &[u8] = &[0x01];
/// What the next event must follow.
pub(super) const NEWEST: &[u8] = &[0x02];
/// What is gone.
pub(super) const TRIMMED: &[u8] = &[0x03];
/// What counts no more.
pub(super) const RELEASED: &[u8] = &[0x05];
/// The log.
pub(super) const LINEAGE: &[u8] = &[0x04];

/// How many runs of proven heights there are.
pub(super) const PROVEN_RUNS: &[u8] = &[0x06];
/// After every run of proven heights.
pub(super) const PROVEN_END: &[u8] = &[0x12];

/// The key of something that has a number.
pub(super) type Numbered = [u8; 9];

/// A block of the chain.
pub(super) fn block(height: u64) -> Numbered {
    numbered(0x10, height)
}

/// The run of proven heights that ends at this one.
pub(super) fn proven(last: u64) -> Numbered {
    numbered(0x11, last)
}

/// The payload of a row.
pub(super) fn payload(sequence: u64) -> Numbered {
    numbered(0x20, sequence)
}

/// A row. No key is larger, so that looking for one after the newest ends at once.
pub(super) fn row(sequence: u64) -> Numbered {
    numbered(0x30, sequence)
}

fn numbered(prefix: u8, number: u64) -> Numbered {
    let mut key = [prefix; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}
