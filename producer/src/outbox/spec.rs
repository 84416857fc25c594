//! The specification of an outbox, as a trait.

use std::fmt::Debug;

use tipline_proto::limits::{OUTBOX_BYTES, OUTBOX_EVENTS};
use tipline_proto::{Event, Hash, Lineage, OutboxId, Timestamp};

use super::OutboxError;

/// An event that waits in an outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Dense number in the outbox, from 1. Never reused, not after trimming either.
    pub sequence: u64,
    /// When the node committed it.
    pub time: Timestamp,
    /// What happened, payload included.
    pub event: Event,
}

/// What an outbox holds: rows `first..=last`; none if `last < first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Sequence of the oldest row it still holds; of the next one if it holds none.
    pub first: u64,
    /// Sequence of the newest row; 0 if there never was one.
    pub last: u64,
    /// Payload bytes of all rows that it holds.
    pub bytes: u64,
    /// Rows up to here count against no limit ([`Outbox::release`]); at least `first - 1`.
    pub released: u64,
    /// Payload bytes of the rows after `released`.
    pub counted_bytes: u64,
    /// How many rows may be there after `released`.
    pub max_events: u64,
    /// How many payload bytes the rows after `released` may have, if they are more than one.
    pub max_bytes: u64,
}

impl Pending {
    /// How many rows count against the limit.
    pub fn counted_events(&self) -> u64 {
        self.last.saturating_sub(self.released)
    }
}

/// The rows after a sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many.
    pub events: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Commit time of the first of them; `None` if there are none.
    pub oldest: Option<Timestamp>,
}

/// How much may wait in an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { events: OUTBOX_EVENTS, bytes: OUTBOX_BYTES }
    }
}

impl Limits {
    /// The one rule of every outbox: whether one more event, of `length` payload bytes, is too
    /// much where `events` of `bytes` count. If nothing does, any event fits.
    pub(crate) fn are_reached(&self, events: u64, bytes: u64, length: u64) -> bool {
        events >= self.events || (events > 0 && bytes.saturating_add(length) > self.bytes)
    }

    /// Limits with which nothing could ever be enqueued are refused.
    pub(crate) fn check(&self, place: &str) -> Result<(), OutboxError> {
        if self.events > 0 && self.bytes > 0 {
            return Ok(());
        }
        let why = format!(
            "limits of {} events and {} bytes leave room for nothing: give at least 1 of each",
            self.events, self.bytes
        );
        Err(OutboxError::Unusable { place: place.to_owned(), why, source: None })
    }
}

/// The publisher's side of an outbox. The node's side (`enqueue`) belongs to each medium,
/// because it takes part in the medium's own transaction.
///
/// # Rules
/// - A row is there exactly if the node's transaction that wrote it is committed, and durable
///   exactly if that transaction is.
/// - Sequences are dense and in commit order.
/// - What [`Outbox::read`] gave once it gives again, unaltered, until it is trimmed. Its rows are
///   durable before they are given: what was published must still be here after a power cut.
/// - Rows count against the limits until they are released. An event is refused as
///   [`OutboxError::Full`] if as many rows count as may, or if some do and their payload bytes with
///   its own are over the limit. What is kept after that never stands in the node's way.
/// - The rows link ([`tipline_proto::Links`]) and keep the limits. The outbox refuses any other
///   event when it is enqueued, because in the log it would stop every consumer for good.
///
/// Calls block; the publisher makes them on a thread of their own. They never hold up the
/// node's commits for longer than one short transaction without an fsync.
pub trait Outbox: Send + Debug {
    /// Its random id, given when it was created.
    fn id(&self) -> OutboxId;

    /// Kind and place, as text: `sqlite:node.db`.
    fn place(&self) -> String;

    /// Hash of the genesis block of the chain whose events it holds. Nothing is published to the
    /// log of another chain.
    fn genesis(&self) -> Hash;

    /// Lineage of the log that it publishes to; `None` before it is bound to one.
    fn lineage(&mut self) -> Result<Option<Lineage>, OutboxError>;

    /// Binds it to a log: from now on it publishes to that one. A network reset, or a log that
    /// was lost and created again, is found out by it. As durable on return as a trim.
    fn bind(&mut self, lineage: Lineage) -> Result<(), OutboxError>;

    /// What it holds now.
    fn pending(&mut self) -> Result<Pending, OutboxError>;

    /// The rows after sequence `after`, in a row and in order: at most `max_rows`, and at most
    /// `max_bytes` of payload unless the first alone is larger. Empty if there is none yet.
    ///
    /// # Errors
    /// [`OutboxError::Trimmed`] if row `after + 1` is not held any more.
    fn read(
        &mut self,
        after: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<Row>, OutboxError>;

    /// The rows after sequence `after`; those that are held if it was trimmed further.
    fn waiting(&mut self, after: u64) -> Result<Waiting, OutboxError>;

    /// Rows up to `sequence`, which must be in the log, do not count against the limits any more.
    /// They stay until they are trimmed. Never goes back, and no further than there are rows. A
    /// crash of the machine may undo it: then they count until they are released again.
    fn release(&mut self, sequence: u64) -> Result<(), OutboxError>;

    /// Drops rows up to `sequence`, which must be in the log, and releases them. May return before
    /// they are gone for good. Trimming again after a crash does no harm.
    fn trim(&mut self, sequence: u64) -> Result<(), OutboxError>;
}
