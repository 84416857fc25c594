//! `tipline refill`: what a log lost of its end, from an archive back into it.
//!
//! Nothing is sealed here. An entry goes into the log as it is in the archive, directly after the one
//! that it was sealed after, or not at all: the log compares the digests, and each append names the
//! tail that it expects.

mod append;
mod report;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tipline_audit::Range;
use tipline_backup::{Held, RestoreError, Sources};
use tipline_log::{Accepted, Board, Log, LogError, Shortfall, system_clock, vouched_tail};
use tipline_ops::SignOfLife;
use tipline_ops::text::{age, number};
use tipline_proto::{Digest, Head, Timestamp};
use tipline_store::StoreIdentity;

use self::append::Refill;
use self::report::{End, Report, ahead, render};
use crate::exit::Exit;
use crate::open::log::{LogLocation, not_durable};
use crate::options::{Shared, SourceArgs};
use crate::output::report::{Failure, Sentence, say};
use crate::signal;

/// A primary that announced itself within this time may still run.
const ALIVE: Duration = Duration::from_secs(15);

/// Options of `tipline refill`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline refill --from s3://backup/mainnet --dry-run
  tipline refill --from dir:/backup --log nats://127.0.0.1:4222/mainnet

For a log that lost more of its end than the primary's outbox keeps. Stop the primary first: a log
whose primary announced itself in the last 15 s is not refilled. The archive must have the entry at
which the log ends, with the same digest. Then what comes after it is verified and appended as it is,
with the same index, epoch and digest, up to the archive's end or the first entry that is missing.
Nothing is replaced. Start the primary afterwards: it continues by itself, and so do consumers.

With --trusted-keys an entry is appended once a trusted primary's signature vouches for it.

After Ctrl-C the same command resumes. With --dry-run everything is read and verified, and nothing
appended. A log that was lost as a whole cannot be refilled.

Exit codes:
   12  entries are missing: between log and archive, or within the archive
   13  log and archive are two histories, or what is needed is corrupt
   14  the archive is of another log
   16  the log or a place does not answer
  130  told to stop")]
pub(crate) struct RefillArgs {
    #[command(flatten)]
    sources: SourceArgs,

    /// Read and verify what would be appended; change nothing
    #[arg(long)]
    dry_run: bool,

    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

/// Refills, or says what it would do.
pub(crate) async fn run(shared: &Shared, args: RefillArgs) -> Result<Exit, Failure> {
    let (stop, start) = (signal::on_signal()?, Instant::now());
    if args.sources.has_log() {
        let text = "a log is refilled from an archive, not from itself: leave --from log out";
        return Err(Sentence(text.to_owned()).into());
    }
    let place = LogLocation::new(shared, "refill")?;
    let log = place.open().await.map_err(not_there)?;
    check_durable(&*log, &place, &shared.accept_shortfalls).await?;
    let board = log.board().await?;
    check_stopped(&board, system_clock()())?;
    let sources = args.sources.open_shared(shared).await?;
    let tail = log.tail().await?;
    let unsigned = vouched_tail(&*log, &tail).await?.unsigned;
    let before = tail.position.index;
    let held = sources.held_after(before.saturating_sub(1)).await?;
    let mut refill =
        Refill { log: &*log, dry_run: args.dry_run, tail, bytes: 0, stop: stop.clone() };
    check_continues(&refill, &sources, &held, &args.sources.from).await?;
    let mut notes = Vec::new();
    let mut problem = None;
    if before < held.last {
        let range = Range { from: Some(before + 1), to: None };
        let replay = tipline_audit::replay(Arc::clone(&sources), log.identity(), range, stop);
        let (read, ended) = refill.shown(replay.await?).await?;
        (notes, problem) = (read, ended);
    }
    let Refill { tail, bytes, .. } = refill;
    let end = tail.position.index;
    let report = Report {
        log: place.address(),
        from: args.sources.from.clone(),
        dry_run: args.dry_run,
        first: (end > before).then_some(before + 1),
        last: (end > before).then_some(end),
        entries: end - before,
        bytes,
        ahead: ahead(&board, end),
        end: End {
            index: end,
            digest: tail.position.digest.to_string(),
            epoch: tail.epoch,
            outbox_sequence: tail.outbox_sequence,
        },
        notes,
        seconds: start.elapsed().as_secs_f64(),
    };
    let text = match args.json {
        true => serde_json::to_string(&report)? + "\n",
        false => render(&report),
    };
    say(&text)?;
    match problem {
        None if report.entries == 0 => check_vouched(&unsigned),
        None => Ok(Exit::Ok),
        Some(error) => Err(Failure::from(error).advise(
            "name another place that has these entries as well (--from A,B): what was appended \
             stays, and the same command resumes after it",
        )),
    }
}

/// Whether somebody vouches for the end of the log, where that is required, if the archive has nothing
/// after it that does. No primary would claim it.
fn check_vouched(unsigned: &[Head]) -> Result<Exit, Failure> {
    let (Some(first), Some(last)) = (unsigned.first(), unsigned.last()) else {
        return Ok(Exit::Ok);
    };
    let text = format!(
        "no trusted primary has signed the log's newest entries, {} to {}, and the archive has none \
         after them",
        number(first.position.index),
        number(last.position.index)
    );
    let advice = "find out who wrote them: a primary with trusted keys claims the log only if they \
                  are rows of its own outbox";
    Err(Failure::from(Sentence(text)).advise(advice).ending(Exit::Corrupt))
}

/// Why a log cannot be opened. One that is lost is not made again: an empty log in its place is the
/// worst answer.
fn not_there(error: LogError) -> Failure {
    match error {
        error @ LogError::NotFound { .. } => Failure::from(error).advise(
            "only a log that is there is refilled. If all of it was lost: tipline init makes one of \
             a new lineage, and docs/disaster.md says what follows",
        ),
        error => error.into(),
    }
}

/// What is appended is to stay, as what a primary appends.
async fn check_durable(
    log: &dyn Log,
    place: &LogLocation,
    accepted: &Accepted,
) -> Result<(), Failure> {
    let shortfalls = log.preflight().await?.shortfalls;
    let open: Vec<Shortfall> = accepted.open(&shortfalls).into_iter().cloned().collect();
    if open.is_empty() { Ok(()) } else { Err(not_durable(place, accepted, &open)) }
}

/// Nobody publishes. Two that append at once do no harm, but the primary would halt, or the log
/// continue before it is refilled.
fn check_stopped(board: &Board, now: Timestamp) -> Result<(), Failure> {
    let Some(primary) = board.primary.as_ref().filter(|primary| primary.failure.is_none()) else {
        return Ok(());
    };
    // By either clock: one that is wrong makes nobody dead.
    let own = SignOfLife::new(primary.time, None, now);
    let own = own.clock_ahead.is_none().then_some(own.age);
    let Some(silent) = board.primary_heard.into_iter().chain(own).min() else {
        return Ok(());
    };
    if silent >= ALIVE {
        return Ok(());
    }
    let (name, seconds) = (primary.primary.as_str(), ALIVE.as_secs());
    let text = format!("the primary {name} announced itself {} ago: it may still run", age(silent));
    let advice = format!("stop it, and run this again when it is silent for {seconds} s");
    Err(Failure::from(Sentence(text)).advise(advice))
}

/// The archive is of this log, and has the entry at which the log ends, or at which it ends itself.
async fn check_continues(
    refill: &Refill<'_>,
    sources: &Arc<Sources>,
    held: &Held,
    from: &[String],
) -> Result<(), Failure> {
    let (log, tail) = (refill.log, refill.tail.position);
    let own = StoreIdentity::from(log.identity());
    let places = from.join(", ");
    if held.identity != own {
        let (found, expected) = (held.identity.to_string(), own.to_string());
        let other = format!("the log {}", log.identity().name.as_str());
        return Err(RestoreError::WrongLog { place: places, found, other, expected }.into());
    }
    let last = tail.index.min(held.last);
    let is_gap = held.gaps.iter().any(|(first, end)| (*first..=*end).contains(&last));
    let oldest = log.extent().await?.first;
    if last > 0 && (last < held.first || is_gap || last < oldest) {
        let (first, end) = (number(held.first), number(held.last));
        let text = format!(
            "the log holds entries {} to {}, and {places} entries {first} to {end}: entry {} is not \
             in both, so it cannot be told whether they are one history",
            number(oldest),
            number(tail.index),
            number(last)
        );
        let advice = "name a place that also has the entry at which the log ends: --from A,B";
        return Err(Failure::from(Sentence(text)).ending(Exit::Gap).advise(advice));
    }
    if same_at(log, sources, last).await? {
        return Ok(());
    }
    let first = first_different(log, sources, held.first.max(oldest), last).await?;
    let parted = match first {
        first if first == held.first.max(oldest) => format!("at entry {} or before", number(first)),
        first => format!("at entry {}", number(first)),
    };
    let text =
        format!("log and archive are two histories: they part {parted}; nothing was appended");
    let advice = "find out which of the two is to stay: tipline audit diff shows what differs. Never \
                  append one to the other";
    Err(Failure::from(Sentence(text)).ending(Exit::Corrupt).advise(advice))
}

/// Whether log and archive have the same history up to this entry, which both hold.
async fn same_at(log: &dyn Log, sources: &Arc<Sources>, index: u64) -> Result<bool, Failure> {
    if index == 0 {
        return Ok(true);
    }
    let found = log.head(index).await?.position.digest;
    Ok(archived(sources, index).await? == found)
}

/// The archive's digest at an entry that it holds.
async fn archived(sources: &Arc<Sources>, index: u64) -> Result<Digest, Failure> {
    let mut entries = sources.entries(index - 1, index).await?;
    let mut found = None;
    while let Some(some) = entries.next().await {
        found = some.iter().find(|entry| entry.index == index).map(|entry| entry.digest).or(found);
    }
    entries.finish().await?;
    found.ok_or_else(|| {
        let (target, what) = (format!("entry {}", number(index)), "it was not given".to_owned());
        RestoreError::Corrupt { target, needed: index, what }.into()
    })
}

/// The first entry at which they differ, between one that both hold and one at which they do. Digests
/// that differ once differ from there on: it is searched by halves.
async fn first_different(
    log: &dyn Log,
    sources: &Arc<Sources>,
    mut low: u64,
    mut high: u64,
) -> Result<u64, Failure> {
    while low < high {
        let middle = low + (high - low) / 2;
        if same_at(log, sources, middle).await? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
