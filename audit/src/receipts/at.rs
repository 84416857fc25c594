//! What was acknowledged at one time.

use serde::Serialize;
use tipline_backup::{Archive, ArchiveDigests, ArchiveError, ReceiptPart, ReceiptSpan};
use tipline_proto::{ConsumerName, Timestamp, Trust};

use super::days::{around, extent};
use super::gaps::{ReceiptGap, Why, between};
use super::judge::Judge;
use super::row::{Acknowledged, AnnouncedRow, ForgottenRow, until};
use crate::error::AuditError;

/// How many objects before a time are tried that cannot be read.
const TRIES: usize = 3;

/// What was acknowledged at one time. All times are in microseconds since 1970, by the clock of the
/// archiver unless something else is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceiptsAt {
    /// Whether nothing that was read is wrong.
    pub ok: bool,
    /// The archive.
    pub place: String,
    /// The time that was asked for.
    pub at_us: u64,
    /// Whether it was recorded then.
    pub recorded: Recorded,
    /// The time that the answer is of, if there is an answer: that time, or the last before it.
    pub as_of_us: Option<u64>,
    /// When the history begins.
    pub begins_us: u64,
    /// When it ends, so far.
    pub ends_us: u64,
    /// The time around the one that was asked for of which nothing is known.
    pub gap: Option<ReceiptGap>,
    /// What the primary had announced.
    pub primary: Option<AnnouncedRow>,
    /// What each consumer had acknowledged.
    pub consumers: Vec<Acknowledged>,
    /// Who was forgotten in the object of the history that the answer is of, and had nothing since.
    pub forgotten: Vec<ForgottenRow>,
    /// What is wrong.
    pub problems: Vec<String>,
}

/// Whether a time was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// It was.
    Yes,
    /// The history begins later.
    TooOld,
    /// The history does not go that far yet.
    NotYet,
    /// Nothing can be read of that time.
    Gap,
}

/// What consumers had acknowledged at a time; without one, when the history ends. With a name, that
/// one alone. Receipts count by the keys that are trusted, and are compared with the archive's entries.
///
/// # Errors
/// [`AuditError::NoReceipts`] if there is no history of them; those of the archive.
pub async fn receipts_at(
    archive: &Archive,
    at: Option<Timestamp>,
    trust: &Trust,
    consumer: Option<&ConsumerName>,
) -> Result<ReceiptsAt, AuditError> {
    let days = archive.receipt_days().await?;
    let none = || AuditError::NoReceipts { place: archive.place().to_owned() };
    let (begins, ends) = extent(archive, &days).await?.ok_or_else(none)?;
    let at = at.unwrap_or(ends);
    let (_, spans) = around(archive, &days, at, at).await?;
    let mut problems = Vec::new();
    let near = Near::open(archive, spans, at, &mut problems).await?;
    let mut report = ReceiptsAt {
        ok: true,
        place: archive.place().to_owned(),
        at_us: at.as_micros(),
        recorded: Recorded::Yes,
        as_of_us: None,
        begins_us: begins.as_micros(),
        ends_us: ends.as_micros(),
        gap: None,
        primary: None,
        consumers: Vec::new(),
        forgotten: Vec::new(),
        problems,
    };
    let spans = near.spans();
    let covering: Vec<&ReceiptSpan> =
        spans.iter().copied().filter(|span| span.covers(at)).collect();
    let before = || spans.iter().copied().filter(|span| span.to < at).max_by_key(|span| span.to);
    let after = spans.iter().copied().filter(|span| span.from > at).min_by_key(|span| span.from);
    if covering.is_empty() {
        report.recorded = match (before(), after) {
            (None, _) => Recorded::TooOld,
            (_, None) => Recorded::NotYet,
            _ => Recorded::Gap,
        };
        if let Some((before, after)) = before().zip(after) {
            let follows = near.follows(archive, after).await?;
            report.gap = Some(between(before, after, follows.as_ref()));
        }
        if report.gap.is_some_and(|gap| gap.why == Why::Lost) {
            report.problems.push("an object of the history is not there any more".to_owned());
        }
    }
    let mut judges = Vec::new();
    for span in covering {
        judges.extend(near.read(archive, span, at, trust, &mut report.problems).await?);
    }
    if judges.is_empty() {
        if report.recorded == Recorded::Yes {
            report.recorded = Recorded::Gap;
        }
        let mut older: Vec<&ReceiptSpan> =
            spans.iter().copied().filter(|span| span.to < at).collect();
        older.sort_by_key(|span| std::cmp::Reverse(span.to));
        for span in older.into_iter().take(TRIES) {
            judges.extend(near.read(archive, span, at, trust, &mut report.problems).await?);
            if !judges.is_empty() {
                report.as_of_us = Some(span.to.as_micros());
                break;
            }
        }
    } else {
        report.as_of_us = Some(at.as_micros());
    }
    fill(&mut report, judges, archive, consumer).await?;
    report.ok = report.problems.is_empty();
    Ok(report)
}

/// The objects around a time. Merged ones that have it, and the last before it, are opened: what they were
/// merged of counts.
struct Near {
    closed: Vec<ReceiptSpan>,
    opened: Vec<ReceiptPart>,
}

impl Near {
    async fn open(
        archive: &Archive,
        spans: Vec<ReceiptSpan>,
        at: Timestamp,
        problems: &mut Vec<String>,
    ) -> Result<Self, AuditError> {
        let last = spans.iter().filter(|span| span.to < at).max_by_key(|span| span.to).cloned();
        let mut near = Self { closed: Vec::new(), opened: Vec::new() };
        for span in spans {
            if !span.is_merged() || !(span.covers(at) || Some(&span) == last.as_ref()) {
                near.closed.push(span);
                continue;
            }
            match archive.receipt_parts(&span).await {
                Ok(parts) => near.opened.extend(parts),
                Err(error @ ArchiveError::Corrupt { .. }) => problems.push(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(near)
    }

    fn spans(&self) -> Vec<&ReceiptSpan> {
        self.closed.iter().chain(self.opened.iter().map(|part| &part.span)).collect()
    }

    /// What one of them is, as far as it can be read.
    async fn parts(
        &self,
        archive: &Archive,
        span: &ReceiptSpan,
    ) -> Result<Vec<ReceiptPart>, ArchiveError> {
        match self.opened.iter().find(|part| part.span == *span) {
            Some(part) => Ok(vec![part.clone()]),
            None => archive.receipt_parts(span).await,
        }
    }

    /// What one says that it follows.
    async fn follows(
        &self,
        archive: &Archive,
        span: &ReceiptSpan,
    ) -> Result<Option<ReceiptSpan>, AuditError> {
        match self.parts(archive, span).await {
            Ok(parts) => Ok(parts.first().and_then(ReceiptPart::follows)),
            Err(ArchiveError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What an object says up to a time; nothing if it is damaged.
    async fn read(
        &self,
        archive: &Archive,
        span: &ReceiptSpan,
        at: Timestamp,
        trust: &Trust,
        problems: &mut Vec<String>,
    ) -> Result<Option<Judge>, AuditError> {
        let mut judge = None;
        let parts = match self.parts(archive, span).await {
            Ok(parts) => parts,
            Err(error @ ArchiveError::Corrupt { .. }) => {
                problems.push(error.to_string());
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        for part in parts {
            match archive.part_records(part).await {
                Ok(records) => {
                    let judge = judge.get_or_insert_with(|| Judge::new(trust));
                    until(records, at).for_each(|record| _ = judge.take(record));
                }
                Err(error @ ArchiveError::Corrupt { .. }) => problems.push(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(judge)
    }
}

/// Of several archivers that saw the same consumer, what it said last.
async fn fill(
    report: &mut ReceiptsAt,
    judges: Vec<Judge>,
    archive: &Archive,
    consumer: Option<&ConsumerName>,
) -> Result<(), AuditError> {
    let mut newest = Judge::default();
    let (mut trusted, mut trusted_primary, mut trusted_forgotten) = (None, None, None);
    for judge in judges {
        (trusted, trusted_primary) = (judge.trusted(), judge.trusted_primary());
        trusted_forgotten = judge.trusted_forgotten();
        judge.problems.into_iter().for_each(|problem| newest.problem(problem));
        for (name, (seen, receipt)) in judge.receipts {
            let before = newest.receipts.get(&name);
            if before.is_none_or(|(_, before)| before.time <= receipt.time) {
                newest.receipts.insert(name, (seen, receipt));
            }
        }
        newest.forgotten.extend(judge.forgotten);
        if let Some((seen, said)) = judge.primary {
            let before = newest.primary.as_ref().map(|(_, before)| (before.epoch, before.time));
            if before.is_none_or(|before| before <= (said.epoch, said.time)) {
                newest.primary = Some((seen, said));
            }
        }
    }
    let mut digests = ArchiveDigests::new(archive).await?;
    for (name, (seen, receipt)) in &newest.receipts {
        if consumer.is_none_or(|wanted| wanted == name) {
            let row = Acknowledged::new(receipt, *seen, trusted, &mut digests).await?;
            report.problems.extend(row.problem());
            report.consumers.push(row);
        }
    }
    let is_gone = |name: &ConsumerName| {
        consumer.is_none_or(|wanted| wanted == name) && !newest.receipts.contains_key(name)
    };
    let forgotten = newest.forgotten.iter().filter(|(name, _)| is_gone(name));
    report.forgotten.extend(forgotten.map(|(name, gone)| ForgottenRow {
        consumer: name.as_str().to_owned(),
        seen_us: gone.seen.as_micros(),
        trusted: trusted_forgotten,
    }));
    let primary = newest.primary.as_ref();
    report.primary = primary.map(|(seen, said)| AnnouncedRow::new(said, *seen, trusted_primary));
    report.problems.extend(newest.problems);
    Ok(())
}
