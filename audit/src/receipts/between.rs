//! What was acknowledged from one time to another, change by change.

use std::collections::{BTreeMap, VecDeque};

use tipline_backup::{Archive, ArchiveDigests, ArchiveError, ReceiptPart, ReceiptSpan};
use tipline_proto::{ConsumerName, Timestamp, Trust};

use super::change::ReceiptChange;
use super::days::{around, extent};
use super::gaps::{Gaps, ReceiptGap};
use super::given::{Given, Heard};
use super::judge::{Changed, Judge};
use super::row::{Acknowledged, AnnouncedRow, ForgottenRow};
use crate::error::AuditError;

/// Of how many runs of archivers what stands is remembered.
const MOST_RUNS: usize = 16;

/// The changes of a period, one after the other. It keeps what is recorded of a day's names, and one
/// object.
#[derive(Debug)]
pub struct ReceiptsBetween {
    archive: Archive,
    from: Timestamp,
    to: Timestamp,
    trust: Trust,
    consumer: Option<ConsumerName>,
    days: VecDeque<String>,
    spans: VecDeque<ReceiptSpan>,
    /// Of the object that is read.
    parts: VecDeque<ReceiptPart>,
    gaps: Gaps,
    /// By the run of an archiver.
    judges: BTreeMap<String, Judge>,
    digests: ArchiveDigests,
    ready: VecDeque<ReceiptChange>,
    given: Given,
    begins: Timestamp,
    ends: Timestamp,
}

/// The changes from one time to another, in the order in which they were seen; the first of each is
/// what was there when the period began.
///
/// # Errors
/// [`AuditError::NoReceipts`] if there is no history of them; those of the archive.
pub async fn receipts_between(
    archive: &Archive,
    from: Timestamp,
    to: Timestamp,
    trust: &Trust,
    consumer: Option<&ConsumerName>,
) -> Result<ReceiptsBetween, AuditError> {
    let mut days = archive.receipt_days().await?;
    let none = || AuditError::NoReceipts { place: archive.place().to_owned() };
    let (begins, ends) = extent(archive, &days).await?.ok_or_else(none)?;
    let (wanted, _) = around(archive, &days, from, to).await?;
    let days = days.drain(wanted).collect();
    Ok(ReceiptsBetween {
        archive: archive.clone(),
        from,
        to,
        trust: trust.clone(),
        consumer: consumer.cloned(),
        days,
        spans: VecDeque::new(),
        parts: VecDeque::new(),
        gaps: Gaps::default(),
        judges: BTreeMap::new(),
        digests: ArchiveDigests::new(archive).await?,
        ready: VecDeque::new(),
        given: Given::default(),
        begins,
        ends,
    })
}

impl ReceiptsBetween {
    /// The next one; `None` after the last.
    ///
    /// # Errors
    /// Those of the archive. What is damaged is [`ReceiptChange::Wrong`].
    pub async fn next(&mut self) -> Result<Option<ReceiptChange>, AuditError> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(Some(change));
            }
            if let Some(part) = self.parts.pop_front() {
                self.part(part).await?;
            } else if let Some(span) = self.spans.pop_front() {
                self.span(&span).await?;
            } else if let Some(day) = self.days.pop_front() {
                self.spans = self.archive.receipt_spans(&day).await?.into();
            } else {
                return Ok(None);
            }
        }
    }

    /// From when to when there is a history.
    pub fn extent(&self) -> (Timestamp, Timestamp) {
        (self.begins, self.ends)
    }

    async fn span(&mut self, span: &ReceiptSpan) -> Result<(), AuditError> {
        // The first one after the period says why there is none before it.
        let is_after = span.from > self.to && !self.gaps.is_open(self.to);
        if span.to < self.from || is_after {
            _ = self.gaps.before(span, None);
            return Ok(());
        }
        match self.archive.receipt_parts(span).await {
            Ok(parts) => self.parts = parts.into(),
            Err(error @ ArchiveError::Corrupt { .. }) => {
                self.gap(span, None);
                self.ready.push_back(ReceiptChange::Wrong { problem: error.to_string() });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn gap(&mut self, span: &ReceiptSpan, follows: Option<&ReceiptSpan>) {
        let gap = self.gaps.before(span, follows);
        let within = |gap: &ReceiptGap| {
            gap.to_us >= self.from.as_micros() && gap.from_us <= self.to.as_micros()
        };
        self.ready.extend(gap.filter(within).map(ReceiptChange::Gap));
    }

    async fn part(&mut self, part: ReceiptPart) -> Result<(), AuditError> {
        let span = part.span.clone();
        self.gap(&span, part.follows().as_ref());
        if span.to < self.from || span.from > self.to {
            return Ok(());
        }
        let records = match self.archive.part_records(part).await {
            Ok(records) => records,
            Err(error @ ArchiveError::Corrupt { .. }) => {
                self.ready.push_back(ReceiptChange::Wrong { problem: error.to_string() });
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let trust = &self.trust;
        let mut judge = self.judges.remove(&span.run).unwrap_or_else(|| Judge::new(trust));
        // An object begins before the period. What stands when the period begins is given, and not how it
        // came to that.
        let mut is_within = span.from >= self.from;
        for record in records {
            let seen = record.seen;
            if seen > self.to {
                break;
            }
            if !is_within && seen > self.from {
                is_within = true;
                self.give_standing(&span.run, &judge).await?;
            }
            let changed = judge.take(record);
            let problems = std::mem::take(&mut judge.problems);
            let problems = problems.into_iter().map(|problem| ReceiptChange::Wrong { problem });
            self.ready.extend(problems);
            if let Some(changed) = changed.filter(|_| is_within) {
                self.give(changed, (&span.run, seen), &judge).await?;
            }
        }
        if !is_within {
            self.give_standing(&span.run, &judge).await?;
        }
        // Of most runs nothing comes any more.
        if self.judges.len() >= MOST_RUNS {
            self.judges.clear();
            self.given.forget_runs();
        }
        self.judges.insert(span.run, judge);
        Ok(())
    }

    async fn give_standing(&mut self, run: &str, judge: &Judge) -> Result<(), AuditError> {
        for (seen, changed) in judge.standing() {
            self.give(changed, (run, seen), judge).await?;
        }
        Ok(())
    }

    async fn give(
        &mut self,
        changed: Changed,
        (run, seen): (&str, Timestamp),
        judge: &Judge,
    ) -> Result<(), AuditError> {
        let change = match changed {
            Changed::Receipt(receipt) => {
                let name = &receipt.consumer;
                if self.consumer.as_ref().is_some_and(|wanted| wanted != name) {
                    return Ok(());
                }
                let heard = Heard { who: name.as_str(), time: receipt.time, run, seen };
                let Some(sent) = self.given.later(heard) else { return Ok(()) };
                let trusted = judge.trusted();
                let row = Acknowledged::new(&receipt, seen, trusted, &mut self.digests).await?;
                let timeless = Acknowledged { seen_us: 0, sent_us: 0, ..row.clone() };
                let timeless = ReceiptChange::Acknowledged(Box::new(timeless));
                if !self.given.is_new(heard, sent, timeless) {
                    return Ok(());
                }
                let wrong = row.problem().map(|problem| ReceiptChange::Wrong { problem });
                self.ready.extend(wrong);
                ReceiptChange::Acknowledged(Box::new(row))
            }
            Changed::Announcement(said) => {
                if self.consumer.is_some() {
                    return Ok(());
                }
                // No consumer is called so.
                let heard = Heard { who: "", time: said.time, run, seen };
                let Some(sent) = self.given.later(heard) else { return Ok(()) };
                let row = AnnouncedRow::new(&said, seen, judge.trusted_primary());
                let timeless = AnnouncedRow { seen_us: 0, sent_us: 0, ..row.clone() };
                let timeless = ReceiptChange::Announced(Box::new(timeless));
                if !self.given.is_new(heard, sent, timeless) {
                    return Ok(());
                }
                ReceiptChange::Announced(Box::new(row))
            }
            Changed::Forgotten(name) => {
                if self.consumer.as_ref().is_some_and(|wanted| *wanted != name) {
                    return Ok(());
                }
                self.given.forget(name.as_str());
                ReceiptChange::Forgotten(ForgottenRow {
                    consumer: name.as_str().to_owned(),
                    seen_us: seen.as_micros(),
                    trusted: judge.trusted_forgotten(),
                })
            }
        };
        self.ready.push_back(change);
        Ok(())
    }
}
