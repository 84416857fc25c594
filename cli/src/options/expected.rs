//! What is expected of the fleet.

use std::num::ParseIntError;
use std::str::FromStr;
use std::time::Duration;

use tipline_backup::retention::RetentionRule;
use tipline_log::Accepted;
use tipline_ops::Expectation;
use tipline_proto::{ConsumerName, Policy};

use super::DEFAULT_RESERVE;
use crate::output::report::Failure;
use crate::settings::Parsed;

/// What retention keeps by default, whatever is backed up.
const KEEP_EVENTS: u64 = 10_000;
const KEEP_FOR: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_POLICY: &str = "any 1 of * at durable";

/// Options of whoever judges a fleet.
#[derive(Debug, clap::Args)]
pub(crate) struct ExpectedArgs {
    /// Degraded if someone is more than this many blocks behind the fleet's newest
    #[arg(long, env = "TIPLINE_MAX_LAG", value_name = "BLOCKS", default_value = "2")]
    #[arg(value_parser = Parsed::<u64>::new())]
    max_lag: u64,

    /// Degraded if an event waits for longer: for someone who is behind, in the outbox, or for
    /// --policy; or if a store applies one batch for longer
    #[arg(long, env = "TIPLINE_MAX_LAG_TIME", value_name = "TIME", default_value = "60s")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    max_lag_time: humantime::Duration,

    /// Degraded if the proofs are more than this many blocks behind; `none` for a chain without
    #[arg(long, env = "TIPLINE_MAX_PROOF_LAG", value_name = "BLOCKS", default_value = "10000")]
    #[arg(value_parser = Parsed::<ProofLag>::new())]
    max_proof_lag: ProofLag,

    /// Degraded if someone is silent for longer; everyone reports every 5 s
    #[arg(long, env = "TIPLINE_SILENT_AFTER", value_name = "TIME", default_value = "15s")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    silent_after: humantime::Duration,

    /// Degraded if someone is more than this many events behind: retention no longer waits for it
    #[arg(long, env = "TIPLINE_RESERVE", value_name = "EVENTS", default_value = DEFAULT_RESERVE)]
    #[arg(value_parser = Parsed::<u64>::new())]
    reserve: u64,

    /// Degraded if the log drops what comes after the newest backup within this time, by a limit of its
    /// own
    #[arg(long, env = "TIPLINE_MIN_RUNWAY", value_name = "TIME", default_value = "1h")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    min_runway: humantime::Duration,

    /// For how long restoring may take, by the last drill: the condition `restored_in_time`
    #[arg(long, env = "TIPLINE_MAX_RESTORE", value_name = "TIME")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    max_restore: Option<humantime::Duration>,

    /// Degraded if one of these consumers has sent no receipt. Separate several by commas
    #[arg(long, env = "TIPLINE_EXPECT", value_name = "NAME", value_delimiter = ',')]
    #[arg(value_parser = Parsed::<ConsumerName>::new())]
    expect: Vec<ConsumerName>,

    /// Degraded if an event is older than --max-lag-time and not backed up by this policy
    #[arg(long, env = "TIPLINE_POLICY", value_name = "POLICY")]
    #[arg(value_parser = Parsed::<Policy>::new())]
    policy: Option<Policy>,
}

impl ExpectedArgs {
    pub(crate) fn expectation(&self, accept_shortfalls: Accepted) -> Expectation {
        Expectation {
            max_lag: self.max_lag,
            max_lag_time: self.max_lag_time.into(),
            max_proof_lag: self.max_proof_lag.0,
            silent_after: self.silent_after.into(),
            reserve: self.reserve,
            min_runway: self.min_runway.into(),
            max_restore: self.max_restore.map(Into::into),
            accept_shortfalls,
            consumers: self.expect.clone(),
            policy: self.policy.clone(),
        }
    }

    /// What the log may drop is decided by this: as `tipline retention` does by default.
    ///
    /// # Errors
    /// None, as long as the default can be read.
    pub(crate) fn retention_rule(&self) -> Result<RetentionRule, Failure> {
        let policy = match &self.policy {
            Some(policy) => policy.clone(),
            None => DEFAULT_POLICY.parse::<Policy>()?,
        };
        let (keep_events, keep_for) = (KEEP_EVENTS, KEEP_FOR);
        Ok(RetentionRule { policy, keep_events, keep_for, reserve: self.reserve })
    }
}

/// A number of blocks, or `none`.
#[derive(Debug, Clone, Copy)]
struct ProofLag(Option<u64>);

impl FromStr for ProofLag {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        match text {
            "none" => Ok(Self(None)),
            number => Ok(Self(Some(number.parse()?))),
        }
    }
}
