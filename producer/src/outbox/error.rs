//! Errors of an outbox, by what the caller must do.

use tipline_log::error_chain;
use tipline_proto::{LinkError, PayloadTooLarge};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why an outbox did not take an event, or did not give it out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The event does not follow from the ones before it. It was not enqueued, because in the
    /// log it would stop every consumer. Correct the node.
    #[error("{event} was not enqueued")]
    DoesNotLink {
        /// Which event.
        event: String,
        /// What does not link.
        source: Box<LinkError>,
    },
    /// A node does not write such an event. It was not enqueued. Correct the node.
    #[error("{event} was not enqueued: {why}")]
    Refused {
        /// Which event.
        event: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The event is over a limit. It was not enqueued.
    #[error(transparent)]
    TooLarge(#[from] PayloadTooLarge),
    /// As many events or bytes are not logged as may wait in the outbox. The log has been
    /// unavailable for long, or, where rows stay until they are backed up, the backups. The event
    /// was not enqueued. Hold the commit back, or end without replication. Continuing without the
    /// event leaves a gap that nothing can fill.
    #[error(
        "the outbox {place} is full: {events} events with {bytes} bytes are not logged (or not backed up, if it waits for that); see why the log does not take them"
    )]
    Full {
        /// Which outbox.
        place: String,
        /// How many events are not logged.
        events: u64,
        /// How many payload bytes they have.
        bytes: u64,
    },
    /// Rows were requested that are gone. The log lost what it had acknowledged, or the outbox is
    /// another one. Refill the log from an archive (`tipline refill`), and start again.
    #[error(
        "the outbox {place} holds rows from {first} on, not {asked}: the log lost more than the outbox keeps; refill it from an archive (`tipline refill`)"
    )]
    Trimmed {
        /// Which outbox.
        place: String,
        /// Row that was asked for.
        asked: u64,
        /// Oldest row that is held.
        first: u64,
    },
    /// What is there is not an outbox of Tipline, or cannot be one. The message says what to
    /// change.
    #[error("{place} is not a usable outbox: {why}")]
    Unusable {
        /// Which outbox.
        place: String,
        /// What is wrong, and what to do.
        why: String,
        /// What went wrong.
        source: Option<Source>,
    },
    /// Something in the outbox, or in the files that it refers to, is not what was enqueued.
    #[error("the outbox {place} is damaged at {at}")]
    Corrupt {
        /// Which outbox.
        place: String,
        /// Which row or file.
        at: String,
        /// What is wrong there.
        source: Option<Source>,
    },
    /// A read or a write failed. Try again if the cause may pass (a lock), else remove it.
    #[error("the outbox {place} failed: {what}")]
    Failed {
        /// Which outbox.
        place: String,
        /// What was being done.
        what: String,
        /// What went wrong.
        source: Option<Source>,
    },
    /// A mistake of the outbox itself, such as a panic. It says nothing about what is in it. Report
    /// it, and start again.
    #[error("the outbox {place} failed by a mistake of its own: {what}")]
    Internal {
        /// Which outbox.
        place: String,
        /// What happened, and what to do.
        what: String,
    },
}

impl OutboxError {
    /// The same error once more, with its sources as text. An outbox that has stopped gives the
    /// reason to every later caller.
    pub fn duplicate(&self) -> Self {
        let text = |source: &Option<Source>| {
            let source = source.as_deref()?;
            Some(error_chain(source).into())
        };
        match self {
            Self::DoesNotLink { event, source } => {
                Self::DoesNotLink { event: event.clone(), source: source.clone() }
            }
            Self::Refused { event, why } => Self::Refused { event: event.clone(), why },
            Self::TooLarge(error) => Self::TooLarge(error.clone()),
            Self::Full { place, events, bytes } => {
                Self::Full { place: place.clone(), events: *events, bytes: *bytes }
            }
            Self::Trimmed { place, asked, first } => {
                Self::Trimmed { place: place.clone(), asked: *asked, first: *first }
            }
            Self::Unusable { place, why, source } => {
                let (place, why) = (place.clone(), why.clone());
                Self::Unusable { place, why, source: text(source) }
            }
            Self::Corrupt { place, at, source } => {
                let (place, at) = (place.clone(), at.clone());
                Self::Corrupt { place, at, source: text(source) }
            }
            Self::Failed { place, what, source } => {
                let (place, what) = (place.clone(), what.clone());
                Self::Failed { place, what, source: text(source) }
            }
            Self::Internal { place, what } => {
                Self::Internal { place: place.clone(), what: what.clone() }
            }
        }
    }
}
