//! The admin socket of a process that has a store or an outbox open: `PATH.admin` beside it, for
//! its owner only. A consumer is asked for checkpoints and pauses, a primary for marks.
//!
//! A client sends one line of JSON, a [`Request`], and is sent lines of JSON, [`Answer`]s, until
//! the last. A client that closes its connection ends what it asked for.

mod client;
mod error;
mod path;
mod protocol;
mod server;
#[cfg(test)]
mod tests;

pub use client::{
    CheckpointProgress, FrozenStore, cancel_checkpoint, freeze, request_checkpoint, request_mark,
};
pub use error::AdminError;
pub use server::{AdminServer, Mark};
