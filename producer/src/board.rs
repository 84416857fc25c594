//! Receipts as they are pushed, and the primary's announcements.

use std::sync::Arc;
use std::time::Duration;

use tipline_log::{Board, Log, LogError, Shortfall, error_chain};
use tipline_proto::{Agreement, Announcement, Position};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::digests::Digests;
use crate::end_reason::EndReason;
use crate::progress::Progress;
use crate::publisher::Publisher;
use crate::settings::Trim;
use crate::status::{ConsumerStatus, assess};

/// Pause between two announcements while blocks are published.
const ANNOUNCE_PAUSE: Duration = Duration::from_millis(200);
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The running watch. Dropping it ends the tasks.
pub(crate) struct BoardWatch {
    log: Arc<dyn Log>,
    publisher: Arc<Publisher>,
    announcing: JoinHandle<()>,
    stop: CancellationToken,
    _tasks: DropGuard,
}

/// Reads the board, so that everything is known when this returns, and follows it.
pub(crate) async fn watch(
    publisher: &Arc<Publisher>,
    log: &Arc<dyn Log>,
    digests: &Arc<Digests>,
    shortfalls: Vec<Shortfall>,
) -> Result<BoardWatch, LogError> {
    let mut follower = Follower {
        publisher: Arc::clone(publisher),
        log: Arc::clone(log),
        digests: Arc::clone(digests),
        board: Board::default(),
    };
    publisher.status.send_modify(|status| status.shortfalls = shortfalls);
    follower.show(log.board().await?).await?;
    let stop = CancellationToken::new();
    tokio::spawn(stop.clone().run_until_cancelled_owned(follower.follow_for_ever()));
    let announcing = announce_for_ever(Arc::clone(publisher), Arc::clone(log), stop.clone());
    Ok(BoardWatch {
        log: Arc::clone(log),
        publisher: Arc::clone(publisher),
        announcing: tokio::spawn(announcing),
        _tasks: stop.clone().drop_guard(),
        stop,
    })
}

impl BoardWatch {
    /// Ends the tasks, and says a last time where the primary is, with the reason if it failed.
    pub(crate) async fn close(self, ended: &EndReason) {
        self.stop.cancel();
        // A task that panicked has nothing more to say either.
        _ = self.announcing.await;
        // A fenced primary must not overwrite what its successor says of itself.
        if matches!(ended, EndReason::Fenced { .. }) {
            return;
        }
        let failure = (!ended.is_stopped()).then(|| error_chain(ended));
        let progress = self.publisher.progress.borrow().clone();
        announce(&self.publisher, &self.log, progress, failure).await;
    }
}

struct Follower {
    publisher: Arc<Publisher>,
    log: Arc<dyn Log>,
    digests: Arc<Digests>,
    board: Board,
}

impl Follower {
    async fn follow_for_ever(mut self) {
        loop {
            if let Err(error) = self.follow().await {
                tracing::warn!(
                    "receipts are not being received, trying again: {}",
                    error_chain(&error)
                );
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn follow(&mut self) -> Result<(), LogError> {
        let mut feed = self.log.follow_board().await?;
        let mut progress = self.publisher.progress.subscribe();
        loop {
            let waits = self.has_receipt_ahead();
            tokio::select! {
                board = feed.next() => self.show(board?).await?,
                changed = progress.changed(), if waits => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.show(self.board.clone()).await?;
                }
            }
        }
    }

    /// A receipt can be here before the answer to the append that it is about.
    fn has_receipt_ahead(&self) -> bool {
        let status = self.publisher.status.borrow();
        status.consumers.iter().any(|consumer| consumer.agreement == Agreement::Ahead)
    }

    async fn show(&mut self, board: Board) -> Result<(), LogError> {
        self.board = board.clone();
        let epoch = self.publisher.progress.borrow().epoch;
        if epoch > 0 && board.primary.as_ref().is_some_and(|other| other.epoch > epoch) {
            self.publisher.challenge.notify_one();
        }
        let tail = self.publisher.progress.borrow().tail;
        let tail = tail.unwrap_or_else(|| Position::origin(self.log.identity()));
        let known = self.publisher.status.borrow().consumers.clone();
        let consumers = assess(&self.log, &self.digests, tail, &known, board).await?;
        for consumer in &consumers {
            alarm_if_new(consumer, &known);
        }
        self.publisher.status.send_modify(|status| {
            status.known = true;
            status.consumers = consumers;
        });
        if let Trim::BackedUp(policy) = &self.publisher.settings.trim {
            let index = self.publisher.status.borrow().backed_up(policy);
            let sequence = self.publisher.progress.borrow().sequence_at(index);
            self.publisher.tidy(Some(sequence)).await;
        }
        Ok(())
    }
}

fn alarm_if_new(consumer: &ConsumerStatus, known: &[ConsumerStatus]) {
    let Agreement::Diverged { index } = consumer.agreement else {
        return;
    };
    let name = &consumer.receipt.consumer;
    let was = known.iter().find(|before| before.receipt.consumer == *name);
    if was.is_none_or(|before| before.agreement != consumer.agreement) {
        tracing::error!(
            consumer = %name, index,
            "a receipt diverges: this consumer holds another history from this index or an \
             earlier one on; it does not count as a backup"
        );
    }
}

async fn announce_for_ever(publisher: Arc<Publisher>, log: Arc<dyn Log>, stop: CancellationToken) {
    let mut changes = publisher.progress.subscribe();
    let every = publisher.settings.announce_every;
    loop {
        let progress = changes.borrow_and_update().clone();
        let epoch = progress.epoch;
        if epoch > 0 {
            announce(&publisher, &log, progress, None).await;
        }
        let next = async {
            wait_for_change(&mut changes, every).await;
            tokio::time::sleep(ANNOUNCE_PAUSE).await;
        };
        if stop.run_until_cancelled(next).await.is_none() {
            return;
        }
    }
}

async fn wait_for_change(changes: &mut watch::Receiver<Progress>, at_most: Duration) {
    // A change, the end of the publisher, or the time. In any case an announcement is due.
    _ = tokio::time::timeout(at_most, changes.changed()).await;
}

async fn announce(
    publisher: &Publisher,
    log: &Arc<dyn Log>,
    progress: Progress,
    failure: Option<String>,
) {
    let Some(tail) = progress.tail else {
        return;
    };
    let announcement = Announcement {
        outbox_waiting_bytes: 0,
        outbox_oldest: None,
        outbox_max_events: 0,
        outbox_max_bytes: 0,
        held_up: None,
        source_failure: None,
        lineage: log.identity().lineage,
        primary: publisher.settings.primary.clone(),
        epoch: progress.epoch,
        tail,
        block_tip: progress.block_tip,
        proof_tip: None,
        outbox_events: progress.waiting_events,
        outbox_bytes: progress.held_bytes,
        time: (publisher.clock)(),
        failure,
    };
    if let Err(error) = log.announce(&announcement).await {
        // The next one says the same and more.
        tracing::debug!("an announcement was not sent: {}", error_chain(&error));
    }
}
