//! What checks had found at the place of an archive, at a past time.

use serde::Serialize;
use tipline_backup::{ArchiveError, Check, Destination, Record};
use tipline_proto::Timestamp;

use crate::error::AuditError;

/// What a check had found. Records of checks are not signed: whoever can write at the place can write
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// `verify` read what is kept, `drill` restored it.
    pub check: &'static str,
    /// When it ended, by the clock of the machine that made it, in microseconds since 1970.
    pub time_us: u64,
    /// Whether nothing was wrong.
    pub ok: bool,
    /// Index of the entry up to which it checked.
    pub index: u64,
    /// What was found, in a line.
    pub summary: String,
}

impl Checked {
    fn new(check: Check, record: Record) -> Self {
        let Record { time_us, ok, index, summary, .. } = record;
        Self { check: check.as_str(), time_us, ok, index, summary }
    }
}

/// The newest check of each kind that had ended at a place by this time. If something was wrong then, the
/// newest before it that found nothing wrong follows. Empty if nothing had been checked.
///
/// # Errors
/// Those of the destination.
pub async fn checks_at(place: &Destination, at: Timestamp) -> Result<Vec<Checked>, AuditError> {
    let mut checked = Vec::new();
    for check in [Check::Verify, Check::Drill] {
        let found = Record::newest(place, check, at).await.map_err(ArchiveError::from)?;
        let before = found.succeeded.filter(|well| found.newest.as_ref() != Some(well));
        let both = found.newest.into_iter().chain(before);
        checked.extend(both.map(|record| Checked::new(check, record)));
    }
    Ok(checked)
}
