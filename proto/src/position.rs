//! Positions, tips and cursors.

use std::fmt;

use crate::digest::Digest;
use crate::identity::LogIdentity;
use crate::tip::Tip;

/// A place in a log, and the digest of everything up to it.
///
/// ```text
/// entries        1     2     3
/// positions   0     1     2     3
///             ^ origin          ^ tail
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Index of the newest entry up to here; 0 before the first.
    pub index: u64,
    /// Digest at that index.
    pub digest: Digest,
}

impl Position {
    /// The position before the first entry of a log.
    pub fn origin(log: &LogIdentity) -> Self {
        Self { index: 0, digest: Digest::origin(log) }
    }
}

impl fmt::Display for Position {
    /// `1234@9f3ac201`: the index and the first 4 bytes of the digest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:#}", self.index, self.digest)
    }
}

/// How far a store is. Stores commit it atomically with the data, so it is the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The store holds everything up to here.
    pub position: Position,
    /// Epoch of the newest applied entry; 0 before the first.
    pub epoch: u64,
    /// The newest applied block; `None` before the first. After a rollback of every block it
    /// is the parent of the first one.
    pub block_tip: Option<Tip>,
    /// Highest height at or below which every block of the log that needs a proof has it. Blocks
    /// below the chain's [`proofs_from`](crate::Chain::proofs_from) need none, and heights below
    /// the log's first block count as proven. Never above the block tip; `None` before the first
    /// block. Stores that an older version wrote may have `None` while the genesis has no proof.
    pub proof_tip: Option<u64>,
}

impl Cursor {
    /// The cursor of an empty store.
    pub fn origin(log: &LogIdentity) -> Self {
        Self { position: Position::origin(log), epoch: 0, block_tip: None, proof_tip: None }
    }

    /// Proof debt: how many heights the proof tip is behind the block tip.
    pub fn proof_debt(&self) -> u64 {
        match (&self.block_tip, self.proof_tip) {
            (None, _) => 0,
            (Some(tip), None) => tip.height.saturating_add(1),
            (Some(tip), Some(proven)) => tip.height.saturating_sub(proven),
        }
    }
}
