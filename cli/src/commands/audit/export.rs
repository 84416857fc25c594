//! `tipline audit export`

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use tempfile::NamedTempFile;
use tipline_audit::{EntryRow, Replay, VerifyProgress, replay};
use tipline_ops::text::count;
use tipline_proto::Entry;
use tokio::sync::watch;

use super::RangeArgs;
use super::progress;
use crate::address::Audited;
use crate::exit::Exit;
use crate::options::{AuditedArgs, Shared};
use crate::output::report::{Failure, Sentence};
use crate::output::stdout::OutputError;
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
    if let Some(output) = args.output.as_deref().filter(|output| output.exists()) {
        return Err(there(output));
    }
    let source = args.opening.open_entries(shared, &args.source, &stop).await?;
    let sources = Arc::clone(&source.sources);
    let replay = replay(sources, &source.identity, args.range.into(), stop).await?;
    match &args.output {
        None => {
            let mut out = BufWriter::new(io::stdout());
            let ended = write_all(replay, &args, &mut out, OutputError::from).await?;
            out.flush().map_err(OutputError::from)?;
            ended.replay.into_result()?;
        }
        Some(output) => {
            let unwritten = |error| Unwritten(output.display().to_string(), error);
            let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            let file = NamedTempFile::new_in(parent).map_err(unwritten)?;
            let mut out = BufWriter::new(file);
            let ended = write_all(replay, &args, &mut out, unwritten).await?;
            ended.replay.into_result()?;
            let file = out.into_inner().map_err(|error| unwritten(error.into_error()))?;
            file.as_file().sync_all().map_err(unwritten)?;
            file.persist_noclobber(output).map_err(|error| match error.error.kind() {
                io::ErrorKind::AlreadyExists => there(output),
                _ => unwritten(error.error).into(),
            })?;
            std::fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(unwritten)?;
            tracing::info!("wrote {} to {}", count(ended.rows, "row"), output.display());
        }
    }
    Ok(Exit::Ok)
}

struct Ended {
    replay: Replay,
    rows: u64,
}

/// Writes all that is verified.
async fn write_all<E: std::error::Error + Send + Sync + 'static>(
    mut replay: Replay,
    args: &ExportArgs,
    out: &mut impl Write,
    unwritten: impl Fn(io::Error) -> E,
) -> Result<Ended, Failure> {
    let (from, to) = replay.range();
    let (sender, receiver) = watch::channel(VerifyProgress::default());
    let mut rows = 0;
    let work = async {
        while let Some(entries) = replay.next().await? {
            for entry in &entries {
                out.write_all(&row(entry, args)?).map_err(&unwritten)?;
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

fn there(output: &Path) -> Failure {
    let text = format!("{} is there already", output.display());
    Failure::from(Sentence(text)).advise("name another file, or remove it first")
}

#[derive(Debug, thiserror::Error)]
#[error("{0} cannot be written")]
struct Unwritten(String, #[source] io::Error);
