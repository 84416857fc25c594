//! Why a node's keys could not be backed up, checked or restored.

use std::io;
use std::path::PathBuf;

use super::name::IdentityName;
use crate::destination::DestinationError;
use crate::keys::KeyError;

/// What went wrong. Nothing was written, or what was written is whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is no such backup. Make one, or name another.
    #[error("{place} has no backup of the identity of {name}")]
    NotFound {
        /// Which destination.
        place: String,
        /// Which node.
        name: IdentityName,
    },
    /// The directory in which that of the backups is to be is not there. Mount it, or make it.
    #[error("{} is not there: mount it, or make it yourself", directory.display())]
    NoDirectory {
        /// Which directory.
        directory: PathBuf,
    },
    /// A thief of the data would have the keys, too. Give another place.
    #[error(
        "{place} holds the data of a node, and keys are kept apart from it: give another place"
    )]
    WithData {
        /// Which destination.
        place: String,
    },
    /// A backup that nobody can open is useless. Name its recipients.
    #[error("there is no recipient to encrypt to")]
    NoRecipient,
    /// Give other files: at least one, with distinct names, none of them large.
    #[error("{what}")]
    Unusable {
        /// What is wrong with them.
        what: String,
    },
    /// Make the file readable, or give another.
    #[error("cannot read the key file {}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Encrypting failed. Nothing was written.
    #[error("cannot encrypt the backup of {name}")]
    Sealing {
        /// Which node.
        name: IdentityName,
        /// What went wrong.
        source: io::Error,
    },
    /// None of the keys given opens it. Give the right one. If this is the right one, then where the
    /// backup names its recipients is damaged: age cannot tell the two apart. Take an older one then.
    #[error(
        "{place}: {object} opens with none of the keys given: give the right one, or it is damaged"
    )]
    NeedsKey {
        /// Which destination.
        place: String,
        /// Which backup.
        object: String,
    },
    /// The backup is not what was once written. Take an older one, and make a new one now.
    #[error("{place}: {object} is damaged: {what}")]
    Corrupt {
        /// Which destination.
        place: String,
        /// Which backup.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// There are files of these names. Nothing was written. Move them away, or force it.
    #[error("there already: {}", files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", "))]
    Exists {
        /// Which files.
        files: Vec<PathBuf>,
    },
    /// Make it writable, or free some space. The files before it, in their order, are written.
    #[error("cannot write {}", file.display())]
    Unwritable {
        /// Which file.
        file: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// As its error says.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// As its error says.
    #[error(transparent)]
    Destination(#[from] DestinationError),
}
