//! The tail, from the leader.

use async_nats::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use tipline_proto::subject::Subject;
use tipline_proto::{Entry, Event, Head, Kind, OutboxId};

use super::JetStreamLog;
use super::api::StreamRef;
use super::looks::Looks;
use super::parts;
use crate::error::LogError;
use crate::spec::Tail;

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
    /// The newest unit and the claim that it is under are read one after the other, while the
    /// log grows. It may grow as fast as it likes: a claim that came in between is the newer
    /// tail. Only what was trimmed away in between is looked for again.
    pub(super) async fn read_ends(&self) -> Result<(Tail, u64), LogError> {
        let mut looks = Looks::begin();
        loop {
            let state = self.event_stream().info().await?.state;
            let (first, last) = (state.first_sequence, state.last_sequence);
            if last == 0 {
                return Ok((Tail::origin(&self.identity), first));
            }
            if state.messages == 0 {
                return Err(self.event_stream().wrong(last, "the stream was emptied"));
            }
            if let Some(tail) = self.tail_from(last).await? {
                return Ok((tail, first));
            }
            looks.again(&self.link, "read the tail: it keeps changing").await?;
        }
    }

    /// The tail, which is at this message or behind it; `None` if it was trimmed away.
    async fn tail_from(&self, sequence: u64) -> Result<Option<Tail>, LogError> {
        let Some(mut end) = self.end_of_unit(sequence).await? else { return Ok(None) };
        let (claim, kept) = match self.newest_claim().await? {
            Some(claim) => (Some(claim), false),
            // Trimmed away: it was put beside the receipts before.
            None => (self.kept_claim().await?, true),
        };
        let Some(claim) = claim else {
            let why = "the claim of its epoch is gone: something other than Tipline's \
                       retention removed messages before it";
            return Err(self.event_stream().wrong(end.sequence, why));
        };
        if !kept && claim.sequence > end.sequence {
            let Some(newer) = self.end_of_unit(claim.sequence).await? else { return Ok(None) };
            end = newer;
        }
        let head = self.head_of(&end)?;
        if kept && claim.epoch > head.epoch {
            return Ok(None);
        }
        if claim.epoch != head.epoch {
            let why = format!(
                "an entry of epoch {} behind the claim of epoch {}: something other than \
                 Tipline's primary wrote it",
                head.epoch, claim.epoch
            );
            return Err(self.event_stream().wrong(end.sequence, why));
        }
        Ok(Some(tail_of(&head, &claim, end.sequence)))
    }

    /// The last message of the unit that the message with this sequence is of; `None` if it
    /// was trimmed away.
    ///
    /// A server stores the messages of an atomic batch one by one, and readers may look in
    /// between. Then the rest is certain to come, and is waited for.
    async fn end_of_unit(&self, mut sequence: u64) -> Result<Option<StreamMessage>, LogError> {
        let stream = self.event_stream();
        let mut looks = Looks::begin();
        loop {
            match stream.message(sequence).await? {
                Some(message) if !is_within_batch(&message.headers) => return Ok(Some(message)),
                Some(message) => {
                    let part = parts::of(&message.headers)
                        .map_err(|error| stream.wrong(sequence, error.to_string()))?;
                    let rest = part.map_or(0, |(part, _)| part.of() - part.number());
                    sequence += u64::from(rest.max(1));
                    looks = Looks::begin();
                }
                None if stream.info().await?.state.first_sequence > sequence => return Ok(None),
                None => looks.again(&self.link, "read a unit: its rest is not stored").await?,
            }
        }
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

    /// The subject of the claims.
    pub(super) fn claims(&self) -> String {
        Subject::Event(self.identity.name.clone(), Kind::EpochStarted).to_string()
    }
}

/// Whether the batch that this message is of goes on behind it.
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
