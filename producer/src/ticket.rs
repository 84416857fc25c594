//! Tickets: accepted and durable are two different awaits.

use tipline_proto::Policy;
use tokio::sync::watch;

use crate::end_reason::EndReason;
use crate::progress::{Progress, Stage};
use crate::status::BackupStatus;

/// A handle on one event of the outbox, to wait for it. Dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Ticket {
    sequence: u64,
    progress: watch::Receiver<Progress>,
    status: watch::Receiver<BackupStatus>,
}

impl Ticket {
    pub(crate) fn new(
        sequence: u64,
        progress: watch::Receiver<Progress>,
        status: watch::Receiver<BackupStatus>,
    ) -> Self {
        Self { sequence, progress, status }
    }

    /// Sequence of the event in the outbox.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Waits until the log has the event, as durable as the log is: with three replicas and
    /// synced writes, until a majority has fsynced it. It waits for as long as that takes. Put a
    /// time-out around it if you have one. Cancelling it changes nothing.
    ///
    /// Returns the index up to which the log must be read to have the event.
    ///
    /// # Errors
    /// The publisher ended before. The event is still in the outbox. Whether it is in the log
    /// too is for the next publisher to find out.
    pub async fn logged(&self) -> Result<u64, EndReason> {
        let mut progress = self.progress.clone();
        let done = |progress: &Progress| {
            progress.claim.is_some() && progress.logged >= self.sequence
                || matches!(progress.stage, Stage::Ended(_))
        };
        let Ok(progress) = progress.wait_for(done).await else {
            return Err(EndReason::Panicked);
        };
        if progress.logged >= self.sequence
            && let Some(index) = progress.index_of(self.sequence)
        {
            return Ok(index);
        }
        match &progress.stage {
            Stage::Ended(ended) => Err(ended.clone()),
            _ => Err(EndReason::Panicked),
        }
    }

    /// Waits until the event is backed up under a policy, by receipts that agree with this
    /// primary's history. Otherwise as [`Ticket::logged`].
    ///
    /// # Errors
    /// As [`Ticket::logged`]. Receipts are not received any more then.
    pub async fn backed_up(&self, policy: &Policy) -> Result<(), EndReason> {
        loop {
            let losses = self.progress.borrow().losses;
            let index = self.logged().await?;
            self.backed_up_to(policy, index, losses).await?;
            // A loss in between may have taken the event away, and its index with it.
            if self.progress.borrow().losses == losses {
                return Ok(());
            }
        }
    }

    /// Waits until the log is backed up to `index`, or has lost something.
    async fn backed_up_to(
        &self,
        policy: &Policy,
        index: u64,
        losses: u64,
    ) -> Result<(), EndReason> {
        let mut status = self.status.clone();
        let mut progress = self.progress.clone();
        let over = |progress: &Progress| {
            progress.losses != losses || matches!(progress.stage, Stage::Ended(_))
        };
        tokio::select! {
            biased;
            Ok(_) = status.wait_for(|status| status.backed_up(policy) >= index) => Ok(()),
            // Nobody says any more what is backed up: how it ended is the reason.
            over = progress.wait_for(over) => match over.as_ref().map(|over| &over.stage) {
                Ok(Stage::Ended(ended)) => Err(ended.clone()),
                Ok(_) => Ok(()),
                Err(_) => Err(EndReason::Panicked),
            },
        }
    }
}
