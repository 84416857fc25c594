//! The tail, from the leader.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use tipline_proto::subject::Subject;
use tipline_proto::{Entry, Event, Head, Kind, OutboxId};

use super::JetStreamLog;
use super::parts;
use crate::error::LogError;
use crate::spec::Tail;

/// How often the log may grow between two questions before we give up for now.
const ATTEMPTS: usize = 20;

/// Time between two looks at a batch that is being stored: 2 s in all.
const WHILE_STORING: Duration = Duration::from_millis(100);

/// The newest claim of a log.
struct Claim {
    sequence: u64,
    epoch: u64,
    outbox: OutboxId,
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
            let claim = self.newest_claim().await?;
            if claim.as_ref().is_some_and(|claim| claim.sequence > last) {
                continue;
            }
            if let Some(claim) = claim.as_ref().filter(|claim| claim.epoch > head.epoch) {
                let why = format!(
                    "an entry of epoch {} behind the claim of epoch {}: something other than \
                     Tipline's primary wrote it",
                    head.epoch, claim.epoch
                );
                return Err(self.event_stream().wrong(last, why));
            }
            return Ok((tail_of(&head, claim, last), state.first_sequence));
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

    /// The outbox of the newest epoch is in its claim. A log that was trimmed may not hold
    /// it any more.
    async fn newest_claim(&self) -> Result<Option<Claim>, LogError> {
        let subject = self.claims();
        let Some(message) = self.event_stream().last(&subject).await? else { return Ok(None) };
        let sequence = message.sequence;
        let entry = Entry::decode(message.payload)
            .map_err(|error| self.event_stream().damaged(sequence, error))?;
        match entry.event {
            Event::EpochStarted { outbox, .. } => {
                Ok(Some(Claim { sequence, epoch: entry.epoch, outbox }))
            }
            other => Err(self.event_stream().wrong(sequence, format!("{other} is not a claim"))),
        }
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

fn tail_of(head: &Head, claim: Option<Claim>, fence: u64) -> Tail {
    Tail {
        position: head.position,
        epoch: head.epoch,
        time: head.time,
        outbox_sequence: head.outbox_sequence,
        outbox: claim.map(|claim| claim.outbox),
        fence,
    }
}
