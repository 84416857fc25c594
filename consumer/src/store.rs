//! The specification of a store, as traits.

use std::collections::BTreeSet;
use std::fmt::{self, Debug};
use std::iter::empty;
use std::ops::RangeInclusive;

use bytes::Bytes;
use tipline_proto::{
    Chain, Cursor, Entry, Hash, Key, Label, Lineage, LogIdentity, Position, Timestamp, Tip,
    TransactionId,
};

use crate::pinned::Pinned;

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

/// Entries in a row, verified, and the cursor behind the last of them.
#[derive(Debug, Clone)]
pub struct Batch {
    /// At least one entry and at most [`MAX_APPLY_EVENTS`](tipline_proto::limits::MAX_APPLY_EVENTS), in the order of the log, the first directly behind the store's
    /// cursor, none void, every one verified.
    pub entries: Vec<Entry>,
    /// The cursor to commit with them. Block tip and proof tip are computed by the
    /// verification, so that they are the same in every kind of store.
    pub cursor: Cursor,
    /// Parent of the first block of the log, for the store to keep: see
    /// [`tipline_proto::LinksState::base`].
    pub base: Option<Tip>,
}

impl Batch {
    /// Whether the batch is directly behind a store's cursor, and whole: what every store
    /// checks before it applies one. Gives the cursor. `place` names the store.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`]; [`StoreError::Failed`] if the store was never created.
    pub fn check_behind<'a>(
        &self,
        cursor: Option<&'a Cursor>,
        place: &str,
    ) -> Result<&'a Cursor, StoreError> {
        let place = place.to_owned();
        let Some(cursor) = cursor else {
            let what = "it was not created for a log before a batch came".to_owned();
            return Err(StoreError::Failed { place, what, source: None });
        };
        let first = self.entries.first().map_or(0, |entry| entry.index);
        let whole = self.entries.last().map(Entry::position) == Some(self.cursor.position);
        if whole && first == cursor.position.index + 1 {
            return Ok(cursor);
        }
        Err(StoreError::OutOfOrder { place, cursor: cursor.position, first })
    }
}

/// A medium that entries are applied to.
///
/// # What a store keeps
/// - **Blocks** by height: hash, parent hash, payload, and the entry's index, epoch and time.
/// - **Proofs** by height: the proven block's hash, payload, index and time. A later proof of
///   the same block replaces the earlier one.
/// - **Transactions** by id: payload, index, time, and the height of the block tip when it was
///   applied (none before the first block). The newest of the same id replaces the earlier one.
/// - **Records** by key: value, index, time. Erasing removes the key.
/// - **Marks**: name, index, block tip at that time. The newest of the same name replaces.
/// - The **cursor**, and `base` of the [`Batch`].
///
/// `RolledBack { to_height }` removes blocks and proofs above that height, and transactions
/// whose block tip was above it. Records and marks stay. `EpochStarted` changes the cursor only.
///
/// # Rules
/// - [`Store::apply`] is atomic: after a crash at any instant the store is as before the batch
///   or as behind it, cursor included.
/// - On `Ok` it is durable: fsynced, to the medium. A receipt is sent on it.
/// - What a store shows when it is opened is durable too, for a receipt is sent on that as well.
///   A process that was killed may have left a batch that is whole and not fsynced: opening
///   makes it durable or undoes it.
/// - After an error of `apply` nothing of the batch is visible. After a failed write or fsync
///   the handle is poisoned: every later call gives [`StoreError::Failed`]; open it anew.
/// - Reading never waits for applying for longer than an instant, and sees whole batches.
/// - One handle writes at a time; a second one is refused when it is opened.
///
/// Calls block; the replicate loop makes them on a thread of their own.
pub trait Store: Send + Debug {
    /// Kind and place, for people: `sqlite:replica.db`.
    fn place(&self) -> String;

    /// What the store was created for; `None` in a new, empty store.
    fn identity(&self) -> Result<Option<StoreIdentity>, StoreError>;

    /// Makes a new, empty store one of this log, with the cursor at the origin. Durable on return.
    ///
    /// # Errors
    /// [`StoreError::WrongLog`] if it already is one of another log; `Ok` if of the same.
    fn create(&mut self, log: &LogIdentity) -> Result<(), StoreError>;

    /// Applies a batch. See the rules above.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`] if the batch is not directly behind the cursor; nothing changes.
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Says that the store is being filled by a restore, or is no longer. While it is, nobody
    /// reads it but through [`Store::reader`], readers may be kept waiting by [`Store::apply`],
    /// and they may see a batch that failed for good. What is durable, and whole, stays as it is.
    /// A store for which that makes no difference leaves it out.
    ///
    /// # Errors
    /// As of [`Store::apply`].
    fn set_filling(&mut self, filling: bool) -> Result<(), StoreError> {
        let _ = filling;
        Ok(())
    }

    /// Looks whether the medium is still there, with what was applied last. Asked every few
    /// seconds while there is nothing to apply, so that a medium that goes away is noticed before
    /// it is needed. A store on a disk of its own may leave it out.
    ///
    /// # Errors
    /// As of [`Store::apply`]: a retryable one is shown, and it is asked again until it passes.
    fn probe(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// A second handle for reading, independent of this one, for another thread.
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError>;

    /// Takes hold of the store as it is now, so that it can be copied while it is applied to: a
    /// [`Pinned`] for each medium that it is kept on, in their order, all at the same cursor, the
    /// last batch included. Fast, whatever the size of the store. A store need not have it; then
    /// there are no checkpoints of it.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if the store was never created for a log, or has no checkpoints.
    fn pin(&self) -> Result<Vec<Box<dyn Pinned>>, StoreError> {
        Err(StoreError::Unusable {
            place: self.place(),
            why: "stores of its kind have no checkpoints: copy it while nothing writes to it"
                .to_owned(),
            source: None,
        })
    }
}

/// Reading a store, while it is applied to.
///
/// Every call sees a state between two batches, at least as new as the last one whose `apply`
/// had returned. `None` means that there is no such thing in the store.
pub trait StoreReader: Send + Debug {
    /// Kind and place, for people, as of the store.
    fn place(&self) -> String;

    /// How far the store is; `None` before it is created for a log.
    fn cursor(&self) -> Result<Option<Cursor>, StoreError>;

    /// What verification needs to go on: see [`tipline_proto::LinksState`].
    fn links(&self) -> Result<StoredLinks, StoreError>;

    /// Hash of the block at a height.
    fn block_hash(&self, height: u64) -> Result<Option<Hash>, StoreError>;

    /// The block at a height.
    fn block(&self, height: u64) -> Result<Option<StoredBlock>, StoreError>;

    /// The block with a hash.
    fn block_by_hash(&self, hash: &Hash) -> Result<Option<StoredBlock>, StoreError>;

    /// The proof of the block at a height.
    fn proof(&self, height: u64) -> Result<Option<StoredProof>, StoreError>;

    /// The proof of the block with a hash.
    fn proof_by_hash(&self, hash: &Hash) -> Result<Option<StoredProof>, StoreError> {
        let Some(block) = self.block_by_hash(hash)? else { return Ok(None) };
        // Meanwhile the block may have been replaced: then this is another one's proof.
        Ok(self.proof(block.height)?.filter(|proof| proof.block_hash == *hash))
    }

    /// Lowest and highest height of the blocks in the store; `None` if there is no block.
    fn heights(&self) -> Result<Option<(u64, u64)>, StoreError>;

    /// The blocks of a range of heights that the store holds, by height, each read when it is
    /// its turn. The range ends at the highest block of now; if it is rolled back meanwhile,
    /// the blocks end there.
    ///
    /// # Errors
    /// As for every read; [`StoreError::Damaged`] at a height that has no block although there
    /// are some below and above it.
    fn blocks<'a>(
        &'a self,
        heights: RangeInclusive<u64>,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredBlock, StoreError>> + 'a>, StoreError> {
        let Some((lowest, highest)) = self.heights()? else { return Ok(Box::new(empty())) };
        let (first, last) = (lowest.max(*heights.start()), highest.min(*heights.end()));
        let read = move |height| match self.block(height) {
            Ok(None) => match self.heights() {
                Ok(Some((_, highest))) if highest > height => Some(Err(StoreError::Damaged {
                    place: self.place(),
                    at: format!("block {height}: it is missing between {lowest} and {highest}"),
                    source: None,
                })),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            },
            block => block.transpose(),
        };
        Ok(Box::new((first..=last).map_while(read)))
    }

    /// A validated transaction.
    fn transaction(&self, id: &TransactionId) -> Result<Option<StoredTransaction>, StoreError>;

    /// A recorded state.
    fn record(&self, key: &Key) -> Result<Option<StoredRecord>, StoreError>;

    /// The keys of all recorded states, behind `after`, in order, at most `limit`.
    fn keys(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, StoreError>;

    /// The ids of all transactions, behind `after`, in order, at most `limit`.
    fn transaction_ids(
        &self,
        after: Option<&TransactionId>,
        limit: usize,
    ) -> Result<Vec<TransactionId>, StoreError>;

    /// The names of all marks, behind `after`, in the order of their bytes, at most `limit`.
    fn marks(&self, after: Option<&Label>, limit: usize) -> Result<Vec<Label>, StoreError>;

    /// A mark.
    fn mark(&self, name: &Label) -> Result<Option<StoredMark>, StoreError>;
}

/// What a store remembers of the links of its chain, besides the cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredLinks {
    /// As given with the newest [`Batch::base`].
    pub base: Option<Tip>,
    /// Heights above the cursor's proof tip that have their proof.
    pub proven_above: BTreeSet<u64>,
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

/// Why a store did not do what was asked, by what the caller must do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store belongs to another log. Never mix them: give another place, or restore.
    #[error("the store {place} belongs to chain {:?} with lineage {}, not to chain {:?} with lineage {}: give it another place",
        found.chain.name.as_str(), found.lineage, expected.chain.name.as_str(), expected.lineage)]
    WrongLog {
        /// Which store.
        place: String,
        /// What it was created for.
        found: Box<StoreIdentity>,
        /// What was asked for.
        expected: Box<StoreIdentity>,
    },
    /// A batch that is not directly behind the cursor. It is the caller's mistake; nothing changed.
    #[error("the store {place} is at {cursor}, the batch starts with entry {first}")]
    OutOfOrder {
        /// Which store.
        place: String,
        /// Where it is.
        cursor: Position,
        /// Index of the first entry of the batch.
        first: u64,
    },
    /// The parts of a composite store are not of one history, or too far apart to be brought in
    /// step. Nothing was changed. Find out which part is right, and fill the others from it or
    /// from the log.
    #[error("{0}")]
    Disagree(Box<Disagreement>),
    /// What is there is not a store of Tipline, or one of another version. Nothing was changed.
    #[error("{place} is not a usable store: {why}")]
    Unusable {
        /// Which store.
        place: String,
        /// What is wrong, and what to do.
        why: String,
        /// What went wrong.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Another process or handle has it open for writing.
    #[error("the store {place} is in use by another process: stop that one first")]
    InUse {
        /// Which store.
        place: String,
    },
    /// Something in the store is not what was written. Stop, and restore from another copy.
    #[error("the store {place} is damaged at {at}")]
    Damaged {
        /// Which store.
        place: String,
        /// Which block, proof, row or file.
        at: String,
        /// What is wrong there.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// No room. Nothing of the batch was stored and the handle stays usable if the medium
    /// promises that; otherwise it is [`StoreError::Failed`]. Make room.
    #[error("no room left for the store {place}: make room, it then goes on where it stopped")]
    Full {
        /// Which store.
        place: String,
        /// What went wrong.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The medium is out of reach, or refuses the credentials. Nothing that was durable is lost,
    /// and the handle stays usable: bring it back; it is tried again until it answers.
    #[error("the store {place} is out of reach")]
    Unreachable {
        /// Which store.
        place: String,
        /// What went wrong.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A read, a write or an fsync failed. After a write the handle refuses further work:
    /// remove the cause, and open the store anew.
    #[error("the store {place} failed: {what}")]
    Failed {
        /// Which store.
        place: String,
        /// What was being done.
        what: String,
        /// What went wrong.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl StoreError {
    /// Whether the same call may succeed later, with nothing lost until then: someone makes
    /// room, whoever else has the store lets go of it, or the medium comes back.
    pub fn is_retryable(&self) -> bool {
        use StoreError::{Full, InUse, Unreachable};
        matches!(self, Full { .. } | InUse { .. } | Unreachable { .. })
    }
}

/// How the parts of a composite store disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// Which store.
    pub place: String,
    /// The part that does not fit.
    pub part: String,
    /// Where that part is; none if it was never created for a log.
    pub found: Option<Position>,
    /// The part that has the cursor.
    pub last: String,
    /// Where that one is.
    pub cursor: Option<Position>,
    /// How they differ.
    pub why: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |position: &Option<Position>| match position {
            Some(position) => format!("at {position}"),
            None => "new".to_owned(),
        };
        let Self { place, part, found, last, cursor, why } = self;
        let (found, cursor) = (at(found), at(cursor));
        write!(
            f,
            "the parts of the store {place} disagree: {part} is {found}, {last}, which has the cursor, is {cursor}: {why}; \
             find out which of them is right, and fill the other from it, or alone from the log"
        )
    }
}
