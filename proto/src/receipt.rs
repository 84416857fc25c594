//! Receipts: how a primary knows what is safe, where, and up to which block.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::identity::{InstanceId, Lineage};
use crate::name::ConsumerName;
use crate::position::Position;
use crate::signature::Seal;
use crate::time::Timestamp;
use crate::tip::Tip;

/// How safe data is in a consumer's store. A higher level includes the lower ones. The
/// numbers are persisted: keep stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Written; a crash may lose it.
    Applied = 1,
    /// Fsynced.
    Durable = 2,
    /// Read back from where it was written, and hashed.
    Verified = 3,
    /// Verified, in another failure domain.
    Offsite = 4,
}

impl Level {
    /// Every level, from the lowest.
    pub const ALL: [Level; 4] = [Level::Applied, Level::Durable, Level::Verified, Level::Offsite];

    /// The level as it stands in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Applied => "applied",
            Level::Durable => "durable",
            Level::Verified => "verified",
            Level::Offsite => "offsite",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Text that names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a level: use applied, durable, verified or offsite")]
pub struct UnknownLevel(pub(crate) String);

impl FromStr for Level {
    type Err = UnknownLevel;
    fn from_str(given: &str) -> Result<Self, UnknownLevel> {
        let found = Level::ALL.into_iter().find(|level| level.as_str() == given);
        found.ok_or_else(|| UnknownLevel(given.to_owned()))
    }
}

/// What a consumer is for. The numbers are persisted: keep stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Serves reads.
    Replica,
    /// Exists to be restored from.
    Backup,
    /// Writes segments to object storage.
    Archive,
    /// Checks the log.
    Audit,
    /// One of a newer version, with its number: consumers may be upgraded before their primary.
    Unknown(i32),
}

impl Role {
    /// Every role that this version knows.
    pub const ALL: [Role; 4] = [Role::Replica, Role::Backup, Role::Archive, Role::Audit];

    /// The role as it is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Replica => "replica",
            Role::Backup => "backup",
            Role::Archive => "archive",
            Role::Audit => "audit",
            Role::Unknown(_) => "unknown",
        }
    }

    /// The number as it is persisted.
    pub(crate) const fn number(self) -> i32 {
        match self {
            Role::Replica => 1,
            Role::Backup => 2,
            Role::Archive => 3,
            Role::Audit => 4,
            Role::Unknown(number) => number,
        }
    }

    /// The role that has a number.
    pub(crate) fn of_number(number: i32) -> Self {
        let known = Role::ALL.into_iter().find(|role| role.number() == number);
        known.unwrap_or(Role::Unknown(number))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How far a consumer is, at each level. A position reached at a level counts for the
/// levels below it too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached([Option<Position>; 4]);

impl Reached {
    /// Everything up to `position` is at `level`, nothing is known of higher levels.
    pub fn up_to(position: Position, level: Level) -> Self {
        let mut reached = Self::default();
        reached.set(level, position);
        reached
    }

    /// Says that everything up to `position` is at `level`.
    pub fn set(&mut self, level: Level, position: Position) {
        self.0[level as usize - 1] = Some(position);
    }

    /// What was reported of exactly this level.
    pub fn reported(&self, level: Level) -> Option<Position> {
        self.0[level as usize - 1]
    }

    /// Every position that was reported, from the lowest level.
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        self.0.iter().flatten().copied()
    }

    /// The furthest position that is at `level` or higher; `None` if nothing is.
    pub fn at(&self, level: Level) -> Option<Position> {
        self.0[level as usize - 1..].iter().flatten().max_by_key(|p| p.index).copied()
    }

    /// The highest level that anything has reached, and how far.
    pub fn highest(&self) -> Option<(Level, Position)> {
        Level::ALL.into_iter().rev().find_map(|level| Some((level, self.reported(level)?)))
    }
}

/// A consumer's cumulative acknowledgement: everything up to a position is at a level in
/// its store. The newest receipt of a consumer replaces all before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The log it is about.
    pub lineage: Lineage,
    /// Who sends it.
    pub consumer: ConsumerName,
    /// What the consumer is for.
    pub role: Role,
    /// The run of the consumer that sends it.
    pub instance: InstanceId,
    /// How far it is.
    pub reached: Reached,
    /// Newest block in the store.
    pub block_tip: Option<Tip>,
    /// As in [`crate::Cursor::proof_tip`].
    pub proof_tip: Option<u64>,
    /// When it was sent, by the consumer's clock. Receipts are repeated while nothing
    /// happens, so its age shows whether the consumer lives.
    pub time: Timestamp,
    /// Why the consumer stopped; `None` while it runs.
    pub failure: Option<String>,
    /// The store as text: kind and place.
    pub store: String,
    /// For how long the store had been applying its present batch when this was sent, by the
    /// consumer's clock; `None` while it applies nothing. Receipts are repeated meanwhile, so a
    /// store that hangs is seen.
    pub applying: Option<Duration>,
    /// For how long the store had been frozen for a snapshot of its medium when this was sent, by the
    /// consumer's clock; `None` unless it is. Nothing is applied meanwhile, as somebody wanted it, and
    /// it thaws by itself.
    pub frozen: Option<Duration>,
    /// The consumer's signature; `None` where it does not sign.
    pub seal: Option<Seal>,
}

/// What the primary says of itself, so that others know the newest block and whether the
/// primary lives. The newest one replaces all before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The log it is about.
    pub lineage: Lineage,
    /// The primary's name.
    pub primary: crate::event::Label,
    /// Its epoch.
    pub epoch: u64,
    /// Newest position it knows to be in the log.
    pub tail: Position,
    /// Newest block it published.
    pub block_tip: Option<Tip>,
    /// As in [`crate::Cursor::proof_tip`].
    pub proof_tip: Option<u64>,
    /// Events in the outbox that are not in the log yet.
    pub outbox_events: u64,
    /// Payload bytes that the outbox holds, of logged events that it keeps included.
    pub outbox_bytes: u64,
    /// Payload bytes of the events that are not in the log yet.
    pub outbox_waiting_bytes: u64,
    /// Commit time of the oldest event that is not in the log yet, by the primary's clock; `None`
    /// if nothing waits.
    pub outbox_oldest: Option<Timestamp>,
    /// How many events may wait; 0 if it is not said.
    pub outbox_max_events: u64,
    /// How many payload bytes may wait; 0 if it is not said.
    pub outbox_max_bytes: u64,
    /// Why the log does not take what waits; `None` while it does.
    pub held_up: Option<String>,
    /// What is wrong with the source of the events; `None` if nothing is.
    pub source_failure: Option<String>,
    /// When it was sent, by the primary's clock. Repeated while nothing happens.
    pub time: Timestamp,
    /// Why the primary stopped; `None` while it runs.
    pub failure: Option<String>,
    /// The primary's signature; `None` where it does not sign.
    pub seal: Option<Seal>,
}
