//! `tipline dr`: what is left when something is lost.

mod common_point;
mod plan;

use crate::exit::Exit;
use crate::options::Shared;
use crate::output::report::Failure;

/// Options of `tipline dr`.
#[derive(Debug, clap::Args)]
pub(crate) struct DrArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Which copies exist, the best point that each can be restored to, and what would be lost
    Plan(plan::PlanArgs),
    /// The highest block on which several stores and archives agree
    CommonPoint(common_point::CommonPointArgs),
}

/// Answers.
pub(crate) async fn run(shared: &Shared, args: DrArgs) -> Result<Exit, Failure> {
    match args.what {
        What::Plan(args) => plan::run(shared, args).await,
        What::CommonPoint(args) => common_point::run(args).await,
    }
}
