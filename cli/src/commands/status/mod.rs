//! `tipline status`: whether everything is backed up, where, and up to which block. It reads
//! the log alone and asks no consumer anything.

mod checks;
mod look;
mod metrics;
mod table;
mod verdict;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use tipline_backup::Destination;
use tipline_log::{Accepted, system_clock};
use tipline_ops::{Thresholds, Verdict, follow_checks, follow_identities};
use tokio::sync::watch::channel;

use self::verdict::{Judge, show};
use crate::exit::Exit;
use crate::open::log::{LogLocation, accepts_all};
use crate::options::{DEFAULT_MAX_AGE, DEFAULT_RESERVE, Shared};
use crate::output::report::{Failure, say};
use crate::settings::Parsed;

/// Options of `tipline status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline status
  tipline status --watch
  tipline status --json | jq '.consumers[] | {name, block, lag_blocks}'
  tipline status --max-lag 100 --silent-after 2m
  tipline status --checks s3://backup/mainnet --expect-verify 1d --expect-drill 7d
  tipline status --watch --metrics /var/lib/node_exporter/textfile/tipline.prom

The first line is the verdict. Exit codes: 0 well, 1 degraded, 2 broken.

WELL      everyone reports, and is within the limits
DEGRADED  someone is silent, too far behind, at risk, failed, or missing; or the log can lose what
          it acknowledges, and that was not accepted with --accept-shortfalls
BROKEN    the log cannot be read, lost events, or a consumer holds another history

The object of --json: verdict, summary, reasons[], advice; log {address, chain, genesis, lineage,
first, last, digest, epoch}; tip {height, hash}; primary {name, state, epoch, index, block,
outbox_events, outbox_bytes, age_ms, failure}; consumers[] {name, role, state, level, index,
block, proof, lag_blocks, lag_events, reservation, at_risk_in_ms, age_ms, failure, store};
shortfalls[] {found, risk, remedy, accepted}; checks[] {place, check, ok, age_ms, well_age_ms,
index, expected_ms, summary}; reminders[]. A state is well, behind, silent, stranded, failed,
ahead or diverged. A reservation is what retention does for a consumer, as `tipline retention
--help` has it: reserved, at risk, lost or apart. What is not known is null.")]
pub(crate) struct StatusArgs {
    /// Show every change as it is pushed, until Ctrl-C
    #[arg(long)]
    watch: bool,

    /// Print one JSON object; with --watch, one per line for every change
    #[arg(long)]
    json: bool,

    /// Write the same as metrics to this file, in Prometheus's text format, for the textfile
    /// collector of node_exporter. With --watch it is replaced as a whole every second
    #[arg(long, env = "TIPLINE_METRICS", value_name = "FILE")]
    metrics: Option<PathBuf>,

    /// Degraded if someone is more than this many blocks behind the fleet's newest
    #[arg(long, env = "TIPLINE_MAX_LAG", value_name = "BLOCKS", default_value = "2")]
    #[arg(value_parser = Parsed::<u64>::new())]
    max_lag: u64,

    /// Degraded if someone is silent for longer; everyone reports every 5 s
    #[arg(long, env = "TIPLINE_SILENT_AFTER", value_name = "TIME", default_value = "15s")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    silent_after: humantime::Duration,

    /// Degraded if someone is more than this many events behind: retention no longer waits for it
    #[arg(long, env = "TIPLINE_RESERVE", value_name = "EVENTS", default_value = DEFAULT_RESERVE)]
    #[arg(value_parser = Parsed::<u64>::new())]
    reserve: u64,

    /// Where node identities are backed up. Reminds if there is no backup, or an old one
    #[arg(long, env = "TIPLINE_IDENTITIES", value_name = "ADDRESS")]
    identities: Option<String>,

    /// Remind of identity backups that are older
    #[arg(long, env = "TIPLINE_IDENTITIES_MAX_AGE", value_name = "TIME")]
    #[arg(default_value = DEFAULT_MAX_AGE, value_parser = Parsed::<humantime::Duration>::new())]
    identities_max_age: humantime::Duration,

    #[command(flatten)]
    checks: checks::ChecksArgs,
}

/// Shows the status.
pub(crate) async fn run(shared: &Shared, args: StatusArgs) -> Result<Exit, Failure> {
    let place = LogLocation::new(shared, "status")?;
    let thresholds = Thresholds {
        max_lag: args.max_lag,
        silent_after: args.silent_after.into(),
        reserve: args.reserve,
        accept_shortfalls: accepts(&place, &shared.accept_shortfalls).await,
    };
    let clock = system_clock();
    let reminders = match &args.identities {
        Some(address) => {
            let destination = Destination::open(address)?;
            let max_age = args.identities_max_age.into();
            follow_identities(destination, max_age, Arc::clone(&clock)).await
        }
        None => channel(Vec::new()).1,
    };
    let checks = follow_checks(args.checks.expected()?).await;
    let judge = Judge { thresholds, clock, reminders, checks, metrics: args.metrics };
    if args.watch {
        return watch::run(place, judge, args.json).await;
    }
    let seen = async {
        let mut observer = look::open(&place).await?;
        let board = observer.board().await?;
        observer.look(board).await
    };
    let fleet = judge.fleet(&place, look::within(&place, seen).await);
    let mut text = String::new();
    show(&mut text, &fleet, args.json)?;
    say(&text)?;
    judge.keep_metrics(&fleet)?;
    Ok(match fleet.verdict {
        Verdict::Well => Exit::Ok,
        Verdict::Degraded => Exit::Degraded,
        Verdict::Broken => Exit::Failed,
    })
}

/// Whether all is accepted that falls short. A log that does not answer now is asked for it again
/// by whoever reads it.
async fn accepts(place: &LogLocation, accepted: &Accepted) -> bool {
    if !matches!(accepted, Accepted::Named(_)) {
        return *accepted == Accepted::Everything;
    }
    let asked = async {
        let log = place.open().await?;
        accepts_all(&*log, place, accepted).await
    };
    asked.await.unwrap_or(false)
}

#[cfg(test)]
mod tests;
