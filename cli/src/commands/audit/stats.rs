//! `tipline audit stats`

use std::sync::Arc;
use std::time::Duration;

use indicatif::HumanBytes;
use tipline_audit::{DelayStats, Stats, StatsReport, VerifyProgress, replay};
use tipline_backup::{TimeDigits, time_text};
use tipline_ops::text::{age, count, number};
use tipline_proto::Timestamp;
use tokio::sync::watch;

use super::RangeArgs;
use super::progress;
use crate::address::Audited;
use crate::exit::Exit;
use crate::options::{AuditedArgs, Shared};
use crate::output::report::{Failure, say};
use crate::settings::Parsed;
use crate::signal;

/// Options of `tipline audit stats`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline audit stats
  tipline audit stats s3://backup/mainnet --from 500000 --json

Times are the primary's commit times. Entries are verified on the way: at the first that does not
continue the history it ends, with the figures up to there and exit code 13.")]
pub(super) struct StatsArgs {
    /// What to read: a log or an archive
    #[arg(value_name = "SOURCE", default_value = "log", value_parser = Parsed::<Audited>::new())]
    source: Audited,

    #[command(flatten)]
    range: RangeArgs,

    #[command(flatten)]
    opening: AuditedArgs,

    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(shared: &Shared, args: StatsArgs) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    let source = args.opening.open_entries(shared, &args.source, &stop).await?;
    let sources = Arc::clone(&source.sources);
    let mut replay = replay(sources, &source.identity, args.range.into(), stop).await?;
    let (from, to) = replay.range();
    let (sender, receiver) = watch::channel(VerifyProgress::default());
    let mut stats = Stats::new(source.identity.chain.proofs_from);
    let work = async {
        let mut bytes = 0;
        while let Some(entries) = replay.next().await? {
            for entry in &entries {
                stats.add(entry);
                bytes += entry.event.payload().len() as u64;
            }
            let done = entries.last().map_or(0, |entry| entry.index + 1 - from);
            sender.send_replace(VerifyProgress { done, of: to + 1 - from, bytes });
        }
        Ok::<_, Failure>(())
    };
    progress::shown("counting", receiver, work).await?;
    let report = stats.report();
    let text = match args.json {
        true => serde_json::to_string(&report)? + "\n",
        false => render(&report),
    };
    say(&text)?;
    replay.into_result()?;
    Ok(Exit::Ok)
}

fn render(report: &StatsReport) -> String {
    let Some((first, last)) = report.entries else { return "no entries\n".to_owned() };
    let mut text =
        format!("entries {} to {}, {}\n", number(first), number(last), HumanBytes(report.bytes));
    if let Some((from, to)) = report.time_us {
        let shown = |us| time_text(Timestamp::from_micros(us), TimeDigits::Seconds);
        let span = Duration::from_micros(to.saturating_sub(from));
        text += &format!("  committed  {} to {}, {}\n", shown(from), shown(to), age(span));
    }
    for (kind, figures) in &report.kinds {
        let (events, bytes) = (number(figures.events), HumanBytes(figures.bytes));
        text += &format!(
            "  {kind:<22} {events:>12}  {bytes}, largest {}\n",
            HumanBytes(figures.largest)
        );
    }
    if let (Some(events), Some(bytes)) = (report.events_per_second, report.bytes_per_second) {
        text += &format!(
            "  rate  {events:.2} events per second, {} per second; most in one second {}\n",
            HumanBytes(bytes as u64),
            number(report.busiest_second)
        );
    }
    text += &delays("block to block", report.between_blocks);
    text += &delays("block to proof", report.proof_delay);
    text += &format!("  without a proof  {}", count(report.unproven, "block"));
    text += &match report.unproven_forgotten {
        0 => "\n".to_owned(),
        forgotten => format!(", of {} the delay was not measured\n", number(forgotten)),
    };
    text += &format!("  claims of the log  {}\n", number(report.epochs));
    let rollbacks =
        report.rollbacks.iter().map(|(depth, times)| format!("{} of {depth}", number(*times)));
    let rollbacks: Vec<String> = rollbacks.collect();
    text += &match &*rollbacks {
        [] => "  rollbacks  none\n".to_owned(),
        _ => format!(
            "  rollbacks by blocks  {}; deepest {}\n",
            rollbacks.join(", "),
            number(report.deepest_rollback)
        ),
    };
    if report.rollbacks_of_unknown_depth > 0 {
        let unknown = number(report.rollbacks_of_unknown_depth);
        text += &format!(
            "  rollbacks of unknown depth, before the first block of the range  {unknown}\n"
        );
    }
    text
}

fn delays(what: &str, delays: Option<DelayStats>) -> String {
    let Some(DelayStats { count, p50_ms, p90_ms, p99_ms, max_ms }) = delays else {
        return String::new();
    };
    let shown = |ms| age(Duration::from_millis(ms));
    let (p50, p90, p99, max) = (shown(p50_ms), shown(p90_ms), shown(p99_ms), shown(max_ms));
    format!("  {what}  p50 {p50}, p90 {p90}, p99 {p99}, longest {max}, of {}\n", number(count))
}
