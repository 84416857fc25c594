//! Options of health, for load balancers, and of telemetry.

use std::net::SocketAddr;

use clap::builder::BoolishValueParser;
use tipline_ops::health::HealthLimits;

use crate::settings::Parsed;
use crate::telemetry;

/// Options of health, for load balancers.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Health")]
pub(crate) struct HealthArgs {
    /// Answer load balancers at this address: /healthz, /readyz and grpc.health.v1. Off by default
    #[arg(long, env = "TIPLINE_HEALTH", value_name = "IP:PORT")]
    #[arg(value_parser = Parsed::<SocketAddr>::new())]
    pub(crate) health: Option<SocketAddr>,

    /// Answer HAProxy's agent check at this address: ready with a weight by lag, or drain
    #[arg(long, env = "TIPLINE_HEALTH_AGENT", value_name = "IP:PORT")]
    #[arg(value_parser = Parsed::<SocketAddr>::new())]
    pub(crate) health_agent: Option<SocketAddr>,

    /// Not ready if it is more than this many blocks behind the fleet's newest
    #[arg(long, env = "TIPLINE_HEALTH_MAX_LAG", value_name = "BLOCKS", default_value = "2")]
    #[arg(value_parser = Parsed::<u64>::new(), hide_short_help = true)]
    health_max_lag: u64,

    /// Not ready if the fleet has had a newer block for longer
    #[arg(long, env = "TIPLINE_HEALTH_MAX_LAG_TIME", value_name = "TIME", default_value = "30s")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new(), hide_short_help = true)]
    health_max_lag_time: humantime::Duration,

    /// Not ready if its proofs are more than this many blocks behind the fleet's
    #[arg(
        long,
        env = "TIPLINE_HEALTH_MAX_PROOF_LAG",
        value_name = "BLOCKS",
        default_value = "1000"
    )]
    #[arg(value_parser = Parsed::<u64>::new(), hide_short_help = true)]
    health_max_proof_lag: u64,

    /// Not ready if the fleet has had a newer proof for longer
    #[arg(
        long,
        env = "TIPLINE_HEALTH_MAX_PROOF_LAG_TIME",
        value_name = "TIME",
        default_value = "10min"
    )]
    #[arg(value_parser = Parsed::<humantime::Duration>::new(), hide_short_help = true)]
    health_max_proof_lag_time: humantime::Duration,

    /// Not ready if the log has not answered for longer; it is asked every 500 ms
    #[arg(long, env = "TIPLINE_HEALTH_MAX_SILENCE", value_name = "TIME", default_value = "2s")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new(), hide_short_help = true)]
    health_max_silence: humantime::Duration,

    /// Not ready if the store is at one batch, or does not answer, for longer
    #[arg(long, env = "TIPLINE_HEALTH_MAX_STUCK", value_name = "TIME", default_value = "2s")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new(), hide_short_help = true)]
    health_max_stuck: humantime::Duration,

    /// Not ready, instead of degraded, if everyone is behind or the primary is silent
    #[arg(long, env = "TIPLINE_HEALTH_REFUSE_DEGRADED", value_parser = BoolishValueParser::new())]
    #[arg(hide_short_help = true)]
    health_refuse_degraded: bool,

    /// Send traces and metrics to the OpenTelemetry collector here, by OTLP. Off by default
    ///
    /// The OTEL_… variables of OpenTelemetry count too: without this option OTEL_EXPORTER_OTLP_ENDPOINT
    /// says where to, and OTEL_EXPORTER_OTLP_PROTOCOL whether over grpc, the default, or http/protobuf. A
    /// collector that is away holds up nothing.
    #[arg(long, env = "TIPLINE_OTLP", value_name = "URL", help_heading = "Telemetry")]
    pub(crate) otlp: Option<String>,
}

impl HealthArgs {
    /// Whether anything is to be answered.
    pub(crate) fn is_on(&self) -> bool {
        self.health.is_some() || self.health_agent.is_some()
    }

    /// Whether anything is to be sent.
    pub(crate) fn sends(&self) -> bool {
        self.otlp.is_some() || telemetry::is_asked_for()
    }

    pub(crate) fn limits(&self) -> HealthLimits {
        HealthLimits {
            max_lag: self.health_max_lag,
            max_lag_time: self.health_max_lag_time.into(),
            max_proof_lag: self.health_max_proof_lag,
            max_proof_lag_time: self.health_max_proof_lag_time.into(),
            max_silence: self.health_max_silence.into(),
            max_stuck: self.health_max_stuck.into(),
            refuse_degraded: self.health_refuse_degraded,
            ..HealthLimits::default()
        }
    }
}
