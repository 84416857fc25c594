//! The log on NATS JetStream, for production.
//!
//! Two streams per log: `tipline-<log>-events` with every event in order, and
//! `tipline-<log>-receipts` with the newest receipt of every consumer, and the newest claim of a
//! primary that was trimmed away. Subjects, headers and
//! metadata are in [`tipline_proto::subject`].
//!
//! It relies on three things of the server: a stream's leader stores messages in one order;
//! a message, or an atomic batch, that names the last sequence it expects is stored after
//! that one or not at all; and what is acknowledged is stored as durably as the stream and
//! the server are set up ([`Appender::preflight`]). It does not rely on message ids, on the
//! server's memory of what consumers acknowledged, on the client's own retries, nor on
//! anything being delivered.
//!
//! # Limits
//! nats-server 2.12 or newer. Messages of at most 8 MiB are written, whatever the server
//! takes; a larger event becomes several. An event takes at most 1,000 messages. The link to the
//! server carries at least 1 MiB (8 Mbit) a second: over a slower one an append is given up before
//! it can be there. With messages of 1 MiB a unit is in doubt after 2 to 14 s without a sign of
//! life.
//!
//! A tail is as new as the leader that reports it. A leader that was cut off from the others,
//! and does not know yet, may report an old one for up to ten seconds. Nothing can be appended
//! after that one, so an append is what proves a tail.

mod api;
mod append;
mod board;
mod bounded;
mod connect;
mod consumers;
mod create;
mod cut;
mod denials;
mod drops;
mod error;
mod feed;
mod inbox;
mod locate;
mod login;
mod monitor;
mod options;
mod parts;
mod preflight;
mod reread;
mod roles;
mod same;
mod streams;
mod subscribe;
mod tail;
#[cfg(test)]
mod tests;
mod trim;
mod unit;
mod walk;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tipline_proto::subject::{events_stream, receipts_stream};
use tipline_proto::{Announcement, ConsumerName, Entry, Head, Lineage, LogIdentity, Receipt};
use tokio::sync::Mutex;

use self::api::StreamRef;
use self::connect::Link;
use self::create::Known;
use self::cut::Unfinished;
use self::inbox::Inbox;
pub use self::login::{BadLogin, Nkey};
pub use self::options::{JetStreamOptions, Login, Secret};
pub use self::roles::{Grant, UserConfig, UserRole, account_of};
use self::same::KnownAt;
use crate::error::{AppendError, LogError};
use crate::preflight::Preflight;
use crate::spec::{
    Appender, Board, BoardFeed, Extent, Reader, Receipts, Subscription, Tail, Trimmer,
};
use crate::unit::unit_len;

/// Larger messages are not written even where the server takes them.
const MAX_MESSAGE: usize = 8 << 20;
/// Most that subject, headers and reply of a message take.
const MESSAGE_OVERHEAD: usize = 1024;

/// A log on NATS JetStream. One connection, kept for as long as the handle lives.
pub struct JetStreamLog {
    link: Arc<Link>,
    identity: LogIdentity,
    /// The sequence that the first message of the events has.
    first: u64,
    /// Name of the stream of the events.
    events: String,
    /// Name of the stream of the receipts.
    receipts: String,
    monitor: Vec<String>,
    unfinished: Unfinished,
    known_at: KnownAt,
    /// One append at a time.
    acknowledgements: Mutex<Inbox>,
    /// One receipt or announcement at a time.
    postings: Mutex<Inbox>,
}

impl JetStreamLog {
    /// Makes a log, on `replicas` servers, and opens it.
    ///
    /// If an earlier call was cut short, this one completes what it began. The log then has
    /// the lineage of that call, see [`Reader::identity`].
    ///
    /// # Errors
    /// `AlreadyExists` if the log is there, or what is left of it. Nothing was changed.
    /// `Unusable` if the server is too old, refuses the login, or cannot keep that many
    /// replicas. `Unavailable` if it does not answer for 30 s, longer than a cluster elects:
    /// it is not known what was made; call again.
    pub async fn create(
        options: &JetStreamOptions,
        identity: &LogIdentity,
        replicas: usize,
    ) -> Result<Self, LogError> {
        let link = Link::connect(options).await?;
        if identity.name != options.log {
            return Err(LogError::Unusable {
                place: link.place.clone(),
                why: format!("the identity is of log {}, the address of another", identity.name),
                source: None,
            });
        }
        let known = create::create(&link, identity, replicas).await?;
        Self::assemble(link, known, options).await
    }

    /// Opens a log that is there. Makes nothing.
    ///
    /// # Errors
    /// `NotFound` if there is no such log. `Unusable` if the server is too old or refuses
    /// the login, or the streams are not Tipline's or of a newer contract. `Unavailable` if
    /// no server answers.
    pub async fn open(options: &JetStreamOptions) -> Result<Self, LogError> {
        let link = Link::connect(options).await?;
        let known = create::open(&link, &options.log).await?;
        Self::assemble(link, known, options).await
    }

    /// Removes a log with everything in it, for good, if it is of this lineage.
    ///
    /// # Errors
    /// `NotFound` if it is not there, `WrongLog` if it is another log. Nothing was removed.
    pub async fn delete(options: &JetStreamOptions, lineage: Lineage) -> Result<(), LogError> {
        let link = Link::connect(options).await?;
        create::delete(&link, &options.log, lineage).await
    }

    async fn assemble(
        link: Link,
        known: Known,
        options: &JetStreamOptions,
    ) -> Result<Self, LogError> {
        let Known { identity, first } = known;
        Ok(Self {
            acknowledgements: Mutex::new(Inbox::open(&link).await?),
            postings: Mutex::new(Inbox::open(&link).await?),
            link: Arc::new(link),
            events: events_stream(&identity.name),
            receipts: receipts_stream(&identity.name),
            monitor: options.monitor.clone(),
            unfinished: Unfinished::default(),
            known_at: KnownAt::default(),
            identity,
            first,
        })
    }

    fn event_stream(&self) -> StreamRef<'_> {
        StreamRef { link: &self.link, name: &self.events }
    }

    fn receipt_stream(&self) -> StreamRef<'_> {
        StreamRef { link: &self.link, name: &self.receipts }
    }

    /// Most bytes of a message, without what goes with it. The server that we are connected
    /// to now says; another one may take less, and refuses then.
    fn max_message(&self) -> usize {
        self.link.client.max_payload().min(MAX_MESSAGE).saturating_sub(MESSAGE_OVERHEAD)
    }
}

impl fmt::Debug for JetStreamLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStreamLog")
            .field("place", &self.link.place)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Appender for JetStreamLog {
    async fn tail(&self) -> Result<Tail, LogError> {
        self.read_tail().await
    }

    async fn append(&self, after: &Tail, unit: &[Entry]) -> Result<Tail, AppendError> {
        self.append_unit(after, unit).await
    }

    fn unit_len(&self, entries: &[Entry]) -> usize {
        let max_message = self.max_message();
        unit_len(entries, |entry| unit::messages(entry, max_message))
    }

    async fn preflight(&self) -> Result<Preflight, LogError> {
        self.check().await
    }
}

#[async_trait]
impl Reader for JetStreamLog {
    fn identity(&self) -> &LogIdentity {
        &self.identity
    }

    async fn extent(&self) -> Result<Extent, LogError> {
        Ok(self.bounds().await?.extent())
    }

    /// One request, which the leader of the events' stream answers. That it is still this log is
    /// seen by the way.
    async fn ping(&self) -> Result<(), LogError> {
        self.check_same().await
    }

    async fn entry(&self, index: u64) -> Result<Entry, LogError> {
        let bounds = self.bounds().await?;
        let location = self.locate(&bounds, index).await?;
        self.fetch(&location).await
    }

    async fn head(&self, index: u64) -> Result<Head, LogError> {
        let bounds = self.bounds().await?;
        self.locate(&bounds, index).await?.head(self.event_stream())
    }

    async fn subscribe(
        &self,
        name: Option<&ConsumerName>,
        after: u64,
    ) -> Result<Box<dyn Subscription>, LogError> {
        Ok(Box::new(self.follow_events(name, after).await?))
    }
}

#[async_trait]
impl Trimmer for JetStreamLog {
    async fn trim(&self, first: u64) -> Result<Extent, LogError> {
        self.trim_to(first).await
    }
}

#[async_trait]
impl Receipts for JetStreamLog {
    async fn put_receipt(&self, receipt: &Receipt) -> Result<(), LogError> {
        self.post_receipt(receipt).await
    }

    async fn announce(&self, announcement: &Announcement) -> Result<(), LogError> {
        self.post_announcement(announcement).await
    }

    async fn forget(&self, consumer: &ConsumerName) -> Result<(), LogError> {
        self.forget_consumer(consumer).await
    }

    async fn board(&self) -> Result<Board, LogError> {
        self.read_board().await
    }

    async fn follow_board(&self) -> Result<Box<dyn BoardFeed>, LogError> {
        Ok(Box::new(self.follow_items().await?))
    }
}
