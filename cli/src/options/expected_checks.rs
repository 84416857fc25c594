//! Which checks are expected, and where.

use tipline_backup::{Check, Destination};
use tipline_ops::ExpectedCheck;

use crate::output::report::{Failure, Sentence};
use crate::settings::Parsed;

/// Options of whoever judges a fleet.
#[derive(Debug, clap::Args)]
pub(crate) struct ExpectedChecksArgs {
    /// Where archives and checkpoints are. Shows when they were last verified and drilled. Separate
    /// several by commas
    #[arg(long, env = "TIPLINE_CHECKS", value_name = "ADDRESS", value_delimiter = ',')]
    checks: Vec<String>,

    /// Remind of a place that was not verified within this time
    #[arg(long, env = "TIPLINE_EXPECT_VERIFY", value_name = "TIME")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    expect_verify: Option<humantime::Duration>,

    /// Remind of a place that was not drilled within this time
    #[arg(long, env = "TIPLINE_EXPECT_DRILL", value_name = "TIME")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    expect_drill: Option<humantime::Duration>,
}

impl ExpectedChecksArgs {
    /// Both checks of every place that is named.
    ///
    /// # Errors
    /// An address cannot be used, or there is none.
    pub(crate) fn expected(&self) -> Result<Vec<ExpectedCheck>, Failure> {
        // Wherever it was set: `requires` does not hold for the settings file.
        if self.checks.is_empty() && (self.expect_verify.is_some() || self.expect_drill.is_some()) {
            let text = "checks are expected, but no place is named".to_owned();
            return Err(Failure::from(Sentence(text)).advise("for example --checks dir:/backup"));
        }
        let mut expected = Vec::new();
        for destination in self.places()? {
            let (verify, drill) = (self.expect_verify, self.expect_drill);
            for (check, every) in [(Check::Verify, verify), (Check::Drill, drill)] {
                let destination = destination.clone();
                expected.push(ExpectedCheck { destination, check, every: every.map(Into::into) });
            }
        }
        Ok(expected)
    }

    /// Every place that is named.
    ///
    /// # Errors
    /// An address cannot be used.
    pub(crate) fn places(&self) -> Result<Vec<Destination>, Failure> {
        self.checks.iter().map(|address| Ok(Destination::open(address)?)).collect()
    }
}
