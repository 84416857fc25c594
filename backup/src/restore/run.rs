//! The restore itself.

use std::sync::Arc;
use std::time::Instant;

use tipline_consumer::{StartState, StopReason, StoreThread, VerifyError};
use tipline_log::error_chain;
use tipline_proto::{Cursor, Digest, LogIdentity};
use tipline_store::{StoreReader, content_digest_while};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::inspect;
use super::plan::{Plan, Start};
use super::replay::{Replay, Replayed};
use super::report::{Achieved, RestoreProgress, RestoreReport, Step, Verification};
use super::stage::{Stage, StorePlace};
use super::target::Target;
use crate::checkpoint::{CheckpointError, Manifest};
use crate::error::RestoreError;
use crate::sources::read_ahead::{ReadAhead, Wanted};
use crate::sources::{DigestCheck, Inventory, ReadError, Sources};
use crate::throttle::Throttle;

/// What to restore, and how.
#[derive(Debug, Clone)]
pub struct RestoreSettings {
    /// The point.
    pub target: Target,
    /// Without the entry that the target names.
    pub exclusive: bool,
    /// How the result is verified.
    pub verification: Verification,
    /// Replace what is at the place.
    pub force: bool,
}

/// Says what [`restore`] would do, without doing it.
///
/// # Errors
/// Those of [`restore`], as far as they show without reading everything.
pub async fn plan_restore(
    sources: &Sources,
    place: &StorePlace,
    target: &Target,
    exclusive: bool,
) -> Result<Plan, RestoreError> {
    plan_for(sources, &place.kinds(), target, exclusive).await
}

/// The same for a store of these kinds of media (`sqlite`, `rocksdb`, `files`), each of which a
/// checkpoint must have; none: any checkpoint will do.
///
/// # Errors
/// Those of [`plan_restore`].
pub async fn plan_for(
    sources: &Sources,
    kinds: &[String],
    target: &Target,
    exclusive: bool,
) -> Result<Plan, RestoreError> {
    let mut inventory = sources.inventory().await?;
    sources.plan(&mut inventory, target, exclusive, kinds).await
}

/// Restores a store. On `Ok` it is in its place, durable, and closed: a consumer of the log can be
/// started on it as if nothing had happened. `progress` reports how far it is.
///
/// In memory are at most pieces of two segments of an archive, some 40 MiB of each or one entry
/// (an encrypted one whole: 64 MiB, and its stored form beside that), and five pieces of 32 MiB
/// or one entry: two that wait and three in the loop. Dropping the future leaves the place as it
/// is; the next call resumes.
///
/// # Errors
/// See [`RestoreError`]. Nothing at the place has changed then.
pub async fn restore(
    sources: Arc<Sources>,
    place: StorePlace,
    settings: RestoreSettings,
    progress: watch::Sender<RestoreProgress>,
    stop: CancellationToken,
) -> Result<RestoreReport, RestoreError> {
    let began = Instant::now();
    let (name, kinds) = (place.name(), place.kinds());
    let RestoreSettings { target, exclusive, verification, force } = settings;
    let stage = blocking(move || Stage::acquire(place, force)).await?;
    let mut inventory = sources.inventory().await?;
    let plan = sources.plan(&mut inventory, &target, exclusive, &kinds).await?;
    // What is copied is there twice for a while.
    let twice = plan.checkpoint.as_ref().filter(|from| from.of.is_some()).map(|from| from.bytes);
    stage.check_space(plan.bytes + twice.unwrap_or(0))?;
    let mut run = Run {
        sources,
        stage: Arc::new(stage),
        notes: plan.notes.clone(),
        inventory,
        plan,
        progress,
        stop,
        entries: 0,
    };
    let Filled { start, resumed_at, cursor } = run.fill().await?;
    let content = run.inspect(&cursor, start.index(), verification).await?;
    let stage = Arc::clone(&run.stage);
    blocking(move || stage.install()).await?;
    let checkpoint = run.sources.planned(&start).filter(|_| resumed_at.is_none());
    Ok(RestoreReport {
        store: name,
        target: target.to_string(),
        exclusive,
        achieved: Achieved::from(&cursor),
        checkpoint,
        resumed_at,
        entries: run.entries,
        verification,
        content,
        notes: run.notes,
        duration: began.elapsed(),
    })
}

struct Run {
    sources: Arc<Sources>,
    stage: Arc<Stage>,
    inventory: Inventory,
    plan: Plan,
    notes: Vec<String>,
    progress: watch::Sender<RestoreProgress>,
    stop: CancellationToken,
    entries: u64,
}

/// A staged store that is at the target.
struct Filled {
    /// What it was made of.
    start: Start,
    /// Where an earlier attempt had been.
    resumed_at: Option<u64>,
    cursor: Cursor,
}

/// Why a staged store did not reach the target.
enum ReplayError {
    /// It, or what it was made of, is not what it should be: start from something else. Says why.
    WrongStart(String),
    /// The restore is over.
    Failed(RestoreError),
}

impl From<RestoreError> for ReplayError {
    fn from(error: RestoreError) -> Self {
        ReplayError::Failed(error)
    }
}

impl Run {
    /// Fills the staged store up to the target, from the first start that turns out to be good.
    async fn fill(&mut self) -> Result<Filled, RestoreError> {
        let (stage, of, to) =
            (Arc::clone(&self.stage), self.inventory.identity.clone(), self.plan.index);
        let staged = blocking(move || Ok(stage.resume(&of, to))).await?;
        if let Some(at) = staged {
            match self.replay(at).await {
                Ok(cursor) => {
                    // Everything that any attempt can have applied is compared.
                    let start = self.plan.starts.first().cloned().unwrap_or(Start::Nothing);
                    return Ok(Filled { start, resumed_at: Some(at), cursor });
                }
                Err(ReplayError::WrongStart(why)) => {
                    self.notes.push(format!("what an earlier attempt had staged: {why}"));
                }
                Err(ReplayError::Failed(error)) => return Err(error),
            }
        }
        for start in self.plan.starts.clone() {
            match self.fill_from(&start).await {
                Ok(cursor) => return Ok(Filled { start, resumed_at: None, cursor }),
                Err(ReplayError::WrongStart(why)) => {
                    tracing::warn!(why, "a start cannot be used; trying the next older one");
                    self.notes.push(why);
                }
                Err(ReplayError::Failed(error)) => return Err(error),
            }
        }
        let (target, needed) = (self.plan.target.clone(), 1);
        Err(RestoreError::Corrupt { target, needed, what: self.notes.join("; ") })
    }

    /// Stages what a start says, and applies to it what comes after.
    async fn fill_from(&mut self, start: &Start) -> Result<Cursor, ReplayError> {
        let stage = Arc::clone(&self.stage);
        blocking(move || stage.clear()).await?;
        if let Start::Checkpoint { set, manifest, copied } = start {
            self.fetch(*set, manifest).await?;
            if *copied {
                self.copy(manifest).await?;
            } else {
                let (stage, manifest) = (Arc::clone(&self.stage), manifest.clone());
                blocking(move || stage.adopt(&manifest)).await?;
            }
        }
        self.replay(start.index()).await
    }

    /// Fetches a checkpoint.
    async fn fetch(&mut self, set: usize, manifest: &Manifest) -> Result<(), ReplayError> {
        let Some(place) = self.sources.checkpoints.get(set).cloned() else {
            return Err(ReplayError::WrongStart("its set is gone".to_owned()));
        };
        let of = manifest.files.iter().map(|file| file.bytes).sum();
        let throttle = self.throttle(Step::Fetching, of);
        match place.fetch(manifest, &self.stage.fetching(), &throttle).await {
            Ok(()) => Ok(()),
            Err(_) if self.stop.is_cancelled() => Err(RestoreError::Cancelled { at: 0 }.into()),
            Err(error @ CheckpointError::Corrupt { .. }) => {
                Err(ReplayError::WrongStart(error_chain(&error)))
            }
            Err(error) => Err(RestoreError::from(error).into()),
        }
    }

    /// Copies the content of the fetched checkpoint into a store of the kind to be staged.
    #[cfg(feature = "sqlite")]
    async fn copy(&mut self, manifest: &Manifest) -> Result<(), ReplayError> {
        let (stage, manifest) = (Arc::clone(&self.stage), manifest.clone());
        let throttle = self.throttle(Step::Copying, manifest.cursor.position.index);
        let copied = blocking(move || {
            let from = tipline_store::open_copy(&manifest.parts, &stage.fetching())?;
            let mut into = stage.open_copy()?;
            let scratch = stage.scratch();
            super::logical_copy::copy(&*from, &manifest.log, &mut *into, &scratch, &throttle)?;
            drop(into);
            stage.adopt_copy()
        });
        match copied.await {
            Ok(()) => Ok(()),
            // It is not what it should be: do without it.
            Err(RestoreError::Verification { what }) => Err(ReplayError::WrongStart(what)),
            Err(RestoreError::Store(error)) if !error.is_retryable() => {
                Err(ReplayError::WrongStart(error_chain(&error)))
            }
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(feature = "sqlite"))]
    async fn copy(&mut self, _: &Manifest) -> Result<(), ReplayError> {
        let why = "this program was built without logical copies".to_owned();
        Err(ReplayError::WrongStart(why))
    }

    /// Reports a step as it goes, and ends it when the restore is to end.
    fn throttle(&self, step: Step, of: u64) -> Throttle {
        self.progress.send_replace(RestoreProgress { step, done: 0, of });
        let progress = self.progress.clone();
        let each = move |more| progress.send_modify(|progress| progress.done += more);
        Throttle::new(self.stop.clone()).observed(each)
    }

    /// Applies to the staged store, which is at `from`, everything up to the target.
    async fn replay(&mut self, from: u64) -> Result<Cursor, ReplayError> {
        let (stage, log) = (Arc::clone(&self.stage), self.sources.log_identity());
        let fills = from < self.plan.index;
        let opened = blocking(move || {
            let mut store = stage.open()?;
            if let (None, Some(log)) = (store.identity()?, log) {
                store.create(&log)?;
            }
            if fills {
                store.begin_bulk_load()?;
            }
            Ok(store)
        });
        let store = match opened.await {
            Ok(store) => store,
            // Corrupt, or parts that are out of step: it is made again.
            Err(RestoreError::Store(error)) if !error.is_retryable() => {
                return Err(ReplayError::WrongStart(error_chain(&error)));
            }
            Err(error) => return Err(error.into()),
        };
        let thread = StoreThread::start(store).map_err(RestoreError::consumer)?;
        let replayed = self.replay_into(&thread, from).await;
        let filled = match &replayed {
            Ok(_) => thread.call(|store| store.end_bulk_load()).get().await,
            Err(_) => Ok(Ok(())),
        };
        thread.close().await;
        filled.map_err(RestoreError::consumer)?.map_err(RestoreError::from)?;
        replayed
    }

    async fn replay_into(&mut self, store: &StoreThread, from: u64) -> Result<Cursor, ReplayError> {
        let start = store
            .call(|store| StartState::read(store))
            .get()
            .await
            .map_err(RestoreError::consumer)?;
        let start = start.map_err(RestoreError::from)?;
        if start.cursor.position.index != from {
            let at = start.cursor.position.index;
            return Err(ReplayError::WrongStart(format!("it is at entry {at}, not at {from}")));
        }
        if from == self.plan.index {
            self.check_end(&start.cursor).await?;
            return Ok(start.cursor);
        }
        let replay = Replay {
            sources: &self.sources,
            genesis: self.inventory.identity.chain.genesis.clone(),
            to: self.plan.index,
            target: &self.plan.target,
            progress: &self.progress,
            stop: &self.stop,
        };
        let coverage = self.inventory.coverage.clone();
        let replayed = replay.run(store, coverage, start).await?;
        let Replayed { reason, applied, cursor, outcome } = replayed;
        self.entries += applied;
        self.inventory.coverage = outcome.coverage;
        self.notes.extend(outcome.notes);
        let at = cursor.as_ref().map_or(from, |cursor| cursor.position.index);
        self.check_stop(reason, at, from)?;
        outcome.result?;
        match cursor.filter(|_| at == self.plan.index) {
            Some(cursor) => Ok(cursor),
            None => Err(RestoreError::Cancelled { at }.into()),
        }
    }

    /// Whether applying ended as it should.
    fn check_stop(&self, reason: StopReason, at: u64, from: u64) -> Result<(), ReplayError> {
        match reason {
            StopReason::Stopped => Ok(()),
            StopReason::Log(error) => Err(RestoreError::from(error).into()),
            // The first entry does not follow: the start is of another history.
            StopReason::Refused(VerifyError::Refused(refusal)) if at == from && from > 0 => {
                Err(ReplayError::WrongStart(error_chain(&refusal)))
            }
            StopReason::Refused(VerifyError::Refused(refusal)) => {
                let (target, needed) = (self.plan.target.clone(), at + 1);
                let what = error_chain(&refusal);
                Err(RestoreError::Corrupt { target, needed, what }.into())
            }
            StopReason::Refused(VerifyError::Store(error)) => Err(RestoreError::from(error).into()),
            StopReason::Failed(error) => Err(RestoreError::consumer(error).into()),
        }
    }

    /// Nothing was applied, so nothing had to follow. Compares the end with the entry at the place
    /// that has it.
    async fn check_end(&self, cursor: &Cursor) -> Result<(), ReplayError> {
        let index = cursor.position.index;
        let Some(span) =
            index.checked_sub(1).and_then(|before| self.inventory.coverage.next(before))
        else {
            return Ok(());
        };
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let read = self.sources.read(span, index - 1, index, sender);
        let (read, entries) = tokio::join!(read, receiver.recv());
        match read {
            Err(ReadError::Unavailable(error)) => return Err(error.into()),
            Err(_) => return Ok(()),
            Ok(()) => {}
        }
        match entries.iter().flatten().next() {
            Some(entry) if entry.position() != cursor.position => {
                Err(ReplayError::WrongStart(format!(
                    "it is at {}, but {} has {}",
                    cursor.position,
                    self.sources.name(span),
                    entry.position()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Opens the staged store again and inspects it. Gives the digest of its content if it was read.
    async fn inspect(
        &mut self,
        cursor: &Cursor,
        from: u64,
        verification: Verification,
    ) -> Result<Option<Digest>, RestoreError> {
        if verification == Verification::None {
            return Ok(None);
        }
        let of = self.plan.index - from.min(self.plan.index);
        self.progress.send_replace(RestoreProgress { step: Step::Verifying, done: 0, of });
        let (stage, expected) = (Arc::clone(&self.stage), cursor.clone());
        let (store, reader) = blocking(move || {
            let store = stage.open()?;
            let reader = store.reader()?;
            inspect::normal(&*reader, &expected)?;
            Ok((store, reader))
        })
        .await?;
        let content = match verification {
            Verification::Strict => Some(self.inspect_all(reader, from, of).await?),
            _ => None,
        };
        // Closing may write.
        blocking(move || {
            drop(store);
            Ok(())
        })
        .await?;
        Ok(content)
    }

    /// Reads the entries once more and compares; then reads everything back.
    async fn inspect_all(
        &self,
        mut reader: Box<dyn StoreReader>,
        from: u64,
        of: u64,
    ) -> Result<Digest, RestoreError> {
        let done = self.stop.child_token();
        let (sources, coverage) = (Arc::clone(&self.sources), self.inventory.coverage.clone());
        let (to, target) = (self.plan.index, self.plan.target.clone());
        let (notes, check) = (Vec::new(), DigestCheck::BeforeSending);
        let wanted = Wanted { coverage, notes, after: from, to, target, check };
        let (reading, mut source) = ReadAhead::start(sources, wanted, done);
        let mut at = from;
        while let Some(entries) = source.receive().await {
            if self.stop.is_cancelled() {
                return Err(RestoreError::Cancelled { at: to });
            }
            at = entries.last().map_or(at, |entry| entry.index);
            reader = blocking(move || {
                entries.iter().try_for_each(|entry| inspect::compare(&*reader, entry))?;
                Ok(reader)
            })
            .await?;
            let done = at - from;
            self.progress.send_replace(RestoreProgress { step: Step::Verifying, done, of });
        }
        drop(source);
        reading.ended().await?.result?;
        let stop = self.stop.clone();
        let proceed = move || {
            if stop.is_cancelled() { Err(RestoreError::Cancelled { at: to }) } else { Ok(()) }
        };
        blocking(move || content_digest_while(&*reader, proceed)).await
    }
}

impl Sources {
    /// The log by name, if any of the places tells it.
    fn log_identity(&self) -> Option<LogIdentity> {
        let archived = self.archives.first().map(|archive| archive.identity().clone());
        archived.or_else(|| self.log.as_ref().map(|log| log.identity().clone()))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RestoreError> + Send + 'static,
) -> Result<T, RestoreError> {
    let ended = |e| RestoreError::internal("a step of the restore panicked", e);
    spawn_blocking(work).await.map_err(ended)?
}
