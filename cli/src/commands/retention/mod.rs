//! `tipline retention`: what the log, or an archive, may forget, why the rest is kept, and
//! forgetting it.

mod archive;
mod explain;

use std::path::PathBuf;
use std::time::Duration;

use tipline_backup::retention::{
    Holder, Proven, ProvenKind, Reservation, RetentionPlan, RetentionRule, Survey, plan,
};
use tipline_log::{Extent, Log, system_clock};
use tipline_proto::Policy;

use self::explain::Explained;
use crate::exit::Exit;
use crate::open::log::LogLocation;
use crate::options::{DEFAULT_RESERVE, Shared, SourceArgs};
use crate::output::report::{Failure, say};
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

Without --apply nothing is changed. The oldest events may go up to the first one that somebody
keeps: the policy, because receipts do not say that it is backed up; an archive or a checkpoint
that is named, because what was read there does not reach it; a consumer that still needs it,
as long as it is reserved; and the newest events, by --keep-events and --keep-for. Receipts alone
move nothing: if no archive and no checkpoint is named that proves it, nothing may go.

RESERVED  the log waits for the consumer
AT RISK   it is more than --reserve events behind: the log does not wait for it any more
LOST      the log no longer holds what it needs: make it anew
APART     it holds another history than the log, or more than the log

With --archive it is the archive at that place that may forget, and not the log: segments in front
of the newest checkpoint in the same place that is older than --keep-for. Every point since then
stays restorable. Without such a checkpoint nothing goes; it is read back before, and does not
expire for as long as the archive starts with it.
Blocks whose proofs are to come stay. Nothing is removed without --confirm, which needs the
permission to delete.

Exit codes: 0 done; 1 someone is at risk or lost, or a place that is named proves nothing;
2 failed.

The object of --json: log, held {first, last}, keep_from, free, applied, ranges[] {first, last,
kept_by[]}, consumers[] {name, reservation, needs, behind, at_risk_in_ms, lost_in_ms}. What is not
known is null. With --archive: archive, held {first, last}, keep_from, reachable_from, checkpoint,
media, segments, bytes, applied, ranges[] {first, last, kept_by[]}.")]
pub(crate) struct RetentionArgs {
    /// Of the archive at this place: dir:PATH, s3://BUCKET/PREFIX, …; not of the log
    #[arg(long, value_name = "ADDRESS", requires = "keep_for", conflicts_with = "apply")]
    archive: Option<String>,

    /// Remove what the archive may forget. Without it, only tell
    #[arg(long, requires = "archive")]
    confirm: bool,

    /// Trim the log. Without it, only tell what would go
    #[arg(long)]
    apply: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Archives and checkpoints that must prove that it can be restored without the log:
    /// dir:PATH, s3://…. What would go is read back there first. Several have commas between
    #[arg(long, env = "TIPLINE_PROVEN_AT", value_name = "ADDRESS", value_delimiter = ',')]
    proven_at: Vec<String>,

    /// File with the age identity (secret key) that an encrypted archive is read with
    #[arg(long, env = "TIPLINE_IDENTITY", value_name = "FILE")]
    identity: Vec<PathBuf>,

    /// Only what is backed up by this policy may go
    #[arg(long, env = "TIPLINE_POLICY", value_name = "POLICY")]
    #[arg(default_value = "any 1 of * at durable", value_parser = Parsed::<Policy>::new())]
    policy: Policy,

    /// Wait for a consumer that is at most this many events behind
    #[arg(long, env = "TIPLINE_RESERVE", value_name = "EVENTS")]
    #[arg(default_value = DEFAULT_RESERVE, value_parser = Parsed::<u64>::new())]
    reserve: u64,

    /// Keep this many of the newest events in any case
    #[arg(long, env = "TIPLINE_KEEP_EVENTS", value_name = "EVENTS")]
    #[arg(default_value = "10000", value_parser = Parsed::<u64>::new())]
    keep_events: u64,

    /// Keep what was committed less than this long ago in any case. Of the log, 24h if nothing is
    /// said; of an archive it must be said
    #[arg(long, env = "TIPLINE_KEEP_FOR", value_name = "TIME")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    keep_for: Option<humantime::Duration>,
}

/// How much of the log is kept if nothing is said.
const KEEP_FOR: Duration = Duration::from_secs(24 * 3600);

impl RetentionArgs {
    fn keep_log_for(&self) -> Duration {
        self.keep_for.map_or(KEEP_FOR, Duration::from)
    }
}

/// Explains, and trims if it is told to.
pub(crate) async fn run(shared: &Shared, args: RetentionArgs) -> Result<Exit, Failure> {
    if let Some(address) = &args.archive {
        return archive::run(address, &args).await;
    }
    let place = LogLocation::new(shared, "retention")?;
    let log = place.open().await.map_err(|error| place.explain(error.into()))?;
    let proven = proven(&*log, &args).await?;
    let (plan, held) = retain(&*log, &proven, &args).await?;
    let explained = Explained::new(place.address(), &plan, args.apply.then_some(held));
    let text =
        if args.json { serde_json::to_string(&explained)? + "\n" } else { explained.text(held) };
    say(&text)?;
    Ok(if is_well(&plan) { Exit::Ok } else { Exit::Degraded })
}

/// What the places that are named hold, read there and now.
async fn proven(log: &dyn Log, args: &RetentionArgs) -> Result<Vec<Proven>, Failure> {
    let from = log.extent().await?.first;
    let (addresses, identity) = (args.proven_at.clone(), args.identity.clone());
    let sources = SourceArgs { from: addresses, identity };
    let mut proven = Vec::new();
    for address in sources.destinations() {
        let nothing = |why| {
            let (kind, place) = (ProvenKind::Archive, address.clone());
            Proven { kind, place, covered: Err(why) }
        };
        match sources.open_one(address).await {
            Ok(found) if found.archives.is_empty() && found.checkpoints.is_empty() => {
                proven.push(nothing("there is neither an archive nor a checkpoint".to_owned()));
            }
            Ok(found) => proven.extend(found.prove(from, args.apply).await),
            Err(failure) => proven.push(nothing(failure.text())),
        }
    }
    Ok(proven)
}

/// Looks, decides, and trims if it is told to. Gives what the log holds then.
async fn retain(
    log: &dyn Log,
    proven: &[Proven],
    args: &RetentionArgs,
) -> Result<(RetentionPlan, Extent), Failure> {
    let rule = RetentionRule {
        policy: args.policy.clone(),
        keep_events: args.keep_events,
        keep_for: args.keep_log_for(),
        reserve: args.reserve,
    };
    let survey = Survey::of(log, proven, rule.keep_for, system_clock()()).await?;
    let plan = plan(&survey, proven, &rule);
    let held = if args.apply { log.trim(plan.first).await? } else { plan.held };
    Ok((plan, held))
}

/// Whether nobody is in danger and every place that is named proves something.
fn is_well(plan: &RetentionPlan) -> bool {
    let in_danger = plan.consumers.iter().any(|consumer| {
        matches!(consumer.reservation, Reservation::AtRisk { .. } | Reservation::Lost)
    });
    let mut holders = plan.ranges.iter().flat_map(|range| &range.kept_by);
    !in_danger && !holders.any(|holder| matches!(holder, Holder::Place { why: Some(_), .. }))
}

#[cfg(test)]
mod tests;
