//! Settings of a producer: plain data.

use std::time::Duration;

use tipline_log::Accepted;
use tipline_proto::{Label, Policy, Position};

/// How a producer works. `ProducerSettings::new` has what most nodes want.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerSettings {
    /// Name of this primary: host or node name.
    pub primary: Label,
    /// When rows may leave the outbox.
    pub trim: Trim,
    /// How much of what may leave it stays all the same, to be published again should the log lose
    /// it. `None`: by what the log was found to be, [`Keep::DURABLE`] or [`Keep::LOSSY`].
    pub keep: Option<Keep>,
    /// Only where this outbox is new to a log that has entries already: where it continues.
    pub continue_at: Option<ResumeFrom>,
    /// In which ways the log may lose what it acknowledges. A log that falls short in another one is
    /// refused at the start. One that comes to do so later is published to all the same, and
    /// [`crate::BackupStatus::unaccepted`] says so.
    pub accept_shortfalls: Accepted,
    /// How often the primary announces itself while nothing happens. Those that do not hear of
    /// it for several of these take it for dead.
    pub announce_every: Duration,
}

impl ProducerSettings {
    /// The defaults, for a primary of this name: rows may leave when they are logged, the primary
    /// announces itself every 5 s, and a log that can lose data is refused.
    pub fn new(primary: Label) -> Self {
        Self {
            primary,
            trim: Trim::Logged,
            keep: None,
            continue_at: None,
            accept_shortfalls: Accepted::Nothing,
            announce_every: Duration::from_secs(5),
        }
    }
}

/// When rows may leave the outbox. From then on they do not count against its limits; some stay
/// ([`Keep`]).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trim {
    /// When the log has them.
    Logged,
    /// When they are backed up under this policy. The outbox then fills up, and refuses
    /// events in the end, while backups are missing.
    BackedUp(Policy),
}

/// How many rows stay in the outbox after they were logged. If the log loses what it had
/// acknowledged they are published again. If it loses more than this, the history cannot be
/// continued from this outbox.
///
/// A row stays while it is among the newest `rows`, or younger here than `time`, but in all no
/// more than `bytes`, and no more than half of what may wait in the outbox. It also stays until the
/// log has been found to hold it once more: by the next append, or by the look at its tail every
/// [`ProducerSettings::announce_every`]. While the log is away nothing leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// As many of the newest rows stay.
    pub rows: u64,
    /// Rows stay for so long after they were logged. After a restart it counts from the start.
    pub time: Duration,
    /// At most so many bytes: their payloads, and 128 for each row.
    pub bytes: u64,
}

impl Keep {
    /// For a log that loses nothing: the newest 1,000 rows, up to 64 MiB.
    pub const DURABLE: Keep = Keep { rows: 1000, time: Duration::ZERO, bytes: 64 << 20 };
    /// For a log that can lose what it acknowledged: at least 10 minutes, up to 1 GiB. A NATS
    /// server that is left as it comes loses up to two minutes in a power cut.
    pub const LOSSY: Keep = Keep { rows: 1000, time: Duration::from_secs(600), bytes: 1 << 30 };
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
