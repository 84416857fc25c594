//! The outbox as a column family of the node's own RocksDB.
//!
//! A node has two handles:
//!
//! - [`OutboxFamily`]: enqueues events into the write batch that commits what they describe,
//!   one unit after the other. An event is enqueued exactly if that batch is written, and as
//!   durably.
//! - [`RocksDbOutbox`], for the publisher. It takes none of the node's locks, and writes only
//!   to remove rows that are logged, without waiting for the disk. What it gives out it has made
//!   durable first.
//!
//! What lies under which key is said in `keys.rs`, and what the values are made of in
//! `state.rs` and `row.rs`.

mod blocks;
mod bytes;
mod db;
mod error;
mod family;
mod keys;
mod mode;
mod proven;
mod publish;
mod row;
mod shared;
mod state;
mod unit;

#[cfg(test)]
mod tests;

pub use family::OutboxFamily;
pub use mode::OutboxThreadMode;
pub use publish::RocksDbOutbox;
pub use unit::OutboxUnit;
