//! `tipline status`: whether everything is backed up, where, and up to which block. It reads
//! the log alone and asks no consumer anything.

mod live;
mod metrics;
mod nagios;
mod table;
mod verdict;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use tipline_log::system_clock;
use tipline_ops::{Fleet, RetentionWatch, Verdict, follow_checks, follow_places, follow_retention};
use tokio::sync::watch::channel;

use self::verdict::{Judge, show};
use self::watch::Form;
use crate::exit::Exit;
use crate::open::log::LogLocation;
use crate::open::observer as look;
use crate::options::{ExpectedArgs, ExpectedChecksArgs, IdentitiesArgs, Shared};
use crate::output::nagios::unknown;
use crate::output::report::{Failure, say};

/// Options of `tipline status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline status
  tipline status --watch
  tipline status --watch --plain | tee status.txt
  tipline status --json | jq '.consumers[] | {name, block, lag_blocks}'
  tipline status --max-lag 100 --max-lag-time 5m --silent-after 2m
  tipline status --expect backup-1,backup-2 --policy 'any 2 of backup-* at durable'
  tipline status --checks s3://backup/mainnet --expect-verify 1d --expect-drill 7d
  tipline status --watch --metrics /var/lib/node_exporter/textfile/tipline.prom
  tipline status --nagios --log nats://127.0.0.1:4222/mainnet

The first line is the verdict. Exit codes: 0 well, 1 degraded, 2 broken. With --nagios it is the only
line, the same codes are OK, WARNING and CRITICAL, and 3 is UNKNOWN: the status could not be made.

WELL      everyone reports, and is within the limits
DEGRADED  something is wrong, and nothing is lost: someone is silent, too far behind, stalled, at
          risk, failed or missing; events wait too long in the outbox; the policy is not reached; a
          clock is ahead; or the log can lose what it acknowledges, and that was not accepted with
          --accept-shortfalls
BROKEN    the log cannot be read, or lost events; a consumer holds another history; or the log
          takes nothing any more, and the outbox is nearly full or has waited for 10 min

Every finding, with its kind, what it means and what to do, and the object of --json are in
docs/operate.md.")]
pub(crate) struct StatusArgs {
    /// Show every change as it is pushed, until Ctrl-C: on a terminal as a screen, otherwise as lines
    #[arg(long)]
    watch: bool,

    /// With --watch: lines on a terminal, too, one picture after another for every change
    #[arg(long, requires = "watch", conflicts_with = "json")]
    plain: bool,

    /// Print one JSON object; with --watch, one per line for every change
    #[arg(long)]
    json: bool,

    /// Print the JSON Schema of --json, and nothing else
    #[arg(long)]
    json_schema: bool,

    /// Print one line as a plug-in of Nagios does: OK, WARNING, CRITICAL or UNKNOWN, and figures
    #[arg(long, conflicts_with_all = ["watch", "json"])]
    nagios: bool,

    /// Write the same as metrics to this file, in Prometheus's text format, for the textfile
    /// collector of node_exporter. With --watch it is replaced as a whole every second
    #[arg(long, env = "TIPLINE_METRICS", value_name = "FILE")]
    metrics: Option<PathBuf>,

    #[command(flatten)]
    expected: ExpectedArgs,

    #[command(flatten)]
    identities: IdentitiesArgs,

    #[command(flatten)]
    checks: ExpectedChecksArgs,
}

/// The schema of `--json`. Names and values are added, never changed.
const SCHEMA: &str = include_str!("../../../../docs/status.schema.json");

/// Shows the status.
pub(crate) async fn run(shared: &Shared, args: StatusArgs) -> Result<Exit, Failure> {
    let is_plugin = args.nagios;
    match status(shared, args).await {
        // Whoever called it shows its line, and nothing else.
        Err(failure) if is_plugin => {
            say(&unknown(&failure.text()))?;
            Ok(Exit::UNKNOWN)
        }
        ended => ended,
    }
}

async fn status(shared: &Shared, args: StatusArgs) -> Result<Exit, Failure> {
    if args.json_schema {
        say(SCHEMA)?;
        return Ok(Exit::Ok);
    }
    let place = LogLocation::new(shared, "status")?;
    let expected = args.expected.expectation(shared.accept_shortfalls.clone());
    let clock = system_clock();
    let identities = args.identities.follow(args.identities.place()?, &clock).await;
    let places = args.checks.places()?;
    let checks = follow_checks(args.checks.expected()?, Arc::clone(&clock));
    // At once: each may have to be waited for.
    let (checks, followed) = tokio::join!(checks, follow_places(places.clone()));
    let (log, open) = channel(None);
    // What is read for the metrics alone is not read without them, nor where nothing is to be proven.
    let retention = match args.watch && args.metrics.is_some() && !places.is_empty() {
        true => {
            let (rule, clock) = (args.expected.retention_rule()?, Arc::clone(&clock));
            let watched = RetentionWatch { places, identity: Vec::new(), rule, clock };
            follow_retention(watched, open)
        }
        false => channel(None).1,
    };
    let metrics = args.metrics;
    let judge =
        Judge { expected, clock, identities, checks, places: followed, metrics, retention, log };
    if args.watch {
        let form = match (args.json, args.plain) {
            (true, _) => Form::Json,
            (false, true) => Form::Plain,
            (false, false) => Form::Screen,
        };
        return watch::run(place, judge, form).await;
    }
    let seen = async {
        let mut observer = look::open(&place).await?;
        let board = observer.board().await?;
        observer.look(board).await
    };
    let fleet = judge.fleet(&place, look::within(&place, seen).await);
    if args.nagios {
        say(&nagios::render(&fleet, &judge.expected))?;
        // The line is the verdict, whatever becomes of the file.
        if let Err(failure) = judge.keep_metrics(&fleet) {
            failure.log();
        }
        return Ok(exit(&fleet));
    }
    let mut text = String::new();
    show(&mut text, &fleet, args.json)?;
    say(&text)?;
    judge.keep_metrics(&fleet)?;
    Ok(exit(&fleet))
}

fn exit(fleet: &Fleet) -> Exit {
    match fleet.verdict {
        Verdict::Well => Exit::Ok,
        Verdict::Degraded => Exit::Degraded,
        Verdict::Broken => Exit::Failed,
    }
}

#[cfg(test)]
mod deploy;
#[cfg(test)]
mod tests;
