//! Names of the objects of the history of receipts.

use std::fmt;

use tipline_proto::Timestamp;

use super::FOLDER;
use crate::time::{TimeDigits, time_text};

const SUFFIX: &str = ".tipr";
const NUMBER_DIGITS: usize = 20;
const RUN_DIGITS: usize = 16;
/// Longest name of an object: it has every part.
pub(super) const MAX_NAME: usize = 140;
/// Where times have no such form any more.
const LAST_DAY: &str = "9999-12-31";

/// An object of the history of receipts, by its name: what was on the board from one moment to
/// another, by the clock of the archiver.
///
/// `receipts/<day>/<from>-<to>-<run>-<number>.tipr`: the day of its beginning in UTC, both times in
/// microseconds since 1970 with 20 digits, and which object of which run of an archiver it is. The
/// objects of a run have the numbers from 0 on, and each begins where the one before ends. One that was
/// merged of several has the numbers of the first and of the last: `…-<number>-<last>.tipr`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiptSpan {
    /// From when on.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
    /// Which run of an archiver: 16 hex digits.
    pub run: String,
    /// Which object of that run, from 0 on; of a merged one, the first that is in it.
    pub number: u64,
    /// The last that is in it: the same number, if it is not merged.
    pub last: u64,
}

impl ReceiptSpan {
    /// The one that an object of this name is; `None` if it is none.
    pub fn parse(object: &str) -> Option<Self> {
        let (day, name) = object.strip_prefix(FOLDER)?.strip_prefix('/')?.split_once('/')?;
        let mut parts = name.strip_suffix(SUFFIX)?.split('-');
        let mut next = |digits, is: fn(u8) -> bool| {
            parts.next().filter(|text| text.len() == digits && text.bytes().all(is))
        };
        let decimal = |b: u8| b.is_ascii_digit();
        let from = Timestamp::from_micros(next(NUMBER_DIGITS, decimal)?.parse().ok()?);
        let to = Timestamp::from_micros(next(NUMBER_DIGITS, decimal)?.parse().ok()?);
        let run = next(RUN_DIGITS, |b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))?.to_owned();
        let number = next(NUMBER_DIGITS, decimal)?.parse().ok()?;
        let last = match next(NUMBER_DIGITS, decimal) {
            Some(last) => last.parse().ok().filter(|last| *last > number)?,
            None => number,
        };
        let span = Self { from, to, run, number, last };
        // One name, one object.
        let is_whole = from <= to && day == day_of(from) && span.to_string() == object;
        is_whole.then_some(span)
    }

    /// Whether it was merged of several.
    pub fn is_merged(&self) -> bool {
        self.last > self.number
    }

    /// Whether all that is in the other one is in it, and more.
    pub fn holds(&self, other: &Self) -> bool {
        let is_longer = self.last - self.number > other.last - other.number;
        is_longer && self.run == other.run && self.number <= other.number && other.last <= self.last
    }

    /// Whether this time is in it.
    pub fn covers(&self, time: Timestamp) -> bool {
        self.from <= time && time <= self.to
    }
}

impl fmt::Display for ReceiptSpan {
    /// The name of the object.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, run, number, last } = self;
        let (day, from, to) = (day_of(*from), from.as_micros(), to.as_micros());
        write!(f, "{FOLDER}/{day}/{from:020}-{to:020}-{run}-{number:020}")?;
        if self.is_merged() {
            write!(f, "-{last:020}")?;
        }
        write!(f, "{SUFFIX}")
    }
}

/// The day of a time in UTC, as it is in names.
pub(super) fn day_of(time: Timestamp) -> String {
    let text = time_text(time, TimeDigits::Seconds);
    match text.split_once('T') {
        Some((day, _)) => day.to_owned(),
        None => LAST_DAY.to_owned(),
    }
}

/// Whether a folder is named as a day is.
pub(super) fn is_day(name: &str) -> bool {
    let is =
        |(at, b): (usize, u8)| if matches!(at, 4 | 7) { b == b'-' } else { b.is_ascii_digit() };
    name.len() == LAST_DAY.len() && name.bytes().enumerate().all(is)
}
