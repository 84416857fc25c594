//! An inbox of our own for acknowledgements.
//!
//! The client's own ways leave a pending acknowledgement waiting through a disconnect, and
//! keep a little of each that never comes. Here every attempt has reply subjects of its own,
//! `<inbox>.<attempt>.<n>`, one reader waits for them, and what belongs to an earlier
//! attempt is dropped: it can be mistaken for nothing.

use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures_util::{FutureExt, StreamExt};

use super::connect::{Link, Losses};
use crate::error::LogError;

/// The server has 503 for a subject that nobody listens to: no leader, or no stream.
const NO_RESPONDERS: u16 = 503;

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
    losses: Losses,
}

impl Inbox {
    pub(super) async fn open(link: &Link) -> Result<Self, LogError> {
        let prefix = link.client.new_inbox();
        let subscriber = link.client.subscribe(format!("{prefix}.>")).await;
        let subscriber = subscriber
            .map_err(|error| link.unavailable("listen for replies", Some(Box::new(error))))?;
        Ok(Self { prefix, subscriber, attempt: 0 })
    }

    /// Begins an attempt. Whatever is still on its way to an earlier one is void.
    ///
    /// # Errors
    /// `Unavailable` if there is no connection. Nothing was sent.
    pub(super) fn begin<'a>(&'a mut self, link: &'a Link) -> Result<Attempt<'a>, LogError> {
        let losses = link.losses();
        if !link.is_connected() {
            return Err(link.unavailable("append: there is no connection", None));
        }
        self.attempt += 1;
        while let Some(Some(_)) = self.subscriber.next().now_or_never() {}
        Ok(Attempt { inbox: self, link, losses })
    }
}

impl Attempt<'_> {
    /// A name for the attempt that no other has, of at most 64 bytes.
    pub(super) fn id(&self) -> String {
        let unique = self.inbox.prefix.rsplit('.').next().unwrap_or_default();
        format!("{unique}-{}", self.inbox.attempt)
    }

    /// Where the reply to message `number` is to go.
    pub(super) fn reply_to(&self, number: usize) -> String {
        format!("{}.{}.{number}", self.inbox.prefix, self.inbox.attempt)
    }

    /// Whether the attempt can still succeed, as far as is known.
    ///
    /// # Errors
    /// `Unavailable` if the connection was lost since it began.
    pub(super) fn check(&self) -> Result<(), LogError> {
        if self.losses.any() { Err(self.lost()) } else { Ok(()) }
    }

    /// Waits for a reply, and tells to which message.
    ///
    /// # Errors
    /// `Unavailable` after `patience` of silence, if the connection is lost, and if nobody
    /// listens to the subject.
    pub(super) async fn reply(&mut self, patience: Duration) -> Result<(usize, Message), LogError> {
        let silence = tokio::time::sleep(patience);
        tokio::pin!(silence);
        loop {
            let message = tokio::select! {
                biased;
                message = self.inbox.subscriber.next() => message.ok_or_else(|| self.lost())?,
                () = self.losses.occur() => return Err(self.lost()),
                () = &mut silence => {
                    let what = format!("acknowledge within {} s", patience.as_secs_f32());
                    return Err(self.link.unavailable(&what, None));
                }
            };
            let Some(number) = self.number(&message) else { continue };
            if message.status.is_some_and(|status| status.as_u16() == NO_RESPONDERS) {
                return Err(self.link.unavailable("take messages: the stream has no leader", None));
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

    fn lost(&self) -> LogError {
        self.link.unavailable("append: the connection was lost meanwhile", None)
    }
}
