//! Messages of a stream as they arrive.
//!
//! A pull consumer with a standing request: the server sends on arrival, never more than
//! fits here. Its memory of what was acknowledged is not relied upon. Whatever may have been
//! lost on the way ends the feed, so that what came through it is always without a hole. A
//! disconnect, messages dropped here, a jump in the consumer's numbers, a heartbeat that
//! stays away, and, while nothing comes, a server that says it sent more than arrived, or has more
//! and does not send it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::datetime::DateTime;
use async_nats::jetstream::consumer::pull::{self, MessagesErrorKind};
use async_nats::jetstream::consumer::{self, Info, PullConsumer};
use async_nats::jetstream::{ErrorCode, Message};
use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use tokio::time::Instant;

use super::api::MAX_SEQUENCE;
use super::connect::{Link, Losses};
use super::denials::Denials;
use super::{MAX_MESSAGE, consumers, error};
use crate::error::LogError;

/// A standing request is for at most this many messages; two of them can overlap by half,
/// and must fit into the subscription.
const REQUEST_MESSAGES: usize = 1000;
/// … and at most this many bytes, over two of the largest messages: a request for less than
/// one message hangs for ever.
const REQUEST_BYTES: usize = 2 * MAX_MESSAGE + (64 << 10);
const HEARTBEAT: Duration = Duration::from_secs(5);
const EXPIRES: Duration = Duration::from_secs(30);
/// After this long without a message the server is asked what it sent …
const QUIET: Duration = Duration::from_secs(15);
/// … and what it says it sent may take this long to arrive.
const UNDER_WAY: Duration = Duration::from_secs(2);
/// For this long nobody may answer the first request: the server that makes a consumer knows of it
/// before every other one of the cluster does.
const UNKNOWN: Duration = Duration::from_secs(5);
const UNKNOWN_PAUSE: Duration = Duration::from_millis(50);

/// Messages of a stream from a sequence on, in order and without a hole.
pub(super) struct Feed {
    link: Arc<Link>,
    /// `None` for a passing reader.
    name: Option<String>,
    consumer: PullConsumer,
    messages: pull::Stream,
    losses: Losses,
    denials: Denials,
    trouble: Option<ReadError>,
    /// How many messages have arrived; the server numbers them from 1.
    arrived: u64,
    /// What `arrived` was when the server said that it had sent more, or had more to send.
    suspected: Option<u64>,
    ask_at: Instant,
    /// Until then the consumer may not be known everywhere.
    new_until: Instant,
}

/// What ends a feed.
enum ReadError {
    Interrupted(pull::MessagesError),
    Unnumbered(error::Source),
    /// The message with this number came too early.
    Gap(u64),
    Ended,
}

/// A message of the feed.
pub(super) struct Arrival {
    pub(super) message: Message,
    /// Its sequence in the stream.
    pub(super) sequence: u64,
    /// When the server stored it.
    pub(super) time: DateTime,
    /// Whether the stream had no newer one when it was sent.
    pub(super) is_newest: bool,
}

impl Feed {
    /// Follows a stream from `start` on. With a `name`, the consumer is there for operators
    /// to see, and takes the place of one with the same name.
    pub(super) async fn open(
        link: &Arc<Link>,
        stream: &str,
        name: Option<&str>,
        start: u64,
    ) -> Result<Self, LogError> {
        link.connected().await?;
        let (losses, denials) = (link.losses(), link.denials());
        let consumer = consumers::make(link, stream, name, start).await?;
        let messages = request(link, &consumer).await?;
        Ok(Self {
            link: link.clone(),
            name: name.map(str::to_owned),
            consumer,
            messages,
            losses,
            denials,
            trouble: None,
            arrived: 0,
            suspected: None,
            ask_at: Instant::now() + QUIET,
            new_until: Instant::now() + UNKNOWN,
        })
    }

    /// Waits for the next message. Cancelling loses nothing. After an error the feed is over.
    pub(super) async fn next(&mut self) -> Result<Arrival, LogError> {
        loop {
            if self.is_unknown() {
                self.request_again().await?;
            }
            if self.trouble.is_some() {
                return Err(self.diagnose().await);
            }
            let (ask_at, requests) = (self.ask_at, self.link.api("CONSUMER.MSG.NEXT."));
            tokio::select! {
                biased;
                item = self.messages.next() => {
                    if let Some(arrival) = self.take(item) {
                        return Ok(arrival);
                    }
                }
                () = self.losses.occur() => {
                    return Err(self.link.unavailable("follow: the connection was lost", None));
                }
                denial = self.denials.of(&requests) => {
                    return Err(self.link.denied(&denial));
                }
                () = tokio::time::sleep_until(ask_at) => self.ask().await?,
            }
        }
    }

    /// The next message if it is here already. ReadError comes with the next wait.
    pub(super) fn ready(&mut self) -> Option<Arrival> {
        while self.trouble.is_none() {
            let item = self.messages.next().now_or_never()?;
            if let Some(arrival) = self.take(item) {
                return Some(arrival);
            }
        }
        None
    }

    /// Counts a message; `None` if it is one that came before, or in trouble.
    fn take(&mut self, item: Option<Result<Message, pull::MessagesError>>) -> Option<Arrival> {
        let message = match item {
            Some(Ok(message)) => message,
            Some(Err(error)) => return self.stop(ReadError::Interrupted(error)),
            None => return self.stop(ReadError::Ended),
        };
        let info = match message.info() {
            Ok(info) => info,
            Err(error) => return self.stop(ReadError::Unnumbered(error)),
        };
        let (number, sequence, again) =
            (info.consumer_sequence, info.stream_sequence, info.delivered > 1);
        let (time, is_newest) = (info.published, info.pending == 0);
        if sequence > MAX_SEQUENCE {
            return self.stop(ReadError::Unnumbered(format!("sequence {sequence}").into()));
        }
        if number.checked_sub(1) != Some(self.arrived) {
            return self.stop(ReadError::Gap(number));
        }
        self.arrived = number;
        self.ask_at = Instant::now() + QUIET;
        (!again).then_some(Arrival { message, sequence, time, is_newest })
    }

    fn stop(&mut self, trouble: ReadError) -> Option<Arrival> {
        self.trouble = Some(trouble);
        None
    }

    /// Whether the first request has found nobody, and so early that the consumer may only be new.
    fn is_unknown(&self) -> bool {
        let found_nobody = match &self.trouble {
            Some(ReadError::Interrupted(error)) => error.kind() == MessagesErrorKind::NoResponders,
            _ => false,
        };
        found_nobody && self.arrived == 0 && Instant::now() < self.new_until
    }

    /// Makes the first request once more, unless there is no such consumer.
    async fn request_again(&mut self) -> Result<(), LogError> {
        tokio::time::sleep(UNKNOWN_PAUSE).await;
        self.ask_info().await?;
        self.messages = request(&self.link, &self.consumer).await?;
        self.trouble = None;
        Ok(())
    }

    /// What the trouble means. A consumer that is gone shows in several ways.
    async fn diagnose(&mut self) -> LogError {
        let gone = match &self.trouble {
            Some(ReadError::Interrupted(error))
                if error.kind() == MessagesErrorKind::ConsumerDeleted =>
            {
                Some(self.gone().await)
            }
            _ => self.ask_info().await.err().filter(|error| !error.is_retryable()),
        };
        let trouble = self.trouble.take();
        if let Some(gone) = gone {
            return gone;
        }
        match trouble {
            Some(ReadError::Interrupted(error)) => {
                self.link.unavailable("follow", Some(Box::new(error)))
            }
            Some(ReadError::Gap(number)) => {
                let what = format!("follow: message {number} came after {}", self.arrived);
                self.link.unavailable(&what, None)
            }
            Some(ReadError::Unnumbered(error)) => self.link.unavailable("follow", Some(error)),
            Some(ReadError::Ended) | None => self.link.unavailable("follow: the feed ended", None),
        }
    }

    /// Nothing came for a while: is that because nothing was sent, and nothing is to be sent?
    async fn ask(&mut self) -> Result<(), LogError> {
        let info = self.ask_info().await?;
        // Another user of the stream can give it other settings: one that wants other subjects has
        // nothing pending. One that is paused shows below, and metadata change nothing.
        let made = &self.consumer.cached_info().config;
        let metadata = made.metadata.clone();
        let is =
            consumer::Config { pause_until: made.pause_until, metadata, ..info.config.clone() };
        if is != *made {
            return Err(self.link.unavailable("follow: somebody changed the consumer", None));
        }
        // A server may have messages for a consumer and not deliver them, although it is asked to.
        // Another consumer gets them.
        let waits = info.num_pending > 0 || info.delivered.consumer_sequence > self.arrived;
        if waits && self.suspected == Some(self.arrived) {
            let what = match info.delivered.consumer_sequence > self.arrived {
                true => "follow: messages were lost on the way",
                false => "follow: the server has messages and does not send them",
            };
            return Err(self.link.unavailable(what, None));
        }
        self.suspected = waits.then_some(self.arrived);
        self.ask_at = Instant::now() + if waits { UNDER_WAY } else { QUIET };
        Ok(())
    }

    async fn ask_info(&self) -> Result<Info, LogError> {
        let info = self.consumer.cached_info();
        let (stream, name) = (&info.stream_name, &info.name);
        let subject = format!("CONSUMER.INFO.{stream}.{name}");
        match self.link.ask("ask for a consumer", subject, &json!({})).await? {
            Ok(info) => Ok(info),
            Err(error) if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND => {
                Err(self.gone().await)
            }
            Err(error) => Err(error::of_api(&self.link.place, "read a consumer's state", error)),
        }
    }

    /// The consumer is gone. Only if another one has its name, that is for good. Otherwise the
    /// server lost it, or somebody deleted it, as `forget` does. One without a name goes with the
    /// server that had it.
    async fn gone(&self) -> LogError {
        let stream = &self.consumer.cached_info().stream_name;
        match &self.name {
            Some(name) => match consumers::is_taken(&self.link, stream, name).await {
                Ok(true) => consumers::taken(&self.link, name),
                Ok(false) => self.link.unavailable("follow: the consumer was deleted", None),
                Err(error) => error,
            },
            None => self.link.unavailable("follow: the passing consumer is gone", None),
        }
    }
}

/// A standing request for what the consumer has.
async fn request(link: &Link, consumer: &PullConsumer) -> Result<pull::Stream, LogError> {
    let stream = consumer
        .stream()
        .max_messages_per_batch(REQUEST_MESSAGES)
        .max_bytes_per_batch(REQUEST_BYTES)
        .heartbeat(HEARTBEAT)
        .expires(EXPIRES);
    let messages = stream.messages().await;
    messages.map_err(|error| link.unavailable("ask for messages", Some(Box::new(error))))
}
