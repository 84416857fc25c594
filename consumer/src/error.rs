//! Why a consumer stopped.

use tipline_log::LogError;
use tipline_proto::{ConsumerName, Digest};
use tipline_store::StoreError;

use crate::refusal::{Refusal, VerifyError};

/// Why a consumer stopped. It does not resume by itself: every kind needs somebody to look.
/// Everything before the place it names is applied and durable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// The log cannot be followed. As the log's error says.
    #[error(transparent)]
    Log(LogError),
    /// The store failed. As the store's error says.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An entry must not be applied. As the refusal says.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store holds another history than the log: it was restored from elsewhere, or one of the
    /// two was replaced. Find out which one is right; make the wrong one again from the right one.
    #[error(
        "the store {store} diverges from the log at {at}: at its cursor, entry {index}, it has digest {stored}, the log has {found}"
    )]
    Diverged {
        /// Which store.
        store: String,
        /// The lowest block that differs, with its height; or that no block does.
        at: String,
        /// Index of the store's cursor.
        index: u64,
        /// Digest of the store's cursor.
        stored: Digest,
        /// The log's digest at that index.
        found: Digest,
    },
    /// The store is ahead of the log. The log lost entries that it had acknowledged, or it is an
    /// older copy. A consumer waits for the log to reach the store again: see
    /// [`crate::Phase::StoreAhead`].
    #[error(
        "the store {store} is at entry {cursor}, but the log ends at {tail}: the log lost entries, or it is an older copy; it goes on once the primary has published them again"
    )]
    Ahead {
        /// Which store.
        store: String,
        /// Index of the store's cursor.
        cursor: u64,
        /// Index of the log's newest entry.
        tail: u64,
    },
    /// The store is new, but the receipts of this consumer say that it had one. See
    /// [`crate::ConsumerSettings::new_store`].
    #[error(
        "the store {store} is new, but the receipts of {consumer} say that it held everything up to entry {known}: mount it, or correct its address; or fill a store, by a restore or with --bootstrap; to start from scratch, give --new"
    )]
    StoreLost {
        /// Which store.
        store: String,
        /// Which consumer.
        consumer: ConsumerName,
        /// Index of the newest entry that it had.
        known: u64,
    },
    /// The log no longer holds what the store needs next. Fill the store from an archive, or
    /// from a copy of another store of this log, and start again.
    #[error(
        "the store {store} needs entry {needed} next, but the log holds entries {first} to {last}: start it with --bootstrap and the place of an archive, or fill it by a restore"
    )]
    OutOfRange {
        /// Which store.
        store: String,
        /// Index of the entry that is needed.
        needed: u64,
        /// Index of the oldest entry that the log holds.
        first: u64,
        /// Index of the newest entry.
        last: u64,
    },
    /// A thread panicked, or could not be started. What was durable stays so. It is a mistake in
    /// the program: report it, with what was printed.
    #[error("{what} panicked or could not be started: see what was printed before")]
    Panicked {
        /// Which one.
        what: String,
    },
}

impl ConsumerError {
    /// Whether what the store held may be gone: it is new, something in it is not what was written,
    /// or its handle failed, as it does when its files are removed. The next run that opens it
    /// knows. A store that does not answer is not in doubt.
    pub(crate) fn is_store_in_doubt(&self) -> bool {
        use StoreError::{Corrupt, Failed};
        matches!(self, Self::StoreLost { .. } | Self::Store(Corrupt { .. } | Failed { .. }))
    }
}

impl From<VerifyError> for ConsumerError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Refused(refusal) => Self::Refused(refusal),
            VerifyError::Store(error) => Self::Store(error),
        }
    }
}
