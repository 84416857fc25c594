//! The publisher's task: carries out the core's commands, and feeds back the results.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tipline_log::{Backoff, Log, LogError, error_chain};
use tipline_proto::{Position, Tip};

use super::core::{Command, Core, Input, Obstacle, Survey, TailRead};
use super::resume;
use super::shared::Publisher;
use crate::board::{self, BoardWatch};
use crate::digests::Digests;
use crate::end_reason::EndReason;
use crate::progress::{Anchor, Stage};
use crate::settings::Trim;

/// Opens the log, again and again until it is there.
pub(crate) type Connect =
    Box<dyn FnMut() -> Pin<Box<dyn Future<Output = Result<Arc<dyn Log>, LogError>> + Send>> + Send>;

/// Rows are looked for this often, in case a wake-up was missed, for example by a node that
/// enqueues from another process, or forgets to call.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How far back the newest block is looked for, only to announce it.
const LOOK_BACK_TO_ANNOUNCE: u64 = 300;
/// Pauses while the log cannot be opened.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Publishes until it ends. The end is in the progress, for everyone.
pub(crate) async fn run(publisher: Publisher, connect: Connect) {
    let publisher = Arc::new(publisher);
    let ended = match start(&publisher, connect).await {
        Ok(ready) => publish(&publisher, ready).await,
        Err(ended) => ended,
    };
    publisher.tidy(None).await;
    if !ended.is_stopped() {
        tracing::error!(primary = %publisher.settings.primary, "publishing ended: {}", error_chain(&ended));
    }
    publisher.progress.send_modify(|progress| progress.stage = Stage::Ended(ended));
}

struct Ready {
    log: Arc<dyn Log>,
    digests: Arc<Digests>,
    board: BoardWatch,
}

/// Opens the log and reads the board, so that everything is known before anything is published.
async fn start(publisher: &Arc<Publisher>, mut connect: Connect) -> Result<Ready, EndReason> {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let tried = async {
            let log = connect().await?;
            let preflight = log.preflight().await?;
            if !preflight.is_durable() && !publisher.settings.accept_shortfalls {
                let shortfalls = preflight.shortfalls;
                return Err(Obstacle::Final(EndReason::NotDurable { shortfalls }));
            }
            let found = log.identity().lineage;
            let continues = publisher.settings.continue_at.is_some();
            if let Err(bound) = publisher.outbox.belongs_to(found, continues).await? {
                return Err(Obstacle::Final(EndReason::WrongLog { bound, found }));
            }
            let digests = Arc::new(Digests::default());
            let tail = log.tail().await?;
            let block_tip = resume::newest_block(&*log, &tail, LOOK_BACK_TO_ANNOUNCE).await?;
            publisher.progress.send_modify(|progress| {
                progress.tail = Some(tail.position);
                progress.block_tip = block_tip;
            });
            let shortfalls = preflight.shortfalls;
            let board = board::watch(publisher, &log, &digests, shortfalls).await?;
            Ok(Ready { log, digests, board })
        };
        let why = match tried.await {
            Ok(ready) => return Ok(ready),
            Err(Obstacle::Final(ended)) => return Err(ended),
            Err(Obstacle::Passing(why)) => why,
        };
        let pause = backoff.failed();
        publisher.retrying(backoff.attempts(), why);
        // The gauge of what waits must move before the log is reached, too.
        publisher.tidy(None).await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = publisher.drained() => return Err(EndReason::Stopped),
        }
    }
}

type Work = Pin<Box<dyn Future<Output = Option<Input>> + Send>>;

async fn publish(publisher: &Arc<Publisher>, ready: Ready) -> EndReason {
    let Ready { log, digests, board } = ready;
    let mut core = Core::new(publisher.settings.primary.clone(), publisher.outbox.id());
    let publisher = Arc::clone(publisher);
    let work = FuturesUnordered::new();
    let mut driver = Driver { publisher, log, digests, work, looked: Instant::now() };
    driver.wait_for_rows(Duration::ZERO);
    driver.wait_for_drain();
    driver.wait_for_challenge();
    let mut commands = core.start();
    loop {
        for command in commands {
            if let Some(ended) = driver.carry_out(command) {
                board.close(&ended).await;
                return ended;
            }
        }
        // The wait for rows is always there, so the work never runs out.
        let input = driver.work.next().await.flatten();
        match input {
            Some(Input::Woken) => {
                driver.look();
                driver.wait_for_rows(LOOK_AGAIN);
            }
            Some(Input::Challenged) => driver.wait_for_challenge(),
            _ => {}
        }
        commands = input.map(|input| core.step(input)).unwrap_or_default();
    }
}

struct Driver {
    publisher: Arc<Publisher>,
    log: Arc<dyn Log>,
    digests: Arc<Digests>,
    work: FuturesUnordered<Work>,
    /// When it was last looked how much waits in the outbox.
    looked: Instant,
}

impl Driver {
    fn carry_out(&mut self, command: Command) -> Option<EndReason> {
        match command {
            Command::Survey => self.survey(),
            Command::ReadTail => self.read_tail(),
            Command::Append { after, unit } => {
                let log = Arc::clone(&self.log);
                self.push(async move { Input::Appended(log.append(&after, &unit).await) });
            }
            Command::Prepare { request, after, previous, epoch } => {
                let (log, outbox) = (Arc::clone(&self.log), self.publisher.outbox.clone());
                self.push(async move {
                    let unit = outbox.prepare(log, after, previous, epoch).await;
                    Input::Prepared { request, unit }
                });
            }
            Command::Pause(pause) => self.push(async move {
                tokio::time::sleep(pause).await;
                Input::Resumed
            }),
            Command::Claimed { claim } => {
                let sequence = claim.outbox_sequence;
                let anchor = Anchor { index: claim.index, sequence };
                tracing::info!(epoch = claim.epoch, index = claim.index, "claimed the log");
                self.publisher.progress.send_modify(|progress| {
                    progress.epoch = claim.epoch;
                    progress.claim = Some(anchor);
                });
                self.advance(claim.position(), sequence, None);
            }
            Command::Logged { unit } => {
                for entry in &unit[..] {
                    self.digests.push(entry.position());
                }
                let tip = unit.iter().rev().find_map(|e| e.event.block_tip());
                if let Some(last) = unit.last() {
                    self.advance(last.position(), last.outbox_sequence, tip);
                }
            }
            Command::LostData { acknowledged, found } => {
                tracing::error!(
                    %acknowledged, found = %found.position,
                    "the log lost entries that it had acknowledged; publishing them again from the outbox"
                );
                self.publisher.progress.send_modify(|progress| {
                    progress.losses += 1;
                    progress.tail = Some(found.position);
                    progress.logged = found.outbox_sequence;
                });
            }
            Command::Settled => {
                self.publisher.progress.send_modify(|progress| progress.stage = Stage::Publishing)
            }
            Command::Retrying { attempt, why } => self.publisher.retrying(attempt, why),
            Command::End(ended) => return Some(ended),
        }
        None
    }

    fn survey(&mut self) {
        let (log, publisher) = (Arc::clone(&self.log), Arc::clone(&self.publisher));
        let digests = Arc::clone(&self.digests);
        self.push(async move {
            let surveyed = async {
                let tail = log.tail().await?;
                let continue_at = publisher.settings.continue_at;
                let logged_through =
                    resume::logged_through(&*log, &tail, &publisher.outbox, continue_at).await?;
                digests.push(tail.position);
                Ok(Survey { tail, logged_through, now: (publisher.clock)() })
            };
            Input::Surveyed(surveyed.await)
        });
    }

    fn read_tail(&mut self) {
        let (log, digests) = (Arc::clone(&self.log), Arc::clone(&self.digests));
        self.push(async move {
            let read = log.tail().await.map_err(Obstacle::from);
            Input::TailRead(read.map(|tail| {
                let ours = digests.at(tail.position.index) == Some(tail.position.digest);
                TailRead { tail, ours }
            }))
        });
    }

    /// The log is complete up to here. Notify everyone, and tidy the outbox.
    fn advance(&mut self, tail: Position, logged: u64, tip: Option<Tip>) {
        self.digests.push(tail);
        self.publisher.progress.send_modify(|progress| {
            progress.stage = Stage::Publishing;
            progress.tail = Some(tail);
            progress.logged = logged;
            progress.block_tip = tip.or(progress.block_tip.take());
        });
        let trim = self.publisher.settings.trim == Trim::Logged;
        self.tidy(trim.then_some(logged));
    }

    /// The gauge of what waits must move while the log is away, too.
    fn look(&mut self) {
        if self.looked.elapsed() > LOOK_AGAIN / 4 {
            self.tidy(None);
        }
    }

    fn tidy(&mut self, trim: Option<u64>) {
        self.looked = Instant::now();
        let publisher = Arc::clone(&self.publisher);
        self.work.push(Box::pin(async move {
            publisher.tidy(trim).await;
            None
        }));
    }

    fn wait_for_rows(&mut self, at_most: Duration) {
        let publisher = Arc::clone(&self.publisher);
        self.push(async move {
            // Both answers mean the same. Look.
            _ = tokio::time::timeout(at_most, publisher.wake.notified()).await;
            Input::Woken
        });
    }

    fn wait_for_drain(&mut self) {
        let drain = self.publisher.drain.clone();
        self.push(async move {
            drain.cancelled().await;
            Input::Drain
        });
    }

    fn wait_for_challenge(&mut self) {
        let publisher = Arc::clone(&self.publisher);
        self.push(async move {
            publisher.challenge.notified().await;
            Input::Challenged
        });
    }

    fn push(&mut self, work: impl Future<Output = Input> + Send + 'static) {
        self.work.push(Box::pin(async move { Some(work.await) }));
    }
}
