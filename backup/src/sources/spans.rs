//! Which entries are kept, and where. Pure: names and numbers only.

use std::collections::BTreeSet;

use crate::archive::SegmentName;

/// Consecutive entries that one source has, and gives as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    /// Index of the first entry.
    pub(crate) first: u64,
    /// Index of the last entry.
    pub(crate) last: u64,
    /// Which of the sources.
    pub(crate) source: usize,
    /// Its name there.
    pub(crate) name: String,
    /// Its size there; 0 if the source does not say.
    pub(crate) bytes: u64,
}

impl Span {
    /// A segment of the archive that this source is.
    pub(crate) fn of(source: usize, name: &SegmentName) -> Self {
        let SegmentName { first, last, bytes, .. } = *name;
        Self { first, last, source, name: name.to_string(), bytes }
    }
}

/// Entries that no source has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// All spans of all sources. They may overlap. A question costs a binary search, however many there
/// are: an archive has one for every second of its age.
#[derive(Debug, Clone, Default)]
pub(crate) struct Coverage {
    /// By first index.
    spans: Vec<Span>,
    /// For each span, the place of the best one up to it: see [`Coverage::is_better`]. None where
    /// nothing up to it is usable.
    best: Vec<Option<usize>>,
    /// What turned out not to be usable.
    bad: BTreeSet<Span>,
}

impl Coverage {
    pub(crate) fn new(mut spans: Vec<Span>) -> Self {
        spans.retain(|span| span.first <= span.last);
        spans.sort();
        let mut coverage = Self { spans, best: Vec::new(), bad: BTreeSet::new() };
        coverage.rank();
        coverage
    }

    /// With these, unless they are there already.
    pub(crate) fn add(&mut self, spans: impl Iterator<Item = Span>) {
        let before = self.spans.len();
        self.spans.extend(spans);
        self.spans.sort();
        self.spans.dedup();
        if self.spans.len() > before {
            self.best.clear();
            self.rank();
        }
    }

    /// From now on as if it were not there.
    pub(crate) fn give_up(&mut self, span: &Span) {
        self.bad.insert(span.clone());
        // What is before it is as it was.
        self.best.truncate(self.spans.partition_point(|other| other < span));
        self.rank();
    }

    /// Finds the best of what is not ranked yet.
    fn rank(&mut self) {
        for at in self.best.len()..self.spans.len() {
            let before = self.best.last().copied().flatten();
            let span = &self.spans[at];
            let is_best = !self.bad.contains(span)
                && before.is_none_or(|before| self.is_better(span, &self.spans[before]));
            self.best.push(if is_best { Some(at) } else { before });
        }
    }

    /// Whether a span is to be read rather than one that begins before it: it reaches further, or as
    /// far and is not of a later source.
    fn is_better(&self, span: &Span, before: &Span) -> bool {
        (span.last, before.source) >= (before.last, span.source)
    }

    pub(crate) fn is_given_up(&self, span: &Span) -> bool {
        self.bad.contains(span)
    }

    /// How many spans were found at the sources that are counted, given up or not.
    pub(crate) fn count(&self, counts: impl Fn(usize) -> bool) -> usize {
        self.spans.iter().filter(|span| counts(span.source)).count()
    }

    /// Whether some of these entries were in what was given up.
    pub(crate) fn is_given_up_within(&self, gap: Gap) -> bool {
        self.bad.iter().any(|span| span.first <= gap.last && gap.first <= span.last)
    }

    fn good(&self) -> impl DoubleEndedIterator<Item = &Span> {
        self.spans.iter().filter(|span| !self.bad.contains(span))
    }

    /// Index of the newest entry that is kept.
    pub(crate) fn newest(&self) -> Option<u64> {
        let best = self.best.last().copied().flatten()?;
        Some(self.spans[best].last)
    }

    /// Index of the oldest entry that is kept.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.good().next().map(|span| span.first)
    }

    /// Index of the oldest entry after this one with which a span begins.
    fn following(&self, after: u64) -> Option<u64> {
        let from = self.spans.partition_point(|span| span.first <= after);
        let rest = &self.spans[from..];
        rest.iter().find(|span| !self.bad.contains(span)).map(|span| span.first)
    }

    /// The span to read after `after`: of those with the next entry, the one that reaches furthest;
    /// of equal ones, that of the earliest source.
    pub(crate) fn next(&self, after: u64) -> Option<&Span> {
        let begun = self.spans.partition_point(|span| span.first <= after.saturating_add(1));
        let best = self.best[..begun].last().copied().flatten()?;
        Some(&self.spans[best]).filter(|span| after < span.last)
    }

    /// What to read, in this order, for all entries after `after` up to `to`.
    ///
    /// # Errors
    /// The first gap.
    pub(crate) fn cover(&self, after: u64, to: u64) -> Result<Vec<Span>, Gap> {
        let (mut cover, mut at) = (Vec::new(), after);
        while at < to {
            let Some(span) = self.next(at) else {
                let last = self.following(at).map_or(to, |first| (first - 1).min(to));
                return Err(Gap { first: at + 1, last });
            };
            at = span.last;
            cover.push(span.clone());
        }
        Ok(cover)
    }

    /// The fewest spans that hold everything that is kept, the newest first.
    pub(crate) fn newest_first(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut at = self.oldest().map_or(0, |first| first - 1);
        while let Some(span) = self.next(at) {
            at = span.last;
            spans.push(span.clone());
            if self.next(at).is_none() {
                at = self.following(at).map_or(at, |first| first - 1);
            }
        }
        spans.reverse();
        spans
    }

    /// Index of the oldest and of the newest entry that was ever found, given up or not.
    pub(crate) fn extent(&self) -> Option<(u64, u64)> {
        let oldest = self.spans.first().map(|span| span.first);
        oldest.zip(self.spans.iter().map(|span| span.last).max())
    }

    /// The gaps between the oldest and the newest entry that was ever found.
    pub(crate) fn gaps(&self) -> Vec<Gap> {
        let Some((oldest, newest)) = self.extent() else { return Vec::new() };
        let (mut gaps, mut at) = (Vec::new(), oldest - 1);
        while let Err(gap) = self.cover(at, newest) {
            at = gap.last;
            gaps.push(gap);
        }
        gaps
    }
}
