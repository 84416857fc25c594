//! Which entries are kept, and where. Pure: names and numbers only.

use std::collections::BTreeSet;

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

/// Entries that no source has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// All spans of all sources. They may overlap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Coverage {
    /// By first index.
    spans: Vec<Span>,
    /// What turned out not to be usable.
    bad: BTreeSet<Span>,
}

impl Coverage {
    pub(crate) fn new(mut spans: Vec<Span>) -> Self {
        spans.retain(|span| span.first <= span.last);
        spans.sort();
        Self { spans, bad: BTreeSet::new() }
    }

    /// From now on as if it were not there.
    pub(crate) fn give_up(&mut self, span: &Span) {
        self.bad.insert(span.clone());
    }

    pub(crate) fn is_given_up(&self, span: &Span) -> bool {
        self.bad.contains(span)
    }

    /// How many spans were found at the sources that are counted, given up or not.
    pub(crate) fn count(&self, counts: impl Fn(usize) -> bool) -> usize {
        self.spans.iter().filter(|span| counts(span.source)).count()
    }

    /// The spans that hold an entry, given up or not.
    pub(crate) fn holding(&self, index: u64) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(move |span| (span.first..=span.last).contains(&index))
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
        self.good().map(|span| span.last).max()
    }

    /// Index of the oldest entry that is kept.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.good().map(|span| span.first).min()
    }

    /// The span to read after `after`: of those with the next entry, the one that reaches furthest;
    /// of equal ones, that of the earliest source.
    pub(crate) fn next(&self, after: u64) -> Option<&Span> {
        let has_it = |span: &&Span| span.first <= after + 1 && after < span.last;
        let best = |a: &&Span, b: &&Span| a.last.cmp(&b.last).then(b.source.cmp(&a.source));
        self.good().take_while(|span| span.first <= after + 1).filter(has_it).max_by(best)
    }

    /// What to read, in this order, for all entries after `after` up to `to`.
    ///
    /// # Errors
    /// The first gap.
    pub(crate) fn cover(&self, after: u64, to: u64) -> Result<Vec<Span>, Gap> {
        let (mut cover, mut at) = (Vec::new(), after);
        while at < to {
            let Some(span) = self.next(at) else {
                let following =
                    self.good().map(|span| span.first).filter(|first| *first > at).min();
                let last = following.map_or(to, |first| (first - 1).min(to));
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
                let following =
                    self.good().map(|span| span.first).filter(|first| *first > at).min();
                at = following.map_or(at, |first| first - 1);
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
