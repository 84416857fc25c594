//! Options that several commands have.

mod audit;
mod bootstrap;
mod checkpoints;
mod checks;
mod expected;
mod expected_checks;
mod health;
mod identities;
mod nats;
mod signing;
mod sources;

use std::path::PathBuf;

use tipline_log::Accepted;

pub(crate) use self::audit::AuditedArgs;
pub(crate) use self::bootstrap::BootstrapArgs;
pub(crate) use self::checkpoints::{EveryArgs, Mode, SealingArgs, default_set};
pub(crate) use self::checks::ChecksArgs;
pub(crate) use self::expected::ExpectedArgs;
pub(crate) use self::expected_checks::ExpectedChecksArgs;
pub(crate) use self::health::HealthArgs;
pub(crate) use self::identities::IdentitiesArgs;
pub(crate) use self::nats::NatsArgs;
pub(crate) use self::signing::SigningArgs;
pub(crate) use self::sources::SourceArgs;
use crate::address::LogAddress;
use crate::output::telemetry::LogFormat;
use crate::settings::Parsed;

/// Options of every command.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Shared {
    /// The log: embedded:PATH for one file on this machine, or nats://HOST:PORT/NAME
    ///
    /// Separate several servers by commas: nats://a:4222,b:4222,c:4222/mainnet. With tls:// the
    /// connection must be encrypted.
    #[arg(long, global = true, env = "TIPLINE_LOG", value_name = "ADDRESS")]
    #[arg(value_parser = Parsed::<LogAddress>::new(), default_value = DEFAULT_LOG)]
    pub(crate) log: LogAddress,

    /// Accept a log that can lose what it acknowledges; status shows why
    ///
    /// With names, only these shortfalls are accepted: --accept-shortfalls=single-replica,sync-interval.
    /// `tipline init` prints the names. Without any, all are, those that come later too.
    #[arg(long, global = true, env = "TIPLINE_ACCEPT_SHORTFALLS", value_name = "NAMES")]
    #[arg(value_parser = Parsed::<Accepted>::new(), default_value = "false", hide_default_value = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) accept_shortfalls: Accepted,

    /// Read settings from this file instead of ./tipline.toml
    #[arg(long, global = true, env = "TIPLINE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// What is logged to standard error: error, warn, info, debug, or per module as in RUST_LOG
    #[arg(long, global = true, env = "TIPLINE_LOG_LEVEL", value_name = "LEVEL")]
    #[arg(default_value = DEFAULT_LOG_LEVEL, hide_short_help = true)]
    pub(crate) log_level: String,

    /// Format of these logs
    #[arg(long, global = true, env = "TIPLINE_LOG_FORMAT", value_name = "FORMAT")]
    #[arg(value_enum, default_value = "text", hide_short_help = true)]
    pub(crate) log_format: LogFormat,

    #[command(flatten)]
    pub(crate) signing: SigningArgs,

    #[command(flatten)]
    pub(crate) nats: NatsArgs,
}

/// What is logged by default. The log reports better what the NATS client would.
pub(crate) const DEFAULT_LOG_LEVEL: &str = "info,async_nats=off";

/// The default log.
pub(crate) const DEFAULT_LOG: &str = "embedded:tipline.log.db";

/// How many events a consumer may lag before the log no longer waits for it. A million is more than
/// a month at one block and one proof every six seconds.
pub(crate) const DEFAULT_RESERVE: &str = "1000000";

/// Keys change seldom, but a backup that nobody checks for longer is forgotten.
pub(crate) const DEFAULT_MAX_AGE: &str = "90days";

/// The address that stands for the log of `--log`.
pub(crate) const LOG: &str = "log";
