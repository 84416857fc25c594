//! What a store holds, as it is read.

use std::fmt;

use bytes::Bytes;
use tipline_proto::{
    Chain, Hash, HeightRanges, Key, Label, Lineage, LogIdentity, Timestamp, Tip, TransactionId,
};

/// What a store is for, written into it when it is created and never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreIdentity {
    /// Lineage of the log that it follows.
    pub lineage: Lineage,
    /// The chain.
    pub chain: Chain,
}

impl From<&LogIdentity> for StoreIdentity {
    fn from(log: &LogIdentity) -> Self {
        Self { lineage: log.lineage, chain: log.chain.clone() }
    }
}

impl fmt::Display for StoreIdentity {
    /// `chain "mychain" with lineage 0123…`, and from which height on proofs are expected if that
    /// is not the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chain {:?} with lineage {}", self.chain.name.as_str(), self.lineage)?;
        match self.chain.proofs_from.late() {
            Some(height) => write!(f, " and proofs from block {height} on"),
            None => Ok(()),
        }
    }
}

/// What a store remembers of the links of its chain, besides the cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredLinks {
    /// As given with the newest [`Batch::base`](crate::Batch::base).
    pub base: Option<Tip>,
    /// Heights above the cursor's proof tip that have their proof.
    pub proven_above: HeightRanges,
}

/// A block in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlock {
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: Hash,
    /// Its parent's hash.
    pub parent_hash: Hash,
    /// Index of the entry that it came with.
    pub index: u64,
    /// Epoch of that entry.
    pub epoch: u64,
    /// Commit time at the primary.
    pub time: Timestamp,
    /// The block itself.
    pub payload: Bytes,
}

/// A proof in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredProof {
    /// Height of the proven block.
    pub height: u64,
    /// Hash of the proven block.
    pub block_hash: Hash,
    /// Index of the entry that it came with.
    pub index: u64,
    /// Commit time at the primary.
    pub time: Timestamp,
    /// The proof itself, may be empty.
    pub payload: Bytes,
}

/// A validated transaction in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTransaction {
    /// Its id.
    pub id: TransactionId,
    /// Height of the block tip when it was applied.
    pub block_tip: Option<u64>,
    /// Index of the entry that it came with.
    pub index: u64,
    /// Commit time at the primary.
    pub time: Timestamp,
    /// The transaction itself.
    pub payload: Bytes,
}

/// A recorded state in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its key.
    pub key: Key,
    /// Index of the entry that it came with.
    pub index: u64,
    /// Commit time at the primary.
    pub time: Timestamp,
    /// Its value.
    pub value: Bytes,
}

/// A mark in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMark {
    /// Its name.
    pub name: Label,
    /// Index of the entry that it came with.
    pub index: u64,
    /// Height of the block tip at that entry.
    pub block_tip: Option<u64>,
    /// Commit time at the primary.
    pub time: Timestamp,
}
