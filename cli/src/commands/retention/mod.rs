//! `tipline retention`: what the log or an archive may drop, why the rest is kept, and trimming.

mod ages;
mod archive;
mod explain;
mod lines;
mod options;

use tipline_backup::Sources;
use tipline_backup::retention::{
    Holder, NotProven, Proven, ProvenKind, Reservation, RetentionPlan, RetentionRule, plan, survey,
};
use tipline_log::{Clock, Extent, Log, system_clock};
use tipline_proto::Trust;

use self::explain::Explained;
pub(crate) use self::options::{RetentionArgs, check_sources};
use crate::exit::Exit;
use crate::open::log::LogLocation;
use crate::options::{Shared, SourceArgs};
use crate::output::report::{Failure, say};

/// Explains, and trims with --apply.
pub(crate) async fn run(shared: &Shared, args: RetentionArgs) -> Result<Exit, Failure> {
    if let Some(address) = &args.archive {
        return archive::run(shared, address, &args).await;
    }
    let place = LogLocation::new(shared, "retention")?;
    let log = place.open().await.map_err(|error| place.explain(error.into()))?;
    let from = log.extent().await?.first;
    let trust = shared.signing.trust()?;
    let proven = async |goes: Option<Extent>| proven(from, goes, &args, &trust).await;
    let (plan, held) = retain(&*log, proven, &args, &system_clock()).await?;
    let explained = Explained::new(place.address(), &plan, args.apply.then_some(held));
    let text =
        if args.json { serde_json::to_string(&explained)? + "\n" } else { explained.text(held) };
    say(&text)?;
    Ok(if is_well(&plan) { Exit::Ok } else { Exit::Degraded })
}

/// What the places that are named hold from an entry on; or, when it is about to go, of this part
/// of the log, read back there and now.
async fn proven(
    from: u64,
    goes: Option<Extent>,
    args: &RetentionArgs,
    trust: &Trust,
) -> Result<Vec<Proven>, Failure> {
    let (addresses, identity) = (args.proven_at.clone(), args.identity.clone());
    let sources = SourceArgs { from: addresses, identity };
    let mut proven = Vec::new();
    for address in sources.destinations() {
        let nothing = |why| {
            let (kind, place) = (ProvenKind::Archive, address.clone());
            Proven { kind, place, covered: Err(NotProven::Unavailable { why }) }
        };
        let opened = sources.open_one(address).await;
        let opened = opened.map(|found| Sources { trust: trust.clone(), ..found });
        match (opened, goes) {
            (Ok(found), _) if found.is_empty() && found.damaged.is_empty() => {
                proven.push(nothing("there is neither an archive nor a checkpoint".to_owned()));
            }
            (Ok(found), None) => proven.extend(found.prove(from).await),
            (Ok(found), Some(goes)) => proven.extend(found.read_back(goes).await),
            (Err(failure), _) => proven.push(nothing(failure.text())),
        }
    }
    Ok(proven)
}

/// Decides, and with --apply trims: what is to go is read back first, at the places and in the log
/// itself. What that does not prove stays, and so does what is young. Gives what the log holds then.
async fn retain(
    log: &dyn Log,
    proven: impl AsyncFn(Option<Extent>) -> Result<Vec<Proven>, Failure>,
    args: &RetentionArgs,
    clock: &Clock,
) -> Result<(RetentionPlan, Extent), Failure> {
    let told = decide(log, &proven(None).await?, None, args, clock).await?;
    if !args.apply || told.free() == 0 {
        let held = told.held;
        return Ok((told, held));
    }
    let goes = Extent { first: told.held.first, last: told.first - 1 };
    let read = decide(log, &proven(Some(goes)).await?, Some(goes), args, clock).await?;
    // Nothing beyond that was read back.
    let plan = if read.first < told.first { read } else { told };
    let held = log.trim(plan.first).await?;
    Ok((plan, held))
}

async fn decide(
    log: &dyn Log,
    proven: &[Proven],
    goes: Option<Extent>,
    args: &RetentionArgs,
    clock: &Clock,
) -> Result<RetentionPlan, Failure> {
    let rule = RetentionRule {
        policy: args.policy.clone(),
        keep_events: args.keep_events,
        keep_for: args.keep_log_for(),
        reserve: args.reserve,
    };
    let mut survey = survey(log, proven, rule.keep_for, clock()).await?;
    if let Some(goes) = goes {
        survey.read_ages(log, goes, rule.keep_for).await?;
    }
    Ok(plan(&survey, proven, &rule))
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
