//! The admin socket of a running consumer: `PATH.admin` beside its store, for its owner only.
//!
//! A client sends one line of JSON, a [`Request`], and is sent lines of JSON, [`Answer`]s, until
//! the last. A client that goes away ends what it asked for.

mod client;
mod server;

use std::path::PathBuf;

pub(crate) use client::{Asked, ask, cancel, freeze};
pub(crate) use server::Admin;

use crate::address::StoreAddress;
use crate::jobs::checkpoint::Order;

/// Longest line.
const MAX_LINE: u64 = 64 << 10;

/// What a client asks for.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Request {
    /// Make a checkpoint.
    Checkpoint(Order),
    /// End the one that is being made.
    CancelCheckpoint,
    /// Hold the store still, for at most so long, or until the client thaws it or goes away.
    Freeze { max_ms: u64 },
    /// Let the store go on that this client holds still.
    Thaw,
}

/// What it is answered.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    /// It is under way.
    Progress { doing: String, moved: u64, total: u64 },
    /// The checkpoint of this name is whole.
    Made { id: String },
    /// Whether there was one to cancel.
    Cancelled { any: bool },
    /// The store is held still, behind this entry.
    Frozen { index: u64 },
    /// It goes on; whether it was held still until now.
    Thawed { in_time: bool },
    /// It was not done, for this reason.
    Failed { error: String },
}

fn path(store: &StoreAddress) -> PathBuf {
    store.beside("admin")
}
