//! The entries behind a start, as a subscription: so that the loop that follows a log restores.
//! That loop looks at every digest anyway, so a segment of an archive is not looked at before.

use std::sync::Arc;

use async_trait::async_trait;
use tipline_log::{LogError, Subscription};
use tipline_proto::Entry;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::spans::{Holdings, Span};
use super::{Begun, Checks, ReadError, Sources, panicked};
use crate::error::RestoreError;

/// Reads entries on a task of its own, a segment ahead.
#[derive(Debug)]
pub(crate) struct Feed {
    task: JoinHandle<Fed>,
}

/// What became of reading.
#[derive(Debug)]
pub(crate) struct Fed {
    pub(crate) holdings: Holdings,
    /// What turned out to be bad.
    pub(crate) notes: Vec<String>,
    /// What entries were taken from.
    pub(crate) given: Vec<Span>,
    pub(crate) result: Result<(), RestoreError>,
}

/// The reading end.
pub(crate) struct Fresh {
    entries: mpsc::Receiver<Vec<Entry>>,
    /// Ends the loop, once it has everything.
    done: CancellationToken,
}

impl Feed {
    /// Reads everything behind `after` up to `to`. Cancels `done` when all of it was taken. `notes`
    /// are of what is bad already.
    pub(crate) fn start(
        sources: Arc<Sources>,
        (holdings, notes): (Holdings, Vec<String>),
        (after, to): (u64, u64),
        target: String,
        checks: Checks,
        done: CancellationToken,
    ) -> (Self, Fresh) {
        // Two wait, so that reading goes on while one is applied.
        let (sender, entries) = mpsc::channel(2);
        let task = tokio::spawn(async move {
            let mut fed = Fed { holdings, notes, given: Vec::new(), result: Ok(()) };
            fed.result = read(&sources, &mut fed, (after, to), target, checks, sender).await;
            fed
        });
        (Self { task }, Fresh { entries, done })
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(self) -> Result<Fed, RestoreError> {
        self.task.await.map_err(panicked)
    }
}

async fn read(
    sources: &Sources,
    fed: &mut Fed,
    (mut at, to): (u64, u64),
    target: String,
    checks: Checks,
    sender: mpsc::Sender<Vec<Entry>>,
) -> Result<(), RestoreError> {
    let mut ahead: Option<(Span, Option<Begun>)> = None;
    while at < to {
        let Some(span) = fed.holdings.next(at).cloned() else {
            let needed = at + 1;
            let what = fed.notes.join("; ");
            return Err(RestoreError::Corrupt { target, needed, what });
        };
        let begun = match ahead.take() {
            Some((next, begun)) if next == span => begun,
            _ => sources.begin(&span, checks),
        };
        fed.given.push(span.clone());
        // The one behind it is read while this one is.
        let next = fed.holdings.next(span.last).filter(|_| span.last < to).cloned();
        ahead = next.map(|next| (next.clone(), sources.begin(&next, checks)));
        match sources.finish(begun, &span, &mut at, to, sender.clone()).await {
            Ok(()) => at = span.last,
            Err(ReadError::Corrupt(why)) => {
                tracing::warn!(why, "damaged; looking for the same entries elsewhere");
                fed.notes.push(why);
                fed.holdings.give_up(&span);
            }
            Err(ReadError::Unavailable(error)) => return Err(error),
            Err(ReadError::ReceiverGone) => return Ok(()),
        }
    }
    Ok(())
}

impl Fresh {
    /// The next entries; `None` behind the last.
    pub(crate) async fn take(&mut self) -> Option<Vec<Entry>> {
        self.entries.recv().await
    }
}

#[async_trait]
impl Subscription for Fresh {
    async fn next(&mut self) -> Result<Vec<Entry>, LogError> {
        match self.take().await {
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
