//! Why a tree was not signed, or something not proven by it.

use tipline_backup::DestinationError;

use super::key_file::KeyFileError;
use super::leaf::BadLeaf;
use super::witness::WitnessError;
use crate::tlog::{BadCertificate, BadCheckpoint, BadNote, BadProof, NotAccepted};

/// Why a tree beside an archive cannot be used, or was not continued. Nothing was signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The destination does not do what was asked.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// The file of the key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// There is no signed checkpoint. `tipline audit sign` makes one.
    #[error("nothing is signed at {place}")]
    NotFound {
        /// Where it is not.
        place: String,
    },
    /// The entry was not signed yet. Sign, or wait until somebody does.
    #[error("entry {index} is not in what is signed at {place}, which ends with entry {size}")]
    NotYet {
        /// Where.
        place: String,
        /// Index of the entry.
        index: u64,
        /// Index of the last entry that was signed.
        size: u64,
    },
    /// No entry is what was asked for.
    #[error("no entry of what is signed at {place} is {what}")]
    Unknown {
        /// Where.
        place: String,
        /// What was looked for.
        what: String,
    },
    /// An index of the archive says something else of an entry than the entry itself. Verify the
    /// archive.
    #[error("the indexes of {place} say that entry {index} is {what}, and it is not")]
    OtherEntry {
        /// The archive.
        place: String,
        /// Index of the entry.
        index: u64,
        /// What was looked for.
        what: String,
    },
    /// The key was made for another log, or another lineage of it. Make one for this log.
    #[error("the key {name} is not of the log {log}: its name must end with /{log}")]
    WrongKey {
        /// Name of the key.
        name: String,
        /// Name and lineage of the log.
        log: String,
    },
    /// A key goes on after another one only if both are of one log and have one name. Make one with the
    /// same prefix.
    #[error(
        "the key {name} cannot go on after {old}: they must have one name, which is the log's, and be two keys"
    )]
    OtherName {
        /// Name of the key.
        name: String,
        /// The other one's.
        old: String,
    },
    /// The checkpoint is of another log. Nobody has verified what it says.
    #[error("the checkpoint at {place} is of {}, not of {expected}", found.escape_debug())]
    WrongOrigin {
        /// Where it is.
        place: String,
        /// The origin that was expected.
        expected: String,
        /// The one that it has.
        found: String,
    },
    /// The checkpoint is not what this key has signed. Somebody else signs there, or it was changed.
    #[error("the checkpoint at {place} cannot be used")]
    Note {
        /// Where it is.
        place: String,
        /// What is wrong with it.
        source: BadNote,
    },
    /// The text that was signed is no checkpoint.
    #[error("the checkpoint at {place} cannot be used")]
    Checkpoint {
        /// Where it is.
        place: String,
        /// What is wrong with it.
        source: BadCheckpoint,
    },
    /// A tile is not there, or has not the length that it must have.
    #[error("{place}: {tile} {what}")]
    Tile {
        /// Where it is.
        place: String,
        /// Its path.
        tile: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A tile is there already, with other hashes. Nothing was written over it.
    #[error("{place}: {tile} is there already, and is of another history")]
    TileDiffers {
        /// Where it is.
        place: String,
        /// Its path.
        tile: String,
    },
    /// The tiles are not those of the tree that was signed. They are damaged, or of another tree, and
    /// say nothing of what was signed.
    #[error("the tiles at {place} do not give the root that was signed for {size} entries")]
    WrongRoot {
        /// Where they are.
        place: String,
        /// Size of the tree.
        size: u64,
    },
    /// The archive has lost what was signed, or is another one.
    #[error("{place} ends with entry {last}, but {size} entries of it were signed, as {by} says")]
    Shorter {
        /// The archive.
        place: String,
        /// Index of its last entry.
        last: u64,
        /// How many were signed.
        size: u64,
        /// What remembers that.
        by: String,
    },
    /// The archive has another history than the one that was signed.
    #[error(
        "{place} has another history than what was signed, as {by} says: entry {index}, or one before it, is not the same"
    )]
    Forked {
        /// The archive.
        place: String,
        /// Index of the last entry that was compared.
        index: u64,
        /// What remembers what was signed.
        by: String,
    },
    /// What was signed last cannot be compared any more: it was removed from the archive.
    #[error(
        "{place} begins with entry {first}: entries from {needed} on are needed, {}",
        match needed {
            1 => "because a tree begins with entry 1: sign an archive that has all of it",
            _ => "to continue what was signed",
        }
    )]
    NotHeld {
        /// The archive.
        place: String,
        /// Index of its first entry.
        first: u64,
        /// Index of the first that is needed.
        needed: u64,
    },
    /// Two checkpoints of one log contradict each other, or one of them is not of this tree.
    #[error("{0}")]
    NotConsistent(String),
    /// A witness refuses a checkpoint. What it cosigned before stands.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// The mirror is the archive that is signed itself: it would say nothing of a second copy. Give
    /// another location.
    #[error("{place} is the archive that is signed itself: a mirror is a copy at another location")]
    MirrorIsArchive {
        /// The archive.
        place: String,
    },
    /// The mirror does not hold all that it would say that it holds. Wait until it does.
    #[error("{place} ends with entry {last}, and {size} entries were signed")]
    MirrorBehind {
        /// The mirror.
        place: String,
        /// Index of its last entry.
        last: u64,
        /// How many it must hold.
        size: u64,
    },
    /// The mirror has lost what it would say that it holds. Put it back, or fill another archive.
    #[error("{place} holds no entries {first} to {last}, which were signed")]
    MirrorGap {
        /// The mirror.
        place: String,
        /// Index of the first entry that is not there.
        first: u64,
        /// Index of the last in a row that is not there.
        last: u64,
    },
    /// The policy does not accept it.
    #[error("the checkpoint at {place} is not accepted")]
    NotAccepted {
        /// Where it is.
        place: String,
        /// Why.
        source: NotAccepted,
    },
    /// It certifies nothing.
    #[error(transparent)]
    Certificate(#[from] BadCertificate),
    /// Something is not proven.
    #[error(transparent)]
    Proof(#[from] BadProof),
    /// What a proof carries is no entry.
    #[error(transparent)]
    Leaf(#[from] BadLeaf),
}
