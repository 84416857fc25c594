//! Options of checks that a consumer makes by itself.

use std::path::PathBuf;

use tipline_backup::Sample;
use tipline_ops::CheckSchedule;

use crate::address::Share;
use crate::settings::Parsed;

/// Options of checks that a consumer makes by itself.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Checks")]
pub(crate) struct ChecksArgs {
    /// Verify what is kept at the destination this often, as tipline verify does: 1d. The outcome is
    /// kept there; tipline status --checks shows it
    #[arg(long, env = "TIPLINE_VERIFY_EVERY", value_name = "TIME")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    verify_every: Option<humantime::Duration>,

    /// When verifying, read back this share, chosen at random: 5%; the newest in any case
    #[arg(long, env = "TIPLINE_SAMPLE", value_name = "PERCENT")]
    #[arg(value_parser = Parsed::<Share>::new())]
    sample: Option<Share>,

    /// Restore from the destination into a scratch directory this often, as tipline drill does: 7d
    #[arg(long, env = "TIPLINE_DRILL_EVERY", value_name = "TIME")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    drill_every: Option<humantime::Duration>,

    /// Where to make the directory of a drill, which is removed again. It needs space for the whole
    /// store
    #[arg(long, env = "TIPLINE_SCRATCH", value_name = "DIRECTORY")]
    scratch: Option<PathBuf>,

    /// A drill is not well if the newest restored entry is older than the log's newest by more: 2h
    #[arg(long, env = "TIPLINE_DRILL_MAX_LAG", value_name = "TIME")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    drill_max_lag: Option<humantime::Duration>,
}

impl From<ChecksArgs> for CheckSchedule {
    fn from(args: ChecksArgs) -> Self {
        Self {
            verify_every: args.verify_every.map(Into::into),
            sample: args.sample.map_or(Sample::Structure, Sample::from),
            drill_every: args.drill_every.map(Into::into),
            scratch: args.scratch,
            max_lag: args.drill_max_lag.map(Into::into),
        }
    }
}
