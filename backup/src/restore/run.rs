//! The restore itself.

use std::sync::Arc;
use std::time::Instant;

use tipline_consumer::{StartState, StopReason, StoreThread, VerifyError};
use tipline_log::error_chain;
use tipline_proto::{Cursor, LogIdentity};
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
use crate::destination::Watch;
use crate::error::RestoreError;
use crate::sources::read_ahead::Feed;
use crate::sources::spans::Holdings;
use crate::sources::{Checks, Found, ReadError, Sources};

/// What to restore, and how.
#[derive(Debug, Clone)]
pub struct RestoreSettings {
    /// The point.
    pub target: Target,
    /// Without the entry that the target names.
    pub exclusive: bool,
    /// How the result is looked at.
    pub verification: Verification,
    /// Replace what is at the place.
    pub force: bool,
}

/// Says what [`restore`] would do, and does nothing.
///
/// # Errors
/// As for [`restore`], as far as they show without reading everything.
pub async fn plan_restore(
    sources: &Sources,
    place: &StorePlace,
    target: &Target,
    exclusive: bool,
) -> Result<Plan, RestoreError> {
    plan_for(sources, &place.kinds(), target, exclusive).await
}

/// Likewise, into a store of these kinds of media (`sqlite`, `rocksdb`, `files`), each of which a
/// checkpoint must have; none: any checkpoint will do.
///
/// # Errors
/// As for [`plan_restore`].
pub async fn plan_for(
    sources: &Sources,
    kinds: &[String],
    target: &Target,
    exclusive: bool,
) -> Result<Plan, RestoreError> {
    let mut found = sources.look().await?;
    sources.plan(&mut found, target, exclusive, kinds).await
}

/// Restores a store. On `Ok` it is in its place, durable, and closed: a consumer of the log can be
/// started on it as if nothing had been. `progress` is told how far it is.
///
/// In memory are at most pieces of two segments of an archive, some 40 MiB of each or one entry
/// (an encrypted one whole: 64 MiB, and as it was stored beside that), and five pieces of 32 MiB
/// or one entry: two that wait and three in the loop. Dropping the future leaves the place as it
/// is; the next call goes on.
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
    let stage = blocking(move || Stage::take(place, force)).await?;
    let mut found = sources.look().await?;
    let plan = sources.plan(&mut found, &target, exclusive, &kinds).await?;
    // What is carried over is there twice for a while.
    let twice = plan.checkpoint.as_ref().filter(|from| from.of.is_some()).map(|from| from.bytes);
    stage.check_room(plan.bytes + twice.unwrap_or(0))?;
    let mut run = Run {
        sources,
        stage: Arc::new(stage),
        notes: plan.notes.clone(),
        found,
        plan,
        progress,
        stop,
        entries: 0,
    };
    let (from, resumed_at, cursor) = run.fill().await?;
    let content = run.look_at(&cursor, from.index(), verification).await?;
    let stage = Arc::clone(&run.stage);
    blocking(move || stage.put_in_place()).await?;
    let checkpoint = run.sources.planned(&from).filter(|_| resumed_at.is_none());
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
    found: Found,
    plan: Plan,
    notes: Vec<String>,
    progress: watch::Sender<RestoreProgress>,
    stop: CancellationToken,
    entries: u64,
}

/// Why entries could not be applied.
enum Halt {
    /// What is staged is not of this history: start from something else.
    NotOfIt(String),
    /// It is over.
    Error(RestoreError),
}

impl From<RestoreError> for Halt {
    fn from(error: RestoreError) -> Self {
        Halt::Error(error)
    }
}

impl Run {
    /// Fills the staged store up to the target, from the first start that turns out to be good.
    /// Gives where it started from, where an earlier attempt had been, and the cursor.
    async fn fill(&mut self) -> Result<(Start, Option<u64>, Cursor), RestoreError> {
        let (stage, of, to) =
            (Arc::clone(&self.stage), self.found.identity.clone(), self.plan.index);
        let staged = blocking(move || Ok(stage.resume(&of, to))).await?;
        if let Some(at) = staged {
            match self.replay(at).await {
                Ok(cursor) => {
                    // Compared is what any attempt can have applied.
                    let start = self.plan.starts.first().cloned().unwrap_or(Start::Nothing);
                    return Ok((start, Some(at), cursor));
                }
                Err(Halt::NotOfIt(why)) => {
                    self.notes.push(format!("what an earlier attempt had staged: {why}"));
                }
                Err(Halt::Error(error)) => return Err(error),
            }
        }
        for start in self.plan.starts.clone() {
            let stage = Arc::clone(&self.stage);
            blocking(move || stage.clear()).await?;
            if let Start::Checkpoint { set, manifest, carried } = &start
                && let Err(why) = self.fetch(*set, manifest, *carried).await?
            {
                tracing::warn!(why, "a checkpoint is damaged; using the next older one");
                self.notes.push(why);
                continue;
            }
            match self.replay(start.index()).await {
                Ok(cursor) => return Ok((start, None, cursor)),
                Err(Halt::NotOfIt(why)) => self.notes.push(why),
                Err(Halt::Error(error)) => return Err(error),
            }
        }
        let (target, needed) = (self.plan.target.clone(), 1);
        Err(RestoreError::Corrupt { target, needed, what: self.notes.join("; ") })
    }

    /// Fetches a checkpoint and stages it. Gives what is wrong with it if it is damaged.
    async fn fetch(
        &mut self,
        set: usize,
        manifest: &Manifest,
        carried: bool,
    ) -> Result<Result<(), String>, RestoreError> {
        let Some(place) = self.sources.checkpoints.get(set).cloned() else {
            return Ok(Err("its set is gone".to_owned()));
        };
        let of = manifest.files.iter().map(|file| file.bytes).sum();
        self.progress.send_replace(RestoreProgress { step: Step::Fetching, done: 0, of });
        let watch = Fetching { progress: &self.progress, stop: &self.stop };
        match place.fetch(manifest, &self.stage.fetching(), &watch).await {
            Ok(()) => {}
            Err(_) if self.stop.is_cancelled() => return Err(RestoreError::Cancelled { at: 0 }),
            Err(error @ CheckpointError::Corrupt { .. }) => {
                return Ok(Err(error_chain(&error)));
            }
            Err(error) => return Err(error.into()),
        }
        if carried {
            return self.carry(manifest).await;
        }
        let (stage, manifest) = (Arc::clone(&self.stage), manifest.clone());
        blocking(move || stage.take_over(&manifest)).await?;
        Ok(Ok(()))
    }

    /// Carries the content of the fetched checkpoint over into the store to be staged.
    #[cfg(feature = "sqlite")]
    async fn carry(&mut self, manifest: &Manifest) -> Result<Result<(), String>, RestoreError> {
        let (stage, manifest) = (Arc::clone(&self.stage), manifest.clone());
        let (progress, stop) = (self.progress.clone(), self.stop.clone());
        let of = manifest.cursor.position.index;
        let carried = blocking(move || {
            let from = tipline_store::open_copy(&manifest.parts, &stage.fetching())?;
            let mut into = stage.open_carrying()?;
            super::logical_copy::carry(
                &*from,
                &manifest.log,
                &mut *into,
                &stage.scratch(),
                |done| {
                    progress.send_replace(RestoreProgress { step: Step::Carrying, done, of });
                    !stop.is_cancelled()
                },
            )?;
            drop(into);
            stage.take_over_carried()
        });
        match carried.await {
            Ok(()) => Ok(Ok(())),
            // It is not what it should be: do without it.
            Err(RestoreError::Verification { what }) => Ok(Err(what)),
            Err(RestoreError::Store(error)) if !error.is_retryable() => {
                Ok(Err(error_chain(&error)))
            }
            Err(error) => Err(error),
        }
    }

    #[cfg(not(feature = "sqlite"))]
    async fn carry(&mut self, _: &Manifest) -> Result<Result<(), String>, RestoreError> {
        Ok(Err("this program was built without carrying over".to_owned()))
    }

    /// Applies to the staged store, which is at `from`, everything up to the target.
    async fn replay(&mut self, from: u64) -> Result<Cursor, Halt> {
        let (stage, log) = (Arc::clone(&self.stage), self.sources.log_identity());
        let fills = from < self.plan.index;
        let opened = blocking(move || {
            let mut store = stage.open()?;
            if let (None, Some(log)) = (store.identity()?, log) {
                store.create(&log)?;
            }
            if fills {
                store.set_bulk_load(true)?;
            }
            Ok(store)
        });
        let store = match opened.await {
            Ok(store) => store,
            // Corrupt, or parts that are out of step: it is made anew.
            Err(RestoreError::Store(error)) if !error.is_retryable() => {
                return Err(Halt::NotOfIt(error_chain(&error)));
            }
            Err(error) => return Err(error.into()),
        };
        let thread = StoreThread::start(store).map_err(RestoreError::consumer)?;
        let replayed = self.replay_into(&thread, from).await;
        let filled = match &replayed {
            Ok(_) => thread.call(|store| store.set_bulk_load(false)).get().await,
            Err(_) => Ok(Ok(())),
        };
        thread.close().await;
        filled.map_err(RestoreError::consumer)?.map_err(RestoreError::from)?;
        replayed
    }

    async fn replay_into(&mut self, store: &StoreThread, from: u64) -> Result<Cursor, Halt> {
        let start = store.call(|store| StartState::read(store)).get().await.map_err(RestoreError::consumer)?;
        let start = start.map_err(RestoreError::from)?;
        if start.cursor.position.index != from {
            let at = start.cursor.position.index;
            return Err(Halt::NotOfIt(format!("it is at entry {at}, not at {from}")));
        }
        if from == self.plan.index {
            self.check_end(&start.cursor).await?;
            return Ok(start.cursor);
        }
        let replay = Replay {
            sources: &self.sources,
            genesis: self.found.identity.chain.genesis.clone(),
            to: self.plan.index,
            target: &self.plan.target,
            progress: &self.progress,
            stop: &self.stop,
        };
        let holdings = self.found.holdings.clone();
        let Replayed { left, applied, cursor, fed } = replay.run(store, holdings, start).await?;
        self.entries += applied;
        self.keep(fed.holdings, fed.notes);
        let at = cursor.as_ref().map_or(from, |cursor| cursor.position.index);
        self.judge(left, at, from)?;
        fed.result?;
        match cursor.filter(|_| at == self.plan.index) {
            Some(cursor) => Ok(cursor),
            None => Err(RestoreError::Cancelled { at }.into()),
        }
    }

    fn keep(&mut self, holdings: Holdings, notes: Vec<String>) {
        self.found.holdings = holdings;
        self.notes.extend(notes);
    }

    /// What it means that following ended so.
    fn judge(&self, left: StopReason, at: u64, from: u64) -> Result<(), Halt> {
        match left {
            StopReason::Stopped => Ok(()),
            StopReason::Log(error) => Err(RestoreError::from(error).into()),
            // The first entry does not follow: it is the start that is of another history.
            StopReason::Refused(VerifyError::Refused(refusal)) if at == from && from > 0 => {
                Err(Halt::NotOfIt(error_chain(&refusal)))
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

    /// Nothing was applied that would have to follow: whether the end is of this history is asked
    /// of whoever has the entry.
    async fn check_end(&self, cursor: &Cursor) -> Result<(), Halt> {
        let index = cursor.position.index;
        let Some(span) = index.checked_sub(1).and_then(|before| self.found.holdings.next(before))
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
            Some(entry) if entry.position() != cursor.position => Err(Halt::NotOfIt(format!(
                "it is at {}, but {} has {}",
                cursor.position,
                self.sources.name(span),
                entry.position()
            ))),
            _ => Ok(()),
        }
    }

    /// Opens the staged store anew and looks at it. Gives the digest of its content if it was read.
    async fn look_at(
        &mut self,
        cursor: &Cursor,
        from: u64,
        verification: Verification,
    ) -> Result<Option<String>, RestoreError> {
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
            Verification::Strict => Some(self.look_at_all(reader, from, of).await?),
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
    async fn look_at_all(
        &self,
        mut reader: Box<dyn StoreReader>,
        from: u64,
        of: u64,
    ) -> Result<String, RestoreError> {
        let done = self.stop.child_token();
        let (sources, holdings) = (Arc::clone(&self.sources), self.found.holdings.clone());
        let (to, target) = (self.plan.index, self.plan.target.clone());
        let (feed, mut fresh) =
            Feed::start(sources, (holdings, vec![]), (from, to), target, Checks::Reader, done);
        let mut at = from;
        while let Some(entries) = fresh.take().await {
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
        drop(fresh);
        feed.ended().await?.result?;
        let stop = self.stop.clone();
        let proceed = move || match stop.is_cancelled() {
            true => Err(RestoreError::Cancelled { at: to }),
            false => Ok(()),
        };
        blocking(move || Ok(content_digest_while(&*reader, proceed)?.to_string())).await
    }
}

struct Fetching<'a> {
    progress: &'a watch::Sender<RestoreProgress>,
    stop: &'a CancellationToken,
}

impl Watch for Fetching<'_> {
    async fn proceed(&self, bytes: u64) -> bool {
        self.progress.send_modify(|progress| progress.done += bytes);
        !self.stop.is_cancelled()
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
