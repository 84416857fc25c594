//! What is expected of a fleet.

use std::time::Duration;

use tipline_log::Accepted;
use tipline_proto::{ConsumerName, Policy};

/// What is expected of a fleet, and the limits of what is well. The defaults are those of
/// `tipline status`.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// A consumer may lag the fleet's newest block by this many blocks.
    pub max_lag: u64,
    /// For how long something may wait: an event for a consumer, for the policy or in the outbox,
    /// and a batch to be applied.
    pub max_lag_time: Duration,
    /// How many blocks the proofs may lag the fleet's newest block; `None` if they may lag by
    /// any number. A chain whose proof tip never moved past block 0 is taken for one without
    /// proofs, unless its log says from which block on there are some.
    pub max_proof_lag: Option<u64>,
    /// Everyone must be heard of within this time. Consumers and primaries report every 5 s.
    pub silent_after: Duration,
    /// Retention waits for a consumer that lags the log's tail by at most this many events.
    pub reserve: u64,
    /// The log must keep what comes after the newest backup for at least this long, at its present
    /// pace.
    pub min_runway: Duration,
    /// For how long restoring may take, by the drills; `None` if nobody says.
    pub max_restore: Option<Duration>,
    /// Which of the ways in which the log can lose data were accepted.
    pub accept_shortfalls: Accepted,
    /// Consumers that must be there.
    pub consumers: Vec<ConsumerName>,
    /// What must be fulfilled for everything that is older than `max_lag_time`.
    pub policy: Option<Policy>,
}

impl Default for Expectation {
    fn default() -> Self {
        Self {
            max_lag: 2,
            max_lag_time: Duration::from_secs(60),
            max_proof_lag: Some(10_000),
            silent_after: Duration::from_secs(15),
            reserve: 1_000_000,
            min_runway: Duration::from_secs(3600),
            max_restore: None,
            accept_shortfalls: Accepted::Nothing,
            consumers: Vec::new(),
            policy: None,
        }
    }
}

/// An outbox that is this full backs up, in percent of what it may hold.
pub(super) const FILLING: u64 = 50;
/// An outbox that is this full and is held up is about to stop the node.
pub(super) const NEARLY_FULL: u64 = 90;
/// Held up for longer, nobody can hope that it passes by itself.
pub(super) const HELD_UP_FOR: Duration = Duration::from_secs(600);
