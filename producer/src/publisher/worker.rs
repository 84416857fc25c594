//! The outbox on a thread of its own, because its calls block.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tipline_log::{Log, error_chain};
use tipline_proto::limits::{MAX_UNIT_BYTES, MAX_UNIT_MESSAGES};
use tipline_proto::{Entry, Hash, Lineage, OutboxId, Position};
use tokio::sync::{mpsc, oneshot};

use super::keep::Ages;
use super::protocol::{Obstacle, Unit};
use crate::end_reason::EndReason;
use crate::outbox::{Outbox, OutboxError, Pending, Row, Waiting};
use crate::settings::Keep;

/// The outbox is told what is logged in steps, so that the node's database is not written to for
/// every unit: after so many rows, or so long, or when half of its room is taken.
const RELEASE_ROWS: u64 = 100;
const RELEASE_PAUSE: Duration = Duration::from_secs(1);

/// How far around the row after which an outbox continues a block is looked for.
const LOOK_AROUND: u64 = 1000;

type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// The thread with the outbox. It ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub(crate) struct OutboxWorker {
    id: OutboxId,
    genesis: Hash,
    place: Arc<str>,
    jobs: mpsc::Sender<Job>,
}

/// The same handle, which does not keep the thread.
#[derive(Debug)]
pub(crate) struct WeakOutbox {
    id: OutboxId,
    genesis: Hash,
    place: Arc<str>,
    jobs: mpsc::WeakSender<Job>,
}

impl WeakOutbox {
    /// `None` once the thread has ended, or is about to.
    pub(crate) fn upgrade(&self) -> Option<OutboxWorker> {
        let (id, genesis, place) = (self.id, self.genesis.clone(), Arc::clone(&self.place));
        Some(OutboxWorker { id, genesis, place, jobs: self.jobs.upgrade()? })
    }
}

/// Is resolved when the thread has let go of the outbox.
pub(crate) type LetGo = oneshot::Receiver<()>;

struct Worker {
    outbox: Box<dyn Outbox>,
    ages: Ages,
    /// Losses of the log when the ages were noted.
    losses: u64,
    /// When the outbox was last told what is logged; `None` before that.
    released: Option<Instant>,
}

/// What the log has of the outbox, and what is to become of that.
#[derive(Debug, Clone)]
pub(crate) struct Tidying {
    /// Rows up to here are in the log; `None` before that is known: then the outbox says it.
    pub(crate) logged: Option<u64>,
    /// Rows up to here may leave; `None` before that is known.
    pub(crate) may_leave: Option<(u64, Keep)>,
    /// See [`super::shared::Publisher::held`].
    pub(crate) held: Arc<AtomicU64>,
    /// How often the log was found to have lost something.
    pub(crate) losses: u64,
    pub(crate) now: Instant,
    /// Tell the outbox now, however little there is to tell.
    pub(crate) at_once: bool,
}

/// What there is, once it is tidied.
#[derive(Debug)]
pub(crate) struct Tidied {
    pub(crate) pending: Pending,
    pub(crate) waiting: Waiting,
    /// Why the outbox did not let go of what may leave, or was not told.
    pub(crate) failure: Option<OutboxError>,
}

impl OutboxWorker {
    pub(crate) fn spawn(outbox: Box<dyn Outbox>) -> std::io::Result<(Self, LetGo)> {
        let (id, genesis, place) = (outbox.id(), outbox.genesis(), outbox.place().into());
        let (let_go, when) = oneshot::channel();
        // One job of the publisher and one of the status task, and room for a trim of each.
        let (jobs, mut queue) = mpsc::channel::<Job>(4);
        let mut worker = Worker { outbox, ages: Ages::default(), losses: 0, released: None };
        thread::Builder::new().name("tipline-outbox".into()).spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                job(&mut worker);
            }
            drop(worker);
            // Nobody waits if the producer was dropped.
            _ = let_go.send(());
        })?;
        Ok((Self { id, genesis, place, jobs }, when))
    }

    pub(crate) fn downgrade(&self) -> WeakOutbox {
        let (id, genesis, place) = (self.id, self.genesis.clone(), Arc::clone(&self.place));
        WeakOutbox { id, genesis, place, jobs: self.jobs.downgrade() }
    }

    /// Hash of the genesis block of its chain.
    pub(crate) fn genesis(&self) -> &Hash {
        &self.genesis
    }

    pub(crate) fn id(&self) -> OutboxId {
        self.id
    }

    /// Where it is, for errors.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// The log that it publishes to; `None` before the first.
    pub(crate) async fn lineage(&self) -> Result<Option<Lineage>, Obstacle> {
        self.run(|worker| worker.outbox.lineage()).await?.map_err(obstacle)
    }

    /// From now on it publishes to this log.
    pub(crate) async fn bind(&self, lineage: Lineage) -> Result<(), Obstacle> {
        let bind = self.run(move |worker| match worker.outbox.lineage()? {
            Some(bound) if bound == lineage => Ok(()),
            _ => worker.outbox.bind(lineage),
        });
        bind.await?.map_err(obstacle)
    }

    pub(crate) async fn pending(&self) -> Result<Pending, Obstacle> {
        self.run(|worker| worker.outbox.pending()).await?.map_err(obstacle)
    }

    /// What the log does not have; see [`Tidying::logged`].
    pub(crate) async fn waiting(&self, logged: Option<u64>) -> Result<Waiting, Obstacle> {
        let waiting = self.run(move |worker| {
            let pending = worker.outbox.pending()?;
            worker.waiting(logged, &pending)
        });
        waiting.await?.map_err(obstacle)
    }

    /// The row of this sequence, if it is held.
    pub(crate) async fn row(&self, sequence: u64) -> Result<Option<Row>, Obstacle> {
        let read = self.run(move |worker| worker.outbox.read(sequence.saturating_sub(1), 1, 0));
        Ok(read.await?.map_err(obstacle)?.pop())
    }

    /// The newest row up to `sequence` that changes the block tip, and the first one after it;
    /// `None` where there is none within reach.
    pub(crate) async fn blocks_around(
        &self,
        sequence: u64,
    ) -> Result<(Option<Row>, Option<Row>), Obstacle> {
        self.run(move |worker| worker.blocks_around(sequence)).await?.map_err(obstacle)
    }

    /// The next unit, sealed.
    pub(crate) async fn prepare(
        &self,
        log: Arc<dyn Log>,
        after: u64,
        previous: Position,
        epoch: u64,
    ) -> Result<Unit, Obstacle> {
        self.run(move |worker| worker.prepare(&*log, after, previous, epoch)).await?
    }

    /// Tells the outbox what is logged, trims what need not stay, and looks at what there is.
    pub(crate) async fn tidy(&self, tidying: Tidying) -> Result<Tidied, Obstacle> {
        self.run(move |worker| worker.tidy(&tidying)).await?.map_err(obstacle)
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Result<T, Obstacle> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |worker| {
            // Nobody waits any more if the publisher was dropped. There is nothing to report.
            _ = reply.send(job(worker));
        });
        let sent = self.jobs.send(job).await;
        if sent.is_err() {
            return Err(Obstacle::Final(EndReason::Panicked));
        }
        answer.await.map_err(|_| Obstacle::Final(EndReason::Panicked))
    }
}

impl Worker {
    fn prepare(
        &mut self,
        log: &dyn Log,
        after: u64,
        previous: Position,
        epoch: u64,
    ) -> Result<Unit, Obstacle> {
        let rows = self.outbox.read(after, MAX_UNIT_MESSAGES, MAX_UNIT_BYTES).map_err(obstacle)?;
        let mut unit: Vec<Entry> = Vec::with_capacity(rows.len());
        let mut previous = previous;
        for (row, expected) in rows.into_iter().zip(after + 1..) {
            if row.sequence != expected {
                let place = self.outbox.place();
                let why = format!(
                    "the outbox {place} gave row {} where {expected} was due: it is damaged",
                    row.sequence
                );
                return Err(Obstacle::Final(EndReason::halted(why)));
            }
            let entry = Entry::seal(&previous, epoch, row.time, row.sequence, row.event);
            previous = entry.position();
            unit.push(entry);
        }
        unit.truncate(log.unit_len(&unit));
        Ok(unit.into())
    }

    fn blocks_around(&mut self, sequence: u64) -> Result<(Option<Row>, Option<Row>), OutboxError> {
        let pending = self.outbox.pending()?;
        let mut at = sequence.saturating_sub(LOOK_AROUND).max(pending.first.saturating_sub(1));
        let (mut before, mut next) = (None, None);
        while at < sequence.saturating_add(LOOK_AROUND) && next.is_none() {
            let rows = self.outbox.read(at, MAX_UNIT_MESSAGES, MAX_UNIT_BYTES)?;
            let Some(last) = rows.last() else { break };
            at = last.sequence;
            for row in rows.into_iter().filter(|row| row.event.block_tip().is_some()) {
                if row.sequence <= sequence {
                    before = Some(row);
                } else {
                    next.get_or_insert(row);
                }
            }
        }
        Ok((before, next))
    }

    fn tidy(&mut self, tidying: &Tidying) -> Result<Tidied, OutboxError> {
        let failure = self.let_leave(tidying).err();
        let pending = self.outbox.pending()?;
        let waiting = self.waiting(tidying.logged, &pending)?;
        Ok(Tidied { pending, waiting, failure })
    }

    /// Releases and trims what may leave.
    fn let_leave(&mut self, tidying: &Tidying) -> Result<(), OutboxError> {
        let &Tidying { now, losses, .. } = tidying;
        if losses != self.losses {
            // What is logged again is as new as if it had never been.
            (self.ages, self.losses) = (Ages::default(), losses);
        }
        let (Some(logged), Some((upto, keep))) = (tidying.logged, tidying.may_leave) else {
            return Ok(());
        };
        let mut pending = self.outbox.pending()?;
        let upto = upto.min(pending.last);
        self.ages.note(upto, &keep, now);
        // Asked before each step: the log may have come into doubt meanwhile.
        let held = || tidying.held.load(Ordering::Acquire);
        let known = held();
        let as_released = Pending { released: upto.max(pending.released), ..pending };
        let is_due = self.ages.trim_to(&as_released, upto.min(known), &keep, now).is_some();
        if tidying.at_once || is_due || self.must_release(&pending, upto, now) {
            self.outbox.release(upto)?;
            self.released = Some(now);
            pending = self.outbox.pending()?;
        }
        while let Some(trimmed) = self.ages.trim_to(&pending, upto.min(held()), &keep, now) {
            self.outbox.trim(trimmed)?;
            pending = self.outbox.pending()?;
        }
        // From now on it may lose them again. What it was found to hold meanwhile stands.
        if known <= logged {
            _ = tidying.held.compare_exchange(known, 0, Ordering::AcqRel, Ordering::Acquire);
        }
        Ok(())
    }

    fn waiting(&mut self, logged: Option<u64>, pending: &Pending) -> Result<Waiting, OutboxError> {
        // What was trimmed was logged, by whatever process.
        let logged = logged.unwrap_or(pending.released).max(pending.first.saturating_sub(1));
        self.outbox.waiting(logged)
    }

    fn must_release(&self, pending: &Pending, upto: u64, now: Instant) -> bool {
        let ready = upto.saturating_sub(pending.released);
        let pressing = pending.counted_events() >= pending.max_events / 2
            || pending.counted_bytes >= pending.max_bytes / 2;
        let paused = self.released.is_none_or(|at| now.duration_since(at) >= RELEASE_PAUSE);
        ready >= RELEASE_ROWS || (ready > 0 && (pressing || paused))
    }
}

fn obstacle(error: OutboxError) -> Obstacle {
    match error {
        OutboxError::Failed { .. } => Obstacle::Passing(error_chain(&error)),
        error => Obstacle::Final(EndReason::outbox(error)),
    }
}
