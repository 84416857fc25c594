//! How far the history of receipts was known to go at a destination: by what is there, and by what a
//! verification saw there and wrote into its record. The newest object is named by no other one; when it
//! is lost, only who saw it knows.

use serde::Deserialize;
use tipline_proto::Timestamp;

use super::FOLDER;
use super::name::{ReceiptSpan, is_day};
use crate::destination::{Destination, DestinationError, Object};

/// What the names of records of verifications begin with.
const RECORDS: &str = "checks/verify-";
/// Longest record of a check. Whoever else writes there may make one huge.
pub(crate) const MAX_RECORD_BYTES: u64 = 1 << 20;
/// How many records are read at most, to find one that says something.
const TRIES: usize = 16;

/// Of such a record.
#[derive(Debug, Deserialize)]
struct Seen {
    #[serde(default)]
    receipts: Option<String>,
}

/// The newest object of all, of those that are there and what the newest record of a verification says.
///
/// # Errors
/// Those of the destination. A record that cannot be read says nothing.
pub(crate) async fn newest_seen(
    destination: &Destination,
) -> Result<Option<ReceiptSpan>, DestinationError> {
    let there = newest_there(destination, "").await?;
    Ok(later(there, recorded(destination).await?))
}

/// What the newest record of a verification says, of those that say something.
pub(super) async fn recorded(
    destination: &Destination,
) -> Result<Option<ReceiptSpan>, DestinationError> {
    let folder = RECORDS.split('/').next().unwrap_or_default();
    let listed = destination.list(folder, None).await?;
    let records = listed.iter().filter_map(|object| Some((made(object)?, &object.name)));
    let mut records: Vec<(Timestamp, &String)> = records.collect();
    records.sort();
    for (_, name) in records.iter().rev().take(TRIES) {
        let bytes = match destination.read_at_most(name, MAX_RECORD_BYTES).await {
            Err(DestinationError::TooLong { .. }) => continue,
            bytes => bytes?,
        };
        let seen = serde_json::from_slice::<Seen>(&bytes).ok().and_then(|seen| seen.receipts);
        if let Some(span) = seen.and_then(|name| ReceiptSpan::parse(&name)) {
            return Ok(Some(span));
        }
    }
    Ok(None)
}

/// When a record of a verification was made, at the latest. The time in its name is of a machine whose
/// clock may be ahead: that one must not hide what came since. The destination says when it was written
/// there, which of a copy is later.
fn made(object: &Object) -> Option<Timestamp> {
    let digits = object.name.strip_prefix(RECORDS)?.trim_end_matches(".json");
    let said = digits.parse().map_or(object.modified, Timestamp::from_micros);
    Some(said.min(object.modified))
}

/// The newest object that is there, of all runs but this one.
pub(super) async fn newest_there(
    destination: &Destination,
    but: &str,
) -> Result<Option<ReceiptSpan>, DestinationError> {
    let mut days = destination.folders(FOLDER).await?;
    days.retain(|day| is_day(day));
    for day in days.iter().rev() {
        let spans = list(destination, day).await?.into_iter();
        let newest = spans.filter(|span| span.run != but).max_by_key(|span| span.to);
        if newest.is_some() {
            return Ok(newest);
        }
    }
    Ok(None)
}

/// The objects of a day, by their beginning, without what a merged one holds.
pub(super) async fn list(
    destination: &Destination,
    day: &str,
) -> Result<Vec<ReceiptSpan>, DestinationError> {
    let mut spans = all(destination, day).await?;
    let merged: Vec<ReceiptSpan> = spans.iter().filter(|span| span.is_merged()).cloned().collect();
    spans.retain(|span| !merged.iter().any(|one| one.holds(span)));
    Ok(spans)
}

/// The objects of a day, by their beginning.
pub(super) async fn all(
    destination: &Destination,
    day: &str,
) -> Result<Vec<ReceiptSpan>, DestinationError> {
    let listed = destination.list(&format!("{FOLDER}/{day}"), None).await?;
    let spans = listed.iter().filter_map(|object| ReceiptSpan::parse(&object.name));
    let mut spans: Vec<ReceiptSpan> = spans.collect();
    spans.sort();
    Ok(spans)
}

pub(super) fn later(one: Option<ReceiptSpan>, other: Option<ReceiptSpan>) -> Option<ReceiptSpan> {
    [one, other].into_iter().flatten().max_by_key(|span| span.to)
}
