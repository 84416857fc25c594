//! `tipline dr plan`

use std::time::Duration;

use indicatif::HumanBytes;
use serde::Serialize;
use tipline_backup::{
    CheckedPlace, DestinationError, Plan, RestoreError, Sources, Target, shortfall,
};
use tipline_log::{Board, Log, LogError, error_chain, system_clock};
use tipline_ops::SignOfLife;
use tipline_ops::text::{age, number};

use crate::exit::Exit;
use crate::open::log::LogLocation;
use crate::options::{Shared, SourceArgs};
use crate::output::escape::line;
use crate::output::report::{Failure, say};

/// Options of `tipline dr plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline dr plan --from s3://backup/mainnet --from dir:/backup
  tipline dr plan --from s3://backup/mainnet --log nats://a:4222/mainnet --json

The log of --log is a copy too, and shows what is newest. Without it, what would be lost is counted
from the newest copy. Exit code 0 if something can be restored, 1 if nothing can.")]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    sources: SourceArgs,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    newest: Newest,
    copies: Vec<Copy>,
}

/// The newest that is known of.
#[derive(Serialize, Default)]
struct Newest {
    index: u64,
    height: Option<u64>,
    told_by: String,
    /// Consumers by their receipts: they may be restored from too, by copying their stores.
    consumers: Vec<Consumer>,
}

#[derive(Serialize)]
struct Consumer {
    name: String,
    store: String,
    index: u64,
    /// Digest there.
    digest: String,
    height: Option<u64>,
    silent_seconds: f64,
}

#[derive(Serialize)]
struct Copy {
    place: String,
    /// Everything up to this entry can be restored.
    index: Option<u64>,
    /// Of it, entries that the newest has and this one has not.
    entries_lost: Option<u64>,
    from_checkpoint: Option<String>,
    bytes: u64,
    notes: Vec<String>,
    /// Why nothing can be restored from it, or not everything that is there or should be.
    problems: Vec<String>,
}

/// Answers.
pub(super) async fn run(shared: &Shared, args: PlanArgs) -> Result<Exit, Failure> {
    let mut newest = Newest { told_by: "nobody".to_owned(), ..Newest::default() };
    let mut copies = Vec::new();
    let place = LogLocation::new(shared, "dr plan")?;
    let (mut all, mut board) = (Sources::default(), None);
    match place.open().await {
        Ok(log) => {
            match note_log(&*log, &place, &mut newest).await {
                Ok(found) => board = Some(found),
                Err(error) => copies.push(lost("the board".to_owned(), error_chain(&error))),
            }
            let sources = Sources { log: Some(log), ..Sources::default() };
            copies.push(copy(format!("log {}", place.address()), &sources).await);
            all.log = sources.log.filter(|_| args.sources.has_log());
        }
        Err(error) => copies.push(lost(format!("log {}", place.address()), error_chain(&error))),
    }
    for address in args.sources.destinations() {
        match args.sources.open_place(address).await {
            Ok(place) => {
                copies.push(copy_at(address, &place, board.as_ref()).await);
                all.extend(place.sources);
            }
            // A wrong argument; its error does not repeat what may be secret.
            Err(error @ RestoreError::Destination(DestinationError::BadAddress { .. })) => {
                return Err(error.into());
            }
            Err(error) => copies.push(lost(address.clone(), error_chain(&error))),
        }
    }
    if args.sources.destinations().count() > 1 {
        copies.push(copy("all of these places together".to_owned(), &all).await);
    }
    for copy in &copies {
        if copy.index.is_some_and(|index| index > newest.index) {
            newest.index = copy.index.unwrap_or(0);
            newest.told_by = copy.place.clone();
        }
    }
    for copy in &mut copies {
        copy.entries_lost = copy.index.map(|index| newest.index - index);
    }
    copies.sort_by_key(|copy| std::cmp::Reverse(copy.index));
    let answer = Answer { newest, copies };
    if args.json {
        say(&(serde_json::to_string(&answer)? + "\n"))?
    } else {
        say(&render(&answer))?
    }
    let any = answer.copies.iter().any(|copy| copy.index.is_some_and(|index| index > 0));
    Ok(if any { Exit::Ok } else { Exit::Degraded })
}

async fn note_log(
    log: &dyn Log,
    place: &LogLocation,
    newest: &mut Newest,
) -> Result<Board, LogError> {
    let (tail, board, now) = (log.tail().await?, log.board().await?, system_clock()());
    newest.index = tail.position.index;
    newest.told_by = place.address();
    let tip = board.primary.as_ref().and_then(|primary| primary.block_tip.as_ref());
    newest.height = tip.map(|tip| tip.height);
    for receipt in &board.receipts {
        let Some((_, position)) = receipt.reached.highest() else { continue };
        let heard = board.heard.get(&receipt.consumer).copied();
        newest.consumers.push(Consumer {
            name: receipt.consumer.to_string(),
            store: receipt.store.clone(),
            index: position.index,
            height: receipt.block_tip.as_ref().map(|tip| tip.height),
            digest: position.digest.to_string(),
            silent_seconds: SignOfLife::new(receipt.time, heard, now).age.as_secs_f64(),
        });
    }
    Ok(board)
}

/// What can be restored from what is at a destination, and whether it is what should be there.
async fn copy_at(address: &str, place: &CheckedPlace, board: Option<&Board>) -> Copy {
    let mut found = copy(address.to_owned(), &place.sources).await;
    match shortfall(&place.destination, board, found.index.unwrap_or(0)).await {
        Ok(missing) => found.problems.extend(missing),
        Err(error) => found.problems.push(error_chain(&error)),
    }
    found
}

/// What can be restored from these sources.
async fn copy(place: String, sources: &Sources) -> Copy {
    match best(sources).await {
        Ok((plan, problem)) => Copy {
            place,
            index: Some(plan.index),
            entries_lost: None,
            from_checkpoint: plan.checkpoint.map(|checkpoint| checkpoint.id.to_string()),
            bytes: plan.bytes,
            notes: plan.notes,
            problems: problem.into_iter().collect(),
        },
        Err(error) => lost(place, error_chain(&error)),
    }
}

/// The latest that can be reached; with why it is not the newest that is there, if so.
async fn best(sources: &Sources) -> Result<(Plan, Option<String>), RestoreError> {
    let any = |target| async move { tipline_backup::plan_for(sources, &[], &target, false).await };
    match any(Target::Latest).await {
        Ok(plan) => Ok((plan, None)),
        // In front of what is missing.
        Err(
            error
            @ (RestoreError::Gap { first: needed, .. } | RestoreError::Corrupt { needed, .. }),
        ) if needed > 1 => {
            let plan = any(Target::Index(needed - 1)).await?;
            Ok((plan, Some(error_chain(&error))))
        }
        Err(error) => Err(error),
    }
}

fn lost(place: String, problem: String) -> Copy {
    Copy {
        place,
        index: None,
        entries_lost: None,
        from_checkpoint: None,
        bytes: 0,
        notes: Vec::new(),
        problems: vec![problem],
    }
}

fn render(answer: &Answer) -> String {
    let Newest { index, height, told_by, consumers } = &answer.newest;
    let block = height.map(|height| format!(", block {}", number(height))).unwrap_or_default();
    let index = number(*index);
    let mut text = line(format_args!("the newest known is entry {index}{block}, by {told_by}"));
    for copy in &answer.copies {
        text += &match copy.index {
            None => line(format_args!("  {}: nothing can be restored", copy.place)),
            Some(index) => {
                let lost = match copy.entries_lost {
                    Some(0) => "nothing would be lost".to_owned(),
                    Some(lost) => format!("{} entries would be lost", number(lost)),
                    None => String::new(),
                };
                let from = copy.from_checkpoint.as_ref();
                let from = from.map(|id| format!(", from checkpoint {id}")).unwrap_or_default();
                line(format_args!(
                    "  {}: up to entry {}{from}, {} to read; {lost}",
                    copy.place,
                    number(index),
                    HumanBytes(copy.bytes)
                ))
            }
        };
        copy.problems.iter().for_each(|problem| text += &line(format_args!("    {problem}")));
        copy.notes.iter().for_each(|note| text += &line(format_args!("    not used: {note}")));
    }
    for Consumer { name, store, index, digest, height, silent_seconds } in consumers {
        let block = height.map(|height| format!(", block {}", number(height))).unwrap_or_default();
        text += &line(format_args!(
            "  consumer {name}, {store}: entry {}{block}, by its receipt of {} ago, digest {digest}",
            number(*index),
            age(Duration::from_secs_f64(*silent_seconds))
        ));
    }
    text
}
