//! An inbox of our own for acknowledgements.
//!
//! The client's own ways leave a pending acknowledgement waiting through a disconnect, and
//! keep a little of each that never comes. Here every attempt has reply subjects of its own,
//! `<inbox>.<attempt>.<n>`, one reader waits for them, and what belongs to an earlier
//! attempt is dropped. It can be mistaken for nothing.

use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::connect::{Link, Losses};
use super::denials::Denials;
use super::error::Source;
use crate::error::LogError;

/// The server has 503 for a subject that nobody listens to: no leader, or no stream.
const NO_RESPONDERS: u16 = 503;
/// Time for the client to take a message. Its queue is longer than a unit, so it waits only
/// after something else that is in doubt.
const SENDING: Duration = Duration::from_secs(2);

/// Where acknowledgements arrive.
pub(super) struct Inbox {
    prefix: String,
    subscriber: Subscriber,
    attempt: u64,
}

/// One attempt to have something acknowledged.
pub(super) struct Attempt<'a> {
    inbox: &'a mut Inbox,
    link: &'a Link,
    what: &'static str,
    losses: Losses,
    denials: Denials,
    /// What the subjects begin with that are published to.
    subjects: String,
}

impl Inbox {
    pub(super) async fn open(link: &Link) -> Result<Self, LogError> {
        let prefix = link.client.new_inbox();
        let subscriber = link.client.subscribe(format!("{prefix}.>")).await;
        let subscriber = subscriber
            .map_err(|error| link.unavailable("listen for replies", Some(Box::new(error))))?;
        Ok(Self { prefix, subscriber, attempt: 0 })
    }

    /// Begins an attempt to do `what`, which publishes to subjects that begin so. Whatever is still on its way to an earlier one is void.
    ///
    /// # Errors
    /// `Unavailable` if there is no connection. Nothing was sent.
    pub(super) fn begin<'a>(
        &'a mut self,
        link: &'a Link,
        what: &'static str,
        subjects: String,
    ) -> Result<Attempt<'a>, LogError> {
        let (losses, denials) = (link.losses(), link.denials());
        self.attempt += 1;
        while let Some(Some(_)) = self.subscriber.next().now_or_never() {}
        let attempt = Attempt { inbox: self, link, what, losses, denials, subjects };
        if link.is_connected() { Ok(attempt) } else { Err(attempt.failed("no connection", None)) }
    }
}

impl Attempt<'_> {
    /// A name for the attempt that no other has, of at most 64 bytes.
    pub(super) fn id(&self) -> String {
        let unique = self.inbox.prefix.rsplit('.').next().unwrap_or_default();
        format!("{unique}-{}", self.inbox.attempt)
    }

    /// Sends a message, and asks for a reply to it as message `number`.
    pub(super) async fn send(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        number: Option<usize>,
    ) -> Result<(), LogError> {
        self.check()?;
        let client = &self.link.client;
        let sending = async {
            match number {
                Some(number) => {
                    let reply = format!("{}.{}.{number}", self.inbox.prefix, self.inbox.attempt);
                    client.publish_with_reply_and_headers(subject, reply, headers, payload).await
                }
                None => client.publish_with_headers(subject, headers, payload).await,
            }
        };
        match tokio::time::timeout(SENDING, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.failed("it was not sent", Some(Box::new(error)))),
            Err(_) => Err(self.failed("it waits to be sent", None)),
        }
    }

    /// Waits for a reply, and returns which message it answers.
    ///
    /// # Errors
    /// `Unavailable` after `patience` of silence, if the connection is lost, and if nobody
    /// listens to the subject. `Denied` if this user may not publish there.
    pub(super) async fn reply(&mut self, patience: Duration) -> Result<(usize, Message), LogError> {
        let end = Instant::now() + patience;
        let silence = tokio::time::sleep_until(end);
        tokio::pin!(silence);
        loop {
            let message = tokio::select! {
                biased;
                message = self.inbox.subscriber.next() => message.ok_or_else(|| self.lost())?,
                () = self.losses.occur() => return Err(self.lost()),
                denial = self.denials.of(&self.subjects) => return Err(self.link.denied(&denial)),
                () = &mut silence => {
                    let why = format!("no acknowledgement within {} s", patience.as_secs());
                    return Err(self.failed(&why, None));
                }
            };
            let Some(number) = self.number(&message) else {
                // While such come without end, nothing else has its turn.
                if Instant::now() >= end {
                    return Err(self.failed("no acknowledgement among what came", None));
                }
                continue;
            };
            if message.status.is_some_and(|status| status.as_u16() == NO_RESPONDERS) {
                return Err(self.failed("the stream has no leader", None));
            }
            return Ok((number, message));
        }
    }

    /// Which message of this attempt it answers; `None` if it is of an earlier attempt.
    fn number(&self, message: &Message) -> Option<usize> {
        let rest = message.subject.as_str().strip_prefix(self.inbox.prefix.as_str())?;
        let (attempt, number) = rest.strip_prefix('.')?.split_once('.')?;
        if attempt.parse() != Ok(self.inbox.attempt) {
            return None;
        }
        number.parse().ok()
    }

    /// Whether it can still succeed, as far as is known.
    fn check(&self) -> Result<(), LogError> {
        if self.losses.any() { Err(self.lost()) } else { Ok(()) }
    }

    fn lost(&self) -> LogError {
        self.failed("the connection was lost meanwhile", None)
    }

    fn failed(&self, why: &str, source: Option<Source>) -> LogError {
        self.link.unavailable(&format!("{}: {why}", self.what), source)
    }
}
