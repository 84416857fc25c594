//! The outcomes of checks, kept at the destination that was checked. What is read there is true of
//! that destination, not what a machine elsewhere remembers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tipline_proto::Timestamp;

use crate::archive::{MAX_RECORD_BYTES, newest_seen};
use crate::destination::{Destination, DestinationError};

/// The folder of the records.
const FOLDER: &str = "checks";
/// Most characters of its summary. However they are written in JSON, the record is short enough.
const MAX_SUMMARY: usize = 16 << 10;

/// Which check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Reading what is kept.
    Verify,
    /// Restoring it.
    Drill,
}

impl Check {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Check::Verify => "verify",
            Check::Drill => "drill",
        }
    }
}

/// That a check was made, and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it ended, in microseconds since 1970, by the clock of the machine that made it.
    pub time_us: u64,
    /// Nothing was wrong.
    pub ok: bool,
    /// Index up to which it checked.
    pub index: u64,
    /// What was found, in a line.
    pub summary: String,
    /// Name of the newest checkpoint that a verification found there; `None` if there was none, and
    /// of a drill.
    #[serde(default)]
    pub checkpoint: Option<String>,
    /// How long restoring took, in milliseconds; `None` of what restores nothing, and of a drill that
    /// failed.
    #[serde(default)]
    pub restored_ms: Option<u64>,
}

impl Record {
    /// When it ended.
    pub fn time(&self) -> Timestamp {
        Timestamp::from_micros(self.time_us)
    }

    /// Keeps it at the destination, beside the older ones, with the first 16,384 characters of its
    /// summary. Durable on return.
    ///
    /// # Errors
    /// Those of the destination.
    pub async fn keep(&self, at: &Destination, check: Check) -> Result<(), DestinationError> {
        let name = format!("{FOLDER}/{}-{:020}.json", check.as_str(), self.time_us);
        let Self { time_us, ok, index, summary, checkpoint, restored_ms } = self;
        let summary: String = summary.chars().take(MAX_SUMMARY).collect();
        // Only whoever saw its newest object knows when that is lost.
        let receipts = match check {
            Check::Verify => newest_seen(at).await?.map(|span| span.to_string()),
            Check::Drill => None,
        };
        let text = serde_json::json!({
            "time_us": time_us, "ok": ok, "index": index, "summary": summary,
            "checkpoint": checkpoint, "restored_ms": restored_ms, "receipts": receipts,
        });
        match at.create(&name, text.to_string().into()).await {
            // Another one ended in the same microsecond: one of them is enough.
            Err(DestinationError::Exists { .. }) => Ok(()),
            kept => kept,
        }
    }

    /// The newest records of a check at the destination, of those that were made up to `until`.
    /// A later one was dated by a clock that is ahead: it must not hide what came since.
    ///
    /// # Errors
    /// Those of the destination. What cannot be read is as if it were not there.
    pub async fn newest(
        at: &Destination,
        check: Check,
        until: Timestamp,
    ) -> Result<Newest, DestinationError> {
        let prefix = format!("{FOLDER}/{}-", check.as_str());
        let mut found = Newest::default();
        for object in at.list(FOLDER, None).await?.iter().rev() {
            if !object.name.starts_with(&prefix) {
                continue;
            }
            // Its name says when it ended: of those that came later, one is enough.
            let digits = object.name[prefix.len()..].trim_end_matches(".json");
            if found.ahead.is_some() && digits.parse().is_ok_and(|us: u64| us > until.as_micros()) {
                continue;
            }
            let Some(record) = read(at, &object.name).await? else { continue };
            if record.time() > until {
                found.ahead = found.ahead.or(Some(record));
                continue;
            }
            let ok = record.ok;
            if ok {
                found.succeeded = Some(record.clone());
            }
            found.newest = found.newest.or(Some(record));
            if ok {
                break;
            }
        }
        Ok(found)
    }
}

/// A record; `None` if it cannot be read as one.
async fn read(at: &Destination, name: &str) -> Result<Option<Record>, DestinationError> {
    match at.read_at_most(name, MAX_RECORD_BYTES).await {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(DestinationError::TooLong { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The records at a destination that were read. One is never changed, so it is read once.
#[derive(Debug, Clone, Default)]
pub struct KnownRecords(BTreeMap<String, Option<Record>>);

impl KnownRecords {
    /// The newest records there of a check, at most so many, the newest first. What cannot be read as a
    /// record is left out. Those that are not among them any more are forgotten.
    ///
    /// # Errors
    /// Those of the destination.
    pub async fn newest(
        &mut self,
        at: &Destination,
        check: Check,
        most: usize,
    ) -> Result<Vec<Record>, DestinationError> {
        let prefix = format!("{FOLDER}/{}-", check.as_str());
        let listed = at.list(FOLDER, None).await?;
        let names: Vec<String> = listed
            .into_iter()
            .rev()
            .map(|object| object.name)
            .filter(|name| name.starts_with(&prefix))
            .take(most)
            .collect();
        self.0.retain(|name, _| !name.starts_with(&prefix) || names.contains(name));
        for name in &names {
            if !self.0.contains_key(name) {
                self.0.insert(name.clone(), read(at, name).await?);
            }
        }
        Ok(names.iter().filter_map(|name| self.0.get(name)?.clone()).collect())
    }
}

/// The newest records of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Newest {
    /// The newest one.
    pub newest: Option<Record>,
    /// The newest that succeeded.
    pub succeeded: Option<Record>,
    /// The newest of a time to come: its clock is ahead.
    pub ahead: Option<Record>,
}
