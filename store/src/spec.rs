//! The specification of a store, as two traits: what entries are applied to, and what they can be
//! read back from.

use std::fmt::Debug;

use tipline_proto::{LogIdentity, Position};

use crate::batch::Batch;
use crate::error::StoreError;
use crate::reader::{ChainView, StoreReader};
use crate::snapshot::Snapshot;
use crate::stored::StoreIdentity;

/// A medium that entries are applied to, and that remembers how far it is. A consumer needs no
/// more. Every [`Store`] is one; so is an archive, which keeps entries as they came and answers
/// for little else.
///
/// # Rules
/// - [`Sink::apply`] is atomic: after a crash at any instant the sink is as before the batch
///   or as after it, cursor included.
/// - On `Ok` it is durable: fsynced, to the medium. A receipt is sent on it.
/// - What a sink shows when it is opened is durable too, for a receipt is sent on that as well.
///   A process that was killed may have left a batch that is whole and not fsynced: opening
///   makes it durable or undoes it.
/// - After an error of `apply` nothing of the batch is visible. After a failed write or fsync
///   the handle is poisoned: every later call gives [`StoreError::Failed`]; open it again.
/// - Reading never waits for applying for longer than an instant, and sees whole batches.
///
/// Calls block. A consumer makes them on a thread of their own; what others ask of a running one,
/// between two batches, is asked there too. That is why snapshots and bulk loads are part of this
/// trait, each with an honest answer for a sink that has none.
pub trait Sink: Send + Debug {
    /// Kind and place, human-readable: `sqlite:replica.db`.
    fn place(&self) -> String;

    /// What it was created for; `None` if it is new and empty. Asked first, before anything else:
    /// a sink may find out only then where it is.
    fn identity(&self) -> Result<Option<StoreIdentity>, StoreError>;

    /// Makes a new, empty sink one of this log, with the cursor at the origin. Durable on return.
    ///
    /// # Errors
    /// [`StoreError::WrongLog`] if it already is one of another log; `Ok` if of the same.
    fn create(&mut self, log: &LogIdentity) -> Result<(), StoreError>;

    /// Applies a batch. See the rules above.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`] if the batch does not start directly after the cursor; nothing
    /// changes.
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Checks whether the medium is still there, under its name, with what was applied last. Asked
    /// every few seconds while there is nothing to apply, so that a medium that goes away is
    /// noticed before it is needed: what was removed or replaced can often still be written to by
    /// whoever has it open, and is lost with the process. Cheap: a look at metadata, or a request.
    /// Each kind says what it looks at.
    ///
    /// # Errors
    /// The same errors as [`Sink::apply`]. A retryable one is shown, and it is asked again until
    /// it passes.
    fn probe(&mut self) -> Result<(), StoreError>;

    /// Where parts of it are that have more than its cursor says, after a crash. None in a store
    /// that is one. They are compared with the log before anything is applied.
    fn ahead(&self) -> Vec<Position> {
        Vec::new()
    }

    /// A second handle, for reading from another thread what verification asks.
    fn view(&self) -> Result<Box<dyn ChainView>, StoreError>;

    /// A bulk load begins: until it ends nobody reads it but through handles of its own, these may
    /// be kept waiting by [`Sink::apply`], and they may see a batch that failed for good. What is
    /// durable, and whole, stays as it is. Handles for reading from before may keep it from beginning,
    /// with a retryable error: close them first. Twice is as once. A hint: a sink to which it makes no
    /// difference leaves it out.
    ///
    /// # Errors
    /// The same errors as [`Sink::apply`].
    fn begin_bulk_load(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The bulk load is over: everything that the rules promise holds again on return. Without
    /// one it does nothing.
    ///
    /// # Errors
    /// The same errors as [`Sink::apply`].
    fn end_bulk_load(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Takes a snapshot, to be copied while entries are applied: a [`Snapshot`] for each medium
    /// that it is kept on, in their order, all at the same cursor, the last batch included. Fast,
    /// whatever the size. A sink need not have snapshots; then there are no checkpoints of it.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if it was never created for a log, or its kind has no snapshots.
    fn snapshot(&self) -> Result<Vec<Box<dyn Snapshot>>, StoreError> {
        let why = "stores of its kind have no checkpoints: copy it while nothing writes to it";
        Err(StoreError::unusable(&self.place(), why, None))
    }
}

/// A [`Sink`] that everything can be read back from.
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
/// One handle writes at a time; a second one is refused when it is opened.
pub trait Store: Sink {
    /// A second handle for reading, independent of this one, for another thread. [`Sink::view`]
    /// of a store shows the same.
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError>;
}
