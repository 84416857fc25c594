//! `tipline destination`: whether a place to keep backups at does what is relied on.

use serde_json::json;
use tipline_backup::{Destination, DestinationProbe, RestoreError};

use crate::exit::Exit;
use crate::output::report::{Failure, say};

/// Options of `tipline destination`.
#[derive(Debug, clap::Args)]
pub(crate) struct DestinationArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Try whether a destination does what backups rely on
    Check(CheckArgs),
}

/// Options of `tipline destination check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline destination check s3://backup/mainnet
  tipline destination check dir:/backup/mainnet --json

It writes two small objects below probe/, each twice, and the second write must be refused. It reads
and lists them, and removes them if that is allowed. Archives and uploads try the same when they
first use object storage. Exit code 2 if it does not do what is needed, 16 if it is unavailable.")]
struct CheckArgs {
    /// dir:PATH, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX
    #[arg(value_name = "ADDRESS")]
    address: String,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Tries it.
pub(crate) async fn run(args: DestinationArgs) -> Result<Exit, Failure> {
    let What::Check(CheckArgs { address, json }) = args.what;
    let destination = Destination::open(&address).map_err(RestoreError::from)?;
    let probe = destination.probe().await.map_err(RestoreError::from)?;
    say(&if json { render_json(&probe) } else { render(&probe) })?;
    Ok(Exit::Ok)
}

fn render(probe: &DestinationProbe) -> String {
    let mut text = format!(
        "{} does what backups rely on\n  creates, and refuses to create twice\n  reads and lists \
         what was just written\n",
        probe.place
    );
    text += if probe.removes {
        "  removes\n"
    } else {
        "  does not remove: merged segments, old checkpoints and what was left of an upload stay\n"
    };
    if probe.needs_checksums {
        text += "  takes only writes with a checksum (Object Lock): they are sent with one\n";
    }
    text
}

fn render_json(probe: &DestinationProbe) -> String {
    let DestinationProbe { place, removes, needs_checksums, .. } = probe;
    let object = json!({ "place": place, "removes": removes, "needs_checksums": needs_checksums });
    format!("{object}\n")
}
