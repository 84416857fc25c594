//! Receipts and announcements: a stream that keeps the newest message of each subject.
//!
//! A consumer that is forgotten leaves an empty message under its subject: removing the
//! message alone would be seen by nobody who follows the board.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_STREAM;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_trait::async_trait;
use bytes::Bytes;
use tipline_proto::subject::Subject;
use tipline_proto::{Announcement, ConsumerName, Lineage, Receipt};

use super::api::StreamRef;
use super::connect::Link;
use super::feed::{self, Feed};
use super::{JetStreamLog, consumers, error};
use crate::error::LogError;
use crate::spec::{Board, BoardFeed};

/// Time for the log to take a receipt.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What is under a subject of the board.
enum Item {
    Receipt(Box<Receipt>),
    Primary(Box<Announcement>),
    Forgotten,
    /// The newest claim that was trimmed away: no part of the board.
    Claim,
}

/// The newest of each subject, with its sequence in the stream.
#[derive(Default)]
struct Items(BTreeMap<String, (u64, Item)>);

/// The board, and the changes to it.
pub(super) struct JetStreamBoardFeed {
    link: Arc<Link>,
    stream: String,
    items: Items,
    feed: Feed,
    /// Whether the board was not given out since it changed.
    changed: bool,
    failed: Option<LogError>,
}

impl JetStreamLog {
    pub(super) async fn post_receipt(&self, receipt: &Receipt) -> Result<(), LogError> {
        self.check_lineage(receipt.lineage)?;
        let subject = Subject::Receipt(self.identity.name.clone(), receipt.consumer.clone());
        self.post(subject, receipt.encode()).await
    }

    pub(super) async fn post_announcement(&self, said: &Announcement) -> Result<(), LogError> {
        self.check_lineage(said.lineage)?;
        self.post(Subject::Primary(self.identity.name.clone()), said.encode()).await
    }

    pub(super) async fn forget_consumer(&self, consumer: &ConsumerName) -> Result<(), LogError> {
        consumers::delete(&self.link, &self.events, consumer.as_str()).await?;
        let subject = Subject::Receipt(self.identity.name.clone(), consumer.clone());
        match self.receipt_stream().last(&subject.to_string()).await? {
            Some(message) if !message.payload.is_empty() => self.post(subject, Bytes::new()).await,
            Some(_) | None => Ok(()),
        }
    }

    pub(super) async fn read_board(&self) -> Result<Board, LogError> {
        let (_, items) = self.read_items().await?;
        Ok(items.board())
    }

    /// The board, and from its sequence on every change to it: what is put between the two
    /// questions is seen twice, and the older one does not count.
    pub(super) async fn follow_items(&self) -> Result<JetStreamBoardFeed, LogError> {
        let (read_up_to, items) = self.read_items().await?;
        let feed = Feed::open(&self.link, &self.receipts, None, read_up_to + 1).await?;
        let (link, stream) = (self.link.clone(), self.receipts.clone());
        Ok(JetStreamBoardFeed { link, stream, items, feed, changed: true, failed: None })
    }

    async fn read_items(&self) -> Result<(u64, Items), LogError> {
        let stream = self.receipt_stream();
        let state = stream.subjects().await?.state;
        let mut items = Items::default();
        for subject in state.subjects.unwrap_or_default().into_keys() {
            // Another one may be in its place by now, never none. The limit is one of each.
            let Some(message) = stream.last(&subject).await? else { continue };
            items.put(stream, &subject, message.sequence, message.payload)?;
        }
        Ok((state.last_seq, items))
    }

    fn check_lineage(&self, said: Lineage) -> Result<(), LogError> {
        let found = self.identity.lineage;
        if said == found {
            return Ok(());
        }
        Err(LogError::WrongLog { place: self.link.place.clone(), expected: said, found })
    }

    async fn post(&self, subject: Subject, payload: Bytes) -> Result<(), LogError> {
        let mut inbox = self.postings.lock().await;
        let mut attempt = inbox.begin(&self.link, "put a receipt")?;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_STREAM, self.receipts.as_str());
        attempt.send(subject.to_string(), headers, payload, Some(1)).await?;
        let (_, message) = attempt.reply(PATIENCE).await?;
        match serde_json::from_slice::<Response<PublishAck>>(&message.payload) {
            Ok(Response::Ok(_)) => Ok(()),
            Ok(Response::Err { error }) => {
                Err(error::of_api(&self.link.place, "put a receipt", error))
            }
            Err(error) => Err(self
                .link
                .unavailable("put a receipt: an unknown answer", Some(Box::new(error)))),
        }
    }
}

impl Items {
    /// Puts a message in the place of an older one. Whether the board changed.
    fn put(
        &mut self,
        stream: StreamRef<'_>,
        subject: &str,
        sequence: u64,
        payload: Bytes,
    ) -> Result<bool, LogError> {
        if self.0.get(subject).is_some_and(|(held, _)| *held >= sequence) {
            return Ok(false);
        }
        let item = Item::decode(stream, subject, sequence, payload)?;
        let changed = !matches!(item, Item::Claim);
        self.0.insert(subject.to_owned(), (sequence, item));
        Ok(changed)
    }

    /// Sorted by consumer, as the subjects are.
    fn board(&self) -> Board {
        let mut board = Board::default();
        for (_, item) in self.0.values() {
            match item {
                Item::Receipt(receipt) => board.receipts.push(Receipt::clone(receipt)),
                Item::Primary(said) => board.primary = Some(Announcement::clone(said)),
                Item::Forgotten | Item::Claim => {}
            }
        }
        board.receipts.sort_by(|a, b| a.consumer.cmp(&b.consumer));
        board
    }
}

impl Item {
    fn decode(
        stream: StreamRef<'_>,
        subject: &str,
        sequence: u64,
        payload: Bytes,
    ) -> Result<Self, LogError> {
        let subject: Subject =
            subject.parse().map_err(|error: tipline_proto::subject::UnknownSubject| {
                stream.wrong(sequence, error.to_string())
            })?;
        let damaged = |error| stream.damaged(sequence, error);
        match subject {
            Subject::Receipt(..) if payload.is_empty() => Ok(Item::Forgotten),
            Subject::Receipt(_, consumer) => {
                let receipt = Receipt::decode(payload).map_err(damaged)?;
                if receipt.consumer != consumer {
                    let why = format!("{} put a receipt for {consumer}", receipt.consumer);
                    return Err(stream.wrong(sequence, why));
                }
                Ok(Item::Receipt(Box::new(receipt)))
            }
            Subject::Primary(_) => {
                Ok(Item::Primary(Box::new(Announcement::decode(payload).map_err(damaged)?)))
            }
            Subject::Claim(_) => Ok(Item::Claim),
            Subject::Event(..) => Err(stream.wrong(sequence, "an event among the receipts")),
        }
    }
}

#[async_trait]
impl BoardFeed for JetStreamBoardFeed {
    async fn next(&mut self) -> Result<Board, LogError> {
        while !self.changed && self.failed.is_none() {
            let arrived = self.feed.next().await;
            self.take(arrived);
        }
        while self.failed.is_none() {
            let Some(arrived) = self.feed.ready() else { break };
            self.take(Ok(arrived));
        }
        if std::mem::take(&mut self.changed) {
            return Ok(self.items.board());
        }
        let over = self.link.unavailable("follow: the feed is over", None);
        Err(self
            .failed
            .replace(over)
            .unwrap_or_else(|| self.link.unavailable("follow: the feed is over", None)))
    }
}

impl JetStreamBoardFeed {
    fn take(&mut self, arrived: Result<feed::Arrival, LogError>) {
        let put = arrived.and_then(|arrival| {
            let stream = StreamRef { link: &self.link, name: &self.stream };
            let message = arrival.message.message;
            self.items.put(stream, message.subject.as_str(), arrival.sequence, message.payload)
        });
        match put {
            Ok(changed) => self.changed |= changed,
            Err(error) => self.failed = Some(error),
        }
    }
}
