//! `tipline drill`: a real restore into a scratch directory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use tipline_backup::{Check, Destination, DrillReport, RestoreError, RestoreProgress, shortfall};
use tipline_log::{Log, error_chain};
use tipline_ops::{drill_summary, open_sources};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::address::{Medium, StoreAddress};
use crate::exit::{Exit, restore_exit};
use crate::open::log::LogLocation;
use crate::open::sources::{CheckOutcome, keep};
use crate::open::store;
use crate::options::{Shared, SourceArgs};
use crate::output::escape::line;
use crate::output::progress;
use crate::output::report::{Failure, say};
use crate::settings::Parsed;
use crate::signal;

/// Options of `tipline drill`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline drill --from s3://backup/mainnet
  tipline drill --from dir:/backup --scratch /var/tmp --medium rocksdb --json

It restores the latest point into a new directory, reads everything back, compares it with the log
of --log, and removes it again. The time it took is the recovery time; its lag behind the log is the
recovery point. The outcome is kept at the place, where status reads it; of several places it says
nothing about each, and is not kept.

Exit code 13 if it is not the log's history, if it is behind the log by more than --max-lag, if the
log has dropped what follows it, or if receipts or earlier checks had more; otherwise the codes of
tipline restore. What goes wrong on this machine is not kept as an outcome.
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

    /// Not well if the newest restored entry is older than the log's newest by more: 10m
    #[arg(long, value_name = "TIME", conflicts_with = "without_log")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    max_lag: Option<humantime::Duration>,

    /// Do not compare with the log
    #[arg(long)]
    without_log: bool,

    /// Do not keep the outcome at the place
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

/// Drills, and keeps the outcome at the place.
pub(crate) async fn run(shared: &Shared, args: DrillArgs) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    let log = args.open_log(shared).await?;
    // First: what it says is there is there by then.
    let board = match &log {
        Some(log) => Some(log.board().await?),
        None => None,
    };
    let drilled = drill(shared, &args, log, &stop).await;
    let place = args.only_place()?;
    let missing = match &place {
        Some(place) if drilled.as_ref().map_or_else(is_nothing, |_| true) => {
            let reached = drilled.as_ref().map_or(0, |report| report.restore.achieved.index);
            shortfall(place, board.as_ref(), reached).await
        }
        _ => Ok(None),
    };
    let (missing, unknown) = match missing {
        Ok(missing) => (missing, None),
        // What was restored was restored all the same.
        Err(error) if drilled.is_ok() => (None, Some(error)),
        Err(error) => return Err(error.into()),
    };
    let shown_unknown = unknown.as_ref().map(|error| error_chain(error));
    if let Some(place) = place.filter(|_| !args.no_record && !stop.is_cancelled()) {
        let outcome = match (&drilled, &missing) {
            (Ok(report), missing) => {
                let (ok, index) = (report.is_ok(), report.restore.achieved.index);
                let mut summary = missing.clone().unwrap_or_else(|| drill_summary(report));
                if let Some(why) = &shown_unknown {
                    summary += &format!("; not known what must be there: {why}");
                }
                Some((ok && missing.is_none(), index, summary))
            }
            // Nothing was, or nothing is there: it may be a directory that is not mounted.
            (Err(failure), missing)
                if is_nothing(failure) && (missing.is_none() || args.is_empty(&place).await) =>
            {
                None
            }
            (Err(failure), _) if is_about_what_is_kept(failure) => Some((false, 0, failure.text())),
            (Err(_), _) => None,
        };
        if let Some((ok, index, summary)) = outcome {
            let restored = drilled.as_ref().ok().map(|report| report.restore.duration);
            let outcome = CheckOutcome { ok, index, summary, checkpoint: None, restored };
            keep(&place, Check::Drill, outcome).await;
        }
    }
    let report = match drilled {
        // Its directory is gone: there is nothing to resume.
        Err(failure) if is_cancelled(&failure) => {
            tracing::warn!(
                "told to stop: nothing is recorded, and the next drill starts from scratch"
            );
            return Ok(Exit::Interrupted);
        }
        Err(failure) => {
            let Some(missing) = missing else { return Err(failure) };
            let text = line(format_args!("nothing was restored: {}", failure.text()));
            say(&(text + &line(format_args!("  wrong: {missing}"))))?;
            return Ok(Exit::Corrupt);
        }
        Ok(report) => report,
    };
    let (missing, unknown_because) = (missing.as_deref(), shown_unknown.as_deref());
    let shown = Shown { report: &report, missing, unknown_because };
    match args.json {
        true => say(&(serde_json::to_string(&shown)? + "\n"))?,
        false => say(&shown.text())?,
    }
    Ok(match unknown {
        _ if !report.is_ok() || missing.is_some() => Exit::Corrupt,
        Some(error) => restore_exit(&error.into()),
        // It was restored, and is not known to be of the log's history.
        None if report.not_compared.is_some() => Exit::Unavailable,
        None => Exit::Ok,
    })
}

/// All of it as one object.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    report: &'a DrillReport,
    /// What must be there by a receipt or an earlier check, and is not.
    missing: Option<&'a str>,
    /// Why it is not known what must be there.
    unknown_because: Option<&'a str>,
}

impl Shown<'_> {
    fn text(&self) -> String {
        let missing = self.missing.map(|missing| line(format_args!("  wrong: {missing}")));
        let unknown = self.unknown_because;
        let unknown =
            unknown.map(|why| line(format_args!("  not checked: what must be there: {why}")));
        let notes = self.report.restore.notes.iter();
        let notes: String = notes.map(|note| line(format_args!("  not used: {note}"))).collect();
        let (missing, unknown) = (missing.unwrap_or_default(), unknown.unwrap_or_default());
        let summary = line(format_args!("{}", drill_summary(self.report)));
        format!("{summary}{missing}{unknown}{notes}")
    }
}

impl DrillArgs {
    /// What was restored is compared with it.
    async fn open_log(&self, shared: &Shared) -> Result<Option<Arc<dyn Log>>, Failure> {
        if self.without_log {
            return Ok(None);
        }
        let place = LogLocation::new(shared, "drill")?;
        let log = place.open().await.map_err(|error| {
            place
                .explain(error.into())
                .advise("to drill without comparing with the log: --without-log")
        })?;
        Ok(Some(log))
    }

    /// Whether neither an archive nor a checkpoint is there.
    async fn is_empty(&self, place: &Destination) -> bool {
        let found = open_sources(place, &self.sources.identity).await;
        found.is_ok_and(|sources| sources.is_empty())
    }

    /// The place, if it is one. Of several, none is known to do without the others.
    fn only_place(&self) -> Result<Option<Destination>, RestoreError> {
        let mut places = self.sources.destinations();
        match (places.next(), places.next()) {
            (Some(one), None) => Ok(Some(Destination::open(one)?)),
            _ => Ok(None),
        }
    }
}

fn restore_error(failure: &Failure) -> Option<&RestoreError> {
    failure.error().downcast_ref()
}

fn is_about_what_is_kept(failure: &Failure) -> bool {
    restore_error(failure).is_some_and(RestoreError::is_about_what_is_kept)
}

fn is_nothing(failure: &Failure) -> bool {
    matches!(restore_error(failure), Some(RestoreError::NotFound { .. }))
}

fn is_cancelled(failure: &Failure) -> bool {
    matches!(restore_error(failure), Some(RestoreError::Cancelled { .. }))
}

async fn drill(
    shared: &Shared,
    args: &DrillArgs,
    log: Option<Arc<dyn Log>>,
    stop: &CancellationToken,
) -> Result<DrillReport, Failure> {
    let sources = args.sources.open_shared(shared).await?;
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
    let max_lag = args.max_lag.map(Duration::from);
    let stop = stop.child_token();
    let drill = tipline_backup::drill(sources, log, place, max_lag, sender, stop);
    let report = tokio::select! {
        report = drill => report,
        never = progress::show(|| progress::restoring(*receiver.borrow())) => match never {},
    };
    progress::done();
    let report = report?;
    tokio::task::spawn_blocking(move || scratch.close()).await??;
    Ok(report)
}
