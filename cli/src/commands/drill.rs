//! `tipline drill`: a real restore into a scratch directory.

use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use tipline_backup::{Check, DrillReport, RestoreError, RestoreProgress};
use tipline_ops::drill_summary;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::address::{Medium, StoreAddress};
use crate::exit::Exit;
use crate::open::log::LogLocation;
use crate::open::sources::keep;
use crate::open::store;
use crate::options::{Shared, SourceArgs};
use crate::output::progress;
use crate::output::report::{Failure, say};
use crate::signal;

/// Options of `tipline drill`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline drill --from s3://backup/mainnet
  tipline drill --from dir:/backup --scratch /var/tmp --medium rocksdb --json

It restores the latest point into a new directory, reads everything back, compares it with the log
of --log, and removes it again. The time it took is the recovery time; its lag behind the log is the
recovery point. Exit code 13 if it is not the log's history; otherwise the codes of tipline restore.
Ctrl-C or SIGTERM ends it with 130: the directory is removed, nothing is recorded, and the next drill
starts from scratch.")]
pub(crate) struct DrillArgs {
    #[command(flatten)]
    sources: SourceArgs,

    /// Where to make the directory, which is removed again. It needs space for the whole store
    #[arg(long, value_name = "DIRECTORY")]
    scratch: Option<PathBuf>,

    /// The kind of store to restore into
    #[arg(long, value_enum, default_value = "sqlite")]
    medium: Kind,

    /// Do not compare with the log
    #[arg(long)]
    without_log: bool,

    /// Do not keep the outcome at the places
    #[arg(long)]
    no_record: bool,

    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Sqlite,
    Files,
    #[cfg(feature = "rocksdb")]
    Rocksdb,
}

/// Drills, and keeps the outcome at the places.
pub(crate) async fn run(shared: &Shared, args: DrillArgs) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    let outcome = drill(shared, &args, &stop).await;
    if !args.no_record && !stop.is_cancelled() {
        match &outcome {
            Ok(report) => {
                let (ok, index) = (report.is_ok(), report.restore.achieved.index);
                keep(&args.sources, Check::Drill, ok, index, drill_summary(report)).await?;
            }
            // A mistake of ours says nothing about what is kept.
            Err(failure) if is_internal(failure) => {}
            Err(failure) => {
                keep(&args.sources, Check::Drill, false, 0, failure.text()).await?;
            }
        }
    }
    let report = match outcome {
        // Its directory is gone: there is nothing to resume.
        Err(failure) if is_cancelled(&failure) => {
            tracing::warn!(
                "told to stop: nothing is recorded, and the next drill starts from scratch"
            );
            return Ok(Exit::Interrupted);
        }
        outcome => outcome?,
    };
    match args.json {
        true => say(&(serde_json::to_string(&report)? + "\n"))?,
        false => say(&format!("{}\n", drill_summary(&report)))?,
    }
    Ok(if report.is_ok() { Exit::Ok } else { Exit::Corrupt })
}

fn is_internal(failure: &Failure) -> bool {
    matches!(failure.error().downcast_ref(), Some(RestoreError::Internal { .. }))
}

fn is_cancelled(failure: &Failure) -> bool {
    matches!(failure.error().downcast_ref(), Some(RestoreError::Cancelled { .. }))
}

async fn drill(
    shared: &Shared,
    args: &DrillArgs,
    stop: &CancellationToken,
) -> Result<DrillReport, Failure> {
    let sources = args.sources.open_shared(shared).await?;
    let log = if args.without_log {
        None
    } else {
        let place = LogLocation::new(shared, "drill")?;
        let log = place.open().await.map_err(|error| {
            place
                .explain(error.into())
                .advise("to drill without comparing with the log: --without-log")
        })?;
        Some(log)
    };
    let parent = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = tempfile::Builder::new().prefix("tipline-drill-").tempdir_in(parent)?;
    let path = scratch.path().join("store");
    let medium = match args.medium {
        Kind::Sqlite => Medium::Sqlite(path),
        Kind::Files => Medium::Files(path),
        #[cfg(feature = "rocksdb")]
        Kind::Rocksdb => Medium::RocksDb(path),
    };
    let place = store::location(&StoreAddress::One(medium));
    let (sender, receiver) = watch::channel(RestoreProgress::default());
    let drill = tipline_backup::drill(Arc::clone(&sources), log, place, sender, stop.child_token());
    let report = tokio::select! {
        report = drill => report,
        never = progress::show(|| progress::restoring(*receiver.borrow())) => match never {},
    };
    progress::done();
    let report = report?;
    tokio::task::spawn_blocking(move || scratch.close()).await??;
    Ok(report)
}
