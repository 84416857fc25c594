//! The days on which something of the history begins. The folder of a day may have no object: they were
//! removed, or the first was never whole. Such a one is passed by.

use std::ops::Range;

use tipline_backup::{Archive, ArchiveError, ReceiptSpan};
use tipline_proto::Timestamp;

/// From when to when there is a history, on these days; nothing if there is none.
pub(super) async fn extent(
    archive: &Archive,
    days: &[String],
) -> Result<Option<(Timestamp, Timestamp)>, ArchiveError> {
    let first = next_filled(archive, &mut days.iter()).await?;
    let newest = next_filled(archive, &mut days.iter().rev()).await?;
    let begins = first.iter().map(|span| span.from).min();
    Ok(begins.zip(newest.iter().map(|span| span.to).max()))
}

/// Which of these days matter to a period, and the objects of those that had to be read to find out: the
/// last two up to its beginning, as what begins on the day before may go on, and the next after its end.
pub(super) async fn around(
    archive: &Archive,
    days: &[String],
    from: Timestamp,
    to: Timestamp,
) -> Result<(Range<usize>, Vec<ReceiptSpan>), ArchiveError> {
    let up_to = |time| {
        let last = Archive::receipt_day(time);
        days.partition_point(|day| *day <= last)
    };
    let mut before = days[..up_to(from)].iter().rev();
    let mut after = days[up_to(to)..].iter();
    let mut spans = next_filled(archive, &mut before).await?;
    spans.extend(next_filled(archive, &mut before).await?);
    spans.extend(next_filled(archive, &mut after).await?);
    let end = days.len() - after.len();
    Ok((before.len().min(end)..end, spans))
}

/// The objects of the next of these days that has any.
async fn next_filled(
    archive: &Archive,
    days: &mut impl Iterator<Item = &String>,
) -> Result<Vec<ReceiptSpan>, ArchiveError> {
    for day in days {
        let spans = archive.receipt_spans(day).await?;
        if !spans.is_empty() {
            return Ok(spans);
        }
    }
    Ok(Vec::new())
}
