//! `tipline audit export`

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
#[cfg(feature = "parquet")]
use tipline_audit::ParquetRows;
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
use crate::output::report::{Failure, Sentence};
use crate::settings::Parsed;
use crate::signal;

/// Options of `tipline audit export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline audit export --output history.jsonl
  tipline audit export s3://backup/mainnet --from 500000 --payloads | jq .height
  tipline audit export s3://backup/mainnet --format parquet --output history.parquet

Every entry is verified before it is written. At the first that does not continue the history it ends
with exit code 13. A file appears under its name when it is whole and fsynced, and not before; what
was printed until then stays printed. What was printed of a Parquet file then has no footer, and no
reader takes it.")]
pub(super) struct ExportArgs {
    /// What to read: a log or an archive
    #[arg(value_name = "SOURCE", default_value = "log", value_parser = Parsed::<Audited>::new())]
    source: Audited,

    #[command(flatten)]
    range: RangeArgs,

    /// The form of the rows
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,

    /// Write payloads too, in JSON as hex; without it their length and BLAKE3
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
    /// One Parquet file, if the program was built with it
    Parquet,
}

pub(super) async fn run(shared: &Shared, args: ExportArgs) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    let mut rows = Rows::new(&args)?;
    Output::check(args.output.as_deref())?;
    let source = args.opening.open_entries(shared, &args.source, &stop).await?;
    let sources = Arc::clone(&source.sources);
    let replay = replay(sources, &source.identity, args.range.into(), stop).await?;
    let mut out = Output::create(args.output.as_deref())?;
    let Ended { replay, count: written } = write_all(replay, &mut rows, &mut out).await?;
    out.flush()?;
    replay.into_result()?;
    out.write(&rows.finish()?)?;
    out.finish()?;
    if let Some(output) = &args.output {
        tracing::info!("wrote {} to {}", count(written, "row"), output.display());
    }
    Ok(Exit::Ok)
}

/// How entries become bytes.
enum Rows {
    Jsonl {
        with_payload: bool,
    },
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetRows>),
}

impl Rows {
    fn new(args: &ExportArgs) -> Result<Self, Failure> {
        match args.format {
            Format::Jsonl => Ok(Self::Jsonl { with_payload: args.payloads }),
            Format::Parquet if args.output.is_none() && stdout().is_terminal() => {
                let text = "a Parquet file is nothing to be read on a terminal".to_owned();
                Err(Failure::from(Sentence(text)).advise("name a file with --output"))
            }
            #[cfg(feature = "parquet")]
            Format::Parquet => Ok(Self::Parquet(Box::new(ParquetRows::new(args.payloads)?))),
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => {
                let text = "this tipline was built without Parquet".to_owned();
                Err(Failure::from(Sentence(text)).advise(
                    "build it with `cargo build --release --features full`, or export as jsonl",
                ))
            }
        }
    }

    /// The bytes to write next.
    fn add(&mut self, entry: &Entry) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Jsonl { with_payload } => {
                let mut line = serde_json::to_vec(&EntryRow::new(entry, *with_payload))?;
                line.push(b'\n');
                Ok(line)
            }
            #[cfg(feature = "parquet")]
            Self::Parquet(rows) => Ok(rows.add(entry)?),
        }
    }

    /// The last of them. Without it a Parquet file is none.
    fn finish(self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Jsonl { .. } => Ok(Vec::new()),
            #[cfg(feature = "parquet")]
            Self::Parquet(rows) => Ok(rows.finish()?),
        }
    }
}

struct Ended {
    replay: Replay,
    count: u64,
}

/// Writes all that is verified.
async fn write_all(
    mut replay: Replay,
    rows: &mut Rows,
    out: &mut Output,
) -> Result<Ended, Failure> {
    let (from, to) = replay.range();
    let (sender, receiver) = watch::channel(VerifyProgress::default());
    let mut done = 0;
    let work = async {
        while let Some(entries) = replay.next().await? {
            for entry in &entries {
                out.write(&rows.add(entry)?)?;
                done += 1;
            }
            sender.send_replace(VerifyProgress { done, of: to + 1 - from, bytes: 0 });
        }
        Ok::<_, Failure>(())
    };
    progress::shown("exporting", receiver, work).await?;
    Ok(Ended { replay, count: done })
}
