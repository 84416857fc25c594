//! Following the events.

use std::collections::VecDeque;

use async_nats::Subject;
use async_trait::async_trait;
use tipline_proto::limits::{MAX_APPLY_BYTES, MAX_APPLY_EVENTS};
use tipline_proto::{Assembler, ConsumerName, Entry};

use super::api::StreamRef;
use super::feed::{Arrival, Feed};
use super::{JetStreamLog, parts};
use crate::error::LogError;
use crate::spec::{Extent, Subscription};

/// Batches that were given out and may yet be acknowledged. Beyond it, the oldest is taken
/// to be acknowledged with the next one.
const BATCHES: usize = 64;

/// Entries from a feed of messages.
pub(super) struct JetStreamSubscription {
    link: std::sync::Arc<super::connect::Link>,
    stream: String,
    named: bool,
    feed: Feed,
    /// Sequence of the next message, unless some were trimmed away before they came.
    due: u64,
    assembler: Assembler,
    /// Entries that are whole and were not given out yet, in order.
    ready: VecDeque<Ready>,
    /// Payload bytes of these.
    ready_bytes: usize,
    /// The last entry of each batch that was given out, and where to acknowledge it.
    given: VecDeque<(u64, Subject)>,
    failed: Option<LogError>,
    over: bool,
}

struct Ready {
    entry: Entry,
    acknowledge: Option<Subject>,
}

impl JetStreamLog {
    pub(super) async fn follow_events(
        &self,
        name: Option<&ConsumerName>,
        after: u64,
    ) -> Result<JetStreamSubscription, LogError> {
        let bounds = self.bounds().await?;
        let Extent { first, last } = bounds.extent();
        if after > last {
            return Err(bounds.out_of_range(after));
        }
        if after + 1 < first {
            return Err(bounds.out_of_range(after + 1));
        }
        let start = if after == last {
            bounds.tail.fence + 1
        } else {
            self.locate(&bounds, after + 1).await?.start
        };
        let feed =
            Feed::open(&self.link, &self.events, name.map(ConsumerName::as_str), start).await?;
        Ok(JetStreamSubscription {
            link: self.link.clone(),
            stream: self.events.clone(),
            named: name.is_some(),
            feed,
            due: start,
            assembler: Assembler::default(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            given: VecDeque::new(),
            failed: None,
            over: false,
        })
    }
}

#[async_trait]
impl Subscription for JetStreamSubscription {
    async fn next(&mut self) -> Result<Vec<Entry>, LogError> {
        while self.ready.is_empty() {
            if let Some(error) = self.failed.take() {
                self.over = true;
                return Err(error);
            }
            if self.over {
                return Err(self.link.unavailable("follow: the subscription is over", None));
            }
            let arrived = self.feed.next().await;
            self.take(arrived);
        }
        // One entry more than fits, so that a batch is as full as it can be.
        while self.failed.is_none() && !self.over && self.ready.len() <= MAX_APPLY_EVENTS {
            let Some(arrived) = self.feed.ready() else { break };
            self.take(Ok(arrived));
            if self.ready_bytes > MAX_APPLY_BYTES {
                break;
            }
        }
        Ok(self.give())
    }

    async fn acknowledge(&mut self, index: u64) -> Result<(), LogError> {
        let mut newest = None;
        while self.given.front().is_some_and(|(given, _)| *given <= index) {
            newest = self.given.pop_front();
        }
        let Some((_, reply)) = newest else { return Ok(()) };
        // Nothing is queued for a server that is away.
        if !self.named || !self.link.is_connected() {
            return Ok(());
        }
        let published = self.link.client.publish(reply, "+ACK".into()).await;
        published.map_err(|error| self.link.unavailable("acknowledge", Some(Box::new(error))))
    }
}

impl JetStreamSubscription {
    fn take(&mut self, arrived: Result<Arrival, LogError>) {
        match arrived.and_then(|arrival| self.assemble(arrival)) {
            Ok(Some(ready)) => {
                self.ready_bytes += ready.entry.event.payload().len();
                self.ready.push_back(ready);
            }
            Ok(None) => {}
            // What is whole is given out first.
            Err(error) => self.failed = Some(error),
        }
    }

    fn assemble(&mut self, arrival: Arrival) -> Result<Option<Ready>, LogError> {
        let Arrival { message, sequence, .. } = arrival;
        let message = message.message;
        let stream = StreamRef { link: &self.link, name: &self.stream };
        let part = match &message.headers {
            Some(headers) => {
                parts::read(headers).map_err(|error| stream.wrong(sequence, error.to_string()))?
            }
            None => None,
        };
        let expected = self.assembler.len() as u64 + 1;
        let number = part.map_or(1, |(part, _)| u64::from(part.number()));
        let is_trimmed = sequence != std::mem::replace(&mut self.due, sequence + 1);
        if number != expected && is_trimmed {
            let what = "follow: an event was trimmed away before all of it came";
            return Err(self.link.unavailable(what, None));
        }
        if number == 1 && expected > 1 {
            // The rest of them was lost, and the log went on after them.
            tracing::warn!(
                stream = self.stream,
                message = sequence,
                parts = self.assembler.len(),
                "the log has the first parts of an event whose rest was lost; they are void"
            );
            self.assembler = Assembler::default();
        } else if number != expected {
            let why = format!("it is part {number} of an event, where part {expected} was due");
            return Err(stream.wrong(sequence, why));
        }
        if part.is_some_and(|(part, _)| !part.is_last()) {
            let pushed = self.assembler.push(message.payload);
            return pushed.map(|()| None).map_err(|error| stream.damaged(sequence, error));
        }
        let finished = self.assembler.finish(message.payload);
        let mut entry = finished.map_err(|error| stream.damaged(sequence, error))?;
        entry.headers = message.headers.as_ref().map(parts::travelling).unwrap_or_default();
        Ok(Some(Ready { entry, acknowledge: message.reply }))
    }

    /// Takes out a batch within its limits; what does not fit stays for the next one.
    fn give(&mut self) -> Vec<Entry> {
        let (mut batch, mut bytes, mut acknowledge) = (Vec::new(), 0, None);
        while let Some(ready) = self.ready.front() {
            bytes += ready.entry.event.payload().len();
            let full = batch.len() == MAX_APPLY_EVENTS || bytes > MAX_APPLY_BYTES;
            if full && !batch.is_empty() {
                break;
            }
            if let Some(Ready { entry, acknowledge: reply }) = self.ready.pop_front() {
                acknowledge = reply.map(|reply| (entry.index, reply));
                self.ready_bytes -= entry.event.payload().len();
                batch.push(entry);
            }
        }
        if let Some(given) = acknowledge.filter(|_| self.named) {
            if self.given.len() == BATCHES {
                self.given.pop_front();
            }
            self.given.push_back(given);
        }
        batch
    }
}
