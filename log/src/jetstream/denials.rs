//! What the server denies this user.
//!
//! It says so apart from any request: an error on the connection that names the subject, and no
//! answer. Without this, everything that is not allowed would look like a server that is silent.

use std::collections::VecDeque;

use tokio::sync::watch;

/// Denials that are remembered. One is looked for while its request waits.
const REMEMBERED: usize = 64;

/// What a user may not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denial {
    /// Publish to a subject: the API's subjects are among them.
    Publish(String),
    /// Subscribe to one.
    Subscribe(String),
}

/// What was denied on a connection.
#[derive(Debug, Default)]
pub(super) struct Denied {
    count: u64,
    newest: VecDeque<Denial>,
    /// Replies cannot be heard: the subject that was denied.
    replies: Option<String>,
}

/// What is denied from a moment on.
pub(super) struct Denials {
    denied: watch::Receiver<Denied>,
    seen: u64,
}

impl Denial {
    /// Reads the error of a server; `None` if it is another one.
    pub(super) fn parse(error: &str) -> Option<Self> {
        let (_, after) = error.split_once("Permissions Violation for ")?;
        let (what, after) = after.split_once('"')?;
        let (subject, _) = after.split_once('"')?;
        match what.starts_with("Subscription") {
            true => Some(Self::Subscribe(subject.to_owned())),
            false => Some(Self::Publish(subject.to_owned())),
        }
    }

    /// `publish to tipline.main.primary`
    pub(super) fn action(&self) -> String {
        match self {
            Self::Publish(subject) => format!("publish to {subject}"),
            Self::Subscribe(subject) => format!("subscribe to {subject}"),
        }
    }
}

impl Denied {
    /// A connection with the permissions of now.
    pub(super) fn connected(&mut self) {
        self.replies = None;
    }

    pub(super) fn put(&mut self, denial: Denial) {
        if let Denial::Subscribe(subject) = &denial {
            self.replies = Some(subject.clone());
        }
        self.count += 1;
        self.newest.push_back(denial);
        if self.newest.len() > REMEMBERED {
            self.newest.pop_front();
        }
    }

    /// Why what goes to a subject that begins so, and was sent after `seen` denials, has no answer.
    fn of(&self, seen: u64, beginning: &str) -> Option<Denial> {
        let replies = self.replies.clone().map(Denial::Subscribe);
        let new = usize::try_from(self.count - seen).unwrap_or(usize::MAX);
        let mut new = self.newest.iter().rev().take(new);
        let is_it = |denial: &&Denial| matches!(denial, Denial::Publish(subject) if subject.starts_with(beginning));
        new.find(is_it).cloned().or(replies)
    }
}

impl Denials {
    pub(super) fn from_now_on(denied: &watch::Receiver<Denied>) -> Self {
        let seen = denied.borrow().count;
        Self { denied: denied.clone(), seen }
    }

    /// Waits until what is published to a subject that begins so is denied, or its reply cannot be
    /// heard. Never, if it is allowed.
    pub(super) async fn of(&mut self, beginning: &str) -> Denial {
        loop {
            let found = self.denied.borrow_and_update().of(self.seen, beginning);
            match found {
                Some(denial) => return denial,
                None if self.denied.changed().await.is_err() => std::future::pending().await,
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What 2.15.1 says.
    #[test]
    fn reads_what_the_server_says() {
        let publish = |s: &str| Some(Denial::Publish(s.to_owned()));
        let parse = Denial::parse;
        assert_eq!(parse("Permissions Violation for Publish to \"a.b\""), publish("a.b"));
        let subscription =
            "Permissions Violation for Subscription to \"_INBOX.>\" using queue \"q\"";
        assert_eq!(parse(subscription), Some(Denial::Subscribe("_INBOX.>".to_owned())));
        assert_eq!(parse("Permissions Violation for Publish with Reply of \"r\""), publish("r"));
        assert_eq!(parse("Stale Connection"), None);
    }

    #[tokio::test]
    async fn a_denial_is_seen_by_whom_it_concerns() {
        let (tx, rx) = watch::channel(Denied::default());
        tx.send_modify(|denied| denied.put(Denial::Publish("$JS.API.INFO".into())));
        let mut later = Denials::from_now_on(&rx);
        tx.send_modify(|denied| denied.put(Denial::Publish("other".into())));
        assert_eq!(rx.borrow().of(later.seen, "$JS.API.INFO"), None, "it was before");
        tx.send_modify(|denied| denied.put(Denial::Publish("$JS.API.INFO".into())));
        assert_eq!(later.of("$JS.API.INFO").await.action(), "publish to $JS.API.INFO");
        // Without replies nothing works, until there are others permissions.
        tx.send_modify(|denied| denied.put(Denial::Subscribe("_INBOX.a.*".into())));
        let mut later = Denials::from_now_on(&rx);
        assert_eq!(later.of("x").await.action(), "subscribe to _INBOX.a.*");
        tx.send_modify(Denied::connected);
        assert_eq!(rx.borrow().of(later.seen, "x"), None);
    }
}
