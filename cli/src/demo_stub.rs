//! The demonstration.

use crate::report::{Exit, Failure, Sentence};

/// Options of `tipline demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tipline demo")]
pub(crate) struct DemoArgs {}

/// Runs it.
pub(crate) async fn run(_args: DemoArgs) -> Result<Exit, Failure> {
    Err(Sentence("the demo is not in this build".into()).into())
}
