//! What the page is told. Serialised, the page reads it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tipline_proto::Timestamp;

use super::kept::KeptView;
use crate::verdict::{Expectation, Exposure, Fleet};

/// What does not change for as long as the page is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct About {
    /// Version of the program that serves it.
    pub version: String,
    /// The log's address, without a password.
    pub log: String,
    /// The limits that the plots show.
    pub limits: Limits,
    /// What to do, by the name of a finding's kind.
    pub remedies: BTreeMap<String, Remedy>,
}

/// The limits that the plots show, in milliseconds and blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    lag_ms: u64,
    lag_blocks: u64,
    silent_ms: u64,
}

impl From<&Expectation> for Limits {
    fn from(expected: &Expectation) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            lag_ms: millis(expected.max_lag_time),
            lag_blocks: expected.max_lag,
            silent_ms: millis(expected.silent_after),
        }
    }
}

/// What a kind of finding puts at risk, and what to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// What is at risk.
    pub risk: String,
    /// What to look at, in this order.
    pub check: Vec<String>,
    /// What to do.
    pub fix: Vec<String>,
}

/// A fleet at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Picture {
    /// When it was so, in milliseconds since 1970, by the clock of whoever judged.
    pub at_ms: u64,
    /// The verdict: the object of `tipline status --json`.
    pub fleet: Fleet,
    /// What would be lost; `null` if the log was not read.
    pub exposure: Option<Exposure>,
    /// What is kept at the places of backups, and by whom.
    pub kept: KeptView,
}

impl Picture {
    /// A fleet at this moment.
    pub fn new(at: Timestamp, fleet: Fleet, exposure: Option<Exposure>, kept: KeptView) -> Self {
        Self { at_ms: at.as_micros() / 1_000, fleet, exposure, kept }
    }

    /// Whether nothing but time has passed.
    pub(super) fn is_same_but_for_time(&self, other: &Self) -> bool {
        let lost = |picture: &Self| {
            let exposure = picture.exposure.as_ref()?;
            let primary = exposure.with_primary.as_ref().map(|loss| loss.events);
            Some((primary, exposure.with_log.events))
        };
        self.fleet.is_same_but_for_time(&other.fleet)
            && lost(self) == lost(other)
            && self.kept == other.kept
    }
}
