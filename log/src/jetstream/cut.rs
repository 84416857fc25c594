//! A log whose end was lost.
//!
//! A server that does not fsync what it acknowledges may come back from a power cut without the
//! newest messages, down to any one of them. If that one is within an atomic batch, the rest of
//! the batch never comes: the server has forgotten that there was more. What is left are whole
//! entries, which chain one by one, and at the very end perhaps the first parts of an entry.
//! These parts are void: nobody will ever have the entry. The log goes on after them, and readers
//! drop them.
//!
//! To take a batch that is still being stored for one that was cut off would do no harm: an
//! append names the sequence it expects, and the server stores the one or the other.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::header::{NATS_BATCH_COMMIT, NATS_BATCH_ID, NATS_BATCH_SEQUENCE};
use async_nats::jetstream::message::StreamMessage;
use async_nats::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::reread::Reread;
use super::walk::Walk;
use super::{JetStreamLog, parts};
use crate::error::LogError;

/// A batch whose rest has not come for this long was cut off. Storing one takes milliseconds.
const CUT_AFTER: Duration = Duration::from_secs(15);

/// The end of the log: its newest whole entry, and what the next append is to expect.
pub(super) struct End {
    /// The last message of the entry; `None` if nothing that is stored is a whole entry.
    pub(super) message: Option<StreamMessage>,
    /// Sequence of the newest message. Those after the entry are void.
    pub(super) fence: u64,
}

/// The newest message, as long as the rest of its batch is not there.
#[derive(Default)]
pub(super) struct Unfinished(Mutex<Option<Seen>>);

#[derive(Clone)]
struct Seen {
    sequence: u64,
    batch: HeaderValue,
    /// When this handle saw it first.
    since: Instant,
    is_cut: bool,
}

impl Unfinished {
    fn see(&self, sequence: u64, batch: &HeaderValue) -> Seen {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some(seen) if seen.sequence == sequence && seen.batch == *batch => seen.clone(),
            _ => {
                let (batch, since) = (batch.clone(), Instant::now());
                held.insert(Seen { sequence, batch, since, is_cut: false }).clone()
            }
        }
    }

    fn is_cut(&self, sequence: u64) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = held.as_mut().filter(|seen| seen.sequence == sequence) {
            seen.is_cut = true;
        }
    }
}

impl JetStreamLog {
    /// Whether the rest of the newest message's batch was lost. If it is too early to say, waits
    /// until it is worth while to look once more.
    ///
    /// # Errors
    /// `Unavailable` once that has taken too long for one question.
    pub(super) async fn is_cut_off(
        &self,
        message: &StreamMessage,
        batch: &HeaderValue,
        reread: &mut Reread,
    ) -> Result<bool, LogError> {
        let seen = self.unfinished.see(message.sequence, batch);
        if seen.is_cut {
            return Ok(true);
        }
        let why = format!(
            "the log ends at message {}, in the middle of a unit; if the rest is not there {} s \
             after it, it was lost, and the log goes on after the last whole entry",
            message.sequence,
            CUT_AFTER.as_secs()
        );
        let Err(error) = reread.again(&self.link, &why).await else { return Ok(false) };
        // Seen all along by this handle, or by the clock of the server, for those that ask once.
        let newest = self.event_stream().newest().await?;
        let is_newest = newest.sequence == message.sequence;
        if !is_newest || seen.since.elapsed().max(newest.age) < CUT_AFTER {
            return Err(error);
        }
        tracing::warn!(
            place = %self.link.place, message = message.sequence,
            "the log was cut off within a unit: what was stored after its last whole entry is lost"
        );
        self.unfinished.is_cut(message.sequence);
        Ok(true)
    }

    /// The end of the log, if its newest message has this sequence: the newest whole entry there
    /// or before. `None` if what was there was trimmed away meanwhile.
    pub(super) async fn end_at(
        &self,
        fence: u64,
        walk: &mut Walk,
    ) -> Result<Option<End>, LogError> {
        let stream = self.event_stream();
        let mut sequence = fence;
        while sequence >= self.first {
            let Some(message) = stream.message(sequence).await? else { break };
            let part = parts::read(&message.headers)
                .map_err(|error| stream.wrong(sequence, error.to_string()))?;
            match part {
                Some((part, _)) if !part.is_last() => {
                    walk.step(stream, sequence)?;
                    sequence = sequence.saturating_sub(u64::from(part.number()));
                }
                _ => return Ok(Some(End { message: Some(message), fence })),
            }
        }
        match sequence {
            sequence if sequence < self.first => Ok(Some(End { message: None, fence })),
            // Trimming removes no whole entry that has only void parts after it.
            sequence if sequence == fence => Ok(None),
            _ => {
                let why = "the only entry that it held was cut off, and those before it were \
                           trimmed away, so nothing can follow it: make a new log, as after the \
                           loss of a whole one";
                Err(stream.wrong(fence, why))
            }
        }
    }
}

/// The name of the batch that continues after this message, and the message's number in it,
/// from 1.
pub(super) fn within_batch(headers: &HeaderMap) -> Option<(HeaderValue, u64)> {
    let batch = headers.get(NATS_BATCH_ID).filter(|_| headers.get(NATS_BATCH_COMMIT).is_none())?;
    let number = headers.get(NATS_BATCH_SEQUENCE)?.as_str().parse().ok()?;
    Some((batch.clone(), number))
}
