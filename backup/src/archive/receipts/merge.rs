//! Objects of the history of receipts, one a minute, become one a day.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::format::Sealed;
use super::name::ReceiptSpan;
use super::{FOLDER, parts};
use crate::archive::{Archive, ArchiveError};
use crate::destination::DestinationError;

/// Objects are merged up to this many bytes: about a day of five consumers that sign and move all the time.
const LARGE: u64 = 8 << 20;
/// How many are read at once.
const AT_ONCE: usize = 8;

/// What merging did with the history of receipts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MergedReceipts {
    /// How many objects were written.
    pub written: usize,
    /// How many were removed: of those that others hold byte by byte.
    pub removed: usize,
}

/// An object by its name, and its length.
type Listed = (ReceiptSpan, u64);

impl Archive {
    /// Merges the objects of the oldest day that is over, and is not merged yet, into few. Those are read
    /// back before the ones that they were made of are removed: each must be in there byte by byte. No key
    /// is needed. If nothing was written nor removed, there is nothing left to do.
    ///
    /// It may be ended at any instant, by any means: what is there twice is found by the next run. What is
    /// damaged stays as it is, for an audit to name it.
    ///
    /// # Errors
    /// Those of the destination, which is unavailable if the archive is not there any more.
    pub async fn merge_receipts(&self) -> Result<MergedReceipts, ArchiveError> {
        self.present().await?;
        let mut days = self.receipt_days().await?;
        // The newest is not over. A folder without objects is no day.
        while let Some(day) = days.pop() {
            if !self.listed(&day).await?.is_empty() {
                break;
            }
        }
        let mut left = Vec::new();
        for day in days.into_iter().rev() {
            let listed = self.listed(&day).await?;
            if !groups(&listed).is_empty() || !doubled(&listed).is_empty() {
                left.push(day);
            } else if listed.iter().any(|(span, _)| span.is_merged()) {
                // Older days were merged before newer ones. One in which nothing was to be merged says
                // nothing of them.
                break;
            }
        }
        // Of a day with damaged objects some is left for ever.
        for day in left.into_iter().rev() {
            let merged = self.merge_day(&day).await?;
            if merged != MergedReceipts::default() {
                return Ok(merged);
            }
        }
        Ok(MergedReceipts::default())
    }

    async fn merge_day(&self, day: &str) -> Result<MergedReceipts, ArchiveError> {
        let mut merged = MergedReceipts::default();
        for group in groups(&self.listed(day).await?) {
            merged.written += self.write_merged_receipts(&group).await?;
        }
        for (holder, held) in doubled(&self.listed(day).await?) {
            merged.removed += self.remove_held(&holder, &held).await?;
        }
        Ok(merged)
    }

    async fn listed(&self, day: &str) -> Result<Vec<Listed>, ArchiveError> {
        let listed = self.destination.list(&format!("{FOLDER}/{day}"), None).await?;
        let listed = listed.into_iter();
        Ok(listed
            .filter_map(|object| Some((ReceiptSpan::parse(&object.name)?, object.bytes)))
            .collect())
    }

    /// The objects that these are or were merged of, in order, as far as all of them are sound. What is
    /// damaged is not taken from elsewhere: what is removed by it must be in it.
    pub(super) async fn sound_parts(
        &self,
        group: &[ReceiptSpan],
    ) -> Result<Vec<(ReceiptSpan, Bytes)>, ArchiveError> {
        let read = |span: ReceiptSpan| async move {
            match self.stored_receipts(&span).await {
                Ok(parts) => Ok(parts),
                // It stays where it is.
                Err(ArchiveError::Corrupt { .. } | ArchiveError::Newer { .. }) => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        };
        let parts = stream::iter(group.to_vec()).map(read).buffered(AT_ONCE);
        let parts: Vec<_> = parts.try_collect().await?;
        let lineage = self.identity().lineage;
        let sound = parts.into_iter().flatten().filter_map(|part| {
            let bytes = part.bytes.ok()?;
            let is_it = Sealed::read(&bytes).is_ok_and(|it| it.check(lineage, &part.span).is_ok());
            is_it.then_some((part.span, bytes))
        });
        Ok(sound.collect())
    }

    /// Writes what these are as few objects. What is damaged among them is left out, and then more are
    /// written.
    async fn write_merged_receipts(&self, group: &[ReceiptSpan]) -> Result<usize, ArchiveError> {
        let sound = self.sound_parts(group).await?;
        let mut written = 0;
        for run in sound.chunk_by(|(one, _), (next, _)| continues(one, next)) {
            let ([(first, _), ..], [.., (last, _)]) = (run, run) else { continue };
            let span = ReceiptSpan { to: last.to, last: last.last, ..first.clone() };
            if !span.is_merged() || group.contains(&span) {
                continue;
            }
            let objects: Vec<Bytes> = run.iter().map(|(_, bytes)| bytes.clone()).collect();
            let bytes = self.compute(move || parts::join(&objects)).await?;
            match self.destination.create(&span.to_string(), bytes.into()).await {
                // Whoever wrote it was killed, or is doing the same. It is compared before anything goes.
                Ok(()) | Err(DestinationError::Exists { .. }) => written += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(written)
    }

    /// Removes those that are in another one byte by byte, as it is at the destination now.
    async fn remove_held(
        &self,
        holder: &ReceiptSpan,
        held: &[ReceiptSpan],
    ) -> Result<usize, ArchiveError> {
        self.destination.sync_existing(&holder.to_string()).await?;
        let holder = self.sound_parts(std::slice::from_ref(holder)).await?;
        let holder: BTreeMap<u64, Bytes> =
            holder.into_iter().map(|(span, bytes)| (span.number, bytes)).collect();
        let mut removed = 0;
        for span in held {
            let parts = self.sound_parts(std::slice::from_ref(span)).await?;
            let is_all = parts.len() as u64 == (span.last - span.number).saturating_add(1);
            let is_in = |(span, bytes): &(ReceiptSpan, Bytes)| {
                holder.get(&span.number).is_some_and(|there| there == bytes)
            };
            if is_all && parts.iter().all(is_in) {
                self.destination.remove(&span.to_string()).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn continues(one: &ReceiptSpan, next: &ReceiptSpan) -> bool {
    one.run == next.run && one.last.checked_add(1) == Some(next.number) && one.to == next.from
}

/// Which are merged: those of a run that continue each other, up to so many bytes.
fn groups(listed: &[Listed]) -> Vec<Vec<ReceiptSpan>> {
    let mut runs: BTreeMap<&str, Vec<&Listed>> = BTreeMap::new();
    for one in listed {
        // What others hold goes anyway.
        if listed.iter().any(|(other, _)| other.holds(&one.0)) {
            continue;
        }
        runs.entry(&one.0.run).or_default().push(one);
    }
    let mut groups = Vec::new();
    for mut run in runs.into_values() {
        run.sort_by_key(|(span, _)| (span.number, span.last));
        let (mut group, mut bytes): (Vec<ReceiptSpan>, u64) = (Vec::new(), 0);
        for (span, length) in run {
            let is_next = group.last().is_some_and(|last| continues(last, span));
            if !is_next || bytes.saturating_add(*length) > LARGE {
                groups.push(std::mem::take(&mut group));
                bytes = 0;
            }
            bytes = bytes.saturating_add(*length);
            group.push(span.clone());
        }
        groups.push(group);
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// Which hold others, and which those are.
fn doubled(listed: &[Listed]) -> Vec<(ReceiptSpan, Vec<ReceiptSpan>)> {
    let merged = listed.iter().map(|(span, _)| span).filter(|span| span.is_merged());
    let held = merged.map(|holder| {
        let others = listed.iter().map(|(span, _)| span);
        let held = others.filter(|span| holder.holds(span));
        (holder.clone(), held.cloned().collect::<Vec<_>>())
    });
    held.filter(|(_, held)| !held.is_empty()).collect()
}
