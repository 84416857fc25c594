//! `tipline verify`: looks at archives, checkpoints and a store, without restoring.

use std::str::FromStr;
use std::time::Duration;

use tipline_backup::{Check, Destination, PlaceKind, Record, Sample, VerifyReport};
use tipline_log::system_clock;
use tipline_store::StoreReader;

use crate::address::StoreAddress;
use crate::args::Shared;
use crate::report::{Exit, Failure, say};
use crate::settings::Parsed;
use crate::sources::SourceArgs;
use crate::text::{age, count, number};
use crate::{stop, store};

/// Options of `tipline verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline verify --from s3://backup/mainnet
  tipline verify --from s3://backup/mainnet --sample 5% --store sqlite:replica.db
  tipline verify --from dir:/backup --full --json

The structure is always looked at: that everything listed is readable, that nothing is missing in
between, and that all agree on the history. The outcome is kept at each place, for status and for
whoever asks there. Exit code 13 if anything is wrong, 16 if a place does not answer.")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    sources: SourceArgs,

    /// Compare this store with what is archived
    #[arg(long, env = "TIPLINE_STORE", value_name = "STORE")]
    #[arg(value_parser = Parsed::<StoreAddress>::new())]
    store: Option<StoreAddress>,

    /// Read back this share, chosen by chance: 5%; the newest in any case
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

/// A share of what there is: `5%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share(f64);

impl From<Share> for Sample {
    fn from(Share(share): Share) -> Self {
        Sample::Share(share)
    }
}

/// Text that is no share.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a share: write it as 5%")]
pub(crate) struct BadShare(String);

impl FromStr for Share {
    type Err = BadShare;

    fn from_str(given: &str) -> Result<Self, BadShare> {
        let percent = given.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        percent
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(|percent| Self(percent / 100.0))
            .ok_or_else(|| BadShare(given.to_owned()))
    }
}

/// Verifies, and keeps the outcome at the places.
pub(crate) async fn run(shared: &Shared, args: VerifyArgs) -> Result<Exit, Failure> {
    let stop = stop::on_signal()?;
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
        let summary = summary(&report);
        keep(&args.sources, Check::Verify, report.is_ok(), report.index(), summary).await?;
    }
    match args.json {
        true => say(&(serde_json::to_string(&report)? + "\n"))?,
        false => say(&told(&report))?,
    }
    Ok(if report.is_ok() { Exit::Ok } else { Exit::Corrupt })
}

async fn open_reader(address: StoreAddress) -> Result<Box<dyn StoreReader>, Failure> {
    Ok(tokio::task::spawn_blocking(move || store::open_reader(&address)).await??)
}

/// Keeps the outcome of a check at every place.
pub(crate) async fn keep(
    sources: &SourceArgs,
    check: Check,
    ok: bool,
    index: u64,
    summary: String,
) -> Result<(), Failure> {
    let record = Record { time_us: system_clock()().as_micros(), ok, index, summary };
    for address in sources.destinations() {
        record.keep(&Destination::open(address)?, check).await?;
    }
    Ok(())
}

/// The outcome in a line.
pub(crate) fn summary(report: &VerifyReport) -> String {
    let problems: Vec<&String> = report.places.iter().flat_map(|place| &place.problems).collect();
    match problems.as_slice() {
        [] => format!("nothing wrong up to entry {}", number(report.index())),
        [one] => (*one).clone(),
        [first, rest @ ..] => format!("{first}, and {} more", rest.len()),
    }
}

fn told(report: &VerifyReport) -> String {
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
            "  {} at {}: {looked_at}, entries {} to {}; {} read back, {:.1} MiB\n",
            place.kind,
            place.place,
            number(place.first),
            number(place.last),
            number(place.read_back),
            place.bytes as f64 / f64::from(1 << 20)
        );
        place.problems.iter().for_each(|problem| text += &format!("    wrong: {problem}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::Share;

    #[test]
    fn a_share_is_a_percentage() {
        assert_eq!("5%".parse::<Share>().unwrap(), Share(0.05));
        assert_eq!("0.1 %".parse::<Share>().unwrap(), Share(0.001));
        for wrong in ["5", "105%", "-1%", "%", "half"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }
}
