//! Appending a unit, all of it or nothing.
//!
//! One message is a plain publish, several are an atomic batch (ADR-50): staged by the
//! server, stored together by the message that commits. The first one names the stream's
//! last sequence as the writer knows it; the server compares it when it stores. A message
//! that is sent late, by a client that reconnected, finds another last sequence and is
//! refused, and a batch has a name that no other has.

use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use tipline_proto::Entry;
use tipline_proto::subject::Subject;

use super::inbox::Attempt;
use super::unit::{self, Draft};
use super::{JetStreamLog, error};
use crate::error::{AppendError, LogError};
use crate::spec::Tail;
use crate::unit::check_unit;

/// Silence for this long leaves an append in doubt, besides the time that its bytes need.
const SILENCE: Duration = Duration::from_secs(2);
/// Bytes per second that reach the server at the very least: see the limits of the module.
const SLOWEST_LINK: usize = 1 << 20;
/// Bytes per second that a batch is stored with at the very least.
const SLOWEST_DISK: usize = 8 << 20;
/// In a batch, the server is asked for a sign of life after this many bytes or messages …
const CHECKPOINT_BYTES: usize = 1 << 20;
const CHECKPOINT_MESSAGES: usize = 100;
/// … and is at most this many signs behind before we wait for it.
const CHECKPOINTS_AHEAD: usize = 4;

impl JetStreamLog {
    pub(super) async fn append_unit(
        &self,
        after: &Tail,
        unit: &[Entry],
    ) -> Result<Tail, AppendError> {
        let max_message = self.max_message();
        check_unit(&after.position, unit, |entry| unit::messages(entry, max_message))
            .map_err(AppendError::Refused)?;
        self.check_before_append(after).await?;
        let drafts = unit::cut(unit, max_message);
        let mut inbox = self.acknowledgements.lock().await;
        let subjects = Subject::events_begin(&self.identity.name);
        let mut attempt = inbox.begin(&self.link, "append", subjects).map_err(not_stored)?;
        let reply = match drafts.as_slice() {
            [only] => self.publish_one(&mut attempt, after.fence, only).await?,
            batch => self.publish_batch(&mut attempt, after.fence, batch).await?,
        };
        let fence = self.acknowledged(&reply, after.fence + drafts.len() as u64)?;
        Ok(unit.iter().fold(after.clone(), |tail, entry| tail.after(entry, fence)))
    }

    /// A stream that was away may have been made again, and one that was made again is as empty as
    /// this log was. If both begin with sequence 1, it may have as many messages, too.
    async fn check_before_append(&self, after: &Tail) -> Result<(), AppendError> {
        let checked = match self.first {
            1 => self.check_same().await,
            _ if after.position.index == 0 => self.check_same().await,
            _ => self.check_since_connected().await,
        };
        checked.map_err(|error| match error.is_retryable() {
            true => AppendError::Doubt(error),
            false => AppendError::Refused(error),
        })
    }

    async fn publish_one(
        &self,
        attempt: &mut Attempt<'_>,
        fence: u64,
        draft: &Draft,
    ) -> Result<Message, AppendError> {
        let headers = draft.first_headers(&self.events, fence);
        let payload = draft.payload.clone();
        let sent = attempt.send(self.subject(draft), headers, payload, Some(1)).await;
        sent.map_err(not_stored)?;
        let patience = SILENCE + at_least(draft.payload.len(), SLOWEST_LINK);
        let (_, message) = attempt.reply(patience).await.map_err(not_stored)?;
        Ok(message)
    }

    async fn publish_batch(
        &self,
        attempt: &mut Attempt<'_>,
        fence: u64,
        batch: &[Draft],
    ) -> Result<Message, AppendError> {
        let (id, of) = (attempt.id(), batch.len());
        let (mut bytes, mut messages, mut ahead) = (0, 0, 0);
        // From one sign of life to the next one message and what may be under way before it.
        let largest = batch.iter().map(|draft| draft.payload.len()).max().unwrap_or(0);
        let under_way = (CHECKPOINTS_AHEAD + 1) * (CHECKPOINT_BYTES + largest);
        let patience = SILENCE + at_least(under_way, SLOWEST_LINK);
        for (draft, number) in batch.iter().zip(1..) {
            let headers = draft.batch_headers(&self.events, fence, &id, number, of);
            let payload = draft.payload.clone();
            bytes += payload.len();
            messages += 1;
            let is_checkpoint = number == 1
                || number == of
                || bytes >= CHECKPOINT_BYTES
                || messages >= CHECKPOINT_MESSAGES;
            let asked = is_checkpoint.then_some(number);
            let sent = attempt.send(self.subject(draft), headers, payload, asked).await;
            sent.map_err(not_stored)?;
            if !is_checkpoint {
                continue;
            }
            (bytes, messages) = (0, 0);
            ahead += 1;
            while number < of && ahead > CHECKPOINTS_AHEAD {
                let (_, message) = attempt.reply(patience).await.map_err(not_stored)?;
                self.staged(&message)?;
                ahead -= 1;
            }
        }
        let stored: usize = batch.iter().map(|draft| draft.payload.len()).sum();
        let patience = patience + at_least(stored, SLOWEST_DISK);
        // Each that asked for an answer gets one.
        for _ in 0..ahead {
            let (number, message) = attempt.reply(patience).await.map_err(not_stored)?;
            if number == of {
                return Ok(message);
            }
            self.staged(&message)?;
        }
        let what = "append: more answers than were asked for, and none to the last message";
        Err(AppendError::Doubt(self.link.unavailable(what, None)))
    }

    /// A message of a batch that is not the last is answered by nothing, or an error: then
    /// the batch is void, because a gap is in it.
    fn staged(&self, message: &Message) -> Result<(), AppendError> {
        if message.payload.is_empty() {
            return Ok(());
        }
        self.parse(message).map(drop)
    }

    /// Checks the acknowledgement of a unit's last message.
    fn acknowledged(&self, message: &Message, expected: u64) -> Result<u64, AppendError> {
        let ack = self.parse(message)?;
        if ack.stream == self.events && ack.sequence == expected && !ack.duplicate {
            return Ok(ack.sequence);
        }
        Err(AppendError::Doubt(LogError::Unusable {
            place: self.link.place.clone(),
            why: format!(
                "stream {} acknowledges sequence {}, where stream {} and {expected} were due",
                ack.stream, ack.sequence, self.events
            ),
            source: None,
        }))
    }

    fn parse(&self, message: &Message) -> Result<PublishAck, AppendError> {
        match serde_json::from_slice(&message.payload) {
            Ok(Response::Ok(ack)) => Ok(ack),
            Ok(Response::Err { error }) => Err(error::of_append(&self.link.place, error)),
            Err(error) => Err(AppendError::Doubt(
                self.link.unavailable("append: an unknown answer", Some(Box::new(error))),
            )),
        }
    }

    fn subject(&self, draft: &Draft) -> String {
        Subject::Event(self.identity.name.clone(), draft.kind).to_string()
    }
}

/// Nothing is stored of what is denied. After everything else the tail decides.
fn not_stored(error: LogError) -> AppendError {
    match error {
        LogError::Denied { .. } => AppendError::Refused(error),
        error => AppendError::Doubt(error),
    }
}

/// The time that so many bytes take.
fn at_least(bytes: usize, per_second: usize) -> Duration {
    Duration::from_millis((bytes as u64).saturating_mul(1000) / per_second as u64)
}
