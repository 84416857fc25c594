//! `tipline verify`: checks archives, checkpoints and a store without restoring.

use std::sync::Arc;
use std::time::Duration;

use indicatif::HumanBytes;
use tipline_backup::{
    Against, Check, CheckedPlace, DestinationError, FailedPlace, PlaceKind, RestoreError, Sample,
    VerifiedPlace, VerifyReport,
};
use tipline_ops::text::{age, count, number};
use tipline_ops::verify_summary;
use tipline_store::{StoreIdentity, StoreReader};

use crate::address::{Share, StoreAddress};
use crate::exit::{Exit, restore_exit};
use crate::open::sources::{CheckOutcome, keep};
use crate::open::store;
use crate::options::{Shared, SourceArgs};
use crate::output::escape::line;
use crate::output::report::{Failure, Sentence, say};
use crate::settings::Parsed;
use crate::signal;

/// Options of `tipline verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline verify --from s3://backup/mainnet
  tipline verify --from s3://backup/mainnet --sample 5% --store sqlite:replica.db
  tipline verify --from dir:/backup --from log --full --json

The structure is always checked: everything that is listed is readable, nothing is missing from
where the archive begins, the newest entry can be restored, and all agree on the history. No place
may have less than an earlier check found there. With --from log they must be of that history, too,
and an archive must have what its receipts say.

With --store, every block, proof, transaction, record and mark that the archive tells of must be in
the store, or removed by a later entry. Contents are compared where they are read back: all with
--full. The outcome is kept at each place, where status reads it.

Exit code 13 if anything is wrong, 14 if the places or the store are of different logs, 16 if a
place or the log of --from log is unavailable; the others are checked all the same.")]
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
    let log = args.sources.open_log(shared).await?;
    let trust = shared.signing.trust()?;
    let (mut places, mut failed) = (Vec::new(), Vec::new());
    for address in args.sources.destinations() {
        match args.sources.open_place(address).await {
            Ok(mut place) => {
                place.sources.trust = trust.clone();
                places.push(place);
            }
            // A wrong argument; its error does not repeat what may be secret.
            Err(error @ RestoreError::Destination(DestinationError::BadAddress { .. })) => {
                return Err(error.into());
            }
            Err(error) => failed.push(FailedPlace::new(address, error)),
        }
    }
    let sample = match (args.full, args.sample) {
        (true, _) => Sample::Full,
        (false, Some(share)) => share.into(),
        (false, None) => Sample::Structure,
    };
    let store = match args.store.clone() {
        Some(address) => Some(open_reader(address).await?),
        None => None,
    };
    let (mut random, against) = (rand::random::<f64>, Against { log: log.as_deref(), store });
    let verified = tipline_backup::verify(&places, against, sample, &mut random, &stop).await;
    let mut report = match verified {
        // That one is empty is not what went wrong.
        Err(RestoreError::NotFound { .. }) if !failed.is_empty() => VerifyReport::default(),
        report => report?,
    };
    report.failed.extend(failed);
    if report.places.is_empty() && !report.failed.is_empty() {
        // Then there is nothing else to say.
        let first = report.failed.swap_remove(0);
        return Err(Arc::into_inner(first.error)
            .map_or_else(|| Sentence(first.why).into(), |error| error.into()));
    }
    if !args.no_record {
        for CheckedPlace { destination, .. } in &places {
            let Some(of_it) = report.of(destination) else { continue };
            let outcome = CheckOutcome {
                ok: of_it.is_ok(),
                index: of_it.index(),
                summary: verify_summary(&of_it),
                checkpoint: of_it.checkpoint(),
                restored: None,
            };
            keep(destination, Check::Verify, outcome).await;
        }
    }
    if args.json {
        say(&(serde_json::to_string(&report)? + "\n"))?
    } else {
        say(&render(&report))?
    }
    Ok(match report.failed.first() {
        _ if !report.is_ok() => Exit::Corrupt,
        Some(failed) => restore_exit(&failed.error),
        None => Exit::Ok,
    })
}

async fn open_reader(
    address: StoreAddress,
) -> Result<(Option<StoreIdentity>, Box<dyn StoreReader>), Failure> {
    Ok(tokio::task::spawn_blocking(move || store::open_identified(&address)).await??)
}

fn render(report: &VerifyReport) -> String {
    let verdict = match report.is_ok() {
        true if report.failed.is_empty() => "nothing is wrong",
        true => "NOT ALL CHECKED",
        false => "NOT WELL",
    };
    let mut text = format!("{verdict}, {}\n", age(Duration::from_secs_f64(report.seconds)));
    for place in &report.places {
        text += &render_place(place);
        place
            .problems
            .iter()
            .for_each(|problem| text += &line(format_args!("    wrong: {problem}")));
        place.notes.iter().for_each(|note| text += &line(format_args!("    note: {note}")));
    }
    for FailedPlace { place, why, .. } in &report.failed {
        text += &line(format_args!("  {place}: not checked: {why}"));
    }
    text
}

fn render_place(place: &VerifiedPlace) -> String {
    let looked_at = match place.kind {
        PlaceKind::Archive => count(place.looked_at, "segment"),
        PlaceKind::Store => format!("{} entries", number(place.looked_at)),
        PlaceKind::Checkpoints => count(place.looked_at, "checkpoint"),
        _ => return line(format_args!("  {}", place.place)),
    };
    let digest = place.digest.as_ref().map(|digest| format!(", digest {digest}"));
    line(format_args!(
        "  {} at {}: {looked_at}, entries {} to {}{}; {} read back, {}",
        place.kind,
        place.place,
        number(place.first),
        number(place.last),
        digest.unwrap_or_default(),
        number(place.read_back),
        HumanBytes(place.bytes)
    ))
}
