//! Verifying and drilling, on a timer, beside a running backup or archiver.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use tipline_backup::{
    Against, Check, CheckedPlace, CheckpointError, Destination, DestinationError, Listed, Record,
    RestoreError, RestoreProgress, Sample, Sources, StorePlace, shortfall,
};
use tipline_log::{Clock, Log, error_chain};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::sources::{SourcesError, open_sources};
use crate::summary::{drill_summary, verify_summary};

/// What is unavailable, or not there yet, is tried again after this, or after the interval if that
/// is shorter.
const AGAIN: Duration = Duration::from_secs(60);

/// When what is kept is checked, and how.
#[derive(Debug, Clone)]
pub struct CheckSchedule {
    /// Time from one verification to the next; `None` for none.
    pub verify_every: Option<Duration>,
    /// What a verification reads back.
    pub sample: Sample,
    /// Time from one drill to the next; `None` for none.
    pub drill_every: Option<Duration>,
    /// Where a drill makes its directory, which is removed again; `None` for the directory for
    /// temporary files.
    pub scratch: Option<PathBuf>,
    /// How far a drill may be behind the log; `None`: any distance.
    pub max_lag: Option<Duration>,
}

/// Nothing is checked.
impl Default for CheckSchedule {
    fn default() -> Self {
        Self {
            verify_every: None,
            sample: Sample::Structure,
            drill_every: None,
            scratch: None,
            max_lag: None,
        }
    }
}

/// Where a drill restores to: the kinds of stores that the newest checkpoint has, and the directory
/// in which the new ones are to be.
pub type DrillStore = Arc<dyn Fn(&[String], &Path) -> StorePlace + Send + Sync>;

/// What is checked.
#[derive(Clone)]
pub struct CheckJob {
    /// What is read. The record is kept there.
    pub destination: Destination,
    /// Files of age identities that open it.
    pub identity: Vec<PathBuf>,
    /// What a drill is compared with.
    pub log: Arc<dyn Log>,
    /// Distinguishes the scratch directory from those of others.
    pub name: String,
    /// Where a drill restores to.
    pub drill_store: DrillStore,
    /// Cancels what is under way.
    pub stop: CancellationToken,
}

impl fmt::Debug for CheckJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckJob")
            .field("destination", &self.destination)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl CheckSchedule {
    /// Checks for ever; waits for ever if nothing is to be checked. Outcomes are kept at the
    /// destination and logged. A check that could not be made is logged, and tried again.
    pub async fn run(self, job: CheckJob, clock: &Clock) {
        let verify = repeat(self.verify_every, &job, Check::Verify, clock, async || {
            job.verify(self.sample, clock).await
        });
        let drill = repeat(self.drill_every, &job, Check::Drill, clock, async || {
            job.drill(&self, clock).await
        });
        tokio::join!(verify, drill);
    }
}

/// Why a check was not made.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Sources(#[from] SourcesError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Destination(#[from] DestinationError),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error(transparent)]
    Failed(Arc<RestoreError>),
    #[error("the scratch directory cannot be used")]
    Scratch(#[from] io::Error),
}

/// Makes a check when the newest record of it at the destination is old enough, whoever made that.
async fn repeat(
    every: Option<Duration>,
    checked: &CheckJob,
    check: Check,
    clock: &Clock,
    work: impl AsyncFn() -> Result<Option<Record>, CheckError>,
) {
    let Some(every) = every else { return std::future::pending().await };
    let (place, name) = (checked.destination.place(), check.as_str());
    let mut is_logged = false;
    loop {
        let done = async {
            sleep(due(&checked.destination, check, every, clock).await?).await;
            let Some(record) = work().await? else { return Ok(false) };
            if record.ok {
                tracing::info!(place, "{name}: {}", record.summary);
            } else {
                tracing::error!(place, "{name} found something wrong: {}", record.summary);
            }
            record.keep(&checked.destination, check).await?;
            Ok::<_, CheckError>(true)
        };
        match done.await {
            Ok(true) => continue,
            Ok(false) if is_logged => {}
            Ok(false) => {
                tracing::info!(place, "{name}: nothing is there yet");
                is_logged = true;
            }
            Err(_) if checked.stop.is_cancelled() => return std::future::pending().await,
            Err(error) => {
                let (error, again) = (error_chain(&error), AGAIN.min(every).as_secs());
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
) -> Result<Duration, CheckError> {
    // One of a time to come says nothing of when the next is due.
    let now = clock();
    let newest = Record::newest(at, check, now).await?.newest;
    let age = newest.map(|record| now.since(record.time()));
    Ok(age.map_or(Duration::ZERO, |age| every.saturating_sub(age)))
}

impl CheckJob {
    /// `None`: there is nothing yet.
    async fn verify(&self, sample: Sample, clock: &Clock) -> Result<Option<Record>, CheckError> {
        let sources = open_sources(&self.destination, &self.identity).await?;
        let places = [CheckedPlace { destination: self.destination.clone(), sources }];
        let mut random = rand::random::<f64>;
        let against = Against { log: Some(&*self.log), store: None };
        let verified =
            tipline_backup::verify(&places, against, sample, &mut random, &self.stop).await;
        let report = match verified {
            Err(RestoreError::NotFound { .. }) => return Ok(None),
            report => report?,
        };
        if let Some(failed) = report.failed.first() {
            return Err(CheckError::Failed(Arc::clone(&failed.error)));
        }
        let (ok, index, summary) = (report.is_ok(), report.index(), verify_summary(&report));
        let record = Record { time_us: clock().as_micros(), ok, index, summary };
        Ok((!report.is_new()).then_some(record))
    }

    /// `None`: there is nothing yet.
    async fn drill(
        &self,
        schedule: &CheckSchedule,
        clock: &Clock,
    ) -> Result<Option<Record>, CheckError> {
        let sources = open_sources(&self.destination, &self.identity).await?;
        let parent = schedule.scratch.clone().unwrap_or_else(std::env::temp_dir);
        // It has a name that is found again, because one that was killed has left its own.
        let lineage = self.log.identity().lineage;
        let scratch = Scratch::make(parent.join(format!("tipline-drill-{}-{lineage}", self.name)));
        let scratch = scratch.await?;
        let place = (self.drill_store)(&parts(&sources).await?, &scratch.0);
        let (progress, _) = watch::channel(RestoreProgress::default());
        // First: what it says is there is there by then.
        let board = self.log.board().await.map_err(RestoreError::Log)?;
        let (sources, log) = (Arc::new(sources), Arc::clone(&self.log));
        let (stop, max_lag) = (self.stop.child_token(), schedule.max_lag);
        let drilled =
            tipline_backup::drill(sources, Some(log), place, max_lag, progress, stop).await;
        scratch.remove().await?;
        let reached = drilled.as_ref().map_or(0, |report| report.restore.achieved.index);
        let missing = shortfall(&self.destination, Some(&board), reached).await?;
        let (ok, index, summary) = match drilled {
            Ok(report) => match missing {
                Some(missing) => (false, reached, missing),
                None => (report.is_ok(), reached, drill_summary(&report)),
            },
            Err(RestoreError::NotFound { .. }) => match missing {
                Some(missing) => (false, 0, missing),
                None => return Ok(None),
            },
            Err(error) if error.is_about_what_is_kept() => (false, 0, error_chain(&error)),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Record { time_us: clock().as_micros(), ok, index, summary }))
    }
}

/// The kinds of stores of the newest checkpoint there, so that its files are restored as they are;
/// of an archive alone, SQLite.
async fn parts(sources: &Sources) -> Result<Vec<String>, CheckError> {
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
    Ok(newest.map_or_else(|| vec!["sqlite".to_owned()], |(_, parts)| parts))
}

/// A directory that is removed again.
struct Scratch(PathBuf);

impl Scratch {
    async fn make(path: PathBuf) -> io::Result<Self> {
        Self::clear(&path).await?;
        let made = path.clone();
        let make = move || {
            let mut builder = std::fs::DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(made)
        };
        tokio::task::spawn_blocking(make).await.map_err(io::Error::other)??;
        Ok(Self(path))
    }

    async fn remove(self) -> io::Result<()> {
        Self::clear(&self.0).await
    }

    async fn clear(path: &Path) -> io::Result<()> {
        match tokio::fs::remove_dir_all(path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next drill removes what stays.
        _ = std::fs::remove_dir_all(&self.0);
    }
}
