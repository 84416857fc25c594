//! Verifying and drilling, on a timer, beside a running backup or archiver.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use tipline_backup::{
    Against, Check, CheckedPlace, CheckpointError, Destination, DestinationError, DrillReport,
    Listed, Record, RestoreError, RestoreProgress, Sample, Sources, StorePlace, shortfall,
};
use tipline_log::{Clock, Log, error_chain};
use tipline_proto::Timestamp;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::board::{JobBoard, JobKind};
use super::scratch::Scratch;
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
    /// Where success is written, and which says when to wait.
    pub board: JobBoard,
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

/// What became of a check.
enum Outcome {
    /// Nothing is there yet.
    Nothing,
    /// Nothing is there, and something must be. It may be a directory that is not mounted: nothing is
    /// written into it.
    Gone(String),
    /// It was made.
    Made(Record),
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
    work: impl AsyncFn() -> Result<Outcome, CheckError>,
) {
    let Some(every) = every else { return std::future::pending().await };
    let (place, name) = (checked.destination.place(), check.as_str());
    let job = JobKind::from(check);
    checked.board.expect(job, every);
    let (mut is_logged, mut is_first) = (false, true);
    loop {
        let done = async {
            let wait = due(checked, check, every, clock).await?;
            sleep(wait).await;
            checked.board.may_begin().await;
            work().await
        };
        let mut pause = AGAIN.min(every);
        match done.await {
            Ok(Outcome::Made(record)) => {
                if record.ok {
                    checked.board.succeeded(job, record.time());
                    tracing::info!(place, "{name}: {}", record.summary);
                } else {
                    tracing::error!(place, "{name} found something wrong: {}", record.summary);
                }
                if let Err(error) = record.keep(&checked.destination, check).await {
                    let error = error_chain(&error);
                    tracing::warn!(place, error, "the outcome of this {name} is not kept there");
                }
                // Whether or not there is a record that says so.
                pause = every;
            }
            Ok(Outcome::Gone(why)) => tracing::error!(place, "{name} found nothing: {why}"),
            Ok(Outcome::Nothing) if is_logged => {}
            Ok(Outcome::Nothing) => {
                tracing::info!(place, "{name}: nothing is there yet");
                is_logged = true;
            }
            Err(_) if checked.stop.is_cancelled() => return std::future::pending().await,
            // A new archive is there in a moment.
            Err(CheckError::Destination(error)) if is_first && error.is_retryable() => {
                let (error, again) = (error_chain(&error), pause.as_secs());
                tracing::info!(
                    place,
                    error,
                    "{name} waits for the place; trying again in {again} s"
                );
            }
            Err(error) => {
                let (error, again) = (error_chain(&error), pause.as_secs());
                tracing::error!(place, error, "{name} was not done; trying again in {again} s");
            }
        }
        is_first = false;
        sleep(pause).await;
    }
}

impl From<Check> for JobKind {
    fn from(check: Check) -> Self {
        match check {
            Check::Verify => JobKind::Verify,
            Check::Drill => JobKind::Drill,
        }
    }
}

/// How long until the next one.
async fn due(
    checked: &CheckJob,
    check: Check,
    every: Duration,
    clock: &Clock,
) -> Result<Duration, CheckError> {
    // One of a time to come says nothing of when the next is due.
    let now = clock();
    let found = Record::newest(&checked.destination, check, now).await?;
    if let Some(succeeded) = found.succeeded {
        checked.board.succeeded(check.into(), succeeded.time());
    }
    let age = found.newest.map(|record| now.since(record.time()));
    Ok(age.map_or(Duration::ZERO, |age| every.saturating_sub(age)))
}

impl CheckJob {
    /// What is there. What is required of the log is required of copies.
    async fn sources(&self) -> Result<Sources, CheckError> {
        let trust = self.log.trust().cloned().unwrap_or_default();
        Ok(Sources { trust, ..open_sources(&self.destination, &self.identity).await? })
    }

    async fn verify(&self, sample: Sample, clock: &Clock) -> Result<Outcome, CheckError> {
        let sources = self.sources().await?;
        let places = [CheckedPlace { destination: self.destination.clone(), sources }];
        let mut random = rand::random::<f64>;
        let against = Against { log: Some(&*self.log), store: None };
        let verified =
            tipline_backup::verify(&places, against, sample, &mut random, &self.stop).await;
        let report = match verified {
            Err(RestoreError::NotFound { .. }) => return Ok(Outcome::Nothing),
            report => report?,
        };
        if report.is_new() {
            return Ok(Outcome::Nothing);
        }
        // What was found there counts, also if the log did not answer.
        let Some(found) = report.of(&self.destination) else {
            return match report.failed.first() {
                Some(failed) => Err(CheckError::Failed(Arc::clone(&failed.error))),
                None => Ok(Outcome::Gone(verify_summary(&report))),
            };
        };
        let (ok, index, summary) = (found.is_ok(), found.index(), verify_summary(&found));
        let (time_us, checkpoint) = (clock().as_micros(), found.checkpoint());
        let restored_ms = None;
        Ok(Outcome::Made(Record { time_us, ok, index, summary, checkpoint, restored_ms }))
    }

    async fn drill(&self, schedule: &CheckSchedule, clock: &Clock) -> Result<Outcome, CheckError> {
        let sources = self.sources().await?;
        let is_empty = sources.is_empty();
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
        let missing = shortfall(&self.destination, Some(&board), reached).await;
        match drilled {
            Err(RestoreError::NotFound { .. }) if is_empty => {
                Ok(missing?.map_or(Outcome::Nothing, Outcome::Gone))
            }
            drilled => drill_outcome(drilled, missing, clock()),
        }
    }
}

/// `missing` is what must be there, and was not restored.
fn drill_outcome(
    drilled: Result<DrillReport, RestoreError>,
    missing: Result<Option<String>, DestinationError>,
    now: Timestamp,
) -> Result<Outcome, CheckError> {
    let took = |report: &DrillReport| report.restore.duration.as_millis();
    let took = drilled.as_ref().ok().map(took);
    let (ok, index, summary) = match drilled {
        Ok(report) => {
            let (is_ok, index) = (report.is_ok(), report.restore.achieved.index);
            match missing {
                Ok(Some(missing)) => (false, index, missing),
                Ok(None) => (is_ok, index, drill_summary(&report)),
                // It was restored all the same.
                Err(error) => {
                    let (summary, error) = (drill_summary(&report), error_chain(&error));
                    let summary = format!("{summary}; not known what must be there: {error}");
                    (is_ok, index, summary)
                }
            }
        }
        // An archive, and nothing in it.
        Err(RestoreError::NotFound { .. }) => match missing? {
            Some(missing) => (false, 0, missing),
            None => return Ok(Outcome::Nothing),
        },
        Err(error) if error.is_about_what_is_kept() => (false, 0, error_chain(&error)),
        Err(error) => return Err(error.into()),
    };
    let (time_us, checkpoint) = (now.as_micros(), None);
    let restored_ms = took.and_then(|took| u64::try_from(took).ok());
    Ok(Outcome::Made(Record { time_us, ok, index, summary, checkpoint, restored_ms }))
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

#[cfg(test)]
mod tests;
