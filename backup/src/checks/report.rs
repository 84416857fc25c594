//! What a verification found.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tipline_log::{LogError, error_chain};
use tipline_proto::Position;

use crate::checkpoint::CheckpointId;
use crate::destination::Destination;
use crate::error::RestoreError;

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct VerifyReport {
    /// By place.
    pub places: Vec<VerifiedPlace>,
    /// Destinations that could not be checked, and the log if it could not be asked. The others
    /// were.
    pub failed: Vec<FailedPlace>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// A destination that could not be checked, or a log that could not be asked: it is unavailable, or
/// there is no key for it.
#[derive(Debug, Clone, Serialize)]
pub struct FailedPlace {
    /// Which destination or log.
    pub place: String,
    /// Why not.
    pub why: String,
    /// The error itself.
    #[serde(skip)]
    pub error: Arc<RestoreError>,
    /// It is the log.
    #[serde(skip)]
    pub(super) is_log: bool,
}

impl FailedPlace {
    /// This destination could not be checked, because of this.
    pub fn new(place: impl Into<String>, error: RestoreError) -> Self {
        let why = error_chain(&error);
        Self { place: place.into(), why, error: Arc::new(error), is_log: false }
    }

    /// The log could not be asked.
    pub(super) fn log(place: String, error: LogError) -> Self {
        Self { is_log: true, ..Self::new(place, error.into()) }
    }
}

impl VerifyReport {
    /// Whether nothing is wrong at what was checked.
    pub fn is_ok(&self) -> bool {
        self.places.iter().all(|place| place.problems.is_empty())
    }

    /// Index up to which any place reaches.
    pub fn index(&self) -> u64 {
        self.places.iter().map(|place| place.last).max().unwrap_or(0)
    }

    /// Name of the newest checkpoint at any place, whose manifest was read; its files if the sample
    /// says so.
    pub fn checkpoint(&self) -> Option<String> {
        let newest = self.places.iter().filter_map(|place| place.newest.as_ref()).max();
        newest.map(CheckpointId::to_string)
    }

    /// Whether nothing is there, and nothing says that there should be. A log that could not be asked
    /// says nothing.
    pub fn is_new(&self) -> bool {
        self.failed.iter().all(|failed| failed.is_log)
            && self.places.iter().all(|place| place.is_new)
    }

    /// The part of one destination, for its record; none if it was not checked, or if nothing is
    /// there: it may be a directory that is not mounted. The log is among those that failed, if it
    /// could not be asked.
    pub fn of(&self, destination: &Destination) -> Option<VerifyReport> {
        let place = destination.place();
        let of_it = |found: &&VerifiedPlace| found.destination.as_deref() == Some(place);
        let places: Vec<_> = self.places.iter().filter(of_it).cloned().collect();
        let has_records = places.iter().any(|place| place.has_records);
        let failed = self.failed.iter().filter(|failed| failed.is_log).cloned().collect();
        has_records.then_some(VerifyReport { places, failed, seconds: self.seconds })
    }
}

/// What is kept at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PlaceKind {
    /// Segments.
    Archive,
    /// A set of checkpoints.
    Checkpoints,
    /// A store.
    Store,
    /// Neither an archive nor a checkpoint.
    Nothing,
}

impl fmt::Display for PlaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PlaceKind::Archive => "archive",
            PlaceKind::Checkpoints => "checkpoints",
            PlaceKind::Store => "store",
            PlaceKind::Nothing => "nothing",
        })
    }
}

/// What was found at a place.
#[derive(Debug, Clone, Serialize)]
pub struct VerifiedPlace {
    /// Which place.
    pub place: String,
    /// The destination that it is at; none of a store.
    pub destination: Option<String>,
    /// What is there.
    #[serde(rename = "what")]
    pub kind: PlaceKind,
    /// How many segments, checkpoints or entries were checked.
    pub looked_at: u64,
    /// How many of them were read back as a whole.
    pub read_back: u64,
    /// Bytes that were read back.
    pub bytes: u64,
    /// Index of the oldest entry there.
    pub first: u64,
    /// Index of the newest.
    pub last: u64,
    /// Digest there, to compare with receipts and to hold a restore to; none if it is not known.
    pub digest: Option<String>,
    /// What is wrong, each with its name.
    pub problems: Vec<String>,
    /// What could not be decided.
    pub notes: Vec<String>,
    /// Nothing is there, and nothing says that there should be.
    #[serde(skip)]
    pub(super) is_new: bool,
    /// Records are kept there.
    #[serde(skip)]
    pub(super) has_records: bool,
    #[serde(skip)]
    pub(super) end: Option<Position>,
    /// The newest checkpoint.
    #[serde(skip)]
    pub(super) newest: Option<CheckpointId>,
}

impl VerifiedPlace {
    pub(super) fn new(place: &str, kind: PlaceKind) -> Self {
        Self {
            place: place.to_owned(),
            destination: None,
            kind,
            looked_at: 0,
            read_back: 0,
            bytes: 0,
            first: 0,
            last: 0,
            digest: None,
            problems: Vec::new(),
            notes: Vec::new(),
            is_new: false,
            has_records: kind != PlaceKind::Nothing,
            end: None,
            newest: None,
        }
    }

    pub(super) fn at(mut self, destination: &Destination) -> Self {
        self.destination = Some(destination.place().to_owned());
        self
    }

    /// It ends there.
    pub(super) fn ends(&mut self, end: Position) {
        (self.last, self.digest, self.end) = (end.index, Some(end.digest.to_string()), Some(end));
    }
}
