//! Points in time. The contract has no clock; it is given the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::limits::MAX_TIME_MICROS;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// A point in time by its microseconds since 1970.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How much later this is than `earlier`; zero if it is not later, because clocks of
    /// two machines may disagree.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl From<SystemTime> for Timestamp {
    /// Times before 1970 become 1970, times after [`MAX_TIME_MICROS`] become that: a store could not
    /// keep an entry of a later one, and in the log it would stop every consumer.
    fn from(time: SystemTime) -> Self {
        let micros = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        Self(u64::try_from(micros).map_or(MAX_TIME_MICROS, |micros| micros.min(MAX_TIME_MICROS)))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_micros(time.0)
    }
}
