//! The outbox on a thread of its own, because its calls block.

use std::sync::Arc;
use std::thread;

use tipline_log::{Log, error_chain};
use tipline_proto::limits::{MAX_UNIT_BYTES, MAX_UNIT_MESSAGES};
use tipline_proto::{Entry, Lineage, OutboxId, Position};
use tokio::sync::{mpsc, oneshot};

use super::core::{Obstacle, Unit};
use crate::end_reason::EndReason;
use crate::outbox::{Outbox, OutboxError, Pending, Row};

/// Logged rows that stay in the outbox in any case, to be published again should the log
/// lose them: 50 minutes of a chain with one block every 3 s.
const KEPT_ROWS: u64 = 1000;

/// How far around the row after which an outbox continues a block is looked for.
const LOOK_AROUND: u64 = 1000;

type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// The thread with the outbox. It ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub(crate) struct OutboxWorker {
    id: OutboxId,
    jobs: mpsc::Sender<Job>,
}

struct Worker {
    outbox: Box<dyn Outbox>,
    /// Rows up to here are trimmed.
    trimmed: u64,
}

impl OutboxWorker {
    pub(crate) fn spawn(outbox: Box<dyn Outbox>) -> std::io::Result<Self> {
        let id = outbox.id();
        // One job of the publisher and one of the status task, and room for a trim of each.
        let (jobs, mut queue) = mpsc::channel::<Job>(4);
        let mut worker = Worker { outbox, trimmed: 0 };
        thread::Builder::new().name("tipline-outbox".into()).spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                job(&mut worker);
            }
        })?;
        Ok(Self { id, jobs })
    }

    pub(crate) fn id(&self) -> OutboxId {
        self.id
    }

    /// Whether the outbox publishes to this log; a new one does from now on, and so does another
    /// one if it said where it continues. Otherwise the log that it publishes to.
    pub(crate) async fn belongs_to(
        &self,
        lineage: Lineage,
        continues: bool,
    ) -> Result<Result<(), Lineage>, Obstacle> {
        let bound = self.run(move |worker| match worker.outbox.lineage()? {
            Some(bound) if bound == lineage => Ok(Ok(())),
            Some(other) if !continues => Ok(Err(other)),
            _ => worker.outbox.bind(lineage).map(Ok),
        });
        bound.await?.map_err(obstacle)
    }

    pub(crate) async fn pending(&self) -> Result<Pending, Obstacle> {
        self.run(|worker| worker.outbox.pending()).await?.map_err(obstacle)
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

    /// Drops rows up to `sequence`, except the newest that are kept in any case.
    pub(crate) async fn trim(&self, sequence: u64) -> Result<(), Obstacle> {
        self.run(move |worker| worker.trim(sequence)).await?.map_err(obstacle)
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

    fn trim(&mut self, sequence: u64) -> Result<(), OutboxError> {
        let sequence = sequence.saturating_sub(KEPT_ROWS);
        // In steps, so that the node's database is not written to for every unit.
        if sequence < self.trimmed + KEPT_ROWS / 10 {
            return Ok(());
        }
        self.outbox.trim(sequence)?;
        self.trimmed = sequence;
        Ok(())
    }
}

fn obstacle(error: OutboxError) -> Obstacle {
    match error {
        OutboxError::Failed { .. } => Obstacle::Passing(error_chain(&error)),
        error => Obstacle::Final(EndReason::outbox(error)),
    }
}
