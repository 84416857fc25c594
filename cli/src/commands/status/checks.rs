//! Which checks are expected, and where.

use tipline_backup::{Check, Destination, DestinationError};
use tipline_ops::ExpectedCheck;

use crate::settings::Parsed;

/// Options of `tipline status`.
#[derive(Debug, clap::Args)]
pub(super) struct ChecksArgs {
    /// Where archives and checkpoints are. Shows when they were last verified and drilled. Separate
    /// several by commas
    #[arg(long, env = "TIPLINE_CHECKS", value_name = "ADDRESS", value_delimiter = ',')]
    checks: Vec<String>,

    /// Remind of a place that was not verified within this time
    #[arg(long, env = "TIPLINE_EXPECT_VERIFY", value_name = "TIME", requires = "checks")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    expect_verify: Option<humantime::Duration>,

    /// Remind of a place that was not drilled within this time
    #[arg(long, env = "TIPLINE_EXPECT_DRILL", value_name = "TIME", requires = "checks")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    expect_drill: Option<humantime::Duration>,
}

impl ChecksArgs {
    /// Both checks of every place that is named.
    ///
    /// # Errors
    /// An address cannot be used.
    pub(super) fn expected(&self) -> Result<Vec<ExpectedCheck>, DestinationError> {
        let mut expected = Vec::new();
        for address in &self.checks {
            let destination = Destination::open(address)?;
            let (verify, drill) = (self.expect_verify, self.expect_drill);
            for (check, every) in [(Check::Verify, verify), (Check::Drill, drill)] {
                let destination = destination.clone();
                expected.push(ExpectedCheck { destination, check, every: every.map(Into::into) });
            }
        }
        Ok(expected)
    }
}
