//! A log as it grows, verified.

use std::sync::Arc;
use std::time::Duration;

use tipline_backup::RestoreError;
use tipline_consumer::{Refusal, Vouching};
use tipline_log::{Backoff, Log, Subscription, error_chain};
use tipline_proto::{Entry, Position};
use tokio_util::sync::CancellationToken;

use crate::chain::{Chain, Checked, NotGood, check};
use crate::error::{AuditError, Problem};
use crate::replay::Replay;

/// Pauses while the log is unavailable.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

impl Replay {
    /// Continues with what comes after the range, as the log grows.
    ///
    /// # Errors
    /// What ended the replay before the end of its range.
    pub fn follow(self, log: Arc<dyn Log>) -> Result<Follow, AuditError> {
        let (chain, stop) = self.into_chain()?;
        Ok(Follow::new(log, chain, stop))
    }
}

/// Verified entries of a log, for as long as it grows. See [`Replay::follow`].
pub struct Follow {
    log: Arc<dyn Log>,
    chain: Chain,
    subscription: Option<Box<dyn Subscription>>,
    backoff: Backoff,
    /// The index before a gap or a repetition that may be one of the connection.
    doubted: Option<u64>,
    /// What is wrong with the entry after those that were given last.
    ended: Option<Problem>,
    stop: CancellationToken,
}

impl Follow {
    /// Follows a log from its first entry on, which need not be there yet.
    pub fn from_origin(log: Arc<dyn Log>, stop: CancellationToken) -> Self {
        let identity = log.identity();
        let origin = Position::origin(identity);
        let mut chain = Chain::from_origin(identity.chain.clone(), origin);
        if let Some(trust) = log.trust() {
            chain.require(Vouching::patient(trust.clone(), identity.lineage));
        }
        Self::new(log, chain, stop)
    }

    pub(crate) fn new(log: Arc<dyn Log>, chain: Chain, stop: CancellationToken) -> Self {
        let backoff = Backoff::new(SHORTEST, LONGEST);
        Self { log, chain, subscription: None, backoff, doubted: None, ended: None, stop }
    }

    /// Waits for the next entries, all of them verified; `None` when told to stop. While the log is
    /// unavailable it waits.
    ///
    /// # Errors
    /// [`AuditError::Found`] if an entry does not continue the history; the log's, if waiting does
    /// not help.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, AuditError> {
        if let Some(problem) = self.ended.take() {
            return Err(problem.into());
        }
        loop {
            let stop = self.stop.clone();
            let arrived = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(None),
                arrived = self.arrive() => arrived?,
            };
            let Some(arrived) = arrived else { continue };
            let Checked { entries, ended, .. } = check(&mut self.chain, arrived);
            match ended {
                None => {}
                Some(NotGood::Scratch(source)) => {
                    let what = "keeping the hashes of blocks".to_owned();
                    return Err(AuditError::Scratch { what, source });
                }
                // It may be so on the way only: the next subscription tells.
                Some(NotGood::Problem(
                    Problem::Refused(Refusal::Gap { .. }) | Problem::Repeated { .. },
                )) if self.doubted != Some(self.index()) => {
                    self.doubted = Some(self.index());
                    self.subscription = None;
                }
                Some(NotGood::Problem(problem)) if entries.is_empty() => return Err(problem.into()),
                // Those before it are given first. It is not asked for again: what comes then may
                // be another one.
                Some(NotGood::Problem(problem)) => self.ended = Some(problem),
            }
            if !entries.is_empty() {
                return Ok(Some(entries));
            }
        }
    }

    fn index(&self) -> u64 {
        self.chain.cursor().position.index
    }

    /// The next entries as they come; `None` after a fault.
    async fn arrive(&mut self) -> Result<Option<Vec<Entry>>, AuditError> {
        let subscription = match &mut self.subscription {
            Some(subscription) => subscription,
            None => match self.log.subscribe(None, self.index()).await {
                Ok(subscription) => self.subscription.insert(subscription),
                Err(error) => return self.fault(error).await,
            },
        };
        match subscription.next().await {
            Ok(entries) => {
                self.backoff.reset();
                Ok(Some(entries))
            }
            Err(error) => {
                self.subscription = None;
                self.fault(error).await
            }
        }
    }

    async fn fault(
        &mut self,
        error: tipline_log::LogError,
    ) -> Result<Option<Vec<Entry>>, AuditError> {
        if !error.is_retryable() {
            return Err(RestoreError::from(error).into());
        }
        let pause = self.backoff.failed();
        tracing::warn!("waiting for the log: {}", error_chain(&error));
        tokio::time::sleep(pause).await;
        Ok(None)
    }
}
