//! What was read at the destinations themselves.

use std::fmt;
use std::time::Duration;

use tipline_log::{Log, LogError, Survey};
use tipline_proto::{Position, Timestamp};

/// What kind of copy proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProvenKind {
    /// An archive: it has every entry up to the position, without a hole.
    Archive,
    /// A checkpoint: it holds what all entries up to the position come to.
    Checkpoint,
}

impl fmt::Display for ProvenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ProvenKind::Archive => "archive",
            ProvenKind::Checkpoint => "checkpoint",
        })
    }
}

/// What can be restored from one place, as somebody found out by reading there: never by a
/// receipt, nor by what an archiver or a checkpoint's maker remembers.
///
/// Every place that is named must prove its part: one that cannot be read, or has nothing,
/// keeps the whole log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// What is there.
    pub kind: ProvenKind,
    /// Its address, without secrets.
    pub place: String,
    /// Everything up to this position can be restored without the log; or why nothing is known
    /// to be restorable, in a sentence for people.
    pub covered: Result<Position, String>,
}

impl Proven {
    /// The index up to which it counts, for the log that was surveyed; or why it does not.
    pub(super) fn counts(&self, survey: &Survey) -> Result<u64, String> {
        let Position { index, digest } = *self.covered.as_ref().map_err(Clone::clone)?;
        let held = survey.held;
        if index > held.last {
            return Err(format!(
                "it is at event {index}, the log ends at {}: the log lost events",
                held.last
            ));
        }
        match survey.digests.get(&index) {
            // Nothing that is still there would go by it.
            _ if index < held.first => Ok(index),
            Some(own) if *own == digest => Ok(index),
            Some(_) => Err(format!("it holds another history than the log, at event {index}")),
            None => Err(format!("event {index} was not compared with the log")),
        }
    }
}

/// Reads the log, with its digests at what was proven. Entries that were committed less than
/// `keep_for` before `now` are young.
///
/// # Errors
/// The log's. Trimming meanwhile is no error.
pub async fn survey(
    log: &dyn Log,
    proven: &[Proven],
    keep_for: Duration,
    now: Timestamp,
) -> Result<Survey, LogError> {
    let covered = proven.iter().filter_map(|proven| proven.covered.as_ref().ok());
    Survey::read(log, covered.map(|position| position.index), keep_for, now).await
}
