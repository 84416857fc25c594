//! The command line. It also defines the keys of `tipline.toml` and the environment: see
//! [`crate::settings`].

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{CommandFactory, Parser, Subcommand};

use crate::address::LogAddress;
use crate::archive::ArchiveArgs;
use crate::checkpoint::CheckpointArgs;
use crate::consume::ConsumeArgs;
use crate::demo::DemoArgs;
use crate::dr::DrArgs;
use crate::drill::DrillArgs;
use crate::forget::ForgetArgs;
use crate::get::GetArgs;
use crate::identity::IdentityArgs;
use crate::init::InitArgs;
use crate::nats::NatsArgs;
use crate::primary::PrimaryArgs;
use crate::restore::RestoreArgs;
use crate::retention::RetentionArgs;
use crate::settings::Parsed;
use crate::status::StatusArgs;
use crate::telemetry::LogFormat;
use crate::verify::VerifyArgs;

/// Replicate a chain node's committed state: every block and proof is pushed through a durable
/// log into replicas and backups, which acknowledge what they hold.
#[derive(Debug, Parser)]
#[command(name = "tipline", version, max_term_width = 100, after_help = AFTER_HELP)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The command line as it is parsed and shown.
pub(crate) fn command() -> clap::Command {
    quiet(Args::command())
}

/// Values are not shown in help texts: they may be secret, and they are not the help.
fn quiet(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(quiet)
}

/// Options of every command.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Shared {
    /// The log: embedded:PATH for one file on this machine, or nats://HOST:PORT/NAME
    ///
    /// Several servers have commas between: nats://a:4222,b:4222,c:4222/mainnet. With tls://
    /// the connection must be encrypted.
    #[arg(long, global = true, env = "TIPLINE_LOG", value_name = "ADDRESS")]
    #[arg(value_parser = Parsed::<LogAddress>::new(), default_value = DEFAULT_LOG)]
    pub(crate) log: LogAddress,

    /// Go on with a log that can lose what it acknowledges; status shows why
    #[arg(long, global = true, env = "TIPLINE_ACCEPT_SHORTFALLS")]
    #[arg(value_parser = BoolishValueParser::new())]
    pub(crate) accept_shortfalls: bool,

    /// Read settings from this file instead of ./tipline.toml
    #[arg(long, global = true, env = "TIPLINE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// What is logged to standard error: error, warn, info, debug, or per module as in RUST_LOG
    #[arg(long, global = true, env = "TIPLINE_LOG_LEVEL", value_name = "LEVEL")]
    #[arg(default_value = DEFAULT_LOG_LEVEL, hide_short_help = true)]
    pub(crate) log_level: String,

    /// The form of these logs
    #[arg(long, global = true, env = "TIPLINE_LOG_FORMAT", value_name = "FORMAT")]
    #[arg(value_enum, default_value = "text", hide_short_help = true)]
    pub(crate) log_format: LogFormat,

    #[command(flatten)]
    pub(crate) nats: NatsArgs,
}

/// What is logged if nothing is said. What the NATS client says is said better by the log.
pub(crate) const DEFAULT_LOG_LEVEL: &str = "info,async_nats=off";

/// The log if none is named.
pub(crate) const DEFAULT_LOG: &str = "embedded:tipline.log.db";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a log, once
    Init(InitArgs),
    /// Publish a node's blocks and proofs to the log
    Primary(PrimaryArgs),
    /// Follow the log into a store that serves reads
    Replica(ConsumeArgs),
    /// Follow the log into a store to restore from
    Backup(ConsumeArgs),
    /// Follow the log into an archive, at a directory or object storage
    Archive(ArchiveArgs),
    /// Tell whether everything is backed up, where, and up to which block
    Status(StatusArgs),
    /// Make a store as it was at any point, from checkpoints, archives and the log
    Restore(RestoreArgs),
    /// Look at archives, checkpoints and a store, without restoring
    Verify(VerifyArgs),
    /// Restore for real into a scratch place, and measure it
    Drill(DrillArgs),
    /// Tell what is left when something is lost
    Dr(DrArgs),
    /// Read a block, a proof or anything else from a store
    Get(GetArgs),
    /// Copy a store as it is at one moment, while it is written; list, keep and expire copies
    Checkpoint(CheckpointArgs),
    /// Back up, check and restore the key files of nodes
    Identity(IdentityArgs),
    /// Remove a consumer that is gone for good from the status
    Forget(ForgetArgs),
    /// Tell what the log or an archive may forget, why the rest is kept, and trim it
    Retention(RetentionArgs),
    /// Show all of it at work, in one process, on made-up blocks
    Demo(DemoArgs),
}

const AFTER_HELP: &str = "\
Examples:
  tipline demo
  tipline init --chain testnet --genesis 6fe28c0ab6f1b372…
  tipline primary --source dir:/var/lib/node/blocks
  tipline backup --name backup-1 --store sqlite:/backup/chain.db
  tipline archive --to s3://backups/testnet
  tipline status --watch
  tipline restore --store sqlite:chain.db --from s3://backup/mainnet --to height:1200000
  tipline get block tip --store sqlite:/backup/chain.db

Settings come from ./tipline.toml, then the environment, then flags; later ones win:
  log = \"nats://127.0.0.1:4222/mainnet\"    # TIPLINE_LOG, --log
  [backup]
  name = \"backup-1\"                         # TIPLINE_NAME, --name
  store = \"sqlite:/backup/chain.db\"         # TIPLINE_STORE, --store

Exit codes:
    0  done; drained after Ctrl-C or SIGTERM; status: well
    1  status: degraded
    2  failed, or started wrongly; status: broken
    3  fenced: a newer primary has claimed the log; do not restart this one by itself
  130  ended at once by a second Ctrl-C";

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_does_not_contradict_itself() {
        super::command().debug_assert();
    }
}
