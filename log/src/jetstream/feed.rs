//! Messages of a stream as they arrive.
//!
//! A pull consumer with a standing request: the server sends on arrival, never more than
//! fits here. Its memory of what was acknowledged is not relied upon. Whatever may have been
//! lost on the way ends the feed, so that what came through it is always without a hole: a
//! disconnect, messages dropped here, a jump in the consumer's numbers, a heartbeat that
//! stays away, and, while nothing comes, a server that says it sent more than arrived.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::{self, MessagesErrorKind};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, Info, PullConsumer};
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind};
use async_nats::jetstream::{ErrorCode, Message};
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::connect::{Link, Losses};
use super::failure;
use crate::error::LogError;

/// A standing request is for at most this many messages; two of them can overlap by half,
/// and must fit into the subscription.
const REQUEST_MESSAGES: usize = 1000;
/// … and at most this many bytes, or two of the largest messages: a request for less than
/// one message hangs for ever.
const REQUEST_BYTES: usize = 16 << 20;
const HEARTBEAT: Duration = Duration::from_secs(5);
const EXPIRES: Duration = Duration::from_secs(30);
/// After this long without a message the server is asked what it sent …
const QUIET: Duration = Duration::from_secs(15);
/// … and what it says it sent may take this long to arrive.
const UNDER_WAY: Duration = Duration::from_secs(2);
/// A passing consumer is forgotten by the server when nobody asks for this long.
const PASSING: Duration = Duration::from_secs(60);
/// Nothing is ever sent again because it was not acknowledged: stores take their time, and
/// what may be lost is fetched by a new feed.
const ACK_WAIT: Duration = Duration::from_secs(24 * 3600);
const METADATA_INSTANCE: &str = "tipline-instance";

/// Messages of a stream from a sequence on, in order and without a hole.
pub(super) struct Feed {
    link: std::sync::Arc<Link>,
    consumer: PullConsumer,
    messages: pull::Stream,
    losses: Losses,
    instance: String,
    trouble: Option<Trouble>,
    /// How many messages have arrived; the server numbers them from 1.
    arrived: u64,
    /// What `arrived` was when the server said that it had sent more.
    suspected: Option<u64>,
    ask_at: Instant,
}

/// What ends a feed.
enum Trouble {
    Interrupted(pull::MessagesError),
    Unnumbered(failure::Source),
    /// The message with this number came too early.
    Gap(u64),
    Ended,
}

/// A message of the feed.
pub(super) struct Arrival {
    pub(super) message: Message,
    /// Its sequence in the stream.
    pub(super) sequence: u64,
}

impl Feed {
    /// Follows a stream from `start` on. With a `name`, the consumer is there for operators
    /// to see, and takes the place of one with the same name.
    pub(super) async fn open(
        link: &std::sync::Arc<Link>,
        stream: &str,
        name: Option<&str>,
        start: u64,
    ) -> Result<Self, LogError> {
        link.connected().await?;
        let losses = link.losses();
        if let Some(name) = name {
            delete(link, stream, name).await?;
        }
        let instance = link.client.new_inbox();
        let config = config(name, &instance, start);
        let created = link.context.create_consumer_on_stream(config, stream).await;
        let consumer = created.map_err(|error| refusal(link, stream, error))?;
        let largest = link.client.max_payload();
        let messages = consumer
            .stream()
            .max_messages_per_batch(REQUEST_MESSAGES)
            .max_bytes_per_batch(REQUEST_BYTES.max(2 * (largest + 1024)))
            .heartbeat(HEARTBEAT)
            .expires(EXPIRES)
            .messages()
            .await
            .map_err(|error| link.unavailable("ask for messages", Some(Box::new(error))))?;
        let (link, ask_at) = (link.clone(), Instant::now() + QUIET);
        let (trouble, arrived, suspected) = (None, 0, None);
        Ok(Self { link, consumer, messages, losses, instance, trouble, arrived, suspected, ask_at })
    }

    /// Waits for the next message. Cancelling loses nothing. After an error the feed is over.
    pub(super) async fn next(&mut self) -> Result<Arrival, LogError> {
        loop {
            if self.trouble.is_some() {
                return Err(self.diagnose().await);
            }
            let ask_at = self.ask_at;
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
                () = tokio::time::sleep_until(ask_at) => self.ask().await?,
            }
        }
    }

    /// The next message if it is here already. Trouble comes with the next wait.
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
            Some(Err(error)) => return self.stop(Trouble::Interrupted(error)),
            None => return self.stop(Trouble::Ended),
        };
        let (number, sequence, again) = match message.info() {
            Ok(info) => (info.consumer_sequence, info.stream_sequence, info.delivered > 1),
            Err(error) => return self.stop(Trouble::Unnumbered(error)),
        };
        if number != self.arrived + 1 {
            return self.stop(Trouble::Gap(number));
        }
        self.arrived = number;
        self.ask_at = Instant::now() + QUIET;
        (!again).then_some(Arrival { message, sequence })
    }

    fn stop(&mut self, trouble: Trouble) -> Option<Arrival> {
        self.trouble = Some(trouble);
        None
    }

    /// What the trouble means. Another consumer of the same name shows in many ways.
    async fn diagnose(&mut self) -> LogError {
        let found = match &self.trouble {
            Some(Trouble::Interrupted(error))
                if error.kind() == MessagesErrorKind::ConsumerDeleted =>
            {
                return self.taken();
            }
            _ => self.ask_info().await.and_then(|info| self.check_owner(&info)),
        };
        if let Err(taken @ LogError::Unusable { .. }) = found {
            return taken;
        }
        match self.trouble.take() {
            Some(Trouble::Interrupted(error)) => {
                self.link.unavailable("follow", Some(Box::new(error)))
            }
            Some(Trouble::Gap(number)) => {
                let what = format!("follow: message {number} came behind {}", self.arrived);
                self.link.unavailable(&what, None)
            }
            Some(Trouble::Unnumbered(error)) => self.link.unavailable("follow", Some(error)),
            Some(Trouble::Ended) | None => self.link.unavailable("follow: the feed ended", None),
        }
    }

    /// Nothing came for a while: is that because nothing was sent?
    async fn ask(&mut self) -> Result<(), LogError> {
        let info = self.ask_info().await?;
        self.check_owner(&info)?;
        let lost = info.delivered.consumer_sequence > self.arrived;
        if lost && self.suspected == Some(self.arrived) {
            return Err(self.link.unavailable("follow: messages were lost on the way", None));
        }
        self.suspected = lost.then_some(self.arrived);
        self.ask_at = Instant::now() + if lost { UNDER_WAY } else { QUIET };
        Ok(())
    }

    async fn ask_info(&self) -> Result<Info, LogError> {
        let info = self.consumer.cached_info();
        let (stream, name) = (&info.stream_name, &info.name);
        let subject = format!("CONSUMER.INFO.{stream}.{name}");
        match self.link.ask("ask for a consumer", subject, &json!({})).await? {
            Ok(info) => Ok(info),
            Err(error) if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND => Err(self.taken()),
            Err(error) => Err(failure::of_api(&self.link.place, "tell of a consumer", error)),
        }
    }

    fn check_owner(&self, info: &Info) -> Result<(), LogError> {
        let owner = info.config.metadata.get(METADATA_INSTANCE);
        if owner == Some(&self.instance) { Ok(()) } else { Err(self.taken()) }
    }

    fn taken(&self) -> LogError {
        let name = &self.consumer.cached_info().name;
        LogError::Unusable {
            place: self.link.place.clone(),
            why: format!(
                "consumer {name} was deleted, or taken over by another one of the same name; \
                 give every consumer a name of its own"
            ),
            source: None,
        }
    }
}

/// Deletes a consumer, if it is there.
pub(super) async fn delete(link: &Link, stream: &str, name: &str) -> Result<(), LogError> {
    let subject = format!("CONSUMER.DELETE.{stream}.{name}");
    match link.ask::<Value>("delete a consumer", subject, &json!({})).await? {
        Err(error) if error.error_code() != ErrorCode::CONSUMER_NOT_FOUND => {
            Err(failure::of_api(&link.place, "delete a consumer", error))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn config(name: Option<&str>, instance: &str, start: u64) -> pull::Config {
    let metadata = HashMap::from([(METADATA_INSTANCE.to_owned(), instance.to_owned())]);
    let common = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
        metadata,
        ..pull::Config::default()
    };
    match name {
        Some(name) => pull::Config {
            durable_name: Some(name.to_owned()),
            ack_policy: AckPolicy::All,
            ack_wait: ACK_WAIT,
            // Nothing depends on acknowledgements, so nothing waits for them.
            max_ack_pending: -1,
            ..common
        },
        None => pull::Config { ack_policy: AckPolicy::None, inactive_threshold: PASSING, ..common },
    }
}

fn refusal(link: &Link, stream: &str, error: ConsumerError) -> LogError {
    let what = format!("make a consumer of stream {stream}");
    match error.kind() {
        ConsumerErrorKind::JetStream(error) => failure::of_api(&link.place, &what, error),
        _ => link.unavailable(&what, Some(Box::new(error))),
    }
}
