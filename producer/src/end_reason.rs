//! How publishing ends.

use std::sync::Arc;

use tipline_log::{AppendError, LogError, Shortfall};
use tipline_proto::{Chain, Hash, Lineage, OutboxId};

use crate::outbox::OutboxError;

/// Why the publisher ended. It is given to every caller who still waits for something, and to
/// every later one. The node's commits are not affected. Its events stay in the outbox.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EndReason {
    /// It was asked to end. Everything that was in the outbox by then is in the log, unless
    /// the deadline came first.
    #[error("the publisher was shut down")]
    Stopped,
    /// A newer primary has claimed the log. This one must not commit blocks any more. Do not
    /// restart it before it is certain which of the two is to continue, because each restart
    /// claims the log.
    #[error(
        "fenced: epoch {by} has claimed the log, this primary is of epoch {epoch}; make sure that only one primary runs"
    )]
    Fenced {
        /// The epoch of this primary.
        epoch: u64,
        /// The epoch that claimed the log.
        by: u64,
    },
    /// The log and this primary disagree in a way that only a person can decide.
    #[error("halted: {why}")]
    Halted {
        /// What disagrees, and what to do.
        why: String,
    },
    /// The log continues from another outbox. See [`crate::ResumeFrom`].
    #[error(
        "the log is complete up to row {sequence} of outbox {logged}, this outbox is {own}: if this node is to continue the log, say where it continues"
    )]
    WrongOutbox {
        /// The outbox that the log continues from.
        logged: OutboxId,
        /// The sequence that it is complete to.
        sequence: u64,
        /// The outbox of this primary.
        own: OutboxId,
    },
    /// The log is not the one that this outbox publishes to: another one, or one that was
    /// created again, at the start or later. Nothing of this outbox is published into
    /// it. See [`crate::ResumeFrom`].
    #[error(
        "this outbox publishes to the log of lineage {bound}, the log has {found}: it is another one, or was created again; if the node is to continue it, say where it continues"
    )]
    WrongLog {
        /// The log that the outbox publishes to.
        bound: Lineage,
        /// The log that was found.
        found: Lineage,
    },
    /// The log is that of another chain than the outbox. Nothing was published, and the outbox is
    /// bound to nothing. Correct the log's address, or the genesis of the outbox.
    #[error(
        "the outbox holds events of the chain with genesis {outbox}, the log is that of chain {} with genesis {}: one of the two is the wrong one; nothing was published",
        log.name, log.genesis
    )]
    WrongChain {
        /// Genesis of the outbox.
        outbox: Hash,
        /// Chain of the log.
        log: Chain,
    },
    /// The log is less durable than it must be. See [`crate::ProducerSettings::accept_shortfalls`].
    #[error("the log can lose what it acknowledges: {}", list(.shortfalls))]
    NotDurable {
        /// What falls short, and was not accepted.
        shortfalls: Vec<Shortfall>,
    },
    /// The log cannot be used.
    #[error("the log cannot be used")]
    Log(#[source] Arc<LogError>),
    /// The log refuses an append for good.
    #[error("the log refused an append")]
    Append(#[source] Arc<AppendError>),
    /// The outbox cannot be used.
    #[error("the outbox cannot be used")]
    Outbox(#[source] Arc<OutboxError>),
    /// A worker of the publisher panicked, which is a defect of Tipline. Nothing is known to be
    /// lost.
    #[error("the publisher failed: a worker panicked; restart the process and report it")]
    Panicked,
}

impl EndReason {
    pub(crate) fn halted(why: impl Into<String>) -> Self {
        EndReason::Halted { why: why.into() }
    }

    pub(crate) fn log(error: LogError) -> Self {
        match error {
            LogError::WrongLog { expected: bound, found, .. } => {
                EndReason::WrongLog { bound, found }
            }
            error => EndReason::Log(Arc::new(error)),
        }
    }

    pub(crate) fn refused(error: AppendError) -> Self {
        match error {
            AppendError::Refused(error @ LogError::WrongLog { .. }) => Self::log(error),
            error => EndReason::Append(Arc::new(error)),
        }
    }

    pub(crate) fn outbox(error: OutboxError) -> Self {
        EndReason::Outbox(Arc::new(error))
    }

    /// Whether it ended because it was asked to.
    pub fn is_stopped(&self) -> bool {
        matches!(self, EndReason::Stopped)
    }
}

fn list(shortfalls: &[Shortfall]) -> String {
    shortfalls.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
