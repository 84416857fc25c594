//! Before a claim: does this outbox continue this log, and from which row?

use std::ops::RangeInclusive;
use std::time::Duration;

use tipline_log::{Log, LogError, Tail, VouchedTail, newest_entry, vouched_block, vouched_tail};
use tipline_proto::{Entry, Event, Head, OutboxId, Tip};

use super::protocol::Obstacle;
use super::shared::Publisher;
use super::worker::OutboxWorker;
use crate::end_reason::EndReason;
use crate::outbox::Row;
use crate::settings::ResumeFrom;

/// How far back the newest block is searched for, over this many proofs and other events.
const LOOK_BACK: u64 = 10_000;
/// How far, and how long, only to announce it.
const LOOK_BACK_TO_ANNOUNCE: u64 = 300;
const LOOK_TO_ANNOUNCE: Duration = Duration::from_secs(2);

/// The outbox publishes to this log, or was said to continue exactly where it ends. Settings that were
/// left over from another time do not take it to another log.
pub(super) async fn check_lineage(
    log: &dyn Log,
    tail: &Tail,
    outbox: &OutboxWorker,
    continue_at: Option<ResumeFrom>,
) -> Result<(), Obstacle> {
    let found = log.identity().lineage;
    let Some(bound) = outbox.lineage().await?.filter(|bound| *bound != found) else {
        return Ok(());
    };
    match continue_at {
        Some(at) => check_position(at, tail).map(drop),
        None => Err(Obstacle::Final(EndReason::WrongLog { bound, found })),
    }
}

/// A trusted primary vouches for the log up to its tail, where signatures are required, but for rows of
/// this outbox that it has published before: of a unit that a log has stored in part, the end is not
/// there that was signed. Checked before the claim, whose signature vouches for all before it.
pub(super) async fn check_vouched(
    log: &dyn Log,
    tail: &Tail,
    outbox: &OutboxWorker,
) -> Result<(), Obstacle> {
    let VouchedTail { signed, unsigned } = vouched_tail(log, tail).await?;
    let mut before = signed.filter(|_| tail.outbox == Some(outbox.id()));
    for head in unsigned {
        let is_next = |before: &Head| {
            before.outbox_sequence.checked_add(1) == Some(head.outbox_sequence)
                && before.epoch == head.epoch
        };
        let row = match before.filter(is_next) {
            Some(before) => {
                let row = outbox.row(head.outbox_sequence).await?;
                let seal = |row: Row| {
                    Entry::seal(&before.position, head.epoch, row.time, row.sequence, row.event)
                };
                row.map(seal)
            }
            None => None,
        };
        if row.is_none_or(|row| row.position() != head.position) {
            let why = format!(
                "entry {} is signed by nobody, and is no row of this outbox that comes next; the \
                 log ends at entry {}, and a claim would vouch for it. Find out who wrote it, and \
                 compare it with the node's database. If it is right, start this primary once \
                 without trusted keys. If not, this log cannot be continued: make a new one",
                head.position.index, tail.position.index
            );
            return Err(Obstacle::Final(EndReason::halted(why)));
        }
        before = Some(head);
    }
    Ok(())
}

/// The outbox sequence up to which the log is complete, in the numbers of this outbox.
pub(super) async fn logged_through(
    log: &dyn Log,
    tail: &Tail,
    outbox: &OutboxWorker,
    continue_at: Option<ResumeFrom>,
) -> Result<u64, Obstacle> {
    match tail.outbox {
        None => {
            let sequence = match continue_at {
                Some(at) => check_position(at, tail)?,
                None => 0,
            };
            check_reached(outbox, sequence).await?;
            check_held(tail, outbox, sequence).await?;
            Ok(sequence)
        }
        Some(logged) if logged == outbox.id() => {
            check_same_history(log, tail, outbox).await?;
            Ok(tail.outbox_sequence)
        }
        Some(logged) => {
            let Some(at) = continue_at else {
                let (sequence, own) = (tail.outbox_sequence, outbox.id());
                return Err(Obstacle::Final(EndReason::WrongOutbox { logged, sequence, own }));
            };
            let sequence = check_position(at, tail)?;
            check_reached(outbox, sequence).await?;
            check_continues(log, tail, outbox, sequence).await?;
            check_held(tail, outbox, sequence).await?;
            Ok(sequence)
        }
    }
}

/// The log ends where the outbox was said to continue. An empty log does not: it ends at its origin,
/// which is in no other log.
fn check_position(at: ResumeFrom, tail: &Tail) -> Result<u64, Obstacle> {
    if at.position == tail.position {
        return Ok(at.sequence);
    }
    let why = format!(
        "this outbox was to continue after {}, but the log ends at {}: see what was published \
         since, or whether it is another log, and say where it continues",
        at.position, tail.position
    );
    Err(Obstacle::Final(EndReason::halted(why)))
}

/// The outbox has the row after `sequence`, or will have it. Checked before the claim: a primary
/// that cannot publish must not fence one that can.
async fn check_held(tail: &Tail, outbox: &OutboxWorker, sequence: u64) -> Result<(), Obstacle> {
    let first = outbox.pending().await?.first;
    let next = sequence.saturating_add(1);
    if next >= first {
        return Ok(());
    }
    let why = format!(
        "the log ends at entry {} and needs row {next} of the outbox next, which holds rows from \
         {first} on: rows {next} to {} are in neither; the log lost more than the outbox keeps, or \
         continues elsewhere. Refill the log from an archive (`tipline refill`). If no archive has \
         them, this log cannot be continued: make a new one, with a new outbox",
        tail.position.index,
        first - 1
    );
    Err(Obstacle::Final(EndReason::halted(why)))
}

/// The outbox has the row after which it is to continue: rows that come later are not in the log
/// already, and would never be published.
async fn check_reached(outbox: &OutboxWorker, sequence: u64) -> Result<(), Obstacle> {
    let last = outbox.pending().await?.last;
    if sequence <= last {
        return Ok(());
    }
    // An outbox that is a view over files may still be looking through them.
    let why = format!(
        "waiting for row {sequence} of the outbox, after which it is to continue: it ends at row \
         {last}"
    );
    Err(Obstacle::Passing(why))
}

/// What the outbox knows to be logged and the log does not have was lost while no primary ran.
pub(super) async fn look_for_loss(tail: &Tail, publisher: &Publisher) -> Result<(), Obstacle> {
    let released = publisher.outbox.pending().await?.released;
    let is_own = tail.outbox == Some(publisher.outbox.id());
    // One that was told where to continue may have published to another log before.
    let is_new = publisher.settings.continue_at.is_some();
    // An earlier survey of this run has said so, and the claim after it was not stored.
    let is_told = publisher.progress.borrow().losses > 0;
    if !is_own || is_new || is_told || released <= tail.outbox_sequence {
        return Ok(());
    }
    tracing::error!(
        acknowledged_row = released, found_row = tail.outbox_sequence, tail = %tail.position,
        "the log lost entries that it had acknowledged; publishing them again from the outbox"
    );
    publisher.progress.send_modify(|progress| progress.losses += 1);
    Ok(())
}

/// The outbox's block at `sequence` is the log's newest one, and the next one follows it.
/// Checked before the claim, because a claim says for good up to which row the log is complete.
async fn check_continues(
    log: &dyn Log,
    tail: &Tail,
    outbox: &OutboxWorker,
    sequence: u64,
) -> Result<(), Obstacle> {
    let Some(tip) = newest_block(log, tail, LOOK_BACK).await? else {
        return Ok(());
    };
    let (before, next) = outbox.blocks_around(sequence).await?;
    if before.is_none() && next.is_none() {
        let why = format!(
            "waiting for a block in the outbox around row {sequence}, to see whether it continues \
             the log's newest block {tip}"
        );
        return Err(Obstacle::Passing(why));
    }
    let is_tip = |row: &Row| row.event.block_tip().as_ref() == Some(&tip);
    let wrong = before.filter(|row| !is_tip(row));
    let wrong = wrong.or_else(|| next.filter(|row| !follows(&row.event, &tip)));
    let Some(row) = wrong else {
        return Ok(());
    };
    let why = format!(
        "the log's newest block is {tip}, but row {} of the outbox is {}: the outbox does not \
         continue after row {sequence}",
        row.sequence, row.event
    );
    Err(Obstacle::Final(EndReason::halted(why)))
}

fn follows(event: &Event, tip: &Tip) -> bool {
    match event {
        Event::BlockCommitted { height, parent_hash, .. } => {
            tip.height.checked_add(1) == Some(*height) && tip.hash == *parent_hash
        }
        Event::RolledBack { to_height, .. } => *to_height < tip.height,
        _ => true,
    }
}

/// The log's newest row is the outbox's row of this number. A node that was restored from an
/// older copy has fewer rows, or others.
async fn check_same_history(
    log: &dyn Log,
    tail: &Tail,
    outbox: &OutboxWorker,
) -> Result<(), Obstacle> {
    let pending = outbox.pending().await?;
    let sequence = tail.outbox_sequence;
    if pending.last < sequence {
        let why = format!(
            "the log has row {sequence} of this outbox, {}, which ends at row {}: the node's \
             database is older than the log; was it restored? Bring it up to the log first, and \
             give it a new outbox that says where it continues",
            outbox.place(),
            pending.last
        );
        return Err(Obstacle::Final(EndReason::halted(why)));
    }
    check_held(tail, outbox, sequence).await?;
    if sequence < pending.first {
        return Ok(());
    }
    let Some(row) = outbox.row(sequence).await? else {
        return Ok(());
    };
    let of_outbox = |event: &Event| !matches!(event, Event::EpochStarted { .. });
    let logged = newest_entry(log, newest(log, tail, LOOK_BACK).await?, of_outbox).await?;
    let Some(logged) = logged.filter(|entry| entry.outbox_sequence == sequence) else {
        return Ok(());
    };
    // Its time does not count. A node that was rebuilt has committed the same event again.
    if logged.event == row.event || !is_of(log, tail, &logged, outbox.id()).await? {
        return Ok(());
    }
    let why = format!(
        "row {sequence} of this outbox, {}, is {}, but the log has {} for it: the node's database \
         is not the one that was published from; was it restored? Give it a new outbox that says \
         where it continues",
        outbox.place(),
        row.event,
        logged.event
    );
    Err(Obstacle::Final(EndReason::halted(why)))
}

/// Whether an entry is of this outbox, and not of one that this one has continued: what its epoch's
/// claim says. If it is not known it is, so that two histories are never mixed.
async fn is_of(
    log: &dyn Log,
    tail: &Tail,
    entry: &Entry,
    outbox: OutboxId,
) -> Result<bool, LogError> {
    if entry.epoch == tail.epoch {
        return Ok(true);
    }
    let first = log.extent().await?.first.max(entry.index.saturating_sub(LOOK_BACK));
    let is_claim = |event: &Event| matches!(event, Event::EpochStarted { .. });
    let claim = newest_entry(log, first..=entry.index, is_claim).await?;
    Ok(claim.is_none_or(|claim| match claim.event {
        Event::EpochStarted { outbox: claimed, .. } => claimed == outbox,
        _ => true,
    }))
}

/// The newest block of the log, only to announce it: what is not found soon is not announced, nor, where
/// signatures are required, what nobody vouches for. The announcement is signed.
pub(super) async fn announced_block(log: &dyn Log, tail: &Tail) -> Result<Option<Tip>, LogError> {
    let look = async {
        match log.trust() {
            None => newest_block(log, tail, LOOK_BACK_TO_ANNOUNCE).await,
            Some(_) => match vouched_block(log, tail, LOOK_BACK_TO_ANNOUNCE).await {
                // The survey says what is wrong.
                Err(error) if !error.is_retryable() => Ok(None),
                found => found,
            },
        }
    };
    tokio::time::timeout(LOOK_TO_ANNOUNCE, look).await.unwrap_or(Ok(None))
}

/// The newest block of the log; `None` if there is none among the newest `look_back` entries.
async fn newest_block(log: &dyn Log, tail: &Tail, look_back: u64) -> Result<Option<Tip>, LogError> {
    tipline_log::newest_block(log, newest(log, tail, look_back).await?).await
}

/// The newest entries, as many as there are up to `look_back`.
async fn newest(
    log: &dyn Log,
    tail: &Tail,
    look_back: u64,
) -> Result<RangeInclusive<u64>, LogError> {
    let last = tail.position.index;
    let first = log.extent().await?.first.max(last.saturating_sub(look_back));
    Ok(first..=last)
}
