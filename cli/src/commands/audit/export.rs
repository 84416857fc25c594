//! `tipline audit export`

use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use tipline_audit::{EntryRow, Replay, VerifyProgress, replay};
use tipline_ops::text::count;
use tipline_proto::Entry;
use tokio::sync::watch;

use super::RangeArgs;
use super::progress;
use crate::address::Audited;
use crate::exit::Exit;
use crate::options::{AuditedArgs, Shared};
use crate::output::file::Output;
use crate::output::report::Failure;
use crate::settings::Parsed;
use crate::signal;

/// Options of `tipline audit export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline audit export --output history.jsonl
  tipline audit export s3://backup/mainnet --from 500000 --payloads | jq .height

Every entry is verified before it is written. At the first that does not continue the history it ends
with exit code 13. A file appears under its name when it is whole and fsynced, and not before; what
was printed until then stays printed.")]
pub(super) struct ExportArgs {
    /// What to read: a log or an archive
    #[arg(value_name = "SOURCE", default_value = "log", value_parser = Parsed::<Audited>::new())]
    source: Audited,

    #[command(flatten)]
    range: RangeArgs,

    /// The form of the rows
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,

    /// Write payloads too, as hex; without it their length and BLAKE3
    #[arg(long)]
    payloads: bool,

    /// Write into this new file; standard output by default
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    opening: AuditedArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One JSON object per line
    Jsonl,
}

pub(super) async fn run(shared: &Shared, args: ExportArgs) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    Output::check(args.output.as_deref())?;
    let source = args.opening.open_entries(shared, &args.source, &stop).await?;
    let sources = Arc::clone(&source.sources);
    let replay = replay(sources, &source.identity, args.range.into(), stop).await?;
    let mut out = Output::create(args.output.as_deref())?;
    let Ended { replay, rows } = write_all(replay, &args, &mut out).await?;
    out.flush()?;
    replay.into_result()?;
    out.finish()?;
    if let Some(output) = &args.output {
        tracing::info!("wrote {} to {}", count(rows, "row"), output.display());
    }
    Ok(Exit::Ok)
}

struct Ended {
    replay: Replay,
    rows: u64,
}

/// Writes all that is verified.
async fn write_all(
    mut replay: Replay,
    args: &ExportArgs,
    out: &mut Output,
) -> Result<Ended, Failure> {
    let (from, to) = replay.range();
    let (sender, receiver) = watch::channel(VerifyProgress::default());
    let mut rows = 0;
    let work = async {
        while let Some(entries) = replay.next().await? {
            for entry in &entries {
                out.write(&row(entry, args)?)?;
                rows += 1;
            }
            sender.send_replace(VerifyProgress { done: rows, of: to + 1 - from, bytes: 0 });
        }
        Ok::<_, Failure>(())
    };
    progress::shown("exporting", receiver, work).await?;
    Ok(Ended { replay, rows })
}

fn row(entry: &Entry, args: &ExportArgs) -> Result<Vec<u8>, serde_json::Error> {
    match args.format {
        Format::Jsonl => {
            let mut line = serde_json::to_vec(&EntryRow::new(entry, args.payloads))?;
            line.push(b'\n');
            Ok(line)
        }
    }
}
