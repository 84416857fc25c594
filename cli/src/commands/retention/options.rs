//! The command line of `tipline retention`.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use tipline_proto::Policy;

use crate::options::DEFAULT_RESERVE;
use crate::settings::Parsed;

/// Options of `tipline retention`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline retention
  tipline retention --json | jq '.ranges[] | {first, last, kept_by}'
  tipline retention --policy 'any 2 of backup-*, archive at durable' --reserve 500000
  tipline retention --proven-at s3://backup/mainnet --apply
  tipline retention --archive s3://backup/mainnet --keep-for 90d
  tipline retention --archive s3://backup/mainnet --keep-for 90d --confirm

Without --apply nothing is changed. The oldest events may go, up to the first one that something
keeps. The policy keeps what the receipts do not report as backed up. A named archive or checkpoint
keeps what it was not read to hold. A consumer keeps what it still needs, for as long as it is
reserved. --keep-events and --keep-for keep the newest. Receipts alone free nothing: unless a named
archive or checkpoint proves that events can be restored, none may go.

Ages are counted from the time of the newest event, or of the primary's newest announcement if that
is later, and never from later than the clock of this machine shows. If that differs from the
primary's by more than a minute, both are shown. With --apply the time of every event that is to go
is read. Without it the log is searched by halves, and more may be shown as free than goes then, if
the primary's clock was ever set back.

RESERVED  the log waits for the consumer
AT RISK   it is more than --reserve events behind: the log no longer waits for it
LOST      the log no longer holds what it needs: rebuild it
APART     it holds another history than the log, or more than the log

With --archive the archive at that place is shortened, not the log. What may go are segments before
the newest checkpoint in the same place that is older than --keep-for, counted from the newest event
in the archive. Every point since then can still be restored. Without such a checkpoint nothing goes.
The checkpoint is read back first, and does not expire for as long as the archive starts with it.
Blocks that wait for their proofs stay. Nothing is removed without --confirm, which needs the
permission to delete.

Exit codes: 0 done; 1 someone is at risk or lost, or a place that is named proves nothing;
2 failed.

The object of --json: log, held {first, last}, keep_from, free, applied, ages {from, by, here,
primary}, ranges[] {first, last, kept_by[]}, consumers[] {name, reservation, needs, behind,
at_risk_in_ms, lost_in_ms}. What is not known is null; ages.primary is what the primary's clock shows
if this machine's differs by more than a minute. With --archive: archive, held {first, last},
keep_from, reachable_from, checkpoint, media, segments, bytes, applied, ages, ranges[] {first, last,
kept_by[]}.")]
pub(crate) struct RetentionArgs {
    /// Shorten the archive at this place, not the log: dir:PATH, s3://BUCKET/PREFIX, …
    #[arg(long, value_name = "ADDRESS", requires = "keep_for", conflicts_with = "apply")]
    pub(super) archive: Option<String>,

    /// Remove what the archive may drop. Without it, only show it
    #[arg(long, requires = "archive")]
    pub(super) confirm: bool,

    /// Trim the log. Without it, only show what would go
    #[arg(long)]
    pub(super) apply: bool,

    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,

    /// Archives and checkpoints that must prove that everything can be restored without the log:
    /// dir:PATH, s3://…. What would go is read back there first. Separate several by commas
    #[arg(long, env = "TIPLINE_PROVEN_AT", value_name = "ADDRESS", value_delimiter = ',')]
    pub(super) proven_at: Vec<String>,

    /// File with the age identity (secret key) that an encrypted archive is read with
    #[arg(long, env = "TIPLINE_IDENTITY", value_name = "FILE")]
    pub(super) identity: Vec<PathBuf>,

    /// Only what is backed up by this policy may go
    #[arg(long, env = "TIPLINE_POLICY", value_name = "POLICY")]
    #[arg(default_value = "any 1 of * at durable", value_parser = Parsed::<Policy>::new())]
    pub(super) policy: Policy,

    /// Wait for a consumer that is at most this many events behind
    #[arg(long, env = "TIPLINE_RESERVE", value_name = "EVENTS")]
    #[arg(default_value = DEFAULT_RESERVE, value_parser = Parsed::<u64>::new())]
    pub(super) reserve: u64,

    /// Always keep this many of the newest events
    #[arg(long, env = "TIPLINE_KEEP_EVENTS", value_name = "EVENTS")]
    #[arg(default_value = "10000", value_parser = Parsed::<u64>::new())]
    pub(super) keep_events: u64,

    /// Always keep what was committed less than this long ago [default: 24h for the log; for an
    /// archive it must be given on the command line]
    #[arg(long, env = "TIPLINE_KEEP_FOR", value_name = "TIME")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    pub(super) keep_for: Option<humantime::Duration>,
}

/// How long an archive reaches back is said each time: a setting that is meant for the log must not
/// shorten it.
///
/// # Errors
/// It was not given on the command line.
pub(crate) fn check_sources(matches: &ArgMatches) -> Result<(), clap::Error> {
    let is_given = matches.value_source("keep_for") == Some(ValueSource::CommandLine);
    if matches.contains_id("archive") && !is_given {
        let text = "--archive needs --keep-for on the command line: TIPLINE_KEEP_FOR and the \
                    settings file are for the log";
        let command = &mut RetentionArgs::augment_args(clap::Command::new("tipline retention"));
        return Err(command.error(ErrorKind::MissingRequiredArgument, text));
    }
    Ok(())
}

/// How much of the log is kept by default.
const KEEP_FOR: Duration = Duration::from_secs(24 * 3600);

impl RetentionArgs {
    /// How much of the log is kept.
    pub(super) fn keep_log_for(&self) -> Duration {
        self.keep_for.map_or(KEEP_FOR, Duration::from)
    }
}
