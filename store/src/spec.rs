//! The specification of a store, as a trait.

use std::fmt::Debug;

use tipline_proto::LogIdentity;

use crate::batch::Batch;
use crate::error::StoreError;
use crate::reader::StoreReader;
use crate::snapshot::Snapshot;
use crate::stored::StoreIdentity;

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
    fn set_bulk_load(&mut self, filling: bool) -> Result<(), StoreError> {
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
    /// [`Snapshot`] for each medium that it is kept on, in their order, all at the same cursor, the
    /// last batch included. Fast, whatever the size of the store. A store need not have it; then
    /// there are no checkpoints of it.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if the store was never created for a log, or has no checkpoints.
    fn snapshot(&self) -> Result<Vec<Box<dyn Snapshot>>, StoreError> {
        Err(StoreError::Unusable {
            place: self.place(),
            why: "stores of its kind have no checkpoints: copy it while nothing writes to it"
                .to_owned(),
            source: None,
        })
    }
}
