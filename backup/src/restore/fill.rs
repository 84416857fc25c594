//! Filling the staged store, from the first start that turns out to be good.

use std::sync::Arc;

use tipline_log::error_chain;
use tipline_proto::Cursor;

use super::attempt::{Attempt, blocking};
use super::plan::Start;
use super::report::{RestoreProgress, Step};
use crate::checkpoint::{CheckpointError, Manifest};
use crate::error::RestoreError;
use crate::throttle::Throttle;

/// A staged store that is at the target.
pub(super) struct Filled {
    /// What it was made of.
    pub(super) start: Start,
    /// Where an earlier attempt had been.
    pub(super) resumed_at: Option<u64>,
    pub(super) cursor: Cursor,
}

/// Why a staged store did not reach the target.
pub(super) enum ReplayError {
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

impl Attempt {
    /// Fills the staged store up to the target, from the first start that turns out to be good.
    pub(super) async fn fill(&mut self) -> Result<Filled, RestoreError> {
        let (stage, of, to) =
            (Arc::clone(&self.stage), self.inventory.identity.clone(), self.plan.index);
        let staged = blocking(move || Ok(stage.resume(&of, to))).await?;
        let mut damaged: Option<(u64, RestoreError)> = None;
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
                Err(ReplayError::Failed(error)) => damaged = Some(self.pass_over(error)?),
            }
        }
        for start in self.plan.starts.clone() {
            // It would come to the same damaged entry.
            if damaged.as_ref().is_some_and(|(needed, _)| start.index() < *needed) {
                continue;
            }
            match self.fill_from(&start).await {
                Ok(cursor) => return Ok(Filled { start, resumed_at: None, cursor }),
                Err(ReplayError::WrongStart(why)) => {
                    tracing::warn!(why, "a start cannot be used; trying the next one");
                    self.notes.push(why);
                }
                Err(ReplayError::Failed(error)) => damaged = Some(self.pass_over(error)?),
            }
        }
        if let Some((_, error)) = damaged {
            return Err(error);
        }
        let (target, needed) = (self.plan.target.clone(), 1);
        Err(RestoreError::Corrupt { target, needed, what: self.notes.join("; ") })
    }

    /// An entry that is damaged wherever it is kept, and its index: a checkpoint after it may stand
    /// for it.
    ///
    /// # Errors
    /// Whatever else ends a restore.
    fn pass_over(&mut self, error: RestoreError) -> Result<(u64, RestoreError), RestoreError> {
        let RestoreError::Corrupt { needed, .. } = error else { return Err(error) };
        let why = error_chain(&error);
        tracing::warn!(why, "an entry cannot be used; trying checkpoints after it");
        self.notes.push(why);
        Ok((needed, error))
    }

    /// Stages what a start says, and applies to it what comes after.
    async fn fill_from(&mut self, start: &Start) -> Result<Cursor, ReplayError> {
        let (stage, fetches) = (Arc::clone(&self.stage), matches!(start, Start::Checkpoint { .. }));
        blocking(move || if fetches { stage.clear_staged() } else { stage.clear() }).await?;
        if let Start::Checkpoint { set, manifest, copied, .. } = start {
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
        // Planned without its files.
        let whole = match self.sources.signed_checkpoint(set, manifest).await {
            Ok(whole) => whole,
            Err(error) if error.is_about_it() => {
                return Err(ReplayError::WrongStart(error_chain(&error)));
            }
            Err(error) => return Err(RestoreError::from(error).into()),
        };
        let throttle = self.throttle(Step::Fetching, whole.sizes().kept);
        match place.fetch(&whole, &self.stage.fetching(), &throttle).await {
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
}
