//! The moment that ages are counted from.

use std::time::Duration;

use tipline_proto::Timestamp;

use crate::spec::Board;

/// Clocks that differ by more are named. Those that are kept by NTP differ by far less.
const TOLERANCE: Duration = Duration::from_secs(60);

/// The moment that ages of entries are counted from: the latest that the clock which dates them is
/// known to have shown, and never later than what the clock here shows.
///
/// Entries are dated by the primary. The clock of whoever removes old ones may be days ahead of
/// that, and what is young would count as old. So what counts is what the primary itself has said:
/// with its newest entry, or while its chain is at rest with its newest announcement. If its own
/// clock is ahead, more is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ages {
    /// The moment.
    pub from: Timestamp,
    /// What it is the time of.
    pub by: AgesBy,
    /// What the clock of this machine shows.
    pub here: Timestamp,
    /// What the primary's clock shows, if that is more than a minute from what this machine's shows.
    /// Without an announcement only a clock here that is behind can be told.
    pub primary: Option<Timestamp>,
}

/// What gave the moment that ages are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgesBy {
    /// The newest entry's commit time.
    NewestEntry,
    /// The primary's newest announcement.
    Announcement,
    /// The clock of this machine, which is behind both.
    ThisMachine,
}

impl AgesBy {
    /// As it is shown. Keep stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewestEntry => "newest event",
            Self::Announcement => "announcement",
            Self::ThisMachine => "this machine",
        }
    }
}

impl Ages {
    /// Of entries of which the newest has this commit time, on a machine whose clock shows `here`.
    pub fn new(here: Timestamp, newest: Timestamp) -> Self {
        Self::with_board(here, newest, &Board::default())
    }

    /// The same, where the primary announces itself on a board.
    pub fn with_board(here: Timestamp, newest: Timestamp, board: &Board) -> Self {
        let said = board.primary.as_ref().map(|said| said.time);
        let (shown, by) = match said.filter(|said| *said > newest) {
            Some(said) => (said, AgesBy::Announcement),
            None => (newest, AgesBy::NewestEntry),
        };
        let (from, by) = if shown > here { (here, AgesBy::ThisMachine) } else { (shown, by) };
        // How long ago it was said is known by one clock, the log's.
        let shows = said.zip(board.primary_heard).map(|(said, heard)| later(said, heard));
        let primary = shows.or((shown > here).then_some(shown));
        let apart = |primary: &Timestamp| primary.since(here).max(here.since(*primary));
        let primary = primary.filter(|primary| apart(primary) > TOLERANCE);
        Self { from, by, here, primary }
    }

    /// The earliest commit time of what is younger than this.
    pub fn since(&self, age: Duration) -> Timestamp {
        let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        Timestamp::from_micros(self.from.as_micros().saturating_sub(age))
    }
}

/// A time that much later.
fn later(time: Timestamp, by: Duration) -> Timestamp {
    let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_micros(time.as_micros().saturating_add(micros))
}
