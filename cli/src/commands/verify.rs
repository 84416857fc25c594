//! `tipline verify`: checks archives, checkpoints and a store without restoring.

use std::time::Duration;

use indicatif::HumanBytes;
use tipline_backup::{Check, PlaceKind, Sample, VerifyReport};
use tipline_ops::text::{age, count, number};
use tipline_ops::verify_summary;
use tipline_store::StoreReader;

use crate::address::{Share, StoreAddress};
use crate::exit::Exit;
use crate::open::sources::keep;
use crate::open::store;
use crate::options::{Shared, SourceArgs};
use crate::output::report::{Failure, say};
use crate::settings::Parsed;
use crate::signal;

/// Options of `tipline verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline verify --from s3://backup/mainnet
  tipline verify --from s3://backup/mainnet --sample 5% --store sqlite:replica.db
  tipline verify --from dir:/backup --full --json

The structure is always checked: everything that is listed is readable, nothing is missing in
between, and all agree on the history. The outcome is kept at each place, where status reads it.
Exit code 13 if anything is wrong, 16 if a place is unavailable.")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    sources: SourceArgs,

    /// Compare this store with what is archived
    #[arg(long, env = "TIPLINE_STORE", value_name = "STORE")]
    #[arg(value_parser = Parsed::<StoreAddress>::new())]
    store: Option<StoreAddress>,

    /// Read back this share, chosen at random: 5%; the newest in any case
    #[arg(long, value_name = "PERCENT", conflicts_with = "full")]
    #[arg(value_parser = Parsed::<Share>::new())]
    sample: Option<Share>,

    /// Read back everything
    #[arg(long)]
    full: bool,

    /// Do not keep the outcome at the places
    #[arg(long)]
    no_record: bool,

    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

/// Verifies, and keeps the outcome at the places.
pub(crate) async fn run(shared: &Shared, args: VerifyArgs) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    let sources = args.sources.open(shared).await?;
    let sample = match (args.full, args.sample) {
        (true, _) => Sample::Full,
        (false, Some(share)) => share.into(),
        (false, None) => Sample::Structure,
    };
    let reader = match args.store.clone() {
        Some(address) => Some(open_reader(address).await?),
        None => None,
    };
    let mut random = rand::random::<f64>;
    let report = tipline_backup::verify(&sources, reader, sample, &mut random, &stop).await?;
    if !args.no_record {
        let summary = verify_summary(&report);
        keep(&args.sources, Check::Verify, report.is_ok(), report.index(), summary).await?;
    }
    if args.json {
        say(&(serde_json::to_string(&report)? + "\n"))?
    } else {
        say(&render(&report))?
    }
    Ok(if report.is_ok() { Exit::Ok } else { Exit::Corrupt })
}

async fn open_reader(address: StoreAddress) -> Result<Box<dyn StoreReader>, Failure> {
    Ok(tokio::task::spawn_blocking(move || store::open_reader(&address)).await??)
}

fn render(report: &VerifyReport) -> String {
    let verdict = if report.is_ok() { "nothing is wrong" } else { "NOT WELL" };
    let mut text = format!("{verdict}, {}\n", age(Duration::from_secs_f64(report.seconds)));
    for place in &report.places {
        let what = match place.kind {
            PlaceKind::Archive => "segment",
            PlaceKind::Store => "entry",
            _ => "checkpoint",
        };
        let looked_at = match what {
            "entry" => format!("{} entries", number(place.looked_at)),
            what => count(place.looked_at, what),
        };
        text += &format!(
            "  {} at {}: {looked_at}, entries {} to {}; {} read back, {}\n",
            place.kind,
            place.place,
            number(place.first),
            number(place.last),
            number(place.read_back),
            HumanBytes(place.bytes)
        );
        place.problems.iter().for_each(|problem| text += &format!("    wrong: {problem}\n"));
    }
    text
}
