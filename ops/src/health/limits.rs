//! The limits of what is ready.

use std::time::Duration;

/// The limits of what is ready. The defaults are those of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthLimits {
    /// A consumer may be this many blocks behind the fleet's newest.
    pub max_lag: u64,
    /// For how long the fleet may have had a newer block.
    pub max_lag_time: Duration,
    /// A consumer's proof tip may be this many blocks behind the fleet's.
    pub max_proof_lag: u64,
    /// For how long the fleet may have had a higher proof tip.
    pub max_proof_lag_time: Duration,
    /// For how long the log may leave a question unanswered. It is asked every 500 ms.
    pub max_silence: Duration,
    /// For how long the store may be at one batch, or leave a question unanswered.
    pub max_stuck: Duration,
    /// Who was not heard of for longer is not counted: a primary, another consumer. Everyone
    /// reports every 5 s.
    pub others_silent_after: Duration,
    /// Whether degraded is not ready: see [`crate::health::Readiness::degraded`].
    pub refuse_degraded: bool,
}

impl Default for HealthLimits {
    fn default() -> Self {
        Self {
            max_lag: 2,
            max_lag_time: Duration::from_secs(30),
            max_proof_lag: 1_000,
            max_proof_lag_time: Duration::from_secs(600),
            max_silence: Duration::from_secs(2),
            max_stuck: Duration::from_secs(2),
            others_silent_after: Duration::from_secs(15),
            refuse_degraded: false,
        }
    }
}

/// What one question allows in the place of the limits: stricter or more generous.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowance {
    /// In the place of [`HealthLimits::max_lag`].
    pub max_lag: Option<u64>,
    /// In the place of [`HealthLimits::max_lag_time`].
    pub max_lag_time: Option<Duration>,
    /// In the place of [`HealthLimits::max_silence`]: for the pool of the last resort, when nobody
    /// hears the log.
    pub max_silence: Option<Duration>,
}

impl HealthLimits {
    /// With what a question allows.
    pub fn allowing(&self, allowance: &Allowance) -> Self {
        let Allowance { max_lag, max_lag_time, max_silence } = *allowance;
        Self {
            max_lag: max_lag.unwrap_or(self.max_lag),
            max_lag_time: max_lag_time.unwrap_or(self.max_lag_time),
            max_silence: max_silence.unwrap_or(self.max_silence),
            ..self.clone()
        }
    }
}
