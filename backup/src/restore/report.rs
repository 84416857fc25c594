//! The progress and the report of a restore.

use std::time::Duration;

use serde::Serialize;
use tipline_proto::{Cursor, Digest, Hash, Position};

use super::plan::PlannedCheckpoint;
use crate::text::{display, display_option};

/// How thoroughly a restored store is inspected before it is installed. In any case every file of
/// a checkpoint is compared with its BLAKE3, and every entry with the chain of digests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verification {
    /// No more than that.
    None,
    /// It is opened again, stands where it should, and has a block at every height.
    #[default]
    Normal,
    /// Everything in it is read back, and compared with the entries, which are read once more.
    Strict,
}

/// What is being done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Taking stock of the places.
    #[default]
    Planning,
    /// Fetching a checkpoint, in bytes.
    Fetching,
    /// Copying the content of a checkpoint into a store of another kind, in entries; there are at
    /// most this many.
    Copying,
    /// Applying entries, by index.
    Replaying,
    /// Inspecting the result, in heights or entries.
    Verifying,
}

/// How far a restore is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestoreProgress {
    /// What is being done.
    pub step: Step,
    /// How much of it is done.
    pub done: u64,
    /// How much there is to do.
    pub of: u64,
}

/// What was requested, and what is there now.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreReport {
    /// The store.
    pub store: String,
    /// As requested.
    pub target: String,
    /// The entry that the target names was left out.
    pub exclusive: bool,
    /// Where the store is.
    pub achieved: Achieved,
    /// What it was started from; none: from nothing.
    pub checkpoint: Option<PlannedCheckpoint>,
    /// It resumed what an earlier attempt had staged, from this index.
    pub resumed_at: Option<u64>,
    /// Entries that were applied.
    pub entries: u64,
    /// How it was inspected.
    pub verification: Verification,
    /// BLAKE3 over everything in the store, if it was read back.
    #[serde(serialize_with = "display_option")]
    pub content: Option<Digest>,
    /// What was damaged or unusable, and why.
    pub notes: Vec<String>,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub duration: Duration,
}

/// A point that was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Achieved {
    /// Index of the last entry.
    pub index: u64,
    /// Digest there.
    #[serde(serialize_with = "display")]
    pub digest: Digest,
    /// Epoch there.
    pub epoch: u64,
    /// Height of the newest block.
    pub height: Option<u64>,
    /// Hash of the newest block.
    #[serde(serialize_with = "display_option")]
    pub hash: Option<Hash>,
    /// As in [`Cursor::proof_tip`].
    pub proof_tip: Option<u64>,
}

impl From<&Achieved> for Position {
    fn from(achieved: &Achieved) -> Self {
        Self { index: achieved.index, digest: achieved.digest }
    }
}

impl From<&Cursor> for Achieved {
    fn from(cursor: &Cursor) -> Self {
        Self {
            index: cursor.position.index,
            digest: cursor.position.digest,
            epoch: cursor.epoch,
            height: cursor.block_tip.as_ref().map(|tip| tip.height),
            hash: cursor.block_tip.as_ref().map(|tip| tip.hash.clone()),
            proof_tip: cursor.proof_tip,
        }
    }
}

fn seconds<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}
