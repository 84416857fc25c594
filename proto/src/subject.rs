//! Subjects, stream names, headers and metadata keys: every name of the contract on the
//! broker, written down once.
//!
//! | name | what |
//! |---|---|
//! | `tipline.<log>.event.<kind>` | one event, or one part of it |
//! | `tipline.<log>.receipt.<consumer>` | newest receipt of a consumer; empty once it is forgotten |
//! | `tipline.<log>.primary` | newest announcement of the primary |
//! | `tipline.<log>.claim` | the newest `epoch_started` that was trimmed away, as an entry |
//! | `tipline-<log>-events` | the stream of the events |
//! | `tipline-<log>-receipts` | the stream of receipts, announcement and claim, the newest of each subject |
//! | header `Tipline-Part: 2/5` | part of an event that is larger than a message; the last part is an entry, those before it are the beginning of its payload |
//! | header `Tipline-Index: 77` | index of the event that a part belongs to |
//!
//! There is no message id. Nothing depends on the broker's duplicate window, and it would
//! cost a fifth of the rate.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::event::Kind;
use crate::name::{ConsumerName, LogName};

/// Header that says which part of an event a message is: [`Part`].
pub const HEADER_PART: &str = "Tipline-Part";
/// Header that says which event a part belongs to: its index, in decimal.
pub const HEADER_INDEX: &str = "Tipline-Index";
/// Metadata of a stream: the version of this contract, [`CONTRACT_VERSION`].
pub const METADATA_CONTRACT: &str = "tipline-contract";
/// Metadata of a stream: the lineage, in hex.
pub const METADATA_LINEAGE: &str = "tipline-lineage";
/// Metadata of a stream: the chain's name.
pub const METADATA_CHAIN: &str = "tipline-chain";
/// Metadata of a stream: the chain's genesis hash, in hex.
pub const METADATA_GENESIS: &str = "tipline-genesis";
/// Metadata of a stream: from which height on proofs are expected, in decimal. Only of a log with
/// [`CONTRACT_VERSION_LATE_PROOFS`].
pub const METADATA_PROOFS_FROM: &str = "tipline-proofs-from";
/// Version of the contract. A reader refuses a higher one than it knows.
pub const CONTRACT_VERSION: &str = "1";
/// Version of the contract of a log that says from which height on proofs are expected. A program
/// that knows the first version only would count wrongly, and refuses it.
pub const CONTRACT_VERSION_LATE_PROOFS: &str = "2";

/// A subject of the contract. [`fmt::Display`] writes it, [`FromStr`] reads it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// `tipline.<log>.event.<kind>`
    Event(LogName, Kind),
    /// `tipline.<log>.receipt.<consumer>`
    Receipt(LogName, ConsumerName),
    /// `tipline.<log>.primary`
    Primary(LogName),
    /// `tipline.<log>.claim`
    Claim(LogName),
}

/// A subject that is none of the contract's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a subject of Tipline")]
pub struct UnknownSubject(String);

impl Subject {
    /// Every event of a log: `tipline.<log>.event.*`.
    pub fn events(log: &LogName) -> String {
        format!("tipline.{log}.event.*")
    }

    /// What the subjects of all events of a log begin with.
    pub fn events_begin(log: &LogName) -> String {
        format!("tipline.{log}.event.")
    }

    /// Every receipt of a log: `tipline.<log>.receipt.*`.
    pub fn receipts(log: &LogName) -> String {
        format!("tipline.{log}.receipt.*")
    }
}

/// The stream that holds a log's events.
pub fn events_stream(log: &LogName) -> String {
    format!("tipline-{log}-events")
}

/// The stream that holds a log's receipts, its primary's announcement, and the newest claim that
/// was trimmed away.
pub fn receipts_stream(log: &LogName) -> String {
    format!("tipline-{log}-receipts")
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Event(log, kind) => write!(f, "tipline.{log}.event.{}", kind.as_str()),
            Subject::Receipt(log, consumer) => write!(f, "tipline.{log}.receipt.{consumer}"),
            Subject::Primary(log) => write!(f, "tipline.{log}.primary"),
            Subject::Claim(log) => write!(f, "tipline.{log}.claim"),
        }
    }
}

impl FromStr for Subject {
    type Err = UnknownSubject;
    fn from_str(given: &str) -> Result<Self, UnknownSubject> {
        let words: Vec<&str> = given.split('.').collect();
        let parsed = match words[..] {
            ["tipline", log, "event", kind] => {
                log.parse().ok().zip(Kind::parse(kind)).map(|(log, kind)| Subject::Event(log, kind))
            }
            ["tipline", log, "receipt", consumer] => {
                log.parse().ok().zip(consumer.parse().ok()).map(|(l, c)| Subject::Receipt(l, c))
            }
            ["tipline", log, "primary"] => log.parse().ok().map(Subject::Primary),
            ["tipline", log, "claim"] => log.parse().ok().map(Subject::Claim),
            _ => None,
        };
        parsed.ok_or_else(|| UnknownSubject(given.to_owned()))
    }
}

/// Which part of an event a message is: `2/5`, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part {
    number: NonZeroU32,
    of: NonZeroU32,
}

impl Part {
    /// Part `number` of `of`, counted from 1; `None` if there is no such part.
    pub fn new(number: u32, of: u32) -> Option<Self> {
        let (number, of) = (NonZeroU32::new(number)?, NonZeroU32::new(of)?);
        (number <= of).then_some(Self { number, of })
    }

    /// Which one, from 1.
    pub fn number(self) -> u32 {
        self.number.get()
    }

    /// How many there are.
    pub fn of(self) -> u32 {
        self.of.get()
    }

    /// Whether it is the last one, which carries the entry.
    pub fn is_last(self) -> bool {
        self.number == self.of
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// A header that is not a part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a part of an event: it reads 2/5, counted from 1")]
pub struct InvalidPart(String);

impl FromStr for Part {
    type Err = InvalidPart;
    fn from_str(given: &str) -> Result<Self, InvalidPart> {
        let parse = || {
            let (number, of) = given.split_once('/')?;
            let canonical = Part::new(number.parse().ok()?, of.parse().ok()?)?;
            (canonical.to_string() == given).then_some(canonical)
        };
        parse().ok_or_else(|| InvalidPart(given.to_owned()))
    }
}
