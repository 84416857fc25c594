//! The admin socket of a process that has a store open: `PATH.admin` beside the store, for its
//! owner only.
//!
//! A client sends one line of JSON, a [`Request`], and is sent lines of JSON, [`Answer`]s, until
//! the last. A client that closes its connection ends what it asked for.

mod client;
mod error;
mod protocol;
mod server;
#[cfg(test)]
mod tests;

pub use client::{CheckpointProgress, FrozenStore, cancel_checkpoint, freeze, request_checkpoint};
pub use error::AdminError;
pub use server::AdminServer;
