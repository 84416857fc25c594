//! The outbox as tables of the node's own SQLite database.
//!
//! The schema is [`SCHEMA`], the file `docs/outbox.sql`, which says column by column what it
//! means. Everything an outbox must refuse is refused by its triggers, so that a
//! node in any language, with any SQL library, gets the same outbox by plain `INSERT`s.
//! A node in Rust has two handles:
//!
//! - [`OutboxTable`] on its own connection: creates the tables, and enqueues events in the
//!   transaction that commits what they describe. An event is enqueued exactly if that
//!   transaction commits, and as durably.
//! - [`SqliteOutbox`] on a connection of its own, for the publisher. It holds the database's
//!   write lock only while it removes rows that are logged, some at a time, and without waiting
//!   for the disk. A node's commit waits for that a few milliseconds at most.
//!
//! What it gives out it has made durable first, so the node may run with `synchronous = NORMAL`.
//!
//! The database must be in WAL mode. Otherwise every read of the publisher would hold up the
//! node, and the other way round.

mod barrier;
mod connect;
mod error;
mod extent;
mod lock;
mod outside;
mod payload;
mod presence;
mod read;
mod row;
mod state;
mod table;
mod trim;
mod waiting;
mod wal;

pub use payload::PayloadSource;
pub use read::SqliteOutbox;
pub use table::{OutboxTable, SCHEMA};
pub use wal::{check_frames, frames_length};

#[cfg(test)]
mod tests;
