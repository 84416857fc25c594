//! The specification of an outbox, as a trait.

use std::fmt::Debug;

use tipline_proto::{Event, Lineage, OutboxId, Timestamp};

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
}

/// The publisher's side of an outbox. The node's side (`enqueue`) belongs to each medium,
/// because it takes part in the medium's own transaction.
///
/// # Rules
/// - A row is there exactly if the node's transaction that wrote it is committed, and durable
///   exactly if that transaction is.
/// - Sequences are dense and in commit order.
/// - What [`Outbox::read`] gave once it gives again, unaltered, until it is trimmed.
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

    /// Drops rows up to `sequence`, which must be in the log. May return before they are
    /// gone for good. Trimming again after a crash does no harm.
    fn trim(&mut self, sequence: u64) -> Result<(), OutboxError>;
}
