//! `tipline audit diff`

use tipline_audit::{
    AuditError, Depth, DiffReport, VerifyProgress, content_as_of, diff_entries, diff_parts,
};
use tipline_backup::RestoreProgress;
use tipline_ops::text::number;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::RangeArgs;
use super::progress::shown;
use crate::address::{Audited, Medium, StoreAddress};
use crate::exit::Exit;
use crate::open::audited::{Content, Entries, Opened, scratch};
use crate::open::store::location;
use crate::options::{AuditedArgs, Shared};
use crate::output::escape::line;
use crate::output::progress;
use crate::output::report::{Failure, Sentence, say};
use crate::settings::Parsed;
use crate::signal;

/// Options of `tipline audit diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline audit diff log s3://backup/mainnet   # entries with entries
  tipline audit diff dir:/a dir:/b --from 500000 --all
  tipline audit diff sqlite:replica.db files:backup   # content with content
  tipline audit diff rocksdb:replica dir:/backup   # content with what the entries make
  tipline audit diff dir:/backup@latest dir:/backup   # a checkpoint with the archive beside it

Two that have entries are compared entry by entry, as far as both go. Two stores are compared as of
the earlier cursor. A store and entries: the entries up to the store's cursor are applied to a store
of their own, in --scratch, which takes as much space as the store; they are needed from entry 1 on.
No signature is looked at: audit verify --trusted-keys does. Exit code 13 if they differ.")]
pub(super) struct DiffArgs {
    /// The one
    #[arg(value_name = "A", value_parser = Parsed::<Audited>::new())]
    a: Audited,

    /// The other
    #[arg(value_name = "B", value_parser = Parsed::<Audited>::new())]
    b: Audited,

    #[command(flatten)]
    range: RangeArgs,

    /// Show all differences, 1,000 at most, instead of the first
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    opening: AuditedArgs,

    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(shared: &Shared, args: DiffArgs) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    let a = args.opening.open(shared, &args.a, &stop).await?;
    let b = args.opening.open(shared, &args.b, &stop).await?;
    if shared.signing.trust()?.requires_history() {
        tracing::warn!(
            "two histories are compared, and no signature is looked at: `tipline audit verify` does"
        );
    }
    let depth = if args.all { Depth::All } else { Depth::First };
    let report = match (a, b) {
        (Opened::Entries(a), Opened::Entries(b)) => {
            let (sender, receiver) = watch::channel(VerifyProgress::default());
            let range = args.range.into();
            let work = diff_entries(a.sources, b.sources, range, depth, &sender, &stop);
            shown("comparing", receiver, work).await?
        }
        _ if args.range.from.is_some() || args.range.to.is_some() => {
            let text = "--from and --to are for two that have entries: a store has none";
            return Err(Sentence(text.to_owned()).into());
        }
        (a, b) => {
            check_same_log(&a, &b)?;
            let cursor = [&a, &b].iter().find_map(|opened| opened.content());
            let index = index(cursor)?;
            let a = content(&args, a, index, &stop).await?;
            let b = content(&args, b, index, &stop).await?;
            compare(a, b, depth, stop).await?
        }
    };
    let text = match args.json {
        true => serde_json::to_string(&report)? + "\n",
        false => render(&report),
    };
    say(&text)?;
    Ok(if report.same { Exit::Ok } else { Exit::Corrupt })
}

/// Heights and indexes of two logs can be the same by chance, and say nothing about each other.
fn check_same_log(a: &Opened, b: &Opened) -> Result<(), AuditError> {
    match (a.identity(), b.identity()) {
        (Some(of_a), Some(of_b)) if of_a != of_b => Err(AuditError::WrongLog {
            a: a.name(),
            of_a: of_a.to_string(),
            b: b.name(),
            of_b: of_b.to_string(),
        }),
        _ => Ok(()),
    }
}

/// The entry at which a store stands.
fn index(content: Option<&Content>) -> Result<u64, Failure> {
    let Some(content) = content else { return Ok(0) };
    let last = content.parts.last().map(|(_, reader)| reader.cursor());
    match last.transpose()?.flatten() {
        Some(cursor) => Ok(cursor.position.index),
        None => Err(Sentence(format!("{} is new and empty", content.name)).into()),
    }
}

/// What is read from a store, or what the entries up to an index make.
async fn content(
    args: &DiffArgs,
    opened: Opened,
    index: u64,
    stop: &CancellationToken,
) -> Result<Content, Failure> {
    let entries = match opened {
        Opened::Content(content) => return Ok(content),
        Opened::Entries(entries) => entries,
    };
    let name = format!("what entries 1 to {index} of {} make", entries.name());
    let Entries { sources, identity } = entries;
    let directory = scratch(&args.opening)?;
    let place = location(&StoreAddress::One(Medium::Sqlite(directory.path().join("rebuilt.db"))));
    let (sender, receiver) = watch::channel(RestoreProgress::default());
    let work = content_as_of(sources, index, place, sender, stop.clone());
    let store = tokio::select! {
        store = work => store,
        never = progress::show(|| progress::restoring(*receiver.borrow())) => match never {},
    };
    progress::done();
    let store = store?;
    let reader = store.reader()?;
    Ok(Content::rebuilt(name, reader, &identity, directory))
}

/// Reading blocks the thread.
async fn compare(
    a: Content,
    b: Content,
    depth: Depth,
    stop: CancellationToken,
) -> Result<DiffReport, Failure> {
    let compared = tokio::task::spawn_blocking(move || {
        let proceed =
            || if stop.is_cancelled() { Err(AuditError::Cancelled { at: 0 }) } else { Ok(()) };
        let report = diff_parts(&a.parts, &b.parts, depth, proceed)?;
        let unread = a.unread.iter().chain(&b.unread);
        let unread = unread.map(|part| format!("{part}: this program cannot read it"));
        let not_compared = report.not_compared.into_iter().chain(unread).collect();
        Ok::<_, AuditError>(DiffReport { a: a.name, b: b.name, not_compared, ..report })
    });
    Ok(compared.await??)
}

fn render(report: &DiffReport) -> String {
    let DiffReport { a, b, compared, same, .. } = report;
    let items = number(report.items);
    let mut text = match same {
        true => format!("the same: {compared} of {a} and {b}, {items} items\n"),
        false => format!(
            "NOT the same: {compared} of {a} and {b}, {items} items, {} differ\n",
            number(report.different)
        ),
    };
    report.differences.iter().for_each(|difference| text += &line(format_args!("  {difference}")));
    report
        .not_compared
        .iter()
        .for_each(|what| text += &line(format_args!("  not compared: {what}")));
    text
}
