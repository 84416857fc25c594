//! Events: what a primary says.

use bytes::Bytes;

use crate::hash::{Hash, Key, TransactionId};
use crate::identity::OutboxId;
use crate::limits::{MAX_LABEL_BYTES, MAX_PAYLOAD_BYTES};
use crate::tip::Tip;

/// One immutable fact about the chain.
///
/// Payloads are opaque and may be empty: an empty proof is a proof. They are shared
/// buffers; cloning an event copies no payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A primary claimed the log. Written by the publisher only, never by a node.
    EpochStarted {
        /// Name of the primary: 1 to 256 bytes.
        primary: Label,
        /// The outbox this epoch publishes from.
        outbox: OutboxId,
    },
    /// A block was committed on top of its parent.
    BlockCommitted {
        /// Height of the block: one more than its parent's.
        height: u64,
        /// Hash of the block.
        hash: Hash,
        /// Hash of the block below it.
        parent_hash: Hash,
        /// The block.
        payload: Bytes,
    },
    /// A committed block was proven. Proofs may arrive in any order, minutes late.
    BlockProven {
        /// Height of the block.
        height: u64,
        /// Hash of the block that is proven.
        block_hash: Hash,
        /// The proof, may be empty.
        payload: Bytes,
    },
    /// A transaction was validated.
    TransactionValidated {
        /// Id of the transaction.
        id: TransactionId,
        /// The transaction.
        payload: Bytes,
    },
    /// Off-chain state that blocks cannot rebuild was set, or erased.
    StateRecorded {
        /// Which state.
        key: Key,
        /// Its new value; `None` erases it.
        value: Option<Bytes>,
    },
    /// Blocks above a height are void, with their proofs and transactions: a
    /// reorganisation, or a signed tip that was replaced.
    RolledBack {
        /// Height that remains as the tip.
        to_height: u64,
        /// Hash of the block at that height.
        to_hash: Hash,
    },
    /// A named restore point.
    Marked {
        /// Its name: 1 to 256 bytes.
        name: Label,
    },
}

/// Which of the events it is. The numbers are persisted: keep stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// [`Event::EpochStarted`]
    EpochStarted = 1,
    /// [`Event::BlockCommitted`]
    BlockCommitted = 2,
    /// [`Event::BlockProven`]
    BlockProven = 3,
    /// [`Event::TransactionValidated`]
    TransactionValidated = 4,
    /// [`Event::StateRecorded`]
    StateRecorded = 5,
    /// [`Event::RolledBack`]
    RolledBack = 6,
    /// [`Event::Marked`]
    Marked = 7,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Kind; 7] = [
        Kind::EpochStarted,
        Kind::BlockCommitted,
        Kind::BlockProven,
        Kind::TransactionValidated,
        Kind::StateRecorded,
        Kind::RolledBack,
        Kind::Marked,
    ];

    /// The kind as it stands in subjects and tables: `block_committed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::EpochStarted => "epoch_started",
            Kind::BlockCommitted => "block_committed",
            Kind::BlockProven => "block_proven",
            Kind::TransactionValidated => "transaction_validated",
            Kind::StateRecorded => "state_recorded",
            Kind::RolledBack => "rolled_back",
            Kind::Marked => "marked",
        }
    }

    /// The kind of this name, the inverse of [`Kind::as_str`].
    pub fn parse(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl Event {
    /// The newest block after this event, if it changes which that is.
    pub fn block_tip(&self) -> Option<Tip> {
        match self {
            Event::BlockCommitted { height, hash, .. } => {
                Some(Tip { height: *height, hash: hash.clone() })
            }
            Event::RolledBack { to_height, to_hash } => {
                Some(Tip { height: *to_height, hash: to_hash.clone() })
            }
            _ => None,
        }
    }

    /// Which of the events it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Event::EpochStarted { .. } => Kind::EpochStarted,
            Event::BlockCommitted { .. } => Kind::BlockCommitted,
            Event::BlockProven { .. } => Kind::BlockProven,
            Event::TransactionValidated { .. } => Kind::TransactionValidated,
            Event::StateRecorded { .. } => Kind::StateRecorded,
            Event::RolledBack { .. } => Kind::RolledBack,
            Event::Marked { .. } => Kind::Marked,
        }
    }

    /// The payload; empty for kinds that have none.
    pub fn payload(&self) -> &Bytes {
        static EMPTY: Bytes = Bytes::new();
        match self {
            Event::BlockCommitted { payload, .. }
            | Event::BlockProven { payload, .. }
            | Event::TransactionValidated { payload, .. } => payload,
            Event::StateRecorded { value, .. } => value.as_ref().unwrap_or(&EMPTY),
            Event::EpochStarted { .. } | Event::RolledBack { .. } | Event::Marked { .. } => &EMPTY,
        }
    }

    /// Refuses a payload over [`MAX_PAYLOAD_BYTES`]. Everything else that could be over a
    /// limit has a type that cannot be.
    pub fn check_limits(&self) -> Result<(), PayloadTooLarge> {
        let length = self.payload().len();
        if length <= MAX_PAYLOAD_BYTES {
            return Ok(());
        }
        Err(PayloadTooLarge::new(self.to_string(), length as u64))
    }
}

/// An event is larger than the contract allows. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the payload of {what} has {length} bytes; the limit is {MAX_PAYLOAD_BYTES} (64 MiB): split it, or store it by reference"
)]
pub struct PayloadTooLarge {
    what: String,
    length: u64,
}

impl PayloadTooLarge {
    /// What was to become a payload has `length` bytes: a file, for example, that is not even
    /// read because of it.
    pub fn new(what: impl Into<String>, length: u64) -> Self {
        Self { what: what.into(), length }
    }
}

/// For messages to people: `block 17 (6fe28c0a)`, with the whole hash.
impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Event::EpochStarted { primary, .. } => write!(f, "epoch start of {primary}"),
            Event::BlockCommitted { height, hash, .. } => write!(f, "block {height} ({hash})"),
            Event::BlockProven { height, block_hash, .. } => {
                write!(f, "proof of block {height} ({block_hash})")
            }
            Event::TransactionValidated { id, .. } => write!(f, "transaction {id}"),
            Event::StateRecorded { key, value: Some(_) } => write!(f, "record {key}"),
            Event::StateRecorded { key, value: None } => write!(f, "erased record {key}"),
            Event::RolledBack { to_height, to_hash } => {
                write!(f, "rollback to block {to_height} ({to_hash})")
            }
            Event::Marked { name } => write!(f, "mark {name}"),
        }
    }
}

/// A short human-readable text, 1 to 256 bytes without control characters: the name of a
/// mark or of a primary.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Box<str>);

impl Label {
    /// Takes the text if it is usable.
    pub fn new(text: &str) -> Result<Self, InvalidLabel> {
        let ok = (1..=MAX_LABEL_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        if ok { Ok(Self(text.into())) } else { Err(InvalidLabel(text.into())) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Label {
    type Err = InvalidLabel;
    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        Self::new(text)
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that cannot be the name of a mark or of a primary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not usable as a name: give 1 to 256 bytes of text without control characters")]
pub struct InvalidLabel(Box<str>);
