//! The entries after a start, as a subscription, so that the loop that follows a log restores.
//! That loop checks every digest anyway, so a segment of an archive is not checked before.

use std::sync::Arc;

use async_trait::async_trait;
use tipline_log::{LogError, Subscription};
use tipline_proto::Entry;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::spans::{Coverage, Span};
use super::{DigestCheck, ReadError, SegmentRead, Sources, panicked};
use crate::error::RestoreError;

/// What is to be read.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) coverage: Coverage,
    /// Notes on what turned out to be damaged earlier.
    pub(crate) notes: Vec<String>,
    /// Index of the entry after which it starts.
    pub(crate) after: u64,
    /// Index of the last entry.
    pub(crate) to: u64,
    /// The target of the restore, for errors.
    pub(crate) target: String,
    pub(crate) check: DigestCheck,
}

/// Reads entries on a task of its own, a segment ahead.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    task: JoinHandle<ReadOutcome>,
}

/// How reading ended.
#[derive(Debug)]
pub(crate) struct ReadOutcome {
    pub(crate) coverage: Coverage,
    /// What turned out to be damaged.
    pub(crate) notes: Vec<String>,
    /// The spans that entries were taken from.
    pub(crate) given: Vec<Span>,
    pub(crate) result: Result<(), RestoreError>,
}

/// The receiving end.
pub(crate) struct ReplaySource {
    entries: mpsc::Receiver<Vec<Entry>>,
    /// Ends the loop, once it has everything.
    done: CancellationToken,
}

impl ReadAhead {
    /// Reads everything that is wanted. Cancels `done` when all of it was received.
    pub(crate) fn start(
        sources: Arc<Sources>,
        wanted: Wanted,
        done: CancellationToken,
    ) -> (Self, ReplaySource) {
        // Two wait, so that reading continues while one is applied.
        let (sender, entries) = mpsc::channel(2);
        let task = tokio::spawn(async move {
            let Wanted { coverage, notes, after, to, target, check } = wanted;
            let given = Vec::new();
            let mut reading = Reading { sources, coverage, notes, given, target, check };
            let result = reading.run(after, to, sender).await;
            let Reading { coverage, notes, given, .. } = reading;
            ReadOutcome { coverage, notes, given, result }
        });
        (Self { task }, ReplaySource { entries, done })
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(self) -> Result<ReadOutcome, RestoreError> {
        self.task.await.map_err(panicked)
    }
}

struct Reading {
    sources: Arc<Sources>,
    coverage: Coverage,
    notes: Vec<String>,
    given: Vec<Span>,
    target: String,
    check: DigestCheck,
}

impl Reading {
    async fn run(
        &mut self,
        mut at: u64,
        to: u64,
        sender: mpsc::Sender<Vec<Entry>>,
    ) -> Result<(), RestoreError> {
        let mut ahead: Option<(Span, Option<SegmentRead>)> = None;
        let mut is_all_listed = false;
        while at < to {
            let Some(span) = self.coverage.next(at).cloned() else {
                // Before it is said that nothing else has it.
                if !self.notes.is_empty() && !is_all_listed {
                    self.sources.list_before(at + 1, &mut self.coverage).await?;
                    is_all_listed = true;
                    continue;
                }
                let (target, needed) = (self.target.clone(), at + 1);
                return Err(RestoreError::Corrupt { target, needed, what: self.notes.join("; ") });
            };
            let begun = match ahead.take() {
                Some((next, begun)) if next == span => begun,
                _ => self.sources.begin(&span, self.check),
            };
            self.given.push(span.clone());
            // The next one is read meanwhile.
            let next = self.coverage.next(span.last).filter(|_| span.last < to).cloned();
            ahead = next.map(|next| (next.clone(), self.sources.begin(&next, self.check)));
            match self.sources.finish(begun, &span, &mut at, to, sender.clone()).await {
                Ok(()) => at = span.last,
                Err(ReadError::Corrupt(why)) => {
                    tracing::warn!(why, "damaged; looking for the same entries elsewhere");
                    self.notes.push(why);
                    self.coverage.give_up(&span);
                    self.sources.list_within(&span, &mut self.coverage).await?;
                }
                Err(ReadError::Unavailable(error)) => return Err(error),
                Err(ReadError::ReceiverGone) => return Ok(()),
            }
        }
        Ok(())
    }
}

impl ReplaySource {
    /// The next entries; `None` after the last.
    pub(crate) async fn receive(&mut self) -> Option<Vec<Entry>> {
        self.entries.recv().await
    }
}

#[async_trait]
impl Subscription for ReplaySource {
    async fn next(&mut self) -> Result<Vec<Entry>, LogError> {
        match self.receive().await {
            Some(entries) => Ok(entries),
            None => {
                self.done.cancel();
                std::future::pending().await
            }
        }
    }

    async fn acknowledge(&mut self, _index: u64) -> Result<(), LogError> {
        Ok(())
    }
}
