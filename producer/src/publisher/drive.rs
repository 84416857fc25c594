//! The publisher's task: carries out the core's commands, and feeds back the results.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tipline_log::{Backoff, Log, LogError, Shortfall, Tail, check_tail, error_chain};
use tipline_proto::{LogIdentity, Position, Tip};
use tokio::time::Instant;

use super::core::Core;
use super::durability;
use super::proofs::Proofs;
use super::protocol::{Command, Input, Obstacle, Survey, TailRead};
use super::resume;
use super::shared::Publisher;
use crate::board::{self, BoardWatch};
use crate::digests::Digests;
use crate::end_reason::EndReason;
use crate::progress::{Anchor, Stage};

/// Opens the log, again and again until it is there.
pub(crate) type Connect =
    Box<dyn FnMut() -> Pin<Box<dyn Future<Output = Result<Arc<dyn Log>, LogError>> + Send>> + Send>;

/// Rows are looked for this often, in case a wake-up was missed, for example by a node that
/// enqueues from another process, or forgets to call.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Pauses while the log cannot be opened.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// For so long the last words to the board, and to the outbox, may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Publishes until it ends. The end is in the progress, for everyone.
pub(crate) async fn run(publisher: Publisher, connect: Connect) {
    let publisher = Arc::new(publisher);
    let ended = match start(&publisher, connect).await {
        Ok(ready) => publish(&publisher, ready).await,
        Err(ended) => ended,
    };
    publisher.traces.ended();
    publisher.measured.ended(&ended);
    // Everyone waits for the end: an outbox that hangs is not waited for.
    _ = tokio::time::timeout(LAST_WORDS, publisher.tidy(true)).await;
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
            let shortfalls = log.preflight().await?.shortfalls;
            check_log(publisher, &*log, &shortfalls).await?;
            publisher.note_shortfalls(shortfalls);
            let digests = Arc::new(Digests::default());
            let tail = log.tail().await?;
            let block_tip = resume::announced_block(&*log, &tail).await?;
            publisher.progress.send_modify(|progress| {
                progress.tail = Some(tail.position);
                progress.block_tip = block_tip;
            });
            let board = board::watch(publisher, &log, &digests).await?;
            Ok(Ready { log, digests, board })
        };
        // A log that hangs, too, is not waited for if there is nothing to publish.
        let tried: Result<Ready, Obstacle> = tokio::select! {
            tried = tried => tried,
            () = publisher.drained() => return Err(EndReason::Stopped),
        };
        let why = match tried {
            Ok(ready) => return Ok(ready),
            Err(Obstacle::Final(ended)) => return Err(ended),
            Err(Obstacle::Passing(why)) => why,
        };
        let pause = backoff.failed();
        publisher.retrying(backoff.attempts(), why);
        // The gauge of what waits must move before the log is reached, too.
        publisher.tidy(false).await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = publisher.drained() => return Err(EndReason::Stopped),
        }
    }
}

/// Whether this is a log to publish to at all. Nothing is written for it, here or there.
async fn check_log(
    publisher: &Publisher,
    log: &dyn Log,
    shortfalls: &[Shortfall],
) -> Result<(), Obstacle> {
    let LogIdentity { chain, lineage: found, .. } = log.identity().clone();
    let outbox = publisher.outbox.genesis();
    if *outbox != chain.genesis {
        let outbox = outbox.clone();
        return Err(Obstacle::Final(EndReason::WrongChain { outbox, log: chain }));
    }
    // If it says where it continues, the survey compares that with the log's tail.
    let continues = publisher.settings.continue_at.is_some();
    match publisher.outbox.lineage().await? {
        Some(bound) if bound != found && !continues => {
            return Err(Obstacle::Final(EndReason::WrongLog { bound, found }));
        }
        _ => {}
    }
    let open = publisher.settings.accept_shortfalls.open(shortfalls);
    if !open.is_empty() {
        let shortfalls = open.into_iter().cloned().collect();
        return Err(Obstacle::Final(EndReason::NotDurable { shortfalls }));
    }
    Ok(())
}

type Work = Pin<Box<dyn Future<Output = Option<Input>> + Send>>;

async fn publish(publisher: &Arc<Publisher>, ready: Ready) -> EndReason {
    let Ready { log, digests, mut board } = ready;
    publisher.measured.of(&log.identity().name);
    let mut core = Core::new(publisher.settings.primary.clone(), publisher.outbox.id());
    let publisher = Arc::clone(publisher);
    let work = FuturesUnordered::new();
    let now = Instant::now();
    let is_new = publisher.progress.borrow().tail.is_some_and(|tail| tail.index == 0);
    let (looked, checked) = (now, now);
    let proofs = Proofs::new(log.identity().chain.proofs_from);
    let tidying = Arc::default();
    let mut driver =
        Driver { publisher, log, digests, work, looked, tidying, checked, proofs, is_new };
    driver.wait_for_rows(Duration::ZERO);
    driver.wait_for_drain();
    driver.wait_for_challenge();
    driver.watch_durability();
    let mut commands = core.start();
    let ended = 'ended: loop {
        for command in commands {
            if let Some(ended) = driver.carry_out(command) {
                break 'ended ended;
            }
        }
        // The wait for rows is always there, so the work never runs out.
        let input = tokio::select! {
            input = driver.work.next() => input.flatten(),
            () = board.failed() => break 'ended EndReason::Panicked,
        };
        let mut due = false;
        match input {
            Some(Input::Woken) => {
                driver.look();
                due = driver.check_is_due();
                driver.wait_for_rows(LOOK_AGAIN);
            }
            Some(Input::Challenged) => driver.wait_for_challenge(),
            _ => {}
        }
        commands = input.map(|input| core.step(input)).unwrap_or_default();
        if due {
            commands.extend(core.step(Input::Challenged));
        }
    };
    // Nobody waits for a log that hangs to hear that it is over.
    _ = tokio::time::timeout(LAST_WORDS, board.close(&ended)).await;
    ended
}

struct Driver {
    publisher: Arc<Publisher>,
    log: Arc<dyn Log>,
    digests: Arc<Digests>,
    work: FuturesUnordered<Work>,
    /// When it was last looked how much waits in the outbox.
    looked: Instant,
    /// How often tidying was asked for since it began; 0 while it is not under way.
    tidying: Arc<AtomicU64>,
    /// When the log's tail was last known to be where this primary left it.
    checked: Instant,
    proofs: Proofs,
    /// The log was empty at the start: every block in it is of this run.
    is_new: bool,
}

impl Driver {
    fn carry_out(&mut self, command: Command) -> Option<EndReason> {
        match command {
            Command::Survey => self.survey(),
            Command::ReadTail => self.read_tail(),
            Command::Append { after, unit } => {
                let (log, publisher) = (Arc::clone(&self.log), Arc::clone(&self.publisher));
                self.push(async move {
                    let began = Instant::now();
                    let appended = log.append(&after, &unit).await;
                    publisher.measured.appended(&appended, began.elapsed());
                    Input::Appended(appended)
                });
            }
            Command::Prepare { request, after, previous, epoch } => {
                let (log, outbox) = (Arc::clone(&self.log), self.publisher.outbox.clone());
                let (publisher, named) = (Arc::clone(&self.publisher), Arc::clone(&log));
                self.push(async move {
                    let mut unit = outbox.prepare(log, after, previous, epoch).await;
                    // Nobody else has it yet. An outbox at rest gives an empty one.
                    let sealed = unit.as_mut().ok().and_then(Arc::get_mut);
                    if let Some(unit) = sealed.filter(|unit| !unit.is_empty()) {
                        publisher.traces.sealed(&named.identity().name, unit);
                        publisher.measured.sealed(unit, (publisher.clock)());
                    }
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
                    // Together with the claim: whoever waits must not see one of them alone.
                    progress.logged = sequence;
                });
                self.advance(claim.position(), sequence, None);
            }
            Command::Logged { unit } => {
                self.publisher.traces.logged(&self.log.identity().name, &unit);
                self.publisher.measured.logged(&unit, (self.publisher.clock)());
                let mut has_blocks =
                    !self.is_new || self.publisher.progress.borrow().block_tip.is_some();
                for entry in &unit[..] {
                    self.digests.push(entry.position());
                    self.proofs.admit(entry.index, &entry.event, !has_blocks);
                    has_blocks |= entry.event.block_tip().is_some();
                }
                let tip = unit.iter().rev().find_map(|e| e.event.block_tip());
                if let Some(last) = unit.last() {
                    self.advance(last.position(), last.outbox_sequence, tip);
                }
            }
            Command::LostData { acknowledged, found, claims } => {
                self.lost_data(acknowledged, &found, claims);
            }
            Command::Found => {
                self.checked = Instant::now();
                self.publisher.log_holds();
                self.tidy();
            }
            Command::Recovered => {
                self.publisher.progress.send_modify(|progress| self.publisher.publishing(progress));
            }
            Command::Retrying { attempt, why } => {
                self.publisher.log_in_doubt();
                self.publisher.retrying(attempt, why);
            }
            Command::End(ended) => return Some(ended),
        }
        None
    }

    fn survey(&mut self) {
        self.publisher.log_in_doubt();
        let (log, publisher) = (Arc::clone(&self.log), Arc::clone(&self.publisher));
        let digests = Arc::clone(&self.digests);
        self.push(async move {
            let surveyed = async {
                let tail = log.tail().await?;
                let continue_at = publisher.settings.continue_at;
                resume::check_lineage(&*log, &tail, &publisher.outbox, continue_at).await?;
                resume::check_vouched(&*log, &tail, &publisher.outbox).await?;
                let logged_through =
                    resume::logged_through(&*log, &tail, &publisher.outbox, continue_at).await?;
                publisher.found(tail.position);
                // Only now, when nothing speaks against it.
                publisher.outbox.bind(log.identity().lineage).await?;
                resume::look_for_loss(&tail, &publisher).await?;
                digests.push(tail.position);
                let next_epoch = publisher.next_epoch(&*log, &tail)?;
                Ok(Survey { tail, logged_through, next_epoch, now: (publisher.clock)() })
            };
            Input::Surveyed(surveyed.await)
        });
    }

    fn read_tail(&mut self) {
        self.publisher.log_in_doubt();
        let (log, digests) = (Arc::clone(&self.log), Arc::clone(&self.digests));
        self.push(async move {
            let read = async {
                let tail = log.tail().await?;
                let known = digests.at(tail.position.index);
                let ours = known.map(|digest| digest == tail.position.digest);
                // The rows after it are published again: which they are is not taken from what the
                // log says of its tail.
                if ours == Some(true) && tail.position.index < digests.newest() {
                    check_tail(&*log, &tail).await?;
                }
                Ok(TailRead { tail, ours })
            };
            Input::TailRead(read.await)
        });
    }

    /// The log is shorter than what it had acknowledged. What was known of the rest is not true
    /// any more, for nobody.
    fn lost_data(&self, acknowledged: Position, found: &Tail, claims: bool) {
        tracing::error!(
            %acknowledged, found = %found.position,
            "the log lost entries that it had acknowledged; publishing them again from the outbox"
        );
        self.digests.push(found.position);
        self.publisher.log_in_doubt();
        self.publisher.progress.send_modify(|progress| {
            progress.losses += 1;
            progress.shortened += 1;
            progress.tail = Some(found.position);
            if claims {
                // Its numbers may be those of another outbox. The next claim says what is logged.
                progress.claim = None;
                progress.logged = 0;
            } else {
                progress.logged = found.outbox_sequence;
            }
        });
        self.publisher.status.send_modify(|status| status.lost_after(found.position.index));
    }

    /// The log is complete up to here. Notify everyone, and tidy the outbox.
    fn advance(&mut self, tail: Position, logged: u64, tip: Option<Tip>) {
        self.checked = Instant::now();
        self.digests.push(tail);
        let tip = tip.or_else(|| self.publisher.progress.borrow().block_tip.clone());
        let reported = tip.as_ref().and_then(|newest| {
            let status = self.publisher.status.borrow();
            status.proof_tip_after(self.proofs.rolled_back, newest.height)
        });
        if let Some(reported) = reported {
            self.proofs.raise(reported);
        }
        self.publisher.progress.send_modify(|progress| {
            self.publisher.publishing(progress);
            progress.tail = Some(tail);
            progress.logged = logged;
            progress.block_tip = tip;
            progress.proof_tip = self.proofs.tip();
        });
        self.publisher.log_holds();
        self.tidy();
    }

    /// Whether it is time to look at the tail of a log that nothing is published to: it may have
    /// been put back to an older state, and nobody else would notice.
    fn check_is_due(&mut self) -> bool {
        let due = self.checked.elapsed() >= self.publisher.settings.announce_every;
        if due {
            self.checked = Instant::now();
        }
        due
    }

    /// The gauge of what waits must move while the log is away, too.
    fn look(&mut self) {
        if self.looked.elapsed() > LOOK_AGAIN / 4 {
            self.tidy();
        }
    }

    /// One at a time, however slow the outbox is; what was asked for meanwhile is done after it.
    fn tidy(&mut self) {
        self.looked = Instant::now();
        if self.tidying.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let (publisher, tidying) = (Arc::clone(&self.publisher), Arc::clone(&self.tidying));
        self.work.push(Box::pin(async move {
            loop {
                let asked = tidying.load(Ordering::Acquire);
                publisher.tidy(false).await;
                let end = tidying.compare_exchange(asked, 0, Ordering::AcqRel, Ordering::Acquire);
                if end.is_ok() {
                    return None;
                }
            }
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
        let publisher = Arc::clone(&self.publisher);
        self.push(async move {
            publisher.drain.cancelled().await;
            Input::Drain { nothing_waits: publisher.has_nothing_waiting().await }
        });
    }

    fn wait_for_challenge(&mut self) {
        let publisher = Arc::clone(&self.publisher);
        self.push(async move {
            publisher.challenge.notified().await;
            Input::Challenged
        });
    }

    fn watch_durability(&mut self) {
        let watch = durability::watch(Arc::clone(&self.log), Arc::clone(&self.publisher));
        self.work.push(Box::pin(async {
            watch.await;
            None
        }));
    }

    fn push(&mut self, work: impl Future<Output = Input> + Send + 'static) {
        self.work.push(Box::pin(async move { Some(work.await) }));
    }
}
