//! A log as it grows, verified.

use std::sync::Arc;
use std::time::Duration;

use tipline_backup::RestoreError;
use tipline_consumer::{Refusal, Vouching};
use tipline_log::{Backoff, Log, Subscription, error_chain};
use tipline_proto::{Entry, Position, Trust};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::chain::{Chain, Checked, NotGood, check};
use crate::error::{AuditError, Problem};
use crate::replay::Replay;

/// Pauses while the log is unavailable.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// How long entries may wait for who vouches for them, as with a consumer: the rest of a unit comes with
/// its beginning.
const UNVOUCHED: Duration = Duration::from_secs(30);

impl Replay {
    /// Continues with what comes after the range, as the log grows. Where signatures are required, every
    /// unit must be signed from now on.
    ///
    /// # Errors
    /// What ended the replay before the end of its range; [`AuditError::Range`] if the range has an end and
    /// it had to be read on after it to find a signature.
    pub fn follow(self, log: Arc<dyn Log>) -> Result<Follow, AuditError> {
        let trust = self.trust().clone();
        let (chain, stop) = self.into_chain()?;
        Ok(Follow::new(log, chain, &trust, stop))
    }
}

/// Verified entries of a log, for as long as it grows. See [`Replay::follow`].
pub struct Follow {
    log: Arc<dyn Log>,
    chain: Chain,
    subscription: Option<Box<dyn Subscription>>,
    /// Checked, and nobody vouches for them yet: less than a unit.
    unvouched: Vec<Entry>,
    /// Until when somebody must, while there are some.
    vouched_by: Option<Instant>,
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
        let chain = Chain::from_origin(identity.chain.clone(), origin);
        let trust = log.trust().cloned().unwrap_or_default();
        Self::new(log, chain, &trust, stop)
    }

    pub(crate) fn new(
        log: Arc<dyn Log>,
        mut chain: Chain,
        trust: &Trust,
        stop: CancellationToken,
    ) -> Self {
        if trust.requires_history() {
            chain.require(Vouching::new(trust.clone(), log.identity().lineage));
        }
        Self {
            log,
            chain,
            subscription: None,
            unvouched: Vec::new(),
            vouched_by: None,
            backoff: Backoff::new(SHORTEST, LONGEST),
            doubted: None,
            ended: None,
            stop,
        }
    }

    /// Waits for the next entries, all of them verified; `None` when told to stop. While the log is
    /// unavailable it waits. Where signatures are required, entries are given when a trusted key vouches
    /// for them.
    ///
    /// # Errors
    /// [`AuditError::Found`] if an entry does not continue the history, or is not vouched for within 30 s;
    /// the log's, if waiting does not help.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, AuditError> {
        if let Some(problem) = self.ended.take() {
            return Err(problem.into());
        }
        // What its caller did meanwhile may have taken any time.
        self.vouched_by = self.vouched_by.map(|_| Instant::now() + UNVOUCHED);
        loop {
            let (stop, vouched_by) = (self.stop.clone(), self.vouched_by);
            let arrived = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(None),
                // First: it may vouch for those that wait.
                arrived = self.arrive() => arrived?,
                () = passed(vouched_by) => None,
            };
            if arrived.is_none()
                && self.vouched_by.is_some_and(|by| by <= Instant::now())
                && let Some(refusal) = self.chain.unvouched(u64::MAX)
            {
                return Err(Problem::from(refusal).into());
            }
            let Some(arrived) = arrived else { continue };
            let Checked { entries, ended, .. } = check(&mut self.chain, arrived);
            let entries = self.vouched(entries);
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
        self.chain.index()
    }

    /// Those of the entries so far that somebody vouches for. The others wait.
    fn vouched(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        self.unvouched.extend(entries);
        let first = self.chain.unvouched(u64::MAX).map(|refusal| refusal.index());
        let count =
            first.map(|first| self.unvouched.iter().take_while(|e| e.index < first).count());
        let rest = self.unvouched.split_off(count.unwrap_or(self.unvouched.len()));
        let vouched = std::mem::replace(&mut self.unvouched, rest);
        if self.unvouched.is_empty() {
            self.vouched_by = None;
        } else if self.vouched_by.is_none() || !vouched.is_empty() {
            self.vouched_by = Some(Instant::now() + UNVOUCHED);
        }
        vouched
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
        // The rest of a unit cannot come meanwhile.
        self.vouched_by = self.vouched_by.map(|_| Instant::now() + UNVOUCHED);
        tracing::warn!("waiting for the log: {}", error_chain(&error));
        tokio::time::sleep(pause).await;
        Ok(None)
    }
}

/// Never, if there is no time.
async fn passed(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
