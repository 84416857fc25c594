//! Limits of the contract. Whatever is over one of them is refused with an
//! error that names it; nothing is cut off silently.

/// Largest payload of one event: 64 MiB. A Miden block is typically below
/// 0.5 MB, a Bitcoin block below 4 MB.
pub const MAX_PAYLOAD_BYTES: usize = 64 << 20;
/// Highest index of an entry: 2⁶³ − 1, as [`MAX_HEIGHT`].
pub const MAX_INDEX: u64 = i64::MAX as u64;
/// Highest block: 2⁶³ − 1, the largest number that SQL databases hold.
pub const MAX_HEIGHT: u64 = i64::MAX as u64;
/// Latest time: 2⁶³ − 1 microseconds since 1970, in the year 294,247. As [`MAX_HEIGHT`].
pub const MAX_TIME_MICROS: u64 = i64::MAX as u64;
/// Most runs of proven blocks above the proof tip with blocks without a proof between them:
/// 2²⁰. That many proofs would have to be missing for good, or under way at once. Whatever
/// remembers them needs up to 50 MiB then.
pub const MAX_PROOF_RANGES: usize = 1 << 20;
/// Longest hash, transaction id included: 64 bytes (SHA-512).
pub const MAX_HASH_BYTES: usize = 64;
/// Longest key of a recorded state.
pub const MAX_KEY_BYTES: usize = 256;
/// Longest log or consumer name.
pub const MAX_NAME_BYTES: usize = 32;
/// Longest chain name.
pub const MAX_CHAIN_NAME_BYTES: usize = 64;
/// Longest name of a mark or of a primary.
pub const MAX_LABEL_BYTES: usize = 256;
/// Most bytes that the headers of an entry take in a message. What else is in one, and the names that the
/// broker needs, fit into 1 KiB with it.
pub const MAX_HEADER_BYTES: usize = 512;
/// Most keys that a signature names as those its own key has succeeded. They fit into an entry with
/// [`crate::MAX_ENTRY_OVERHEAD`].
pub const MAX_PREDECESSORS: usize = 4;
/// Longest text in a receipt or an announcement: a failure, a store's place.
pub const MAX_TEXT_BYTES: usize = 4096;
/// Longest receipt or announcement: 64 KiB, several times what the texts in one can be.
pub const MAX_BOARD_MESSAGE_BYTES: usize = 64 << 10;
/// Most messages in a unit, which is appended all or nothing. It is the broker's
/// limit for an atomic batch; at one block and one proof every 3 s, 25 minutes of a chain.
pub const MAX_UNIT_MESSAGES: usize = 1000;
/// Most payload bytes in a unit of more than one event: 16 MiB.
pub const MAX_UNIT_BYTES: usize = 16 << 20;
/// Most events in a batch that a store applies at once.
pub const MAX_APPLY_EVENTS: usize = 1000;
/// Most payload bytes in a batch of more than one event that a store applies at once: 32 MiB.
pub const MAX_APPLY_BYTES: usize = 32 << 20;
/// Most receipts a consumer sends per second, on average; a few may come early after a pause.
pub const MAX_RECEIPTS_PER_SECOND: u32 = 200;
/// Most events waiting in an outbox, by default: 83 hours of a chain with one
/// block every 3 s and no proofs.
pub const OUTBOX_EVENTS: u64 = 100_000;
/// Most payload bytes waiting in an outbox, by default: 10 GiB.
pub const OUTBOX_BYTES: u64 = 10 << 30;
