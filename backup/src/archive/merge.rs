//! Small segments, written every second, become large ones.

use std::sync::PoisonError;

use tipline_proto::Entry;

use super::format::{body_bytes, least_body_bytes};
use super::join::{Joining, Sealed};
use super::listing::Within;
use super::segment::{MAX_BODY, MAX_ENTRIES};
use super::{Archive, ArchiveError, SegmentIndex, SegmentName, coverage};

/// Merged segments have at least this many bytes of entries, and are not merged again.
const LARGE: usize = 32 << 20;
/// Segments smaller than this are merged when they are as large together, so that no entry is
/// rewritten more than a few times.
const SMALL: u64 = 1 << 20;
/// This many small ones in a row are merged however small they are: a quarter of an hour at one a
/// second.
const MANY: usize = 900;
/// This many of the newest segments are left alone: the archiver asks for them.
const NEWEST: usize = 1;
/// About so many segments are looked at in one go: 2 MiB of names.
const AT_A_TIME: usize = 10_000;
/// How many large segments are remembered. Others are read once more to find out.
const REMEMBERED: usize = 65_536;

/// What merging did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// The segments that were written.
    pub written: Vec<SegmentName>,
    /// How many segments they were made of.
    pub from: usize,
    /// How many segments were removed: of those that others hold wholly.
    pub removed: usize,
}

impl Archive {
    /// Merges small neighbours into segments of 32 MiB and more, each of which is read back as a
    /// whole before anything else is done. The small ones stay, unless `remove` says that
    /// those are removed which the segments in use do not need.
    ///
    /// What is encrypted, and no key opens, is joined as it is: the segments become smaller in number
    /// and not in bytes. Those of an archiver before this version are not, because they do not say how
    /// large they are when they are opened.
    ///
    /// It may be ended at any instant, by any means: nothing is listed that is not whole,
    /// nothing is removed that is not held by others, and the next run continues. Of this very
    /// archive, or a clone of it: it remembers which segments are large, as far as their names do
    /// not say so, and another would read them again.
    ///
    /// What was merged stays so. It begins where the last one ended, which is written down at the
    /// destination: see `settled.rs`.
    ///
    /// # Errors
    /// Those of [`Archive::entries`] and [`Archive::write`]; [`ArchiveError::Gap`] and
    /// [`ArchiveError::Fork`] in what is looked at, of which nothing is merged then; a destination that
    /// is unavailable, or [`ArchiveError::Corrupt`], if `archive.json` is not what it was when this was
    /// opened.
    pub async fn merge(&self, remove: bool) -> Result<Merged, ArchiveError> {
        self.present().await?;
        let mut merged = Merged::default();
        let settled = self.settled(remove).await?;
        // What is removed need not be listed twice; what stays is passed by.
        let within = if remove { Within::Listed } else { Within::Skipped };
        let (mut next, mut large_to) = (Some(settled + 1), settled);
        while let Some(from) = next {
            let stretch = self.stretch(from, u64::MAX, AT_A_TIME, within).await?;
            let path = coverage::path(&stretch.names).map_err(|error| self.path_error(error))?;
            for run in runs(&path, |name| self.is_large(name)) {
                match self.is_closed() {
                    true => self.join_run(run, &mut merged).await?,
                    false => self.merge_run(run, &mut merged).await?,
                }
            }
            large_to = large_to.max(self.large_to(&path));
            next = after(&path, stretch.next);
        }
        if remove {
            (merged.removed, large_to) = self.remove_merged(settled).await?;
        }
        if large_to > settled {
            self.settle(large_to, remove).await?;
        }
        Ok(merged)
    }

    /// Up to which entry nothing is left to be merged: the end of the last large segment. The newest
    /// is not merged yet, and not removed.
    fn large_to(&self, path: &[&SegmentName]) -> u64 {
        let old = &path[..path.len().saturating_sub(NEWEST)];
        old.iter().rev().find(|name| self.is_large(name)).map_or(0, |name| name.last)
    }

    /// It is encrypted, and no key is there to open it.
    fn is_closed(&self) -> bool {
        !self.keys.recipients().is_empty() && !self.keys.can_open()
    }

    /// Reads a segment that is not opened, and compares its checksums.
    async fn sealed(&self, name: &SegmentName) -> Result<Sealed, ArchiveError> {
        let bytes = self.whole(&name.to_string()).await?;
        let sealed = self.compute(move || Sealed::read(bytes)).await?;
        let sealed = sealed.map_err(|bad| self.bad(name, bad))?;
        self.check_name(name, &sealed.outline)?;
        Ok(sealed)
    }

    /// Writes one or more segments of all these, without opening any.
    async fn join_run(
        &self,
        run: &[&SegmentName],
        merged: &mut Merged,
    ) -> Result<(), ArchiveError> {
        let mut joining: Option<(&SegmentName, Joining)> = None;
        for name in run {
            let next = self.sealed(name).await?;
            joining = match joining.take() {
                Some((first, mut before))
                    if before.unpacked() < LARGE as u64 && before.takes(&next) =>
                {
                    before.push(next);
                    Some((first, before))
                }
                before => {
                    if let Some((first, before)) = before {
                        self.write_joined(first, before, merged).await?;
                    }
                    Some((name, Joining::new(next)))
                }
            };
        }
        match joining {
            Some((first, last)) => self.write_joined(first, last, merged).await,
            None => Ok(()),
        }
    }

    async fn write_joined(
        &self,
        first: &SegmentName,
        joining: Joining,
        merged: &mut Merged,
    ) -> Result<(), ArchiveError> {
        let segments = joining.segments();
        let is_large =
            joining.unpacked() >= LARGE as u64 || joining.entries() >= MAX_ENTRIES as u64 / 2;
        let write = async {
            let joined = self.compute(move || joining.finish()).await?;
            match joined.map_err(|bad| self.bad(first, bad))? {
                Some((outline, bytes)) => self.write_bytes(bytes.into(), &outline).await.map(Some),
                None => Ok(None),
            }
        };
        self.replace(first.clone(), segments, is_large, write, merged).await
    }

    /// Writes one or more segments of the entries of all these.
    async fn merge_run(
        &self,
        run: &[&SegmentName],
        merged: &mut Merged,
    ) -> Result<(), ArchiveError> {
        let mut merging: Option<MergedRun> = None;
        for name in run {
            let (index, entries) = self.entries(name).await?;
            merging = match merging.take() {
                Some(mut before) => {
                    let (index, entries) = self.rest_after(&before.index, name, index, entries)?;
                    if before.fits(&entries) {
                        before.push(index, entries);
                        Some(before)
                    } else {
                        self.write_merged(before, merged).await?;
                        Some(MergedRun::new(name, index, entries))
                    }
                }
                None => Some(MergedRun::new(name, index, entries)),
            };
        }
        match merging {
            Some(last) => self.write_merged(last, merged).await,
            None => Ok(()),
        }
    }

    async fn write_merged(
        &self,
        merging: MergedRun,
        merged: &mut Merged,
    ) -> Result<(), ArchiveError> {
        let MergedRun { name, index, entries, segments, bytes } = merging;
        let is_large = bytes >= LARGE || entries.len() >= MAX_ENTRIES / 2;
        let write = async { self.write(&index, &entries).await.map(Some) };
        self.replace(name, segments, is_large, write, merged).await
    }

    /// Writes one segment instead of so many; one alone stays as it is. `write` may find that there
    /// is nothing to write.
    async fn replace(
        &self,
        first: SegmentName,
        segments: usize,
        is_large: bool,
        write: impl Future<Output = Result<Option<SegmentName>, ArchiveError>>,
        merged: &mut Merged,
    ) -> Result<(), ArchiveError> {
        let name = if segments < 2 {
            first
        } else {
            let Some(name) = write.await? else { return Ok(()) };
            merged.from += segments;
            merged.written.push(name.clone());
            name
        };
        if is_large {
            self.remember_large(name);
        }
        Ok(())
    }

    fn is_large(&self, name: &SegmentName) -> bool {
        is_large_by_name(name)
            || self.large.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// How large a segment's entries are is not always known by its name.
    fn remember_large(&self, name: SegmentName) {
        let mut large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        if large.len() >= REMEMBERED {
            large.clear();
        }
        large.insert(name);
    }

    /// What a segment holds after another's end. It may begin before that, if two archivers
    /// wrote them.
    fn rest_after(
        &self,
        before: &SegmentIndex,
        name: &SegmentName,
        mut index: SegmentIndex,
        mut entries: Vec<Entry>,
    ) -> Result<(SegmentIndex, Vec<Entry>), ArchiveError> {
        let end = before.after.position;
        let doubled = entries.iter().take_while(|entry| entry.index <= end.index).count();
        let last = entries.drain(..doubled).next_back();
        let found = last.map_or(index.before, |entry| entry.position());
        if found != end {
            let holds = SegmentName::new(before.first(), &end, 0);
            return Err(self.path_error(coverage::PathError::Fork(holds, name.clone())));
        }
        index.before = end;
        index.latest_before = before.latest();
        index.rows.drain(..doubled);
        Ok((index, entries))
    }

    /// Removes what the fewest segments that hold everything do not need. Those are read as a
    /// whole before: what goes must be in them, and not another history of the same entries. Gives how
    /// many went, and up to which entry nothing is left to do.
    async fn remove_merged(&self, settled: u64) -> Result<(usize, u64), ArchiveError> {
        let (mut next, mut removed, mut large_to) = (Some(settled + 1), 0, settled);
        while let Some(from) = next {
            let stretch = self.stretch(from, u64::MAX, AT_A_TIME, Within::Listed).await?;
            let path = coverage::path(&stretch.names).map_err(|error| self.path_error(error))?;
            for kept in &path {
                let is_cut = stretch.next.is_some_and(|next| kept.last >= next);
                let all =
                    if is_cut { self.between(kept.first, kept.last).await? } else { Vec::new() };
                let names = if is_cut { &all } else { &stretch.names };
                removed += self.remove_within(kept, &path, names).await?;
            }
            large_to = large_to.max(self.large_to(&path));
            next = after(&path, stretch.next);
        }
        Ok((removed, large_to))
    }

    /// The same of what lies within one of them.
    async fn remove_within(
        &self,
        kept: &SegmentName,
        path: &[&SegmentName],
        names: &[SegmentName],
    ) -> Result<usize, ArchiveError> {
        let begun = names.partition_point(|name| name.first < kept.first);
        let begin = names[begun..].iter().take_while(|name| name.first <= kept.last);
        let is_within = |name: &&SegmentName| **name != *kept && name.last <= kept.last;
        let within: Vec<&SegmentName> =
            begin.filter(is_within).filter(|name| !path.contains(name)).collect();
        if within.is_empty() {
            return Ok(0);
        }
        if self.is_closed() {
            return self.remove_joined(kept, within).await;
        }
        let (_, entries) = self.entries(kept).await?;
        for name in &within {
            let end = entries.iter().find(|entry| entry.index == name.last);
            if !end.is_some_and(|end| name.ends_at(&end.position())) {
                let (one, other) = (kept.clone(), (*name).clone());
                return Err(self.path_error(coverage::PathError::Fork(one, other)));
            }
        }
        let removed = within.len();
        for name in within {
            self.destination.remove(&name.to_string()).await?;
        }
        Ok(removed)
    }

    /// Removes those of which every byte is a part of this one, which was read as a whole. Others stay:
    /// what is in them nobody here can tell.
    async fn remove_joined(
        &self,
        kept: &SegmentName,
        within: Vec<&SegmentName>,
    ) -> Result<usize, ArchiveError> {
        let kept_whole = self.sealed(kept).await?;
        let mut removed = 0;
        for name in within {
            let sealed = self.sealed(name).await?;
            if kept_whole.holds(&sealed).map_err(|bad| self.bad(name, bad))? {
                self.destination.remove(&name.to_string()).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Where the next stretch begins: after what the last segments of this one hold.
fn after(path: &[&SegmentName], next: Option<u64>) -> Option<u64> {
    let end = path.last().map_or(0, |name| name.last.saturating_add(1));
    next.map(|next| next.max(end))
}

/// Entries of several segments in a row.
struct MergedRun {
    /// The first of the segments.
    name: SegmentName,
    index: SegmentIndex,
    entries: Vec<Entry>,
    segments: usize,
    bytes: usize,
}

impl MergedRun {
    fn new(name: &SegmentName, index: SegmentIndex, entries: Vec<Entry>) -> Self {
        let bytes = entries.iter().map(body_bytes).sum();
        Self { name: name.clone(), index, entries, segments: 1, bytes }
    }

    fn fits(&self, entries: &[Entry]) -> bool {
        let bytes: usize = entries.iter().map(body_bytes).sum();
        self.bytes < LARGE
            && self.bytes + bytes <= MAX_BODY
            && self.entries.len() + entries.len() <= MAX_ENTRIES
    }

    fn push(&mut self, index: SegmentIndex, entries: Vec<Entry>) {
        self.bytes += entries.iter().map(body_bytes).sum::<usize>();
        self.segments += 1;
        let SegmentIndex { after, links, rows, .. } = index;
        (self.index.after, self.index.links) = (after, links);
        self.index.rows.extend(rows);
        self.entries.extend(entries);
    }
}

/// Whether its name alone shows that a segment is not to be merged again: by its stored size, or by
/// how many entries it has, however small they are.
fn is_large_by_name(name: &SegmentName) -> bool {
    let count = name.last - name.first + 1;
    name.bytes >= LARGE as u64
        || count >= MAX_ENTRIES as u64 / 2
        || least_body_bytes(count) >= LARGE as u64
}

/// Runs of segments that are worth merging: those that make a large one; and of the newest, which
/// are still to grow, the small ones when there are enough.
fn runs<'a, 'b>(
    path: &'b [&'a SegmentName],
    is_large: impl Fn(&SegmentName) -> bool,
) -> Vec<&'b [&'a SegmentName]> {
    let old = &path[..path.len().saturating_sub(NEWEST)];
    let mut runs: Vec<&[&SegmentName]> = Vec::new();
    for between in old.split(|name| is_large(name)) {
        let mut rest = between;
        while let Some(end) = reach(rest, LARGE as u64) {
            let (run, remaining) = rest.split_at(end);
            runs.push(run);
            rest = remaining;
        }
        let small = rest.iter().rev().take_while(|name| name.bytes < SMALL).count();
        let small = &rest[rest.len() - small..];
        if reach(small, SMALL).is_some() || small.len() >= MANY {
            runs.push(small);
        }
    }
    runs.retain(|run| run.len() > 1);
    runs
}

/// How many from the first on it takes to reach this many bytes.
fn reach(names: &[&SegmentName], bytes: u64) -> Option<usize> {
    let mut sum = 0;
    let at = names.iter().position(|name| {
        sum += name.bytes;
        sum >= bytes
    });
    at.map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use tipline_store::conformance::history::History;

    use super::{LARGE, MAX_ENTRIES, body_bytes, is_large_by_name, runs};
    use crate::SegmentName;

    /// Of empty payloads so many make a segment that nothing is added to: fewer than are large by
    /// their number.
    #[test]
    fn large_segments_of_small_payloads_are_known_by_their_names() {
        let entry = History::blocks(1, 0).entries.pop().unwrap();
        assert!(entry.event.payload().is_empty());
        let most = LARGE.div_ceil(body_bytes(&entry)) as u64;
        assert!(most < MAX_ENTRIES as u64 / 2, "{most}");
        let name = |number: u64, count: u64| SegmentName {
            first: number * most + 1,
            last: number * most + count,
            digest: "0123456789abcdef".to_owned(),
            // Compressed.
            bytes: 4 << 20,
        };
        assert!(is_large_by_name(&name(0, most)) && !is_large_by_name(&name(0, most - 1)));
        let names: Vec<SegmentName> = (0..40).map(|number| name(number, most)).collect();
        let path: Vec<&SegmentName> = names.iter().collect();
        assert_eq!(runs(&path, is_large_by_name), Vec::<&[&SegmentName]>::new());
    }
}
