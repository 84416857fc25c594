//! The tail, from the leader.

use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use tipline_proto::subject::Subject;
use tipline_proto::{Entry, Event, Head, Kind, OutboxId};

use super::api::StreamRef;
use super::cut::{End, within_batch};
use super::reread::Reread;
use super::walk::Walk;
use super::{JetStreamLog, parts};
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
    /// Nothing of its unit is after it.
    ends_unit: bool,
}

impl Claim {
    pub(super) fn read(stream: StreamRef<'_>, message: StreamMessage) -> Result<Self, LogError> {
        let ends_unit = within_batch(&message.headers).is_none();
        let (sequence, bytes) = (message.sequence, message.payload);
        let entry =
            Entry::decode(bytes.clone()).map_err(|error| stream.damaged(sequence, error))?;
        match entry.event {
            Event::EpochStarted { outbox, .. } => {
                Ok(Self { sequence, epoch: entry.epoch, outbox, bytes, ends_unit })
            }
            other => Err(stream.wrong(sequence, format!("{other} is not a claim"))),
        }
    }
}

impl JetStreamLog {
    /// The tail.
    ///
    /// The newest unit and the claim that it is under are asked for at once, so that a writer that
    /// appends after it has a chance while others do, too. The log may grow between the two
    /// answers, as fast as it likes. A claim that came in between is the newer tail. Only what
    /// was trimmed away in between is looked for again. Whether it is still this log is asked with
    /// them.
    pub(super) async fn read_tail(&self) -> Result<Tail, LogError> {
        let mut reread = Reread::begin();
        loop {
            let asked = (self.end(), self.newest_claim(), self.check_same());
            let (end, claim, ()) = tokio::try_join!(asked.0, asked.1, asked.2)?;
            let tail = match end {
                Some(end) => self.tail_at(&end, claim).await?,
                None => self.tail_of_nothing().await?,
            };
            match tail {
                Some(tail) => return Ok(tail),
                None => reread.again(&self.link, "read the tail: it keeps changing").await?,
            }
        }
    }

    /// The tail, if this is the log's end, and this a claim that is not older than the log was
    /// before; `None` if they do not belong together.
    async fn tail_at(&self, end: &End, claim: Option<Claim>) -> Result<Option<Tail>, LogError> {
        let Some(message) = &end.message else {
            return Ok(Some(Tail { fence: end.fence, ..Tail::origin(&self.identity) }));
        };
        let head = self.head_of(message)?;
        let claim = match claim.filter(|claim| claim.epoch >= head.epoch) {
            Some(claim) => Some(claim),
            // It was asked for too early.
            None => self.newest_claim().await?,
        };
        if let Some(claim) = &claim
            && claim.sequence > end.fence
        {
            if !claim.ends_unit {
                return Ok(None);
            }
            let stream = self.event_stream();
            let head = Head::decode(claim.bytes.clone())
                .map_err(|error| stream.damaged(claim.sequence, error))?;
            return Ok(Some(tail_of(&head, claim, claim.sequence)));
        }
        let claim = match claim {
            Some(claim) => claim,
            // Trimmed away: it was put beside the receipts before.
            None => match self.kept_claim().await? {
                Some(claim) if claim.epoch > head.epoch => return Ok(None),
                Some(claim) => claim,
                None => {
                    let why = "the claim of its epoch is gone: something other than Tipline's \
                               retention removed messages before it";
                    return Err(self.event_stream().wrong(message.sequence, why));
                }
            },
        };
        let head = self.under(&claim, message, head).await?;
        Ok(Some(tail_of(&head, &claim, end.fence)))
    }

    /// The newest entry of the claim's epoch, at or before this one. One of a lower epoch after the
    /// claim is void, for the tail as for readers.
    async fn under(
        &self,
        claim: &Claim,
        newest: &StreamMessage,
        head: Head,
    ) -> Result<Head, LogError> {
        let (mut message, mut head) = (newest.clone(), head);
        let mut walk = Walk::begin();
        while head.epoch < claim.epoch {
            walk.step(self.event_stream(), message.sequence)?;
            tracing::warn!(
                place = %self.link.place, index = head.position.index, epoch = head.epoch,
                "the log ends with a void entry, written after a newer claim: something other \
                 than Tipline's primary wrote it"
            );
            let parts = self.part_of(&message)?.map_or(1, |(part, _)| u64::from(part.of()));
            let before = self.end_at(message.sequence.saturating_sub(parts), &mut walk).await?;
            let Some(before) = before.and_then(|end| end.message) else { break };
            head = self.head_of(&before)?;
            message = before;
        }
        if head.epoch == claim.epoch {
            return Ok(head);
        }
        let why = format!(
            "an entry of epoch {} after the claim of epoch {}: something other than \
             Tipline's primary wrote it",
            head.epoch, claim.epoch
        );
        Err(self.event_stream().wrong(message.sequence, why))
    }

    /// The origin, if nothing was ever stored; `None` if there is something by now.
    async fn tail_of_nothing(&self) -> Result<Option<Tail>, LogError> {
        let info = self.event_stream().info().await?;
        self.compare(&info.config)?;
        let state = info.state;
        match state.last_sequence {
            _ if state.messages > 0 => Ok(None),
            last if last < self.first => {
                Ok(Some(Tail { fence: last, ..Tail::origin(&self.identity) }))
            }
            last => Err(self.event_stream().wrong(last, "the stream was emptied")),
        }
    }

    /// The end of the log; `None` if nothing is stored, or it was trimmed away.
    ///
    /// A server stores the messages of an atomic batch one by one, and readers may look in
    /// between. Then the rest is about to come, and is waited for. Once messages of another
    /// batch are there, the first one is over, and ends before that other one begins. A rest that
    /// does not come at all was lost: see [`super::cut`].
    async fn end(&self) -> Result<Option<End>, LogError> {
        let stream = self.event_stream();
        let (mut reread, mut first) = (Reread::begin(), None);
        let mut walk = Walk::begin();
        loop {
            let Some(message) = stream.last().await? else { return Ok(None) };
            let Some((batch, number)) = within_batch(&message.headers) else {
                return Ok(Some(End { fence: message.sequence, message: Some(message) }));
            };
            if first.get_or_insert_with(|| batch.clone()) != &batch {
                return self.end_at(message.sequence.saturating_sub(number), &mut walk).await;
            }
            if self.is_cut_off(&message, &batch, &mut reread).await? {
                return self.end_at(message.sequence, &mut walk).await;
            }
        }
    }

    /// The head of an entry whose last message this is.
    pub(super) fn head_of(&self, message: &StreamMessage) -> Result<Head, LogError> {
        let sequence = message.sequence;
        let part = parts::read(&message.headers)
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
        let Some(message) = stream.last_of(&self.claims()).await? else { return Ok(None) };
        Claim::read(stream, message).map(Some)
    }

    /// The subject of the claims.
    pub(super) fn claims(&self) -> String {
        Subject::Event(self.identity.name.clone(), Kind::EpochStarted).to_string()
    }
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
