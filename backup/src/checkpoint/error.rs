//! What goes wrong with checkpoints, by what the caller must do.

use std::io;
use std::path::PathBuf;

use tipline_proto::SignatureError;
use tipline_store::StoreError;

use super::id::CheckpointId;
use crate::destination::DestinationError;

/// Why an operation on checkpoints failed. Whatever is listed is whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The store cannot be copied. As the store's error says.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The set is unavailable. As the destination's error says.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// A checkpoint is not what was written. Use another one, remove this one.
    #[error("the checkpoint {id} at {place} is damaged: {what}")]
    Corrupt {
        /// Which set.
        place: String,
        /// Which one.
        id: CheckpointId,
        /// Which file, and what is wrong with it.
        what: String,
    },
    /// It is encrypted, and none of the keys at hand opens it. Give the file of the right one.
    #[error(
        "the checkpoint {id} at {place} is encrypted: give the identity file of one of its recipients"
    )]
    NeedsKey {
        /// Which set.
        place: String,
        /// Which one.
        id: CheckpointId,
    },
    /// Signatures are required, and no trusted consumer vouches for it. Use another one.
    #[error("no trusted consumer vouches for the checkpoint {id} at {place}")]
    NotVouched {
        /// Which set.
        place: String,
        /// Which one.
        id: CheckpointId,
        /// Why not.
        source: Box<SignatureError>,
    },
    /// There is no such checkpoint. List them.
    #[error("{place} has no checkpoint {id}: list them with `tipline checkpoint list`")]
    NotFound {
        /// Which set.
        place: String,
        /// Which one.
        id: CheckpointId,
    },
    /// Checkpoints of the store went to a set at this place before, and it is not there now. Mount it;
    /// or if it was removed, remove its line from the file. Nothing was written.
    #[error(
        "{place} is not the set of checkpoints that it was: {what}; if it was replaced on purpose, remove its line from {}",
        file.display()
    )]
    NotTheSet {
        /// Which set.
        place: String,
        /// What is there instead.
        what: String,
        /// Where it is remembered.
        file: PathBuf,
    },
    /// Another checkpoint of the set is being made or removed. Try again when that is done.
    #[error(
        "checkpoints at {place} are being made or removed by someone else: try again when that is done"
    )]
    InUse {
        /// Which set.
        place: String,
    },
    /// There is no space for it; nothing was begun. Free some, or remove old ones.
    #[error(
        "a checkpoint at {place} takes {needed} bytes, but only {free} are free: free some space, or remove old ones with `tipline checkpoint expire`"
    )]
    NoSpace {
        /// Which set.
        place: String,
        /// What it takes, with what is left free for the store.
        needed: u64,
        /// What there is.
        free: u64,
    },
    /// It was cancelled. Nothing of it is left.
    #[error("the checkpoint was cancelled; nothing of it is left")]
    Cancelled,
    /// The store changed faster than it could be copied, several times. Try again when it is quieter.
    #[error(
        "the store {store} was overtaken while it was copied, {times} times: {what}: try again when fewer blocks are rolled back"
    )]
    Overtaken {
        /// Which store.
        store: String,
        /// How often.
        times: u32,
        /// What could not be held on to.
        what: String,
    },
    /// Checkpoints are made in a directory of this machine. Give one, and upload from there.
    #[error(
        "checkpoints are made in a directory, and {place} is none: give one, and upload from there"
    )]
    NotADirectory {
        /// Which set.
        place: String,
    },
    /// No medium of the store has files that copies could share. Make them without.
    #[error("the store {store} has no medium whose checkpoints can share files: only RocksDB has")]
    NotShared {
        /// Which store.
        store: String,
    },
    /// A file or directory of a set cannot be used. See the cause.
    #[error("{what}")]
    File {
        /// What was being done, with which file.
        what: String,
        /// What went wrong.
        source: io::Error,
    },
}

impl CheckpointError {
    /// Whether another checkpoint may do: this one is not there, or is not what it should be.
    pub(crate) fn is_about_it(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::NotFound { .. } | Self::NotVouched { .. })
    }

    pub(super) fn file(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::File { what, source }
    }
}
