//! Why an entry is refused, and where.

use tipline_proto::{Digest, LinkError, SignatureError};
use tipline_store::StoreError;

/// An entry that must not be applied. Nothing is ever skipped: the consumer stops before
/// it, with everything before it applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Entries are missing in between. Subscribe again after what is there; if they are
    /// missing again, the log has a gap: find out who made it.
    #[error("entry {expected} is missing: entry {found} came in its place")]
    Gap {
        /// Index of the entry that should have come.
        expected: u64,
        /// Index of the one that came.
        found: u64,
    },
    /// The entry belongs to another history, or was altered. Find out which copy is right:
    /// compare both with a third one, then make the wrong one again from the right one.
    #[error(
        "entry {index} ({event}) does not continue this history: after entry {} its digest must be {expected}, but it is {found}",
        index - 1
    )]
    Fork {
        /// Index of the entry.
        index: u64,
        /// The event, human-readable.
        event: String,
        /// The digest that its content gives there.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// An entry came again with other content. Do what you would for a fork.
    #[error(
        "entry {index} ({event}) came again with another digest: it was {expected}, now it is {found}"
    )]
    Replaced {
        /// Index of the entry.
        index: u64,
        /// The event that came now, human-readable.
        event: String,
        /// The digest that was applied at this index.
        expected: Digest,
        /// The digest that came now.
        found: Digest,
    },
    /// An entry of an epoch that nobody claimed. Its primary is broken: stop it.
    #[error(
        "entry {index} ({event}) is of epoch {found}, but the newest claim is of epoch {claimed}: an epoch begins with a claim"
    )]
    Unclaimed {
        /// Index of the entry.
        index: u64,
        /// The event, human-readable.
        event: String,
        /// The newest claimed epoch, 0 for none.
        claimed: u64,
        /// The epoch of the entry.
        found: u64,
    },
    /// A claim that does not raise the epoch. Its primary is broken: stop it.
    #[error("entry {index} claims epoch {epoch}, which was claimed before: a claim must be higher")]
    NotRaised {
        /// Index of the entry.
        index: u64,
        /// The epoch that is claimed again.
        epoch: u64,
    },
    /// Rows of the primary's outbox were left out, or came twice: within an epoch each entry is the row
    /// after that of the entry before it. Its primary is broken, or was led astray: stop it, and compare
    /// the log with the node.
    #[error(
        "entry {index} ({event}) is row {found} of its primary's outbox, but row {expected} comes next in its epoch"
    )]
    WrongRow {
        /// Index of the entry.
        index: u64,
        /// The event, human-readable.
        event: String,
        /// The row that should have come.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// A block, proof or rollback that does not link. The primary's history is wrong here.
    #[error("entry {index} ({event}) does not link to the chain")]
    Link {
        /// Index of the entry.
        index: u64,
        /// The event, human-readable.
        event: String,
        /// What does not fit.
        source: Box<LinkError>,
    },
    /// Signatures are required, and none vouches for this entry. The primary does not sign, or
    /// somebody else wrote it: find out who. Nothing of it was applied.
    #[error("entry {index} ({event}) is not signed, and no signature after it vouches for it")]
    Unsigned {
        /// Index of the first entry that nobody vouches for.
        index: u64,
        /// The event, human-readable.
        event: String,
    },
    /// The signature of an entry does not count. Somebody else wrote it, or the primary has another key
    /// than the one that is trusted. Nothing of what it is to vouch for was applied.
    #[error("the signature of entry {index} ({event}) does not count")]
    Forged {
        /// Index of the entry.
        index: u64,
        /// The event, human-readable.
        event: String,
        /// Why not.
        source: SignatureError,
    },
}

impl Refusal {
    /// Index of the entry that is refused.
    pub fn index(&self) -> u64 {
        match self {
            Refusal::Gap { found, .. } => *found,
            Refusal::Fork { index, .. }
            | Refusal::Replaced { index, .. }
            | Refusal::Unclaimed { index, .. }
            | Refusal::NotRaised { index, .. }
            | Refusal::WrongRow { index, .. }
            | Refusal::Link { index, .. }
            | Refusal::Unsigned { index, .. }
            | Refusal::Forged { index, .. } => *index,
        }
    }
}

/// Why an entry could not be judged good.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The entry is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The block that the entry refers to could not be looked up. As the store's error says.
    #[error(transparent)]
    Store(#[from] StoreError),
}
