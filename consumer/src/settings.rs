//! Consumer settings.

use std::time::Duration;

use tipline_proto::{ConsumerName, Level, PublicKey, Role, SigningKey};

/// Settings of a consumer. Clock, log and store are arguments of [`crate::Consumer::start`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// Its name, unique in the log: a second consumer of the same name ends the first. The first one
    /// is silent, for its heartbeat and 2 s, as soon as the log has ended its subscription, and ends if
    /// it hears of the second: so their heartbeats should be the same.
    pub name: ConsumerName,
    /// What it is for.
    pub role: Role,
    /// How often its receipt is repeated while nothing happens. Others take a consumer for
    /// dead that is silent for several times as long.
    pub heartbeat: Duration,
    /// What its receipts say of everything that the store has applied. `Durable` is what every
    /// store promises; more only of a store that does more.
    pub level: Level,
    /// How long what has arrived may wait for more to come, so that both are applied together.
    /// A full batch waits for nothing.
    pub linger: Duration,
    /// Whether it may start with a new store although its receipts say that it had one. If not, it
    /// refuses: a directory that nothing is mounted on looks like a new store.
    pub new_store: bool,
    /// The keys that seal its receipts, if its log signs them: its own, and those that it has
    /// succeeded. What it takes up of an earlier run is sealed by one of them. See
    /// [`ConsumerSettings::signing`].
    pub keys: Vec<PublicKey>,
}

impl ConsumerSettings {
    /// A consumer of this name and role, with a heartbeat of 5 s, that applies at once whatever
    /// has arrived, and does not take a lost store for a new one.
    pub fn new(name: ConsumerName, role: Role) -> Self {
        let (heartbeat, level, linger) = (Duration::from_secs(5), Level::Durable, Duration::ZERO);
        Self { name, role, heartbeat, level, linger, new_store: false, keys: Vec::new() }
    }

    /// The same, of a log that signs its receipts with this key.
    pub fn signing(self, key: &SigningKey) -> Self {
        let earlier = key.predecessors().iter().map(|earlier| earlier.key);
        Self { keys: earlier.chain([key.public()]).collect(), ..self }
    }
}
