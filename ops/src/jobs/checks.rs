//! Verifying and drilling, time and again, beside a running backup or archiver.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tipline_backup::{
    Check, Destination, Listed, Record, RestoreError, RestoreProgress, Sample, Sources,
};
use tipline_log::{Clock, Log};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::address::{Medium, Share, StoreAddress};
use crate::exit::{Exit, restore_exit};
use crate::open::sources::open_at;
use crate::open::store;
use crate::output::report::Failure;
use crate::output::summary;
use crate::settings::Parsed;

/// What cannot be reached, or is not there yet, is tried again after this, or after the interval
/// if that is shorter.
const AGAIN: Duration = Duration::from_secs(60);

/// Options of checks that a consumer makes by itself.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Checks")]
pub(crate) struct ChecksArgs {
    /// Look at what is kept at the place this often, as tipline verify does: 1d. The outcome is kept
    /// there; tipline status --checks shows it
    #[arg(long, env = "TIPLINE_VERIFY_EVERY", value_name = "TIME")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    verify_every: Option<humantime::Duration>,

    /// To verify, read back this share, chosen by chance: 5%; the newest in any case
    #[arg(long, env = "TIPLINE_SAMPLE", value_name = "PERCENT")]
    #[arg(value_parser = Parsed::<Share>::new())]
    sample: Option<Share>,

    /// Restore the place into a scratch directory this often, as tipline drill does: 7d
    #[arg(long, env = "TIPLINE_DRILL_EVERY", value_name = "TIME")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    drill_every: Option<humantime::Duration>,

    /// Where to make the directory of a drill, which is removed again; it needs room for the whole
    /// store
    #[arg(long, env = "TIPLINE_SCRATCH", value_name = "DIRECTORY")]
    scratch: Option<PathBuf>,
}

/// What is checked.
#[derive(Clone)]
pub(crate) struct Checked {
    pub(crate) destination: Destination,
    /// Files of keys that open it.
    pub(crate) identity: Vec<PathBuf>,
    /// What a drill is compared with.
    pub(crate) log: Arc<dyn Log>,
    /// Tells the scratch directory from those of others.
    pub(crate) name: String,
    pub(crate) stop: CancellationToken,
}

impl ChecksArgs {
    /// Checks for ever; waits for ever if nothing is to be checked.
    pub(crate) async fn run(self, checked: Checked, clock: &Clock) {
        let verify = repeat(self.verify_every, &checked, Check::Verify, clock, async || {
            checked.verify(self.sample, clock).await
        });
        let drill = repeat(self.drill_every, &checked, Check::Drill, clock, async || {
            checked.drill(self.scratch.as_deref(), clock).await
        });
        tokio::join!(verify, drill);
    }
}

/// Makes a check whenever the newest record of it at the place is old enough, whoever made that.
async fn repeat(
    every: Option<humantime::Duration>,
    checked: &Checked,
    check: Check,
    clock: &Clock,
    work: impl AsyncFn() -> Result<Option<Record>, Failure>,
) {
    let Some(every) = every.map(Duration::from) else { return std::future::pending().await };
    let (place, name) = (checked.destination.place(), check.as_str());
    let mut told = false;
    loop {
        let done = async {
            sleep(due(&checked.destination, check, every, clock).await?).await;
            let Some(record) = work().await? else { return Ok(false) };
            match record.ok {
                true => tracing::info!(place, "{name}: {}", record.summary),
                false => tracing::error!(place, "{name} found something wrong: {}", record.summary),
            }
            record.keep(&checked.destination, check).await?;
            Ok::<_, Failure>(true)
        };
        match done.await {
            Ok(true) => continue,
            Ok(false) if told => {}
            Ok(false) => {
                tracing::info!(place, "{name}: nothing is there yet");
                told = true;
            }
            Err(_) if checked.stop.is_cancelled() => return std::future::pending().await,
            Err(failure) => {
                let (error, again) = (failure.text(), AGAIN.min(every).as_secs());
                tracing::error!(place, error, "{name} was not done; trying again in {again} s");
            }
        }
        sleep(AGAIN.min(every)).await;
    }
}

/// How long until the next one.
async fn due(
    at: &Destination,
    check: Check,
    every: Duration,
    clock: &Clock,
) -> Result<Duration, Failure> {
    let (newest, _) = Record::newest(at, check).await?;
    let age = newest.map(|record| clock().since(record.time()));
    Ok(age.map_or(Duration::ZERO, |age| every.saturating_sub(age)))
}

impl Checked {
    /// None: there is nothing yet.
    async fn verify(
        &self,
        sample: Option<Share>,
        clock: &Clock,
    ) -> Result<Option<Record>, Failure> {
        let sources = open_at(&self.destination, &self.identity).await?;
        let sample = sample.map_or(Sample::Structure, Sample::from);
        let mut random = rand::random::<f64>;
        let verified =
            tipline_backup::verify(&sources, None, sample, &mut random, &self.stop).await;
        let report = verified?;
        let (ok, index, summary) = (report.is_ok(), report.index(), summary::verified(&report));
        let record = Record { time_us: clock().as_micros(), ok, index, summary };
        Ok((!ok || index > 0).then_some(record))
    }

    /// None: there is nothing yet.
    async fn drill(&self, parent: Option<&Path>, clock: &Clock) -> Result<Option<Record>, Failure> {
        let sources = open_at(&self.destination, &self.identity).await?;
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        // One that was killed has left its own: so it has a name that is found again.
        let lineage = self.log.identity().lineage;
        let scratch = Scratch::make(parent.join(format!("tipline-drill-{}-{lineage}", self.name)));
        let scratch = scratch.await?;
        let place = store::location(&media(&sources, &scratch.0).await?);
        let (progress, _) = watch::channel(RestoreProgress::default());
        let (sources, log) = (Arc::new(sources), Arc::clone(&self.log));
        let stop = self.stop.child_token();
        let drilled = tipline_backup::drill(sources, Some(log), place, progress, stop).await;
        scratch.remove().await?;
        let (ok, index, summary) = match drilled {
            Ok(report) => {
                (report.is_ok(), report.restore.achieved.index, summary::drilled(&report))
            }
            Err(RestoreError::NotFound { .. }) => return Ok(None),
            // It says nothing of what is kept.
            Err(error) if matches!(restore_exit(&error), Exit::Unavailable | Exit::Interrupted) => {
                return Err(error.into());
            }
            Err(error) => (false, 0, Failure::from(error).text()),
        };
        Ok(Some(Record { time_us: clock().as_micros(), ok, index, summary }))
    }
}

/// The kinds of media of the newest checkpoint there, so that its files are restored as they are;
/// of an archive alone, SQLite.
async fn media(sources: &Sources, scratch: &Path) -> Result<StoreAddress, Failure> {
    let mut newest: Option<(u64, Vec<String>)> = None;
    for set in &sources.checkpoints {
        for listed in set.list().await? {
            let Listed::Whole(manifest) = listed else { continue };
            let index = manifest.cursor.position.index;
            if newest.as_ref().is_none_or(|(newest, _)| *newest < index) {
                newest = Some((index, manifest.parts));
            }
        }
    }
    let parts = newest.map_or_else(|| vec!["sqlite".to_owned()], |(_, parts)| parts);
    let medium = |(number, part): (usize, &String)| {
        let path = scratch.join(format!("store-{number}"));
        match part.as_str() {
            "files" => Medium::Files(path),
            #[cfg(feature = "rocksdb")]
            "rocksdb" => Medium::RocksDb(path),
            _ => Medium::Sqlite(path),
        }
    };
    let mut media: Vec<Medium> = parts.iter().enumerate().map(medium).collect();
    Ok(match (media.len(), media.pop()) {
        (1, Some(one)) => StoreAddress::One(one),
        (_, last) => StoreAddress::Composite(media.into_iter().chain(last).collect()),
    })
}

/// A directory that is removed again.
struct Scratch(PathBuf);

impl Scratch {
    async fn make(path: PathBuf) -> Result<Self, Failure> {
        Self::clear(&path).await?;
        let made = path.clone();
        let make = move || {
            let mut builder = std::fs::DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(made)
        };
        tokio::task::spawn_blocking(make).await??;
        Ok(Self(path))
    }

    async fn remove(self) -> Result<(), Failure> {
        Self::clear(&self.0).await
    }

    async fn clear(path: &Path) -> Result<(), Failure> {
        match tokio::fs::remove_dir_all(path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next drill removes what stays.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
