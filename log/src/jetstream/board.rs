//! Receipts and announcements: a stream that keeps the newest message of each subject.
//!
//! A consumer that is forgotten leaves an empty message under its subject: removing the
//! message alone would be seen by nobody who follows the board.
//!
//! How long something has been there is the difference of two times of the server: of the message,
//! and of the server's information or of a newer message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::datetime::DateTime;
use async_nats::header::NATS_EXPECTED_STREAM;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use tipline_proto::subject::Subject;
use tipline_proto::{Announcement, ConsumerName, Lineage, Receipt};
use tokio::time::Instant;

use super::api::age;
use super::connect::Link;
use super::feed::{self, Feed};
use super::{JetStreamLog, consumers, error};
use crate::board::{read_announcement, read_receipt};
use crate::error::{LogError, error_chain};
use crate::spec::{Board, BoardFeed, Unreadable};

/// Subjects that are asked for at once: each costs a round trip.
const AT_ONCE: usize = 16;
/// Most subjects that are held. Whoever may put receipts under any name can name others without
/// end.
pub(super) const MOST_NAMES: usize = 10_000;
/// Longest subject that is held: twice of what the longest names make. A frame can have a longer one.
const LONGEST_SUBJECT: usize = 256;
/// Time for the log to take a receipt.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What is under a subject of the board.
enum Item {
    Receipt(Box<Receipt>),
    Primary(Box<Announcement>),
    Unreadable(Unreadable),
    Forgotten,
    /// The newest claim that was trimmed away: no part of the board.
    Claim,
}

/// The newest message of a subject.
struct Held {
    /// In the stream.
    sequence: u64,
    /// When the server stored it.
    time: DateTime,
    item: Item,
}

/// The newest of each subject.
struct Items {
    log: Lineage,
    held: BTreeMap<String, Held>,
    /// Where the receipts are, and whether there is one that is not held.
    place: String,
    is_over: bool,
    /// A time of the server, and when it was that here.
    now: (DateTime, Instant),
}

/// The board, and the changes to it.
pub(super) struct JetStreamBoardFeed {
    link: Arc<Link>,
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
        match self.receipt_stream().last_of(&subject.to_string()).await? {
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
        let link = self.link.clone();
        Ok(JetStreamBoardFeed { link, items, feed, changed: true, failed: None })
    }

    async fn read_items(&self) -> Result<(u64, Items), LogError> {
        let stream = self.receipt_stream();
        let subjects = stream.subjects().await?;
        self.compare(&subjects.config)?;
        let now = (subjects.now, Instant::now());
        let place = Subject::receipts(&self.identity.name);
        let (log, held) = (self.identity.lineage, BTreeMap::new());
        let mut items = Items { log, held, place, is_over: false, now };
        let named = items.choose(subjects.state.subjects.unwrap_or_default().into_keys());
        let asked = named
            .into_iter()
            .map(|subject| async move { (stream.last_of(&subject).await, subject) });
        let mut answers = futures_util::stream::iter(asked).buffer_unordered(AT_ONCE);
        while let Some((answer, subject)) = answers.next().await {
            match answer {
                Ok(Some(message)) => {
                    items.put(&subject, message.sequence, message.time, message.payload);
                }
                // Another one may be in its place by now, never none. The limit is one of each.
                Ok(None) => {}
                Err(LogError::Corrupt { source, .. }) => {
                    let why = source.map_or_else(String::new, |source| error_chain(&*source));
                    let consumer = match subject.parse() {
                        Ok(Subject::Receipt(_, consumer)) => Some(consumer),
                        _ => None,
                    };
                    let unreadable = Unreadable { place: subject.clone(), consumer, why };
                    let item = Item::Unreadable(unreadable);
                    items.held.insert(subject, Held { sequence: 0, time: now.0, item });
                }
                Err(error) => return Err(error),
            }
        }
        Ok((subjects.state.last_seq, items))
    }

    fn check_lineage(&self, said: Lineage) -> Result<(), LogError> {
        let found = self.identity.lineage;
        if said == found {
            return Ok(());
        }
        Err(LogError::WrongLog { place: self.link.place.clone(), expected: said, found })
    }

    async fn post(&self, subject: Subject, payload: Bytes) -> Result<(), LogError> {
        self.check_lately().await?;
        let mut inbox = self.postings.lock().await;
        let mut attempt = inbox.begin(&self.link, "put a receipt", subject.to_string())?;
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
    /// The subjects that are asked for. If they are too many, those of the contract come first, the
    /// primary before the consumers, and always the same of these.
    fn choose(&mut self, named: impl Iterator<Item = String>) -> Vec<String> {
        let (mut chosen, long): (Vec<_>, Vec<_>) =
            named.partition(|subject| subject.len() <= LONGEST_SUBJECT);
        if chosen.len() > MOST_NAMES {
            chosen.sort_by_cached_key(|subject| match subject.parse() {
                Ok(Subject::Primary(_) | Subject::Claim(_)) => (0, subject.clone()),
                Ok(Subject::Receipt(..)) => (1, subject.clone()),
                Ok(Subject::Event(..)) | Err(_) => (2, subject.clone()),
            });
        }
        if chosen.len() > MOST_NAMES || !long.is_empty() {
            self.leave_out();
        }
        chosen.truncate(MOST_NAMES);
        chosen
    }

    /// Leaves a subject out, and says so once. Whether that is new.
    fn leave_out(&mut self) -> bool {
        if !self.is_over {
            tracing::warn!(place = %self.place, "{}", Self::left_out());
        }
        !std::mem::replace(&mut self.is_over, true)
    }

    fn left_out() -> String {
        format!(
            "there are over {MOST_NAMES} names of consumers, or names of over {LONGEST_SUBJECT} \
             bytes: the rest is not read"
        )
    }

    /// Puts a message in the place of an older one. Whether the board changed.
    fn put(&mut self, subject: &str, sequence: u64, time: DateTime, payload: Bytes) -> bool {
        if self.held.get(subject).is_some_and(|held| held.sequence >= sequence) {
            return false;
        }
        let is_new = !self.held.contains_key(subject);
        if is_new && (self.held.len() >= MOST_NAMES || subject.len() > LONGEST_SUBJECT) {
            return self.leave_out();
        }
        let item = Item::read(self.log, subject, payload);
        let changed = !matches!(item, Item::Claim);
        self.held.insert(subject.to_owned(), Held { sequence, time, item });
        changed
    }

    fn board(&self) -> Board {
        let mut board = Board::default();
        let since = self.now.1.elapsed();
        for Held { time, item, .. } in self.held.values() {
            let heard = age(self.now.0, *time) + since;
            match item {
                Item::Receipt(receipt) => {
                    board.heard.insert(receipt.consumer.clone(), heard);
                    board.receipts.push(Receipt::clone(receipt));
                }
                Item::Primary(said) => {
                    board.primary = Some(Announcement::clone(said));
                    board.primary_heard = Some(heard);
                }
                Item::Unreadable(unreadable) => board.unreadable.push(unreadable.clone()),
                Item::Forgotten | Item::Claim => {}
            }
        }
        if self.is_over {
            let place = self.place.clone();
            board.unreadable.push(Unreadable { place, consumer: None, why: Self::left_out() });
        }
        board.receipts.sort_by(|a, b| a.consumer.cmp(&b.consumer));
        board
    }
}

impl Item {
    fn read(log: Lineage, subject: &str, payload: Bytes) -> Self {
        match subject.rsplit('.').take(2).collect::<Vec<_>>()[..] {
            [_, "receipt"] if payload.is_empty() => Item::Forgotten,
            [name, "receipt"] => match read_receipt(log, subject, name, payload) {
                Ok(receipt) => Item::Receipt(Box::new(receipt)),
                Err(unreadable) => Item::Unreadable(unreadable),
            },
            ["primary", _] => match read_announcement(log, subject, payload) {
                Ok(said) => Item::Primary(Box::new(said)),
                Err(unreadable) => Item::Unreadable(unreadable),
            },
            ["claim", _] => Item::Claim,
            _ => {
                let (place, why) = (subject.to_owned(), "it does not belong there".to_owned());
                Item::Unreadable(Unreadable { place, consumer: None, why })
            }
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
        match arrived {
            Ok(arrival) => {
                let message = arrival.message.message;
                if arrival.is_newest {
                    self.items.now = (arrival.time, Instant::now());
                }
                let subject = message.subject.as_str();
                self.changed |=
                    self.items.put(subject, arrival.sequence, arrival.time, message.payload);
            }
            Err(error) => self.failed = Some(error),
        }
    }
}
