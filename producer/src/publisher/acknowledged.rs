//! Before a claim: does the log still have what it had acknowledged to this outbox?
//!
//! A primary that goes on from an older end of its log writes other entries at indexes that had some. If
//! it signs, its key vouches for two histories, and nobody can tell which of them is the right one. What
//! somebody puts in the place of a log may be just that: an older state of it, with good signatures.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tipline_log::{AppendError, Log, LogError, Tail, error_chain};
use tipline_proto::{Entry, Position};
use tokio::time::Instant;

use super::protocol::{Obstacle, Unit};
use super::shared::Publisher;
use super::worker::OutboxWorker;
use crate::end_reason::EndReason;
use crate::outbox::Acknowledged;

/// For so long it is looked again before an older end is believed: as long as a running primary looks.
const PATIENCE: Duration = Duration::from_secs(15);

/// Gives the tail after which the log is to be claimed. Usually it is `tail`. Entries that the log has
/// lost are published again first where they can be made as they were, of the rows of the outbox.
///
/// # Errors
/// Passing for a while, then final, if it cannot, and this primary signs; or if the log has another
/// entry where it had acknowledged one.
pub(super) async fn check(
    log: &Arc<dyn Log>,
    tail: Tail,
    publisher: &Publisher,
) -> Result<Tail, Obstacle> {
    let Some(known) = publisher.acknowledged(&**log).await? else { return Ok(tail) };
    if holds(&**log, &tail, known.position).await? {
        *missing(publisher) = None;
        return Ok(tail);
    }
    let is_shorter = tail.position.index < known.position.index;
    if is_shorter && can_be_made(log, &tail, &known, &publisher.outbox).await? {
        let whole = publish_again(log, tail, &known, &publisher.outbox).await?;
        alarm(publisher, known.position, "it published them again as they were");
        *missing(publisher) = None;
        return Ok(whole);
    }
    let is_accepted = publisher.settings.accept_lost == Some(known.position);
    if is_accepted || (is_shorter && !log.signs()) {
        alarm(publisher, known.position, "publishing again from the outbox");
        // Before the claim: a crash after it must not find another history where this one was.
        let Tail { position, epoch, outbox_sequence: sequence, .. } = tail;
        let Acknowledged { lineage, .. } = known;
        let end = Acknowledged { lineage, position, epoch, sequence };
        publisher.forget_acknowledged(end).await?;
        return Ok(tail);
    }
    let why = explain(&known, &tail);
    let since = *missing(publisher).get_or_insert_with(Instant::now);
    // A server that was cut off from the others, and does not know yet, has an older end.
    if since.elapsed() < PATIENCE {
        return Err(Obstacle::Passing(format!("{why}; looking again")));
    }
    Err(Obstacle::Final(EndReason::halted(why)))
}

fn missing(publisher: &Publisher) -> MutexGuard<'_, Option<Instant>> {
    publisher.missing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the log has this entry, as far as it can be told: it may have been trimmed since.
async fn holds(log: &dyn Log, tail: &Tail, known: Position) -> Result<bool, LogError> {
    if tail.position.index <= known.index {
        return Ok(tail.position == known);
    }
    match log.head(known.index).await {
        Ok(head) => Ok(head.position == known),
        Err(LogError::OutOfRange { asked, first, .. }) if asked < first => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether all that the log has lost are rows of the epoch of its tail, and the outbox has them: then
/// they can only be the same entries. Lost claims cannot be made again.
async fn can_be_made(
    log: &Arc<dyn Log>,
    tail: &Tail,
    known: &Acknowledged,
    outbox: &OutboxWorker,
) -> Result<bool, Obstacle> {
    let next = tail.outbox_sequence.saturating_add(1);
    if tail.outbox != Some(outbox.id())
        || tail.epoch != known.epoch
        || next < outbox.pending().await?.first
    {
        return Ok(false);
    }
    let (mut after, mut position) = (tail.outbox_sequence, tail.position);
    while after < known.sequence {
        let unit = lost(log, after, position, known, outbox).await?;
        let Some(last) = unit.last() else { return Ok(false) };
        (after, position) = (last.outbox_sequence, last.position());
    }
    Ok(position == known.position)
}

async fn publish_again(
    log: &Arc<dyn Log>,
    mut tail: Tail,
    known: &Acknowledged,
    outbox: &OutboxWorker,
) -> Result<Tail, Obstacle> {
    while tail.position != known.position {
        let unit = lost(log, tail.outbox_sequence, tail.position, known, outbox).await?;
        let Some(last) = unit.last() else { break };
        let Tail { fence, .. } = log.append(&tail, &unit).await.map_err(hindered)?;
        let (position, outbox_sequence) = (last.position(), last.outbox_sequence);
        tail = Tail { position, outbox_sequence, time: last.time, fence, ..tail };
    }
    Ok(tail)
}

/// The next unit after `after`, no further than what the log had acknowledged.
async fn lost(
    log: &Arc<dyn Log>,
    after: u64,
    previous: Position,
    known: &Acknowledged,
    outbox: &OutboxWorker,
) -> Result<Unit, Obstacle> {
    let unit = outbox.prepare(Arc::clone(log), after, previous, known.epoch).await?;
    let is_lost = |entry: &&Entry| entry.outbox_sequence <= known.sequence;
    let lost = unit.iter().take_while(is_lost).count();
    Ok(unit[..lost].into())
}

fn hindered(error: AppendError) -> Obstacle {
    match error {
        AppendError::Conflict => Obstacle::Passing("somebody else appends to the log".to_owned()),
        AppendError::Doubt(error) => Obstacle::Passing(error_chain(&error)),
        error => Obstacle::Final(EndReason::refused(error)),
    }
}

/// Once: a later survey of this run finds the same.
fn alarm(publisher: &Publisher, acknowledged: Position, done: &str) {
    if publisher.progress.borrow().losses > 0 {
        return;
    }
    tracing::error!(%acknowledged, "the log lost entries that it had acknowledged; {done}");
    publisher.progress.send_modify(|progress| progress.losses += 1);
}

fn explain(known: &Acknowledged, tail: &Tail) -> String {
    let (Position { index, digest }, tail) = (known.position, tail.position);
    let known = format!("{index}@{digest}");
    if tail.index < index {
        return format!(
            "the log had acknowledged entry {index} to this primary, and ends at entry {}: it lost \
             its end, or an older state was put in its place. Nothing was written, because this \
             primary would sign other entries where it has signed some. Refill the log from an \
             archive (`tipline refill`), and start again. Only if nothing has what is missing, \
             accept that it is lost: --accept-lost {known}",
            tail.index
        );
    }
    format!(
        "the log had acknowledged entry {index} to this primary, and has another one there: its \
         history was altered, or goes on from where it had lost its end. Nothing was written. \
         Compare it with an archive (`tipline audit diff`). Only if its history is the one to go \
         on with, accept that the other one is lost: --accept-lost {known}"
    )
}
