//! The lines that are exchanged. An older client may ask a newer process, so keep names stable.

use crate::jobs::CheckpointOrder;

/// What a client asks for.
#[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Request {
    /// Make a checkpoint.
    Checkpoint(CheckpointOrder),
    /// Cancel the one that is being made.
    CancelCheckpoint,
    /// Freeze the store, for at most this long, or until the client thaws it or closes its connection.
    Freeze { max_ms: u64 },
    /// Thaw the store that this client froze.
    Thaw,
    /// Freeze the store, for at most this long, also when the client has closed its connection.
    Hold { max_ms: u64 },
    /// Thaw the store that was frozen so, under this id; without one, whoever froze it.
    Release { id: Option<String> },
    /// Say what is logged, after changing it if that is asked.
    LogLevel { change: Option<LevelChange> },
    /// Enqueue a mark of this name. It is a primary that is asked.
    Mark { name: String },
    /// Say what you do. It is an archiver that is asked.
    Status,
    /// Write nothing, for at most this long, or until you are told to resume.
    Pause { max_ms: u64 },
    /// Write again.
    Resume,
}

/// Another log level.
#[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LevelChange {
    /// To this one.
    To(String),
    /// To what the process began with.
    Reset,
}

/// What it is answered.
#[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// It is under way.
    Progress { doing: String, moved: u64, total: u64 },
    /// The checkpoint of this name is whole.
    Made { id: String },
    /// Whether there was one to cancel.
    Cancelled { any: bool },
    /// The store is frozen at this entry.
    Frozen { index: u64 },
    /// The store is frozen until this id is thawed, at this entry and block.
    Held { id: String, index: u64, block: Option<u64>, digest: Option<String> },
    /// It is thawed; whether it was frozen until now.
    Thawed { in_time: bool },
    /// This is logged now; the process began with that.
    LogLevel { level: String, started: String },
    /// The mark is in the outbox.
    Marked,
    /// What an archiver does.
    Status(Box<ArchiverStatus>),
    /// It writes nothing; it has everything up to this entry.
    Paused { index: u64 },
    /// It writes; whether it did not before.
    Resumed { was_paused: bool },
    /// It was not done, for this reason.
    Failed { error: String },
}

/// What an archiver does.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ArchiverStatus {
    /// Its name in the log.
    pub name: String,
    /// Version of its program.
    pub version: String,
    /// Where it writes to.
    pub place: String,
    /// What it does, in a sentence.
    pub doing: String,
    /// The archive has everything up to this entry; `None` until that was compared with the log.
    pub index: Option<u64>,
    /// Newest block in it.
    pub block: Option<u64>,
    /// Entries of the log that it does not have; `None` while that is not known.
    pub behind: Option<u64>,
    /// For how long it still writes nothing; `None` unless it is paused.
    pub paused_ms: Option<u64>,
}
