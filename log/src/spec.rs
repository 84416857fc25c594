//! The specification of a log, as traits.
//!
//! ```text
//! entries        1     2     3     4
//! positions   0     1     2     3     4
//!             ^ origin                ^ tail
//! ```
//! *Tail*: the position directly after the newest entry. *After index n*: entries n + 1 and up.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use tipline_proto::{
    Announcement, ConsumerName, Entry, Head, LogIdentity, OutboxId, Position, Receipt,
    SignatureError, Timestamp, Trust,
};

use crate::error::{AppendError, LogError};
use crate::preflight::Preflight;

/// The end of a log, as the one who decides about appends knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The position directly after the newest entry; the origin of an empty log.
    pub position: Position,
    /// Epoch of the newest entry; 0 in an empty log.
    pub epoch: u64,
    /// Commit time of the newest entry.
    pub time: Timestamp,
    /// Outbox sequence up to which the log is complete; 0 in an empty log.
    pub outbox_sequence: u64,
    /// The outbox of the newest epoch; `None` in an empty log.
    pub outbox: Option<OutboxId>,
    /// What the log itself expects of the next append: the broker's own sequence. Opaque; it
    /// comes from [`Appender::tail`] or [`Appender::append`] and goes into `append`.
    pub fence: u64,
}

/// Which entries a log holds: `first..=last`; none if `last < first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Index of the oldest entry it holds; of the next one if it holds none.
    pub first: u64,
    /// Index of the newest entry.
    pub last: u64,
}

/// The writing side of a log.
///
/// There is one writer at a time. The log allows more, but every append names the tail that it
/// expects, so of two writers one loses.
#[async_trait]
pub trait Appender: Send + Sync + Debug {
    /// The tail, from the one that decides about appends (the leader), never from a copy that may
    /// be behind. An append that was acknowledged to anyone before this call is in it.
    ///
    /// The newest entry's bytes are checked to be an entry; that it chains is not.
    async fn tail(&self) -> Result<Tail, LogError>;

    /// Appends a unit that follows `after`: all of it or nothing.
    ///
    /// `unit` is at least one entry, sealed in a row after `after.position`, and no more than
    /// [`Appender::unit_len`] says: [`tipline_proto::limits::MAX_UNIT_MESSAGES`] messages of the
    /// log together, and, if it is more than one entry,
    /// [`tipline_proto::limits::MAX_UNIT_BYTES`] of payload. A unit that is empty, not in a
    /// row, or over a limit is `Refused`.
    ///
    /// On `Ok` the unit is as durable as the log is (see [`Appender::preflight`]), and the
    /// result is the new tail. An event that is larger than a message becomes several
    /// messages; no reader ever sees a part of a unit.
    ///
    /// If the log's tail is not `after`, the answer is `Conflict` and nothing is written. This
    /// alone gives order, exactly-once and fencing.
    ///
    /// At most one append per handle is under way. Callers wait for one before they start the
    /// next. A cancelled append is in doubt: read the tail.
    async fn append(&self, after: &Tail, unit: &[Entry]) -> Result<Tail, AppendError>;

    /// How many of these entries, from the first on, make a unit that the log takes as a whole. 0
    /// if there are none, else at least 1.
    fn unit_len(&self, entries: &[Entry]) -> usize;

    /// Compares the log's settings, as they are now, with those of a log that loses nothing.
    async fn preflight(&self) -> Result<Preflight, LogError>;
}

/// The reading side of a log.
#[async_trait]
pub trait Reader: Send + Sync + Debug {
    /// What the log is.
    fn identity(&self) -> &LogIdentity;

    /// Whose signatures its history must have, where that is configured: see [`crate::SignedLog`]. A
    /// log by itself requires none. Entries come as they are. Whoever verifies that they chain also
    /// verifies who signed them.
    fn trust(&self) -> Option<&Trust> {
        None
    }

    /// Which entries the log holds now.
    async fn extent(&self) -> Result<Extent, LogError>;

    /// Asks the log for a sign of life: `Ok` once it has answered. It is asked twice a second by
    /// everyone who must notice that it was cut off, so it should cost one small request, answered
    /// by the one that decides about appends.
    async fn ping(&self) -> Result<(), LogError> {
        self.extent().await.map(drop)
    }

    /// One entry by its index, with the headers it was appended with.
    ///
    /// # Errors
    /// `OutOfRange` if the log does not hold it.
    async fn entry(&self, index: u64) -> Result<Entry, LogError>;

    /// Position, epoch and time of an entry, without its payload. Nobody has to read all of a large
    /// entry for them.
    ///
    /// # Errors
    /// `OutOfRange` if the log does not hold it.
    async fn head(&self, index: u64) -> Result<Head, LogError> {
        let entry = self.entry(index).await?;
        let Entry { epoch, time, outbox_sequence, .. } = entry;
        Ok(Head { position: entry.position(), epoch, time, outbox_sequence })
    }

    /// Follows the log from the entry after `after` on, for ever.
    ///
    /// `name` is the consumer, for operators to see on the broker; `None` for a passing
    /// reader such as an audit. A second subscription under the same name ends the first,
    /// which gets `Unusable`.
    ///
    /// # Errors
    /// `OutOfRange` if entry `after + 1` is no longer held, or if `after` is beyond the
    /// tail. A subscription may start at the tail and wait.
    async fn subscribe(
        &self,
        name: Option<&ConsumerName>,
        after: u64,
    ) -> Result<Box<dyn Subscription>, LogError>;
}

/// Entries as they arrive.
#[async_trait]
pub trait Subscription: Send {
    /// Waits until there is at least one entry and gives all that have arrived, in the
    /// order of the log, up to [`tipline_proto::limits::MAX_APPLY_EVENTS`] and
    /// [`tipline_proto::limits::MAX_APPLY_BYTES`] (one entry may be larger alone).
    ///
    /// An entry may come twice, and after a fault entries may be missing in between. The
    /// caller compares indices, and subscribes again after what it has. Entries are whole,
    /// and their bytes decode; that they chain is for the caller to verify. Each has the headers that it
    /// was appended with; what cannot be read of those is left out.
    ///
    /// Cancelling loses nothing. What was not returned comes with the next call.
    ///
    /// # Errors
    /// After any error the subscription is over; subscribe again if it is retryable.
    async fn next(&mut self) -> Result<Vec<Entry>, LogError>;

    /// Reports that everything up to `index` is durable at this consumer. This is for operators
    /// and flow control; nothing depends on the log remembering it. Returns without waiting for
    /// the log.
    ///
    /// # Errors
    /// As for [`Subscription::next`].
    async fn acknowledge(&mut self, index: u64) -> Result<(), LogError>;
}

/// The newest receipt of every consumer, and the newest announcement of the primary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Board {
    /// Sorted by consumer name; one each.
    pub receipts: Vec<Receipt>,
    /// What the primary last said of itself.
    pub primary: Option<Announcement>,
    /// How long the log has had each receipt, by the clock of the log: the difference of two
    /// times of one machine. `time` in a receipt is the consumer's own clock, which may be wrong.
    pub heard: BTreeMap<ConsumerName, Duration>,
    /// How long the log has had the announcement, by the clock of the log.
    pub primary_heard: Option<Duration>,
    /// What is there and is not believed, where signatures are required: see [`crate::SignedLog`]. It
    /// is nobody's receipt.
    pub forged: Vec<Forged>,
    /// What is there and cannot be read. It is nobody's receipt, and does not keep the others from
    /// being read.
    pub unreadable: Vec<Unreadable>,
}

/// Something on the board that is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forged {
    /// Whose receipt it would be; `None` for the announcement of the primary.
    pub consumer: Option<ConsumerName>,
    /// Why it does not count.
    pub why: ForgedBy,
}

/// Why something on the board does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForgedBy {
    /// Its signature is missing, wrong, or of somebody else.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It was signed, and is older than what was here before: somebody has put it here again, or the
    /// clock that dates it went back. What was here before stands.
    #[error("it was made {} s before the one that was here: it was put here again, or the clock that dates it went back", newest.since(*found).as_secs_f64())]
    Replayed {
        /// When it was made.
        found: Timestamp,
        /// When the newest one was made.
        newest: Timestamp,
    },
}

/// Something on the board that this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it is: a subject, or a row.
    pub place: String,
    /// Whose receipt it should be, if that can be told.
    pub consumer: Option<ConsumerName>,
    /// What is wrong with it.
    pub why: String,
}

/// Receipts beside a log.
#[async_trait]
pub trait Receipts: Send + Sync + Debug {
    /// Puts a consumer's receipt in the place of its older one. On `Ok` the log has it. A
    /// receipt of another lineage is refused with `WrongLog`.
    async fn put_receipt(&self, receipt: &Receipt) -> Result<(), LogError>;

    /// Puts the primary's announcement in the place of its older one. An announcement of
    /// another lineage is refused with `WrongLog`.
    async fn announce(&self, announcement: &Announcement) -> Result<(), LogError>;

    /// Forgets a consumer that is gone for good. `Ok` too if there is none of this name.
    async fn forget(&self, consumer: &ConsumerName) -> Result<(), LogError>;

    /// The newest of each, now. Every put that returned `Ok` before this call is in it.
    async fn board(&self) -> Result<Board, LogError>;

    /// Follows the changes. The first [`BoardFeed::next`] gives the newest of each at once; then
    /// every change is pushed.
    async fn follow_board(&self) -> Result<Box<dyn BoardFeed>, LogError>;
}

/// The board, pushed as it changes.
#[async_trait]
pub trait BoardFeed: Send {
    /// The first call gives the board as it is, empty or not; later calls wait for a change
    /// and give the whole board again. Changes that come together may be given together;
    /// the newest of each consumer is never left out. Cancelling loses nothing.
    ///
    /// # Errors
    /// After any error the feed is over; follow again if it is retryable.
    async fn next(&mut self) -> Result<Board, LogError>;
}

/// The side of a log that forgets. What may be forgotten is not for the log to know.
///
/// ```text
/// before   1  2  3  4  5  6         trim(4)
/// after             4  5  6         extent: first 4, last 6
/// ```
#[async_trait]
pub trait Trimmer: Send + Sync + Debug {
    /// Removes the oldest entries, so that `first` is the oldest one held; gives what is held
    /// then. Entries are removed whole, from the oldest on.
    ///
    /// The newest entry is never removed. A `first` after it is taken for its index. A `first`
    /// that is not held any more, or 0, changes nothing. So the same call may be repeated.
    ///
    /// The tail stays as it is, the outbox and the epoch of the newest claim included, even
    /// if the claim is trimmed away. A reader at `first - 1` continues as if nothing had
    /// happened. One further back gets `OutOfRange`, at the latest when it subscribes again.
    /// Appending continues meanwhile.
    ///
    /// On `Ok` what was removed is gone for good, as far as the log is durable. After an error,
    /// a crash or a cancelled call, any part of it may be gone, always the oldest. Call again.
    async fn trim(&self, first: u64) -> Result<Extent, LogError>;
}

/// A whole log.
pub trait Log: Appender + Reader + Receipts + Trimmer {}

impl<T: Appender + Reader + Receipts + Trimmer> Log for T {}
