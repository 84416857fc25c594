//! `tipline audit tail`

use tipline_audit::{AuditError, EntryRow, Follow, Range, Replay, replay};
use tipline_backup::{RestoreError, TimeDigits, time_text};
use tipline_ops::text::count;
use tipline_proto::Entry;
use tokio_util::sync::CancellationToken;

use super::kind::OneKind;
use crate::address::Audited;
use crate::exit::Exit;
use crate::open::audited::Entries;
use crate::options::{AuditedArgs, Shared};
use crate::output::report::{Failure, Sentence, list};
use crate::settings::Parsed;
use crate::signal;

/// Options of `tipline audit tail`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline audit tail   # the newest 10 entries of the log of --log
  tipline audit tail --follow --kind block_proven,rolled_back
  tipline audit tail dir:/backup --entries 100 --json

Each entry is verified against the one before; the digest that the first follows is taken on trust. Exit code 13
at the first one that does not continue the history, which is not printed; nor is one that no trusted key
vouches for, with --trusted-keys. With --follow it ends with Ctrl-C.")]
pub(super) struct TailArgs {
    /// What to read: a log or an archive
    #[arg(value_name = "SOURCE", default_value = "log", value_parser = Parsed::<Audited>::new())]
    source: Audited,

    /// How many of the newest entries, whatever their kinds
    #[arg(long, short = 'n', value_name = "COUNT", default_value = "10", value_parser = clap::value_parser!(u64).range(1..))]
    entries: u64,

    /// Print new entries as they come, until Ctrl-C; for a log
    #[arg(long, short)]
    follow: bool,

    /// Print only these kinds: epoch_started, block_committed, block_proven, transaction_validated,
    /// state_recorded, rolled_back, marked
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = Parsed::<OneKind>::new())]
    kind: Vec<OneKind>,

    #[command(flatten)]
    opening: AuditedArgs,

    /// Print one JSON object per line, the rows of `tipline audit export`
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(shared: &Shared, args: TailArgs) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    let source = args.opening.open_entries(shared, &args.source, &stop).await?;
    let log = source.log();
    if args.follow && log.is_none() {
        let text = "an archive does not say when it grows";
        let advice = "follow the log: tipline audit tail log --follow";
        return Err(Failure::from(Sentence(text.to_owned())).advise(advice));
    }
    let mut follow = match newest(&source, &args, &stop).await? {
        Some(replay) => {
            let replay = all(replay, |entry| print(entry, &args)).await?;
            match log.filter(|_| args.follow) {
                Some(log) => replay.follow(log)?,
                None => {
                    replay.into_result()?;
                    return Ok(Exit::Ok);
                }
            }
        }
        // Nothing is there yet.
        None => match log {
            Some(log) => Follow::from_origin(log, stop.clone()),
            None => return Ok(Exit::Ok),
        },
    };
    while let Some(entries) = follow.next().await? {
        entries.iter().try_for_each(|entry| print(entry, &args))?;
    }
    Ok(Exit::Ok)
}

/// The newest entries; `None` to follow a log that has none yet.
async fn newest(
    source: &Entries,
    args: &TailArgs,
    stop: &CancellationToken,
) -> Result<Option<Replay>, Failure> {
    let newest = source.sources.newest_entry().await.map_err(AuditError::from)?;
    let held = match source.sources.held_after(newest.saturating_sub(args.entries + 1)).await {
        Err(RestoreError::NotFound { .. }) if args.follow => return Ok(None),
        held => held.map_err(AuditError::from)?,
    };
    let first = held.last.saturating_sub(args.entries - 1).max(held.first);
    // The oldest that is held cannot be verified: what it follows is gone.
    let is_origin = first == 1 && held.first == 1;
    let from = if is_origin || first > held.first { first } else { first + 1 };
    let range = Range { from: Some(from), to: None };
    let sources = std::sync::Arc::clone(&source.sources);
    Ok(Some(replay(sources, &source.identity, range, stop.clone()).await?))
}

/// All that is there. What nobody vouches for is not printed, where signatures are required.
async fn all(
    mut replay: Replay,
    print: impl Fn(&Entry) -> Result<(), Failure>,
) -> Result<Replay, Failure> {
    while let Some(entries) = replay.next_vouched().await? {
        entries.iter().try_for_each(&print)?;
    }
    Ok(replay)
}

fn print(entry: &Entry, args: &TailArgs) -> Result<(), Failure> {
    let kind = entry.event.kind();
    if !args.kind.is_empty() && !args.kind.iter().any(|one| one.0 == kind) {
        return Ok(());
    }
    let line = match args.json {
        true => serde_json::to_string(&EntryRow::new(entry, false))? + "\n",
        false => line(entry),
    };
    Ok(list(&line)?)
}

fn line(entry: &Entry) -> String {
    let Entry { index, time, digest, event, .. } = entry;
    let time = time_text(*time, TimeDigits::Micros);
    let bytes = event.payload().len() as u64;
    format!("{index:>10}  {digest:#}  {time}  {event}, {}\n", count(bytes, "byte"))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;

    use tipline_audit::{Range, replay};
    use tipline_backup::Sources;
    use tipline_log::memory::MemoryLog;
    use tipline_log::{Log, Reader, SignedLog, Signing, claim, system_clock};
    use tipline_ops::testing::NOW;
    use tipline_proto::{Chain, Entry, Event, Hash, Lineage, LogIdentity, SigningKey, Trust};
    use tokio_util::sync::CancellationToken;

    use super::all;

    async fn append(log: &dyn Log, count: usize) {
        let tail = log.tail().await.unwrap();
        let (mut at, mut unit) = (tail.position, vec![]);
        for number in 0..count {
            let event = Event::Marked { name: format!("m-{number}").parse().unwrap() };
            let sequence = tail.outbox_sequence + 1 + number as u64;
            unit.push(Entry::seal(&at, tail.epoch, NOW, sequence, event));
            at = unit[number].position();
        }
        log.append(&tail, &unit).await.unwrap();
    }

    /// Whoever can write to the log adds to its end what he likes.
    #[tokio::test]
    async fn what_nobody_vouches_for_is_not_printed() {
        let chain = Chain::new("test".parse().unwrap(), Hash::new([0; 32]).unwrap());
        let lineage = Lineage::from_bytes([3; 16]);
        let log = MemoryLog::new(LogIdentity { name: "test".parse().unwrap(), chain, lineage });
        let key = Arc::new(SigningKey::from_seed(&[1; 32]));
        let trust = Trust::new(vec![key.public()], []);
        let signing = Signing { key: Some(key), trust: trust.clone() };
        let signed = SignedLog::new(Arc::new(log.clone()), signing);
        claim(&signed, "node".parse().unwrap(), &system_clock()).await.unwrap();
        append(&signed, 3).await;
        append(&log, 2).await;
        for (trust, printed) in [(trust, 1..=4), (Trust::default(), 1..=6)] {
            let sources = Sources { log: Some(Arc::new(log.clone())), trust, ..Sources::default() };
            let (range, stop) = (Range::default(), CancellationToken::new());
            let replay = replay(Arc::new(sources), log.identity(), range, stop).await.unwrap();
            let seen = RefCell::new(vec![]);
            let note = |entry: &Entry| {
                seen.borrow_mut().push(entry.index);
                Ok(())
            };
            let result = all(replay, note).await.unwrap().into_result();
            assert_eq!(seen.into_inner(), printed.clone().collect::<Vec<_>>());
            assert_eq!(result.is_ok(), printed.contains(&6), "{result:?}");
        }
    }
}
