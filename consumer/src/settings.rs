//! What a consumer is told.

use std::time::Duration;

use tipline_proto::{ConsumerName, Role};

/// Settings of a consumer. Clock, log and store are arguments of [`crate::Consumer::start`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// Its name, unique in the log: a second consumer of the same name ends the first.
    pub name: ConsumerName,
    /// What it is for.
    pub role: Role,
    /// How often its receipt is repeated while nothing happens. Others take a consumer for
    /// dead that is silent for several times as long.
    pub heartbeat: Duration,
}

impl ConsumerSettings {
    /// A consumer of this name and role, with a heartbeat of 5 s.
    pub fn new(name: ConsumerName, role: Role) -> Self {
        Self { name, role, heartbeat: Duration::from_secs(5) }
    }
}
