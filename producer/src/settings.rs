//! Settings of a producer: plain data.

use std::time::Duration;

use tipline_proto::{Label, Policy, Position};

/// How a producer works. `ProducerSettings::new` has what most nodes want.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerSettings {
    /// Name of this primary: host or node name.
    pub primary: Label,
    /// When rows leave the outbox.
    pub trim: Trim,
    /// Only where this outbox is new to a log that has entries already: where it continues.
    pub continue_at: Option<ResumeFrom>,
    /// Continue with a log that can lose what it acknowledges, as [`crate::BackupStatus`] then
    /// says for as long as it is so. Without it such a log is refused.
    pub accept_shortfalls: bool,
    /// How often the primary announces itself while nothing happens. Those that do not hear of
    /// it for several of these take it for dead.
    pub announce_every: Duration,
}

impl ProducerSettings {
    /// The defaults, for a primary of this name: rows leave when they are logged, the primary
    /// announces itself every 5 s, and a log that can lose data is refused.
    pub fn new(primary: Label) -> Self {
        Self {
            primary,
            trim: Trim::Logged,
            continue_at: None,
            accept_shortfalls: false,
            announce_every: Duration::from_secs(5),
        }
    }
}

/// When rows leave the outbox. The newest thousand that are logged stay in any case. They are
/// published again should the log lose what it had acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trim {
    /// When the log has them.
    Logged,
    /// When they are backed up under this policy. The outbox then fills up, and refuses
    /// events in the end, while backups are missing.
    BackedUp(Policy),
}

/// Where an outbox that is new to a log continues: a restored node, a replaced machine.
/// It is checked against the log. The log must end exactly at this position, and the first
/// block after `sequence` must follow the log's newest block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumeFrom {
    /// The log's tail, as `tipline status` shows it.
    pub position: Position,
    /// Sequence of the last row of this outbox that is in the log already; 0 for none.
    pub sequence: u64,
}
