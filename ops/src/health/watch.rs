//! Following what readiness is decided on: the log, the board, the store and the consumer.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tipline_consumer::{Progress, StoreHandle};
use tipline_log::{Board, Clock, Log, LogError, error_chain};
use tipline_proto::{ConsumerName, Role};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::consumer::ConsumerState;
use super::process::{Health, Situation};
use crate::verdict::Listener;

/// How often the log is asked for a sign of life.
const ASK: Duration = Duration::from_millis(500);
/// Pause before the log is asked again about what receipts name.
const COMPARE: Duration = Duration::from_millis(500);
/// So many digests are read at once, to compare receipts with them. One that is better and agrees is
/// enough.
const COMPARED: usize = 8;
/// How often the store is asked whether it is still there.
const PROBE: Duration = Duration::from_millis(500);
/// Pause before the board is followed again.
const AGAIN: Duration = Duration::from_millis(250);
/// For how long the answer to one question is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// For how long the whole board is waited for: thousands of receipts over a slow line.
const BOARD_PATIENCE: Duration = Duration::from_secs(10);
/// For how long a look is waited for: at the board, and at how far the log is.
const LOOK_PATIENCE: Duration = Duration::from_secs(15);
/// Looks at once: each asks for the whole board.
const LOOKS: usize = 2;
/// Questions that wait for their answers: as many as are asked within the patience, the looks, and
/// some.
const QUESTIONS: usize = 16;

/// A process that is being watched. It ends when this is dropped.
#[derive(Debug)]
pub struct HealthWatch {
    _stop: DropGuard,
}

/// A consumer to be watched.
#[derive(Debug)]
pub struct WatchedConsumer {
    /// Its name.
    pub name: ConsumerName,
    /// What it is for.
    pub role: Role,
    /// The log that it follows.
    pub log: Arc<dyn Log>,
    /// Its progress.
    pub progress: watch::Receiver<Progress>,
    /// Its store, if that is to be asked twice a second whether it is still there; `None` where
    /// each question costs a request. The consumer itself asks at every heartbeat.
    pub store: Option<StoreHandle>,
}

impl Health {
    /// From now on the process is as fit as this consumer.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn watch_consumer(&self, watched: WatchedConsumer, clock: Clock) -> HealthWatch {
        let WatchedConsumer { name, role, log, progress, store } = watched;
        let now = Instant::now();
        let state = ConsumerState::new(name, role, progress.borrow().clone(), now);
        self.set(Situation::Consumer(Box::new(state)));
        let stop = CancellationToken::new();
        let spawn = |task: Task| spawn_until(&stop, task);
        spawn(Box::pin(follow_progress(self.clone(), progress)));
        spawn(Box::pin(follow_board(self.clone(), Arc::clone(&log), clock.clone())));
        spawn(Box::pin(ask_log_of_consumer(self.clone(), log, clock)));
        if let Some(store) = store {
            spawn(Box::pin(probe_store(self.clone(), store)));
        }
        HealthWatch { _stop: stop.drop_guard() }
    }

    /// Asks the log of a primary for signs of life. What else is known of it comes by
    /// [`Health::with_primary`].
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn watch_log_of_primary(&self, log: Arc<dyn Log>) -> HealthWatch {
        let stop = CancellationToken::new();
        let health = self.clone();
        spawn_until(&stop, Box::pin(ask_log_of_primary(health, log)));
        HealthWatch { _stop: stop.drop_guard() }
    }
}

type Task = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn spawn_until(stop: &CancellationToken, task: Task) {
    let stop = stop.clone();
    tokio::spawn(async move {
        stop.run_until_cancelled(task).await;
    });
}

async fn follow_progress(health: Health, mut progress: watch::Receiver<Progress>) {
    loop {
        let newest = progress.borrow_and_update().clone();
        health.with_consumer(|state| state.note(newest, health.limits(), Instant::now()));
        if progress.changed().await.is_err() {
            return;
        }
    }
}

/// The newest board, as it is pushed.
async fn follow_board(health: Health, log: Arc<dyn Log>, clock: Clock) {
    let mut ear = Ear::default();
    let mut told = String::new();
    loop {
        let followed: Result<Infallible, LogError> = async {
            let mut feed = log.follow_board().await?;
            loop {
                let board = feed.next().await?;
                hear(&health, &*log, &clock, &mut ear, board).await?;
                health.with_consumer(|state| state.link.board_lost = None);
                told.clear();
            }
        }
        .await;
        let Err(error) = followed;
        let why = error_chain(&error);
        if why != told {
            tracing::warn!("the receipts of the others are not heard, trying again: {why}");
            told.clone_from(&why);
        }
        health.with_consumer(|state| state.link.lost_board(why, Instant::now()));
        sleep(AGAIN).await;
    }
}

/// What is heard of the board, and when the log was last asked about it.
#[derive(Debug, Default)]
pub(super) struct Ear {
    listener: Listener,
    asked: Option<tokio::time::Instant>,
}

impl Ear {
    /// Whether the log may be asked again about what receipts name.
    fn may_ask(&self) -> bool {
        self.asked.is_none_or(|asked| asked.elapsed() >= COMPARE)
    }
}

/// Takes a board in. What it names and is not known here is compared with the log itself: a receipt
/// of another history must not make everyone seem to be behind. Whatever the receipts say, the log
/// is asked a few questions each time, and seldom.
pub(super) async fn hear(
    health: &Health,
    log: &dyn Log,
    clock: &Clock,
    ear: &mut Ear,
    mut board: Board,
) -> Result<(), LogError> {
    ear.listener.listen(&mut board, Instant::now(), clock());
    let mut known = board.primary.as_ref().map_or(0, |said| said.tail.index);
    let mut wanted = BTreeSet::new();
    health.with_consumer(|state| {
        known = known.max(state.progress.tail.unwrap_or(0)).max(state.fleet.tail());
        wanted = state.wanted(&board);
    });
    let named = board.receipts.iter().flat_map(|receipt| receipt.reached.positions());
    let is_beyond = named.map(|position| position.index).any(|named| named > known);
    if (is_beyond || !wanted.is_empty()) && ear.may_ask() {
        ear.asked = Some(tokio::time::Instant::now());
        if is_beyond {
            known = known.max(log.extent().await?.last);
        }
        compare(health, log, wanted.range(..=known).rev().copied().take(COMPARED)).await?;
    }
    let now = Instant::now();
    health.with_consumer(|state| {
        state.fleet.hear(&board, known, now);
        state.note_place(health.limits(), now);
    });
    Ok(())
}

/// Reads the log's own digests at these indices.
async fn compare(
    health: &Health,
    log: &dyn Log,
    indices: impl Iterator<Item = u64>,
) -> Result<(), LogError> {
    for index in indices {
        match log.head(index).await {
            Ok(head) => health.with_consumer(|state| state.fleet.knows(head.position)),
            Err(error) if error.is_retryable() => return Err(error),
            // Trimmed away, or unreadable: that concerns whoever names it, and no other.
            Err(_) => {}
        }
    }
    Ok(())
}

/// Asks the log of a consumer. After a silence, and at first, how far the log is, and what the others
/// have, is read before it counts as heard: what was missed is not known until then.
async fn ask_log_of_consumer(health: Health, log: Arc<dyn Log>, clock: Clock) {
    let looks = Arc::new(Semaphore::new(LOOKS));
    let ask = || ask(health.clone(), Arc::clone(&log), Arc::clone(&clock), Arc::clone(&looks));
    ask_for_ever(ask, |answer| take_answer(&health, answer)).await;
}

async fn ask_log_of_primary(health: Health, log: Arc<dyn Log>) {
    let take = |answer| {
        health.with_primary(|state| match answer {
            Ok(asked) => state.link.answered(asked),
            Err(why) => state.link.failed(why),
        });
    };
    ask_for_ever(|| ping(Arc::clone(&log)), take).await;
}

/// Asks on every tick. A new question never waits for the answer to an old one, which may have been
/// lost with a connection.
pub(super) async fn ask_for_ever<T, F>(ask: impl Fn() -> F, take: impl Fn(Result<T, String>))
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    let mut ticks = ticks(ASK);
    let mut questions = JoinSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick(), if questions.len() < QUESTIONS => {
                questions.spawn(ask());
            }
            Some(answer) = questions.join_next() => {
                take(answer.unwrap_or_else(|panicked| Err(panicked.to_string())));
            }
        }
    }
}

/// Gives the moment at which it was asked.
async fn ping(log: Arc<dyn Log>) -> Result<Instant, String> {
    let asked = Instant::now();
    within(PATIENCE, log.ping()).await.map(|()| asked)
}

/// What a look asks for is much, so none is begun before the log answers a small question.
async fn ask(
    health: Health,
    log: Arc<dyn Log>,
    clock: Clock,
    looks: Arc<Semaphore>,
) -> Result<Heard, String> {
    let asked = ping(Arc::clone(&log)).await?;
    if is_silent(&health)
        && let Ok(_turn) = looks.try_acquire()
    {
        return within(LOOK_PATIENCE, first_look(&health, &*log, &clock)).await;
    }
    Ok(Heard { asked, tail: None })
}

fn take_answer(health: &Health, answer: Result<Heard, String>) {
    let (now, max) = (Instant::now(), health.limits().max_silence);
    health.with_consumer(|state| match answer {
        // There was a silence. What was missed must be known, and by an answer that is not old.
        Ok(Heard { asked, tail }) if state.link.is_silent(max, now) => {
            if let Some(tail) = tail.filter(|_| now.saturating_duration_since(asked) <= max) {
                state.heard_again(tail, now);
                state.link.answered(asked);
                state.note_place(health.limits(), now);
            }
        }
        Ok(Heard { asked, .. }) => state.link.answered(asked),
        Err(why) => state.link.failed(why),
    });
}

/// That the log has answered.
#[derive(Debug)]
pub(super) struct Heard {
    /// What was asked at this moment.
    asked: Instant,
    /// How far it is, if that was asked.
    pub(super) tail: Option<u64>,
}

fn is_silent(health: &Health) -> bool {
    let (mut silent, now) = (true, Instant::now());
    let max = health.limits().max_silence;
    health.with_consumer(|state| silent = state.link.is_silent(max, now));
    silent
}

/// How far the log is; takes the board in by the way. A log without its receipts is heard all the
/// same: that they are away is a reason of its own.
pub(super) async fn first_look(
    health: &Health,
    log: &dyn Log,
    clock: &Clock,
) -> Result<Heard, LogError> {
    health.with_consumer(|state| state.fleet.forget());
    if let Ok(Ok(board)) = timeout(BOARD_PATIENCE, log.board()).await {
        hear(health, log, clock, &mut Ear::default(), board).await?;
    }
    let asked = Instant::now();
    Ok(Heard { asked, tail: Some(log.extent().await?.last) })
}

async fn probe_store(health: Health, store: StoreHandle) {
    let mut ticks = ticks(PROBE);
    loop {
        ticks.tick().await;
        // A consumer opens its store's thread at its start, and closes it at its end.
        let mut is_open = false;
        health.with_consumer(|state| {
            is_open = state.progress.cursor.is_some() && !state.progress.phase.is_ended();
            if is_open {
                state.store.asked(Instant::now());
            }
        });
        if is_open {
            let mut answer = std::pin::pin!(store.probe());
            let answer = loop {
                tokio::select! {
                    answer = answer.as_mut() => break answer,
                    _ = ticks.tick() => if store.is_frozen() {
                        health.with_consumer(|state| state.store.is_frozen(Instant::now()));
                    }
                }
            };
            let failure = answer.err().map(|error| error_chain(&error));
            health.with_consumer(|state| state.store.answered(failure));
        }
    }
}

/// One after the other, never a burst of those that were missed.
fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn within<T>(
    patience: Duration,
    asked: impl Future<Output = Result<T, LogError>>,
) -> Result<T, String> {
    match timeout(patience, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error_chain(&error)),
        Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
    }
}
