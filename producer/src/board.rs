//! Receipts as they are pushed, and the primary's announcements.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tipline_log::{Board, Log, LogError, error_chain};
use tipline_proto::{Agreement, Announcement, Position};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::digests::Digests;
use crate::end_reason::EndReason;
use crate::progress::Progress;
use crate::publisher::Publisher;
use crate::settings::Trim;
use crate::status::{Assessed, ConsumerStatus, assess};

/// Pause between two announcements while blocks are published.
const ANNOUNCE_PAUSE: Duration = Duration::from_millis(200);
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// For so long the first announcement of being held up waits for the outbox.
const LOOK: Duration = Duration::from_secs(1);
/// What is said of somebody's receipt is said again after this, if it is still so or so again.
const SAY_AGAIN: Duration = Duration::from_secs(600);
/// Of so many at once it is said, and of the rest together.
const SAID: usize = 16;

/// The running watch. Dropping it ends the tasks.
pub(crate) struct BoardWatch {
    log: Arc<dyn Log>,
    publisher: Arc<Publisher>,
    announcing: JoinHandle<()>,
    following: JoinHandle<()>,
    stop: CancellationToken,
    _tasks: DropGuard,
}

/// Reads the board, so that everything is known when this returns, and follows it.
pub(crate) async fn watch(
    publisher: &Arc<Publisher>,
    log: &Arc<dyn Log>,
    digests: &Arc<Digests>,
) -> Result<BoardWatch, LogError> {
    let mut follower = Follower {
        publisher: Arc::clone(publisher),
        log: Arc::clone(log),
        digests: Arc::clone(digests),
        board: Board::default(),
        unreadable: Said::default(),
        forged: Said::default(),
        diverged: Said::default(),
        damaged: Said::default(),
    };
    follower.first_look().await?;
    let stop = CancellationToken::new();
    let following = stop.clone().run_until_cancelled_owned(follower.follow_for_ever());
    let following = tokio::spawn(async move {
        following.await;
    });
    let announcing = announce_for_ever(Arc::clone(publisher), Arc::clone(log), stop.clone());
    Ok(BoardWatch {
        log: Arc::clone(log),
        publisher: Arc::clone(publisher),
        announcing: tokio::spawn(announcing),
        following,
        _tasks: stop.clone().drop_guard(),
        stop,
    })
}

impl BoardWatch {
    /// Waits until a task has panicked: without it nothing would be known of the backups any more.
    pub(crate) async fn failed(&mut self) {
        let end = tokio::select! {
            end = &mut self.following => end,
            end = &mut self.announcing => end,
        };
        if end.is_ok() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends the tasks, and says a last time where the primary is, with the reason if it failed. Only
    /// the one who holds the log speaks on its board: a primary that never held it, or does no more,
    /// must not overwrite what the other one says of itself.
    pub(crate) async fn close(self, ended: &EndReason) {
        self.stop.cancel();
        for task in [self.following, self.announcing] {
            // One that panicked was awaited.
            if !task.is_finished() {
                _ = task.await;
            }
        }
        let progress = self.publisher.progress.borrow().clone();
        if progress.epoch == 0 || matches!(ended, EndReason::Fenced { .. }) {
            return;
        }
        // It may have been fenced and not know it yet.
        if let Ok(Board { primary: Some(newest), .. }) = self.log.board().await {
            self.publisher.heard_of(&newest);
        }
        if self.publisher.announced_epoch() > progress.epoch {
            return;
        }
        let failure = (!ended.is_stopped()).then(|| error_chain(ended));
        announce(&self.publisher, &self.log, progress, failure).await;
    }
}

struct Follower {
    publisher: Arc<Publisher>,
    log: Arc<dyn Log>,
    digests: Arc<Digests>,
    board: Board,
    /// Which places were said to be unreadable.
    unreadable: Said,
    /// Whose receipts were said to be forged.
    forged: Said,
    /// Whose receipts were said to diverge.
    diverged: Said,
    /// Which entries were said to be unreadable.
    damaged: Said,
}

/// Of whom something was said lately. Whoever may put receipts decides how often they change, and
/// under how many names: nobody is to be woken by each of them.
#[derive(Debug, Default)]
pub(crate) struct Said(BTreeMap<String, Instant>);

impl Said {
    /// Whether it is to be said of this one.
    pub(crate) fn is_due(&mut self, of: &str) -> bool {
        if self.0.get(of).is_some_and(|said| said.elapsed() < SAY_AGAIN) {
            return false;
        }
        self.0.retain(|_, said| said.elapsed() < SAY_AGAIN);
        let left = (SAID + 1).saturating_sub(self.0.len());
        if left > 0 {
            self.0.insert(of.to_owned(), Instant::now());
        }
        if left == 1 {
            tracing::error!("the same is so of more receipts: `tipline status` names them all");
        }
        left > 1
    }
}

/// When it was said that receipts are not received: because of what may pass by itself, and of what
/// does not. The texts are not compared. The server has a part in them.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    passing: Option<Instant>,
    lasting: Option<Instant>,
}

impl Troubles {
    /// Whether it is to be said.
    pub(crate) fn is_due(&mut self, error: &LogError) -> bool {
        let said = if error.is_retryable() { &mut self.passing } else { &mut self.lasting };
        let is_due = said.is_none_or(|said| said.elapsed() >= SAY_AGAIN);
        if is_due {
            *said = Some(Instant::now());
        }
        is_due
    }
}

impl Follower {
    /// What is there now. A board that cannot be read keeps nobody from publishing: then nothing is
    /// known of the backups, and it is tried again.
    async fn first_look(&mut self) -> Result<(), LogError> {
        let looked = match self.log.board().await {
            Ok(board) => self.show(board).await,
            Err(error) => Err(error),
        };
        match looked {
            Err(error) if !error.is_retryable() && !matches!(error, LogError::WrongLog { .. }) => {
                tracing::warn!("the receipts cannot be read: {}", error_chain(&error));
                Ok(())
            }
            looked => looked,
        }
    }

    async fn follow_for_ever(mut self) {
        let mut troubles = Troubles::default();
        loop {
            if let Err(error) = self.follow().await
                && troubles.is_due(&error)
            {
                let why = error_chain(&error);
                if error.is_retryable() {
                    tracing::warn!("receipts are not being received, trying again: {why}");
                } else {
                    tracing::error!(
                        "no receipt is received, and that does not pass by itself: remove the \
                         cause, or start this primary again. Until then nothing more is known of \
                         the backups: {why}"
                    );
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Says what cannot be read. It concerns nobody else.
    fn warn_of_unreadable(&mut self, board: &Board) {
        for unreadable in &board.unreadable {
            if self.unreadable.is_due(&unreadable.place) {
                let consumer = unreadable.consumer.as_ref().map(ToString::to_string);
                tracing::warn!(
                    place = %unreadable.place, consumer, why = %unreadable.why,
                    "something on the board cannot be read; it counts as no receipt"
                );
            }
        }
    }

    /// Says what is not believed. It counts as nobody's.
    fn alarm_if_forged(&mut self, board: &Board) {
        for forged in &board.forged {
            // No consumer has an empty name.
            let consumer = forged.consumer.as_ref().map(ToString::to_string);
            if self.forged.is_due(consumer.as_deref().unwrap_or_default()) {
                tracing::error!(
                    consumer, why = %forged.why,
                    "a receipt or an announcement is refused: it counts as no backup"
                );
            }
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
        self.warn_of_unreadable(&board);
        self.alarm_if_forged(&board);
        self.board = board.clone();
        let progress = self.publisher.progress.borrow().clone();
        if let Some(other) = &board.primary {
            self.publisher.heard_of(other);
            if progress.epoch > 0 && other.epoch > progress.epoch {
                self.publisher.challenge.notify_one();
            }
        }
        let tail = progress.tail.unwrap_or_else(|| Position::origin(self.log.identity()));
        let known = self.publisher.status.borrow().consumers.clone();
        let assessed = assess(&self.log, &self.digests, tail, &known, board).await?;
        let Assessed { consumers, unreadable } = assessed;
        for (index, error) in unreadable {
            if self.damaged.is_due(&index.to_string()) {
                tracing::error!(
                    index, why = %error_chain(&error),
                    "an entry of the log cannot be read: whether receipts at it are right is not \
                     known, and they count as no backup; compare the log with an archive"
                );
            }
        }
        for consumer in &consumers {
            alarm_if_new(consumer, &known, &mut self.diverged);
        }
        self.publisher.status.send_modify(|status| {
            status.known = true;
            status.consumers = consumers;
            // What was compared with a history that the log has lost meanwhile is void.
            let now = self.publisher.progress.borrow();
            if now.shortened != progress.shortened {
                status.lost_after(now.tail.map_or(0, |tail| tail.index));
            }
        });
        if matches!(self.publisher.settings.trim, Trim::BackedUp(_)) {
            self.publisher.tidy(false).await;
        }
        Ok(())
    }
}

fn alarm_if_new(consumer: &ConsumerStatus, known: &[ConsumerStatus], said: &mut Said) {
    let Agreement::Diverged { index } = consumer.agreement else {
        return;
    };
    let name = &consumer.receipt.consumer;
    let was = known.iter().find(|before| before.receipt.consumer == *name);
    if was.is_none_or(|before| before.agreement != consumer.agreement) && said.is_due(name.as_str())
    {
        tracing::error!(
            consumer = %name, index,
            "a receipt diverges: this consumer holds another history from this index or an \
             earlier one on; it does not count as a backup"
        );
    }
}

async fn announce_for_ever(publisher: Arc<Publisher>, log: Arc<dyn Log>, stop: CancellationToken) {
    let mut changes = publisher.progress.subscribe();
    let mut source = publisher.source_failure.clone();
    let every = publisher.settings.announce_every;
    let mut held_up = false;
    loop {
        let mut progress = changes.borrow_and_update().clone();
        source.borrow_and_update();
        if progress.held_up.is_some() && !held_up {
            // How much waits was last looked at before this began: nothing, perhaps. An outbox that
            // hangs, too, keeps nobody from saying so.
            _ = tokio::time::timeout(LOOK, publisher.tidy(false)).await;
            progress = changes.borrow_and_update().clone();
        }
        held_up = progress.held_up.is_some();
        if progress.epoch > 0 {
            announce(&publisher, &log, progress, None).await;
        }
        let next = async {
            tokio::select! {
                () = wait_for_change(&mut changes, every) => {}
                // That is announced at once.
                Ok(()) = source.changed() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(ANNOUNCE_PAUSE) => {}
                Ok(()) = source.changed() => {}
            }
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
    let time = (publisher.clock)();
    let held_up = progress.held_up.map(|held_up| {
        let seconds = time.since(held_up.since).as_secs();
        format!("for {seconds} s: {}", held_up.why)
    });
    let announcement = Announcement {
        lineage: log.identity().lineage,
        primary: publisher.settings.primary.clone(),
        epoch: progress.epoch,
        tail,
        block_tip: progress.block_tip,
        proof_tip: progress.proof_tip,
        outbox_events: progress.waiting_events,
        outbox_bytes: progress.held_bytes,
        outbox_waiting_bytes: progress.waiting_bytes,
        outbox_oldest: progress.oldest,
        outbox_max_events: progress.max_events,
        outbox_max_bytes: progress.max_bytes,
        held_up,
        source_failure: publisher.source_failure(),
        seal: None,
        time,
        failure,
    };
    if let Err(error) = log.announce(&announcement).await {
        // The next one says the same and more.
        tracing::debug!("an announcement was not sent: {}", error_chain(&error));
    }
}
