//! Outboxes over what a node writes anyway.
//!
//! A node that keeps its blocks as files needs no line of code to be replicated. The outbox is a
//! view over the files. A thread follows them, and a small index of its own records the order in
//! which they became complete. What waits to be published has a copy there, up to 256 MiB of blocks;
//! other payloads are read from the files, and nothing is stored twice for good. [`FileOutbox`] is
//! an [`Outbox`](tipline_producer::Outbox) as any other:
//!
//! - [`FileOutbox::directory`]: a directory with a file for each block and each proof.
//! - [`FileOutbox::blk`]: Bitcoin Core's `blk*.dat` files.
//!
//! [`DatabaseOutbox`] is for a node in another language that writes the outbox table itself, in
//! its own SQLite database. [`Genesis`] reads the hash of the genesis block where the blocks are.
//!
//! It is not what a node of your own should start with: an outbox in the transaction that commits
//! the block (`tipline-producer`, features `sqlite` and `rocksdb`) knows what is committed, and
//! this one can only see it.

mod blk;
mod database;
mod directory;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod genesis;
mod marker;

pub use blk::{BlkBlock, BlkBlocks, BlkSettings};
pub use database::DatabaseOutbox;
#[cfg(feature = "ethereum")]
pub use directory::EthereumRlp;
pub use directory::{BitcoinBlock, BlockFormat, BlockHeader, ContentHash, DirectorySettings};
pub use files::FileOutbox;
pub use genesis::Genesis;
pub use marker::Marker;
