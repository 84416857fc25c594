//! Listing a part of an archive, so that what a question costs does not grow with its age.
//!
//! Names sort by the first entry. So a listing can begin anywhere, and go on after whatever one
//! segment holds. What is found so is names as they are there, as in a listing of everything; there
//! is nothing that could be out of step with it.

use std::ops::ControlFlow;

use super::name::FOLDER;
use super::{Archive, ArchiveError, SegmentName, coverage};
use crate::destination::Part;

/// One request to object storage gives so many names.
const PAGE: usize = 1_000;
/// Each page of a directory takes reading all of its names.
const PAGE_OF_DIRECTORY: usize = 65_536;
/// How far back the segment that holds an entry is looked for at first: as far as one that was made
/// of a quarter of an hour.
pub(super) const REACH: u64 = 1_024;
/// What is looked at for the newest segment, of more: those that two archivers cut differently are
/// among them.
const ENOUGH: usize = 400;

/// Which segments are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// All of them.
    Listed,
    /// Those that lie within a longer one are left out, as far as that saves requests.
    Skipped,
}

/// Segments that begin one after the other.
#[derive(Debug)]
pub(super) struct Stretch {
    /// In the order of [`Archive::segments`].
    pub(super) names: Vec<SegmentName>,
    /// Where the next stretch begins; none if this one goes to the end.
    pub(super) next: Option<u64>,
}

/// The newest segments.
#[derive(Debug)]
pub(super) struct Newest {
    /// In the order of [`Archive::segments`].
    pub(super) names: Vec<SegmentName>,
    /// Whether there are no others.
    pub(super) is_all: bool,
}

impl Archive {
    /// The newest segments: all, or some hundreds. They are looked for near an entry first.
    pub(super) async fn newest(&self, near: u64) -> Result<Newest, ArchiveError> {
        let (names, is_all) = match self.destination.list_last(FOLDER, PAGE).await? {
            Some(objects) => {
                let is_all = objects.len() < PAGE;
                (Page::of(Part { objects, next: None }).names, is_all)
            }
            None => self.look_for_newest(near).await?,
        };
        Ok(Newest { names: self.counting(names).await?, is_all })
    }

    async fn look_for_newest(&self, near: u64) -> Result<(Vec<SegmentName>, bool), ArchiveError> {
        // After `few` there are fewer than wanted, after `many` more than one page.
        let (mut many, mut few) = (None, None);
        let (mut at, mut step) = (near.saturating_sub(PAGE as u64 / 2), PAGE as u64);
        loop {
            let page = self.page(key(at)).await?;
            match page.next {
                Some(_) => many = Some(at),
                None if at == 0 || page.names.len() >= ENOUGH => return Ok((page.names, at == 0)),
                None => few = Some(at),
            }
            at = match (many, few) {
                (Some(many), Some(few)) if few - many > 1 => many + (few - many) / 2,
                (Some(many), Some(_)) => {
                    let names = self.stretch(many, u64::MAX, usize::MAX, Within::Listed).await?;
                    return Ok((names.names, many == 0));
                }
                (Some(many), None) => many.saturating_add(step),
                (None, few) => few.unwrap_or_default().saturating_sub(step),
            };
            step = step.saturating_mul(8);
        }
    }

    /// Segments that hold everything after the entry `after`, and reach the end, without a gap or a
    /// fork. If there seems to be one, all segments: they tell whether there is.
    pub(crate) async fn since(&self, after: u64) -> Result<Vec<SegmentName>, ArchiveError> {
        let names = self.look_since(after).await?;
        match coverage::path(&names) {
            Ok(_) => Ok(names),
            Err(_) => self.segments().await,
        }
    }

    async fn look_since(&self, after: u64) -> Result<Vec<SegmentName>, ArchiveError> {
        let newest = self.newest(after).await?;
        let begins = newest.names.first().map(|name| name.first);
        if newest.is_all || begins.is_some_and(|first| first <= after.saturating_add(1)) {
            return Ok(newest.names);
        }
        let first = after.saturating_add(1);
        let stretch = self.stretch(first, u64::MAX, usize::MAX, Within::Skipped).await?;
        if after == 0 || stretch.names.first().is_some_and(|name| name.first == first) {
            return Ok(stretch.names);
        }
        // One begins before it.
        Ok(self.stretch(0, u64::MAX, usize::MAX, Within::Skipped).await?.names)
    }

    /// Segments among which those are that hold an entry, if there are any. They are looked for in
    /// what begins up to `reach` entries before it, and then farther back.
    pub(super) async fn around(
        &self,
        index: u64,
        mut reach: u64,
    ) -> Result<Vec<SegmentName>, ArchiveError> {
        loop {
            let from = index.saturating_sub(reach);
            let names = self.stretch(from, index, usize::MAX, Within::Skipped).await?.names;
            if from == 0 || holding(&names, index).is_some() {
                return Ok(names);
            }
            reach = reach.saturating_mul(4);
        }
    }

    /// Segments that hold the entries after `after` up to `to`, as far as the archive does. Those that
    /// lie within longer ones are left out, as far as that saves requests.
    pub(crate) async fn within(
        &self,
        after: u64,
        to: u64,
    ) -> Result<Vec<SegmentName>, ArchiveError> {
        let first = after.saturating_add(1);
        let around = self.around(first, REACH).await?;
        // What begins before it, too: another archiver may have cut it differently.
        let begun = holding(&around, first).map_or(first, |name| name.first);
        let from = begun.min(first.saturating_sub(REACH));
        Ok(self.stretch(from, to, usize::MAX, Within::Skipped).await?.names)
    }

    /// Segments that begin with an entry or before it, those that lie within longer ones left out.
    pub(crate) async fn begun_by(&self, index: u64) -> Result<Vec<SegmentName>, ArchiveError> {
        Ok(self.stretch(0, index, usize::MAX, Within::Skipped).await?.names)
    }

    /// Index of the first entry that is there, of an archive that is not new.
    pub(crate) async fn first(&self) -> Result<u64, ArchiveError> {
        let mut names = self.stretch(0, u64::MAX, 1, Within::Listed).await?.names;
        if names.is_empty() {
            // Those do not count.
            names = self.segments().await?;
        }
        Ok(names.first().map_or(0, |name| name.first))
    }

    /// Index of the last entry that is there; 0 if there is none.
    pub(crate) async fn last(&self) -> Result<u64, ArchiveError> {
        let names = self.newest(0).await?.names;
        Ok(names.iter().map(|name| name.last).max().unwrap_or(0))
    }

    /// Segments that hold everything that the archive holds: those that lie within longer ones are
    /// left out, as far as that saves requests. Otherwise as [`Archive::segments`].
    pub(crate) async fn longest(&self) -> Result<Vec<SegmentName>, ArchiveError> {
        Ok(self.stretch(0, u64::MAX, usize::MAX, Within::Skipped).await?.names)
    }

    /// The segments that lie within these entries, all of them.
    pub(crate) async fn between(
        &self,
        first: u64,
        last: u64,
    ) -> Result<Vec<SegmentName>, ArchiveError> {
        let mut names = self.stretch(first, last, usize::MAX, Within::Listed).await?.names;
        names.retain(|name| name.last <= last);
        Ok(names)
    }

    /// Gives the segments that end before an entry, those that do not count any more included, some
    /// hundreds at a time, until it is told that it is enough. Their ends rise from one time to the
    /// next, and none is given while a later one may end before it.
    pub(super) async fn each_before(
        &self,
        floor: u64,
        mut each: impl AsyncFnMut(Vec<SegmentName>) -> Result<ControlFlow<()>, ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let (mut after, mut waiting) = (key(0), Vec::new());
        loop {
            let Page { names, next } = self.page(after).await?;
            let begun = names.last().map_or(0, |name| name.first);
            waiting.extend(names.into_iter().filter(|name| name.last < floor));
            let next = next.filter(|_| begun < floor);
            // What is listed later ends with `begun`, or after it.
            let (mut given, rest) = match next {
                Some(_) => waiting.into_iter().partition(|name: &SegmentName| name.last < begun),
                None => (waiting, Vec::new()),
            };
            given.sort_by_key(|name| name.last);
            waiting = rest;
            if !given.is_empty() && each(given).await?.is_break() {
                return Ok(());
            }
            match next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }

    /// The segments that begin with the entry `from` or after it, up to `to`, and not many more than
    /// `most`.
    pub(super) async fn stretch(
        &self,
        from: u64,
        to: u64,
        most: usize,
        within: Within,
    ) -> Result<Stretch, ArchiveError> {
        let mut walk = Walk { names: Vec::new(), farthest: None, skipped: None, listed_to: 0 };
        let (mut after, mut next) = (key(from), None);
        loop {
            let page = self.page(after).await?;
            if let Some(resumed) = walk.resume(&page) {
                after = resumed;
                continue;
            }
            let is_past = page.names.iter().any(|name| name.first > to);
            walk.push(page.names.into_iter().filter(|name| name.first <= to));
            let Some(end) = page.next.filter(|_| !is_past) else { break };
            if walk.names.len() >= most {
                // Of those that begin with one entry the longest comes last.
                next = walk.names.last().map(|name| name.first);
                if let Some(first) = next.filter(|first| *first > from) {
                    walk.names.retain(|name| name.first < first);
                    break;
                }
            }
            next = None;
            after = match within {
                Within::Skipped => walk.skip(end),
                Within::Listed => end,
            };
        }
        Ok(Stretch { names: self.counting(walk.names).await?, next })
    }

    async fn page(&self, after: String) -> Result<Page, ArchiveError> {
        let most = match self.destination.directory() {
            Some(_) => PAGE_OF_DIRECTORY,
            None => PAGE,
        };
        Ok(Page::of(self.destination.list_some(FOLDER, &after, most).await?))
    }

    /// The order of [`Archive::segments`], without what retention removes.
    async fn counting(
        &self,
        mut names: Vec<SegmentName>,
    ) -> Result<Vec<SegmentName>, ArchiveError> {
        // Last: whatever was removed while it was listed does not count now.
        let from = self.from().await?;
        names.retain(|name| name.last >= from);
        sort(&mut names);
        Ok(names)
    }
}

/// The segment that holds an entry, and as much as possible before it.
pub(super) fn holding(names: &[SegmentName], index: u64) -> Option<&SegmentName> {
    names.iter().take_while(|name| name.first <= index).find(|name| name.last >= index)
}

/// By their first entry, of the same first the longest first.
pub(super) fn sort(names: &mut [SegmentName]) {
    names.sort_by(|a, b| (a.first, b.last, &a.digest).cmp(&(b.first, a.last, &b.digest)));
}

/// What comes before every segment that begins with this entry, and after those that begin before.
fn key(first: u64) -> String {
    format!("{FOLDER}/{first:020}")
}

/// A page of a listing.
struct Page {
    names: Vec<SegmentName>,
    next: Option<String>,
}

impl Page {
    fn of(Part { objects, next }: Part) -> Self {
        let names = objects.iter();
        let names = names.filter_map(|object| SegmentName::parse(&object.name, object.bytes));
        Self { names: names.collect(), next }
    }
}

/// A listing under way.
struct Walk {
    names: Vec<SegmentName>,
    /// The one that reaches farthest.
    farthest: Option<SegmentName>,
    /// What was skipped last: up to which entry, and from which name on.
    skipped: Option<(u64, String)>,
    /// What begins before this entry is not skipped.
    listed_to: u64,
}

impl Walk {
    fn push(&mut self, names: impl Iterator<Item = SegmentName>) {
        for name in names {
            if self.farthest.as_ref().is_none_or(|farthest| name.last > farthest.last) {
                self.farthest = Some(name.clone());
            }
            self.names.push(name);
        }
    }

    /// Where to go on after the name `end`: if the newest lies within a longer segment, after what
    /// that one holds.
    fn skip(&mut self, end: String) -> String {
        let last = self.names.last();
        let (Some(farthest), Some(last)) = (self.farthest.clone(), last) else { return end };
        let lies_within = farthest.last > last.last && last.first >= self.listed_to;
        let Some(next) = farthest.last.checked_add(1).filter(|_| lies_within) else { return end };
        let begun = self.names.partition_point(|name| name.first < farthest.first);
        let mut kept = self.names.split_off(begun);
        kept.retain(|name| name.last >= farthest.last);
        self.names.append(&mut kept);
        self.skipped = Some((farthest.last, end));
        key(next)
    }

    /// From which name on to list what was skipped, after all: it seems that nothing continues after
    /// it. One that two archivers wrote may begin before its end.
    fn resume(&mut self, page: &Page) -> Option<String> {
        let (to, name) = self.skipped.take()?;
        let first = page.names.first().map(|name| name.first);
        if first.is_some_and(|first| first <= to.saturating_add(1)) {
            return None;
        }
        self.listed_to = first.unwrap_or(u64::MAX);
        Some(name)
    }
}
