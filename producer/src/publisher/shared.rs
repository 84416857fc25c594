//! What the publisher's tasks share.

use std::sync::Arc;

use tipline_log::Clock;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::worker::OutboxWorker;
use crate::progress::{Progress, Stage};
use crate::settings::ProducerSettings;
use crate::status::BackupStatus;

/// Everything a publisher works with.
pub(crate) struct Publisher {
    pub(crate) outbox: OutboxWorker,
    pub(crate) settings: ProducerSettings,
    pub(crate) clock: Clock,
    pub(crate) wake: Arc<Notify>,
    /// Another primary was heard of.
    pub(crate) challenge: Notify,
    pub(crate) drain: CancellationToken,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) status: watch::Sender<BackupStatus>,
}

impl Publisher {
    pub(super) fn retrying(&self, attempt: u32, why: String) {
        // The first of a row is news; the ones after it are in the progress.
        if attempt == 1 {
            tracing::warn!(primary = %self.settings.primary, "publishing is held up, trying again: {why}");
        }
        self.progress.send_modify(|progress| progress.stage = Stage::Retrying { attempt, why });
    }

    /// Waits until it is to stop and the outbox is empty. Before the log was read nobody knows
    /// which rows are in there.
    pub(super) async fn drained(&self) {
        self.drain.cancelled().await;
        match self.outbox.pending().await {
            Ok(pending) if pending.last < pending.first => {}
            _ => std::future::pending().await,
        }
    }

    /// Trims the outbox, and looks how much waits in it.
    pub(crate) async fn tidy(&self, trim: Option<u64>) {
        let tidied = async {
            if let Some(sequence) = trim {
                self.outbox.trim(sequence).await?;
            }
            self.outbox.pending().await
        };
        match tidied.await {
            Ok(pending) => drop(self.progress.send_if_modified(|progress| {
                let before = (progress.waiting_events, progress.held_bytes);
                // What was trimmed was logged, by whatever process.
                let logged = progress.logged.max(pending.first.saturating_sub(1));
                progress.waiting_events = pending.last.saturating_sub(logged);
                progress.held_bytes = pending.bytes;
                before != (progress.waiting_events, progress.held_bytes)
            })),
            // Rows stay a little longer, because the node is writing; the gauge shows it.
            // Whatever is really wrong with the outbox shows when rows are read.
            Err(obstacle) => tracing::debug!("the outbox was not tidied: {obstacle:?}"),
        }
    }
}
