//! `tipline audit receipts`

use std::path::PathBuf;
use std::str::FromStr;
use std::time::SystemTime;

use serde::Serialize;
use tipline_audit::{
    Acknowledged, AnnouncedRow, AuditError, Checked, Compared, ForgottenRow, ReceiptChange,
    ReceiptGap, ReceiptsAt, Recorded, Why, checks_at, receipts_at, receipts_between,
};
use tipline_backup::{Archive, Destination, Keys, TimeDigits, time_text};
use tipline_ops::text::number;
use tipline_proto::{ConsumerName, Timestamp};

use crate::exit::Exit;
use crate::options::Shared;
use crate::output::escape;
use crate::output::report::{Failure, list, say};
use crate::settings::Parsed;

/// Options of `tipline audit receipts`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline audit receipts s3://backup/mainnet --at 2026-11-21T15:04:05Z
  tipline audit receipts s3://backup/mainnet --at 2026-11-21T15:04:05Z --trusted-keys keys.txt --json
  tipline audit receipts dir:/backup --from 2026-11-21T00:00:00Z --to 2026-11-22T00:00:00Z --consumer backup-1

An archiver records what it sees on the board of receipts, at most one change of a consumer in 5 s.
With --at it also says what the newest verify and drill of the archive had found by then; these records
are not signed.
With --trusted-keys only what is signed by them counts. Every digest is compared with the archive's
entries. Exit code 13 if anything is wrong; and of --at 10 if the history begins later, 11 if it does not
go that far yet, 12 if nothing was recorded then: what was known last before is printed.")]
pub(super) struct ReceiptsArgs {
    /// Address of the archive: dir:PATH, s3://BUCKET/PREFIX, gs://…, az://…
    #[arg(value_name = "ARCHIVE")]
    archive: String,

    /// What was acknowledged at this time, in UTC: 2026-11-21T15:04:05Z. By default when the history ends
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "to"])]
    #[arg(value_parser = Parsed::<Moment>::new())]
    at: Option<Moment>,

    /// Every change from this time on
    #[arg(long, value_name = "TIME", requires = "to", value_parser = Parsed::<Moment>::new())]
    from: Option<Moment>,

    /// Every change up to this time
    #[arg(long, value_name = "TIME", requires = "from", value_parser = Parsed::<Moment>::new())]
    to: Option<Moment>,

    /// Of this consumer alone
    #[arg(long, value_name = "NAME", value_parser = Parsed::<ConsumerName>::new())]
    consumer: Option<ConsumerName>,

    /// File with the age identity (secret key) that an encrypted archive is read with
    #[arg(long, env = "TIPLINE_IDENTITY", value_name = "FILE")]
    identity: Vec<PathBuf>,

    /// Print one JSON object; with --from, one for each change
    #[arg(long)]
    json: bool,
}

/// A time as it is typed.
#[derive(Debug, Clone, Copy)]
struct Moment(Timestamp);

#[derive(Debug, thiserror::Error)]
#[error("{given:?} is no time: write it in UTC, as 2026-11-21T15:04:05Z")]
struct NoMoment {
    given: String,
    source: humantime::TimestampError,
}

impl FromStr for Moment {
    type Err = NoMoment;

    fn from_str(given: &str) -> Result<Self, NoMoment> {
        let time: Result<SystemTime, _> = humantime::parse_rfc3339_weak(given);
        let time = time.map_err(|source| NoMoment { given: given.to_owned(), source })?;
        Ok(Self(time.into()))
    }
}

pub(super) async fn run(shared: &Shared, args: ReceiptsArgs) -> Result<Exit, Failure> {
    let keys = Keys::default();
    let keys = args.identity.iter().try_fold(keys, |keys, file| keys.identity_file(file))?;
    let place = Destination::open(&args.archive)?;
    let archive = Archive::open(place.clone(), keys).await.map_err(AuditError::from)?;
    match args.from.zip(args.to) {
        Some((Moment(from), Moment(to))) => changes(shared, &archive, (from, to), &args).await,
        None => at(shared, &archive, &place, &args).await,
    }
}

/// All of it as one object.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    report: &'a ReceiptsAt,
    /// What checks of the archive had found by then.
    checks: &'a [Checked],
}

async fn at(
    shared: &Shared,
    archive: &Archive,
    place: &Destination,
    args: &ReceiptsArgs,
) -> Result<Exit, Failure> {
    let (trust, consumer) = (shared.signing.trust()?, args.consumer.as_ref());
    let report = receipts_at(archive, args.at.map(|at| at.0), &trust, consumer).await?;
    let checks = checks_at(place, Timestamp::from_micros(report.at_us)).await?;
    let text = match args.json {
        true => serde_json::to_string(&Shown { report: &report, checks: &checks })? + "\n",
        false => render(&report, &checks),
    };
    say(&text)?;
    Ok(match (report.ok, report.recorded) {
        (false, _) => Exit::Corrupt,
        (true, Recorded::Yes) => Exit::Ok,
        (true, Recorded::TooOld) => Exit::TooOld,
        (true, Recorded::NotYet) => Exit::NotYet,
        (true, Recorded::Gap) => Exit::Gap,
    })
}

async fn changes(
    shared: &Shared,
    archive: &Archive,
    (from, to): (Timestamp, Timestamp),
    args: &ReceiptsArgs,
) -> Result<Exit, Failure> {
    let (trust, consumer) = (shared.signing.trust()?, args.consumer.as_ref());
    let mut between = receipts_between(archive, from, to, &trust, consumer).await?;
    let (begins, ends) = between.extent();
    if !args.json {
        list(&extent(begins.as_micros(), ends.as_micros()))?;
    }
    let mut exit = Exit::Ok;
    while let Some(change) = between.next().await? {
        if matches!(
            change,
            ReceiptChange::Wrong { .. } | ReceiptChange::Gap(ReceiptGap { why: Why::Lost, .. })
        ) {
            exit = Exit::Corrupt;
        }
        let line = match args.json {
            true => serde_json::to_string(&change)? + "\n",
            false => line(&change),
        };
        list(&line)?;
    }
    Ok(exit)
}

fn shown(us: u64) -> String {
    time_text(Timestamp::from_micros(us), TimeDigits::Micros)
}

fn extent(begins: u64, ends: u64) -> String {
    format!("the history of receipts begins at {} and ends at {}\n", shown(begins), shown(ends))
}

fn render(report: &ReceiptsAt, checks: &[Checked]) -> String {
    let at = shown(report.at_us);
    let mut text = match (report.recorded, report.as_of_us) {
        (Recorded::Yes, _) => escape::line(format_args!("at {at}, by {}", report.place)),
        (_, Some(as_of)) => escape::line(format_args!(
            "NOT known at {at}; at {}, by {}",
            shown(as_of),
            report.place
        )),
        (_, None) => escape::line(format_args!("NOT known at {at}, by {}", report.place)),
    };
    text += &format!("  {}", extent(report.begins_us, report.ends_us));
    text += &report.gap.map(|gap| format!("  {}\n", gap_text(gap))).unwrap_or_default();
    if let Some(primary) = &report.primary {
        text += &escape::line(format_args!("  {}", announced(primary)));
    }
    for consumer in &report.consumers {
        text += &escape::line(format_args!("  {}", acknowledged(consumer)));
    }
    for row in &report.forgotten {
        let seen = shown(row.seen_us);
        text += &escape::line(format_args!("  {}, seen {seen}", forgotten(row)));
    }
    if report.consumers.is_empty() && report.as_of_us.is_some() {
        text += "  no consumer had a receipt\n";
    }
    if checks.is_empty() {
        text += "  the archive had not been checked\n";
    }
    for check in checks {
        text += &escape::line(format_args!("  {}", checked(check)));
    }
    for problem in &report.problems {
        text += &escape::line(format_args!("  wrong: {problem}"));
    }
    text
}

fn line(change: &ReceiptChange) -> String {
    let text = match change {
        ReceiptChange::Acknowledged(row) => {
            format!("{}  {}", shown(row.seen_us), acknowledged(row))
        }
        ReceiptChange::Announced(row) => format!("{}  {}", shown(row.seen_us), announced(row)),
        ReceiptChange::Forgotten(row) => format!("{}  {}", shown(row.seen_us), forgotten(row)),
        ReceiptChange::Gap(gap) => gap_text(*gap),
        ReceiptChange::Wrong { problem } => format!("wrong: {problem}"),
    };
    escape::line(format_args!("{text}"))
}

fn gap_text(gap: ReceiptGap) -> String {
    let why = match gap.why {
        Why::NotRecorded => "no archiver recorded",
        Why::Lost => "LOST: what was recorded is not there any more",
    };
    format!("from {} to {} {why}", shown(gap.from_us), shown(gap.to_us))
}

fn checked(row: &Checked) -> String {
    let ended = shown(row.time_us);
    let well = if row.ok { "" } else { ", NOT well" };
    format!("the last {} ended at {ended}{well}: {}", row.check, row.summary)
}

fn tips(block: Option<u64>, proof: Option<u64>) -> String {
    let shown = |height: Option<u64>| height.map_or("none".to_owned(), number);
    format!("block {}, proof {}", shown(block), shown(proof))
}

fn signed(trusted: Option<bool>) -> &'static str {
    match trusted {
        Some(true) => ", signed by a trusted key",
        Some(false) => ", NOT signed by a trusted key",
        None => "",
    }
}

fn announced(row: &AnnouncedRow) -> String {
    format!(
        "primary {:?}: the log ends with entry {}, {}, sent {}{}",
        row.primary,
        number(row.tail.index),
        tips(row.block, row.proof),
        shown(row.sent_us),
        signed(row.trusted)
    )
}

fn forgotten(row: &ForgottenRow) -> String {
    let unsigned = match row.trusted {
        None => "",
        Some(_) => ", by the archiver's word alone: NOT signed",
    };
    format!("{} was forgotten{unsigned}", row.consumer)
}

fn acknowledged(row: &Acknowledged) -> String {
    let levels = row.reached.iter();
    let levels: Vec<String> =
        levels.map(|(level, at)| format!("entry {} {level}", number(at.index))).collect();
    let reached = if levels.is_empty() { "nothing".to_owned() } else { levels.join(", ") };
    let history = match row.history {
        Compared::Agrees => "as in the archive",
        Compared::Ahead => "the archive does not go that far",
        Compared::Diverged => "NOT the history of the archive",
        Compared::NotHeld => "not compared: the archive does not hold that entry",
    };
    let failure = row.failure.as_ref();
    let failure = failure.map(|why| format!(", stopped: {why:?}")).unwrap_or_default();
    format!(
        "{} ({}, {}): {reached}, {}, {history}, sent {}{}{failure}",
        row.consumer,
        row.role,
        row.store,
        tips(row.block, row.proof),
        shown(row.sent_us),
        signed(row.trusted)
    )
}
