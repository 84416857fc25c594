//! The admin socket of a process that has a store or an outbox open: `PATH.admin` beside it, for
//! its owner only. A consumer is asked for checkpoints and to freeze its store, a primary for marks, an
//! archiver, whose socket is where it is told, to pause, and all of them for what they log.
//!
//! A client sends one line of JSON, a [`Request`], and is sent lines of JSON, [`Answer`]s, until
//! the last. A line has 64 KiB at most. A client that closes its connection ends what it asked for. Only a store that is held
//! frozen stays so, until it is thawed by another call, or thaws by itself.

mod archiver;
mod client;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod hold;
mod level;
mod line;
mod path;
mod protocol;
mod server;
#[cfg(test)]
mod tests;

pub use archiver::Archiver;
pub use client::{
    CheckpointProgress, FrozenStore, HeldStore, LevelRequest, LoggedLevel, archiver_status,
    cancel_checkpoint, freeze, hold, log_level, pause_archiver, release, request_checkpoint,
    request_mark, resume_archiver,
};
pub use error::{AdminError, LONGEST_FREEZE, LONGEST_PAUSE};
pub use level::LogLevel;
pub use protocol::ArchiverStatus;
pub use server::{AdminServer, Mark};
