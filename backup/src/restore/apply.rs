//! Applying entries to the staged store, up to the target.

use std::sync::Arc;

use tipline_consumer::{StartState, StopReason, StoreThread, VerifyError};
use tipline_log::error_chain;
use tipline_proto::{Cursor, LogIdentity};

use super::attempt::{Attempt, blocking};
use super::fill::ReplayError;
use super::replay::{Replay, Replayed};
use crate::error::RestoreError;
use crate::sources::{ReadError, Sources};

impl Attempt {
    /// Applies to the staged store, which is at `from`, everything up to the target.
    pub(super) async fn replay(&mut self, from: u64) -> Result<Cursor, ReplayError> {
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
            // All of it is held to a digest that somebody vouches for before it is installed.
            vouching: None,
            sources: &self.sources,
            chain: &self.inventory.identity.chain,
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
        let entry = match self.sources.entry(span, index).await {
            Err(ReadError::Unavailable(error)) => return Err(error.into()),
            Err(_) => return Ok(()),
            Ok(entry) => entry,
        };
        match entry {
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
}

impl Sources {
    /// The log by name, if any of the places tells it.
    fn log_identity(&self) -> Option<LogIdentity> {
        let archived = self.archives.first().map(|archive| archive.identity().clone());
        archived.or_else(|| self.log.as_ref().map(|log| log.identity().clone()))
    }
}
