//! A store in one SQLite file, to be read with plain SQL by whoever wants to.
//!
//! # Schema, version 1
//! `application_id` is `0x54495053` (`TIPS`), `user_version` is 1. All tables are `STRICT`.
//! Numbers are SQLite integers, so heights, indices, epochs and times are limited to 2⁶³ − 1;
//! times are microseconds since 1970; hashes, keys, ids and payloads are blobs (`hex(hash)`).
//!
//! | table | one row is | columns |
//! |---|---|---|
//! | `store` | the store itself, one row | `lineage`, `chain`, `genesis`: what it is for, never changed. `cursor_index`, `cursor_digest`, `epoch`, `block_tip`, `block_tip_hash`, `proof_tip`: the cursor. `base_height`, `base_hash`: the parent of the log's first block |
//! | `blocks` | the block at a height | `height` (key), `hash`, `parent_hash`, `log_index`, `epoch`, `time_us`, `payload` |
//! | `proofs` | the proof of the block at a height | `height` (key), `block_hash`, `log_index`, `time_us`, `payload` |
//! | `transactions` | a validated transaction | `log_index` (key), `id` (unique), `block_tip`, `time_us`, `payload` |
//! | `records` | a recorded state | `log_index` (key), `key` (unique), `time_us`, `value` |
//! | `marks` | a named restore point | `log_index` (key), `name` (unique), `block_tip`, `time_us` |
//!
//! `log_index` is the index of the entry that a row came with, `time_us` that entry's commit
//! time at the primary, `block_tip` the height of the block tip at that entry.
//!
//! ```sql
//! -- Blocks without a proof:
//! SELECT height, hex(hash) FROM blocks WHERE height NOT IN (SELECT height FROM proofs);
//! -- A block by its hash: the index is on 8 bytes out of the middle of it.
//! SELECT height FROM blocks WHERE hash = :hash
//!     AND substr(hash, length(hash) / 2 + 1, 8) = substr(:hash, length(:hash) / 2 + 1, 8);
//! ```
//!
//! # How it is kept
//! - A batch and the cursor behind it are one transaction, in WAL mode with
//!   `synchronous = FULL`: a crash or a power cut at any instant leaves all of it or nothing.
//! - Readers have connections of their own; each read is one statement and sees whole
//!   batches. They never wait for the writer. A statement that somebody else keeps open
//!   for long keeps the WAL file from being emptied: it grows for as long.
//! - The pages in the WAL are carried into the file between two batches, and an error there
//!   stops the store as a failed commit does.
//! - There is one writer: it holds an advisory lock on `PATH.lock`, which the system releases
//!   when the process ends however it ends. The file stays; it means nothing by itself. Two
//!   names of one file (hard links) are not noticed.
//! - New files are readable for their owner only (0600).
//!
//! It is not encrypted, and payloads have no checksum of their own here: a flipped bit inside a
//! payload is found by comparing with the log or with another store ([`crate::content_digest`]).

mod fault;
mod lock;
mod open;
mod read;
mod schema;
mod write;

pub use read::SqliteReader;
#[cfg(test)]
pub(crate) use schema::BLOCK_BY_HASH;
pub use write::SqliteStore;
