//! Claiming a log for a primary that is not running yet: every older one is fenced off.

use std::time::Duration;

use tipline_proto::limits::MAX_INDEX;
use tipline_proto::{Announcement, Entry, Event, Label, OutboxId, Position};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::error::{AppendError, LogError};
use crate::spec::{Log, Tail};
use crate::vouched::vouched_tail;

/// For this long the claim is tried while others append. A busy primary leaves short gaps. It
/// may take more than a hundred attempts, and on a slow disk each of them takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log that was claimed for a primary that is not running yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The log's tail after the claim.
    pub position: Position,
    /// The epoch that was started.
    pub epoch: u64,
    /// When, by the clock of this machine.
    pub time_us: u64,
}

/// The epoch that the next claim starts: above that of the log's tail, and above every one that was
/// announced. The log may have lost a claim that somebody has seen. Two primaries must not have the
/// epoch of one.
///
/// # Errors
/// [`LogError::Unusable`] if there is none above: no primary gets so far.
pub fn next_epoch(
    log: &dyn Log,
    tail: &Tail,
    announced: Option<&Announcement>,
) -> Result<u64, LogError> {
    let newest = tail.epoch.max(announced.map_or(0, |announced| announced.epoch));
    let next = newest.checked_add(1).filter(|epoch| *epoch <= MAX_INDEX);
    next.ok_or_else(|| {
        let why = format!(
            "its newest epoch is {newest}, above which there is none: something other than \
             Tipline's primary wrote it"
        );
        unusable(log, why)
    })
}

fn unusable(log: &dyn Log, why: String) -> LogError {
    LogError::Unusable { place: log.identity().name.to_string(), why, source: None }
}

/// What [`claim`] would refuse now. Nothing is written.
///
/// # Errors
/// Those of [`claim`].
pub async fn check_claim(log: &dyn Log) -> Result<(), LogError> {
    let (board, tail) = (log.board().await?, log.tail().await?);
    check(log, &tail, board.primary.as_ref()).await.map(drop)
}

/// The epoch of a claim after this tail, if there may be one.
async fn check(
    log: &dyn Log,
    tail: &Tail,
    announced: Option<&Announcement>,
) -> Result<u64, LogError> {
    if let Some(first) = vouched_tail(log, tail).await?.unsigned.first() {
        let why = format!(
            "no trusted primary has signed its entries from {} to {}, and a claim would vouch for \
             them; compare them with an archive (`tipline audit diff`), and if they are right, \
             claim without trusted keys",
            first.position.index, tail.position.index
        );
        return Err(unusable(log, why));
    }
    next_epoch(log, tail, announced)
}

/// Claims a log for a new primary of this name: starts the next epoch, see [`next_epoch`]. On return
/// the claim is as durable as the log. Whatever an older primary appends is refused, and it ends as
/// fenced.
///
/// A signature of the claim vouches for all before it. Where signatures are required, the tail must be
/// vouched for by a trusted primary: see [`vouched_tail`].
///
/// # Errors
/// The log's, and those of [`vouched_tail`]. [`LogError::Unusable`] if nobody vouches for the newest
/// entries. [`LogError::Unavailable`] too if others append without end.
pub async fn claim(log: &dyn Log, primary: Label, clock: &Clock) -> Result<Claim, LogError> {
    let outbox = outbox_id(&primary, clock);
    let end = Instant::now() + PATIENCE;
    // Not between tail and append, where every round trip gives a busy primary time to append.
    let announced = log.board().await?.primary;
    while Instant::now() < end {
        let tail = log.tail().await?;
        let epoch = check(log, &tail, announced.as_ref()).await?;
        let time = clock();
        let event = Event::EpochStarted { primary: primary.clone(), outbox };
        // Nothing of the new outbox is in the log.
        let entry = Entry::seal(&tail.position, epoch, time, 0, event);
        match log.append(&tail, std::slice::from_ref(&entry)).await {
            Ok(_) => return announce(log, &primary, &entry).await,
            Err(AppendError::Conflict) => {}
            Err(AppendError::Doubt(error)) if error.is_retryable() => {
                // The tail decides. Ours is known by its digest.
                if log.tail().await?.position == entry.position() {
                    return announce(log, &primary, &entry).await;
                }
            }
            Err(AppendError::Doubt(error) | AppendError::Refused(error)) => return Err(error),
        }
    }
    Err(LogError::Unavailable {
        place: log.identity().name.to_string(),
        what: format!(
            "others append to it without end, so it was not claimed within {} s: try again",
            PATIENCE.as_secs()
        ),
        source: None,
    })
}

/// Says so to everybody. A primary that has nothing to publish learns from it that it is fenced.
async fn announce(log: &dyn Log, primary: &Label, entry: &Entry) -> Result<Claim, LogError> {
    let before = log.board().await?.primary;
    let (block_tip, proof_tip) =
        before.map_or((None, None), |before| (before.block_tip, before.proof_tip));
    log.announce(&Announcement {
        outbox_waiting_bytes: 0,
        outbox_oldest: None,
        outbox_max_events: 0,
        outbox_max_bytes: 0,
        held_up: None,
        source_failure: None,
        seal: None,
        lineage: log.identity().lineage,
        primary: primary.clone(),
        epoch: entry.epoch,
        tail: entry.position(),
        block_tip,
        proof_tip,
        outbox_events: 0,
        outbox_bytes: 0,
        time: entry.time,
        failure: Some("it was restored, and has not been started yet".to_owned()),
    })
    .await?;
    Ok(Claim { position: entry.position(), epoch: entry.epoch, time_us: entry.time.as_micros() })
}

/// Of an outbox that does not exist: another one for each claim.
fn outbox_id(primary: &Label, clock: &Clock) -> OutboxId {
    let text = format!("{} {}", primary.as_str(), clock().as_micros());
    let hash = blake3::hash(text.as_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    OutboxId::from_bytes(half)
}
