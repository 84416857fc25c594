//! How far publishing is.

use tipline_proto::{Position, Timestamp, Tip};

use crate::end_reason::EndReason;

/// How far the publisher is. Watch it with [`crate::Producer::progress`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// Epoch of this primary; 0 before its claim.
    pub epoch: u64,
    /// The newest position that is known to be in the log.
    pub tail: Option<Position>,
    /// Outbox sequence up to which the log is complete.
    pub logged: u64,
    /// Newest block in the log, where it is known.
    pub block_tip: Option<Tip>,
    /// As in [`tipline_proto::Cursor::proof_tip`], as far as it is known: from what was published, and
    /// from the receipts.
    pub proof_tip: Option<u64>,
    /// Rows that the log does not have yet, when last read.
    pub waiting_events: u64,
    /// Payload bytes of those rows.
    pub waiting_bytes: u64,
    /// Commit time of the oldest of them; `None` if nothing waits.
    pub oldest: Option<Timestamp>,
    /// How many rows may wait in the outbox.
    pub max_events: u64,
    /// How many payload bytes may wait in the outbox.
    pub max_bytes: u64,
    /// Payload bytes of all rows that the outbox holds, logged ones that are kept included.
    pub held_bytes: u64,
    /// Why the log does not take what waits, and since when; `None` while it does.
    pub held_up: Option<HeldUp>,
    /// Times the log was found to have lost what it had acknowledged. If it is not zero, wake a
    /// person.
    pub losses: u64,
    /// Times the log was found to be shorter than before, by a loss or before a claim.
    pub(crate) shortened: u64,
    /// Index of the claim, and outbox sequence at it: entries after it are rows after that.
    pub(crate) claim: Option<Anchor>,
}

/// Why nothing is published, although something may wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldUp {
    /// What failed last.
    pub why: String,
    /// When it began, by the primary's clock.
    pub since: Timestamp,
}

/// An entry after which log and outbox run in parallel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) index: u64,
    pub(crate) sequence: u64,
}

impl Progress {
    /// Row up to which the log is complete, in the numbers of this outbox; `None` while there is no
    /// claim, which says it.
    pub(crate) fn logged_here(&self) -> Option<u64> {
        self.claim.map(|_| self.logged)
    }

    /// Row up to which the log is complete for certain; `None` if nothing is known but what the outbox
    /// was told.
    pub(crate) fn certain(&self) -> Option<u64> {
        // After a loss that is not true any more.
        self.logged_here().or((self.losses > 0).then_some(0))
    }

    /// Index of the entry that carries a row of the outbox, or of one after it if the row was
    /// published by an earlier epoch; `None` before the claim.
    pub(crate) fn index_of(&self, sequence: u64) -> Option<u64> {
        let claim = self.claim?;
        Some(claim.index + sequence.saturating_sub(claim.sequence))
    }

    /// Highest row that the entries up to `index` carry for certain.
    pub(crate) fn sequence_at(&self, index: u64) -> u64 {
        match self.claim {
            Some(claim) if index >= claim.index => claim.sequence + (index - claim.index),
            _ => 0,
        }
    }
}

/// What the publisher is doing.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Stage {
    /// It is reaching for the log, reading the board and claiming the log.
    #[default]
    Starting,
    /// It publishes, or waits for something to publish.
    Publishing,
    /// The log does not answer, or its answer is in doubt. Events wait in the outbox.
    Retrying {
        /// How many attempts have failed in a row.
        attempt: u32,
        /// What failed last.
        why: String,
    },
    /// It will not continue.
    Ended(EndReason),
}
