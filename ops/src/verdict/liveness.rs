//! Whether someone lives: by one clock, and never by the difference of two machines' clocks where
//! that can be avoided.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tipline_log::Board;
use tipline_proto::{Announcement, ConsumerName, Receipt, Timestamp};

/// A time may be ahead of this machine's clock by this much. Clocks that are kept by NTP differ by
/// far less.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// When someone was heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignOfLife {
    /// How long ago.
    pub age: Duration,
    /// By how much the sender's clock is ahead of this machine's, if by more than
    /// [`CLOCK_TOLERANCE`].
    pub clock_ahead: Option<Duration>,
}

impl SignOfLife {
    /// Of what was sent at `sent`, by the sender's clock. `heard` is how long ago that was by the
    /// log's own clock; where the log does not say it, the two machines' clocks are compared.
    pub fn new(sent: Timestamp, heard: Option<Duration>, now: Timestamp) -> Self {
        let age = heard.unwrap_or_else(|| now.since(sent));
        // What the sender's clock shows now, if the time on the way is left out.
        let shows = later(sent, heard.unwrap_or_default());
        Self { age, clock_ahead: ahead(shows, now) }
    }
}

/// By how much a time is ahead of `now`, if by more than [`CLOCK_TOLERANCE`].
pub(super) fn ahead(time: Timestamp, now: Timestamp) -> Option<Duration> {
    Some(time.since(now)).filter(|ahead| *ahead > CLOCK_TOLERANCE)
}

/// A time that much later.
pub(super) fn later(time: Timestamp, by: Duration) -> Timestamp {
    let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_micros(time.as_micros().saturating_add(micros))
}

/// Counts how long nothing was heard of anyone, on one monotonic clock, for whoever follows the
/// board. Clocks that are wrong or are put right do not matter to it.
#[derive(Debug, Default)]
pub struct Listener {
    primary: Option<Heard<Announcement>>,
    receipts: BTreeMap<ConsumerName, Heard<Receipt>>,
}

/// The newest that was heard, and how old it was when it was heard.
#[derive(Debug)]
struct Heard<T> {
    what: T,
    at: Instant,
    age: Duration,
}

impl Listener {
    /// Puts the ages into a board: what the log says, or what the times say when it is seen for the
    /// first time, and from then on the time since the last change. `now` and `clock` are the
    /// same moment.
    pub fn listen(&mut self, board: &mut Board, now: Instant, clock: Timestamp) {
        let said = board.primary.as_ref();
        let by_log = board.primary_heard;
        self.primary = said
            .map(|said| Heard::new(self.primary.take(), said, by_log, clock.since(said.time), now));
        board.primary_heard = self.primary.as_ref().map(|heard| heard.ago(now));
        let mut before = std::mem::take(&mut self.receipts);
        for receipt in &board.receipts {
            let name = &receipt.consumer;
            let by_log = board.heard.get(name).copied();
            let by_times = clock.since(receipt.time);
            let heard = Heard::new(before.remove(name), receipt, by_log, by_times, now);
            board.heard.insert(name.clone(), heard.ago(now));
            self.receipts.insert(name.clone(), heard);
        }
    }
}

impl<T: Clone + PartialEq> Heard<T> {
    fn new(
        before: Option<Self>,
        what: &T,
        by_log: Option<Duration>,
        by_times: Duration,
        now: Instant,
    ) -> Self {
        match before {
            Some(same) if same.what == *what => same,
            // It has just come.
            Some(_) => Self { what: what.clone(), at: now, age: by_log.unwrap_or_default() },
            None => Self { what: what.clone(), at: now, age: by_log.unwrap_or(by_times) },
        }
    }
}

impl<T> Heard<T> {
    fn ago(&self, now: Instant) -> Duration {
        self.age.saturating_add(now.saturating_duration_since(self.at))
    }
}
