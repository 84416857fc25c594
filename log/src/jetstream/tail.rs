//! The tail, from the leader.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use tipline_proto::subject::Subject;
use tipline_proto::{Entry, Event, Head, Kind, OutboxId};

use super::JetStreamLog;
use super::api::StreamRef;
use super::parts;
use crate::error::LogError;
use crate::spec::Tail;

/// How often the log may grow between two questions before we give up for now.
const ATTEMPTS: usize = 20;

/// Time between two looks at a batch that is being stored: 2 s in all.
const WHILE_STORING: Duration = Duration::from_millis(100);

/// The newest claim of a log.
pub(super) struct Claim {
    /// Of its message, in the stream it was read from.
    pub(super) sequence: u64,
    pub(super) epoch: u64,
    pub(super) outbox: OutboxId,
    /// Its entry.
    pub(super) bytes: Bytes,
}

impl Claim {
    pub(super) fn read(stream: StreamRef<'_>, message: StreamMessage) -> Result<Self, LogError> {
        let (sequence, bytes) = (message.sequence, message.payload);
        let entry =
            Entry::decode(bytes.clone()).map_err(|error| stream.damaged(sequence, error))?;
        match entry.event {
            Event::EpochStarted { outbox, .. } => {
                Ok(Self { sequence, epoch: entry.epoch, outbox, bytes })
            }
            other => Err(stream.wrong(sequence, format!("{other} is not a claim"))),
        }
    }
}

impl JetStreamLog {
    /// The tail, and the sequence of the oldest message.
    ///
    /// The newest entry and the claim that it is under are read one after the other: if the
    /// log grew by a claim in between, both are read again.
    pub(super) async fn read_ends(&self) -> Result<(Tail, u64), LogError> {
        for _ in 0..ATTEMPTS {
            let state = self.event_stream().info().await?.state;
            let last = state.last_sequence;
            if last == 0 {
                return Ok((Tail::origin(&self.identity), state.first_sequence));
            }
            if state.messages == 0 {
                return Err(self.event_stream().wrong(last, "the stream was emptied"));
            }
            let Some(message) = self.event_stream().message(last).await? else { continue };
            if is_within_batch(&message.headers) {
                tokio::time::sleep(WHILE_STORING).await;
                continue;
            }
            let head = self.head_of(&message)?;
            let Some(claim) = self.claim_of(&head, last).await? else { continue };
            return Ok((tail_of(&head, &claim, last), state.first_sequence));
        }
        Err(self.link.unavailable("read the tail: it keeps changing", None))
    }

    /// The head of an entry whose last message this is.
    pub(super) fn head_of(&self, message: &StreamMessage) -> Result<Head, LogError> {
        let sequence = message.sequence;
        let part = parts::of(&message.headers)
            .map_err(|error| self.event_stream().wrong(sequence, error.to_string()))?;
        if part.is_some_and(|(part, _)| !part.is_last()) {
            let why = "an event without its last part";
            return Err(self.event_stream().wrong(sequence, why));
        }
        Head::decode(message.payload.clone())
            .map_err(|error| self.event_stream().damaged(sequence, error))
    }

    /// The newest claim that the log holds; `None` if it was trimmed away.
    pub(super) async fn newest_claim(&self) -> Result<Option<Claim>, LogError> {
        let stream = self.event_stream();
        let Some(message) = stream.last(&self.claims()).await? else { return Ok(None) };
        Claim::read(stream, message).map(Some)
    }

    /// The claim that the newest entry, with this head, is under. `None` if there is a newer
    /// one by now.
    async fn claim_of(&self, head: &Head, last: u64) -> Result<Option<Claim>, LogError> {
        let claim = match self.newest_claim().await? {
            Some(claim) if claim.sequence > last => return Ok(None),
            Some(claim) => claim,
            // Trimmed away: it was put beside the receipts before.
            None => match self.kept_claim().await? {
                Some(claim) if claim.epoch > head.epoch => return Ok(None),
                Some(claim) => claim,
                None => {
                    let why = "the claim of its epoch is gone: something other than Tipline's \
                               retention removed messages before it";
                    return Err(self.event_stream().wrong(last, why));
                }
            },
        };
        if claim.epoch == head.epoch {
            return Ok(Some(claim));
        }
        let why = format!(
            "an entry of epoch {} behind the claim of epoch {}: something other than \
             Tipline's primary wrote it",
            head.epoch, claim.epoch
        );
        Err(self.event_stream().wrong(last, why))
    }

    /// The subject of the claims.
    pub(super) fn claims(&self) -> String {
        Subject::Event(self.identity.name.clone(), Kind::EpochStarted).to_string()
    }
}

/// Whether the batch that this message is of is still being stored behind it. What several
/// servers have agreed on, each of them stores message by message: its own readers may look
/// in between. The rest is certain to come.
fn is_within_batch(headers: &HeaderMap) -> bool {
    headers.get("Nats-Batch-Id").is_some() && headers.get("Nats-Batch-Commit").is_none()
}

fn tail_of(head: &Head, claim: &Claim, fence: u64) -> Tail {
    Tail {
        position: head.position,
        epoch: head.epoch,
        time: head.time,
        outbox_sequence: head.outbox_sequence,
        outbox: Some(claim.outbox),
        fence,
    }
}
