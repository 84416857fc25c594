//! What goes into the publisher's core, and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use tipline_log::{AppendError, LogError, Tail, error_chain};
use tipline_proto::{Entry, Position, Timestamp};

use crate::end_reason::EndReason;

/// Entries that are appended together.
pub(crate) type Unit = Arc<[Entry]>;

/// What happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// Answer to [`Command::Survey`].
    Surveyed(Result<Survey, Obstacle>),
    /// Answer to [`Command::ReadTail`].
    TailRead(Result<TailRead, Obstacle>),
    /// Answer to [`Command::Append`].
    Appended(Result<Tail, AppendError>),
    /// Answer to [`Command::Prepare`]: the next unit, empty if no row waits.
    Prepared { request: u64, unit: Result<Unit, Obstacle> },
    /// The pause of [`Command::Pause`] is over.
    Resumed,
    /// Rows may have been enqueued.
    Woken,
    /// Another primary speaks of a higher epoch.
    Challenged,
    /// Send what is in the outbox, then end. `nothing_waits`: the log has it all, so it need not be
    /// there to end.
    Drain { nothing_waits: bool },
}

/// What to do next. There is at most one of `Survey`, `ReadTail`, `Append` and `Pause` under
/// way at a time, and at most one `Prepare` besides.
#[derive(Debug)]
pub(crate) enum Command {
    /// Read the tail and check that this outbox continues the log.
    Survey,
    /// Read the tail.
    ReadTail,
    /// Append the unit after the tail.
    Append { after: Tail, unit: Unit },
    /// Read rows after outbox sequence `after`, and seal them after `previous` in `epoch`.
    Prepare { request: u64, after: u64, previous: Position, epoch: u64 },
    /// Come back after this time.
    Pause(Duration),
    /// This primary holds the log from `claim` on.
    Claimed { claim: Entry },
    /// These entries are in the log.
    Logged { unit: Unit },
    /// An alarm: the log lost what it had acknowledged.
    LostData {
        acknowledged: Position,
        found: Tail,
        /// The claim is lost too, or in doubt: what is logged is not known until the next one.
        claims: bool,
    },
    /// The log's tail was read, and is where this primary left it.
    Found,
    /// Whatever was retried is over.
    Recovered,
    /// An attempt failed and will be made again: for the log of the process.
    Retrying { attempt: u32, why: String },
    /// Nothing more will come.
    End(EndReason),
}

/// The tail before a claim.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) tail: Tail,
    /// Outbox sequence up to which the log is complete, in the numbers of this outbox.
    pub(crate) logged_through: u64,
    /// What a claim is to start, by [`tipline_log::next_epoch`].
    pub(crate) next_epoch: u64,
    pub(crate) now: Timestamp,
}

/// The tail after a claim.
#[derive(Debug)]
pub(crate) struct TailRead {
    pub(crate) tail: Tail,
    /// Whether this position is one that this primary wrote or claimed after; `None` if it does
    /// not remember any position that far back.
    pub(crate) ours: Option<bool>,
}

/// Why a step did not succeed.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// Try again after a pause.
    Passing(String),
    /// Trying again does not help.
    Final(EndReason),
}

impl From<LogError> for Obstacle {
    fn from(error: LogError) -> Self {
        if error.is_retryable() {
            Obstacle::Passing(error_chain(&error))
        } else {
            Obstacle::Final(EndReason::log(error))
        }
    }
}
