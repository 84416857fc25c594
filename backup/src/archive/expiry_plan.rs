//! Why an archive keeps what it keeps. Pure.

use std::fmt;
use std::time::Duration;

use tipline_log::{Ages, Extent};

use super::SegmentName;
use crate::checkpoint::CheckpointId;
use crate::time::duration_text;

/// What may go from an archive, and why the rest may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivePlan {
    /// Which archive.
    pub place: String,
    /// What it held.
    pub held: Extent,
    /// The oldest entry that stays; `held.first` if nothing may go.
    pub first: u64,
    /// Everything from this entry on can be restored, from the checkpoint `start`; none: the
    /// whole archive is kept.
    pub reachable_from: Option<u64>,
    /// The checkpoint that what is kept is restored from.
    pub start: Option<CheckpointId>,
    /// The kinds of stores of the checkpoint: `sqlite`, or several with
    /// `+` between.
    pub media: Option<String>,
    /// How many segments go.
    pub segments: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// All of what was held, from the oldest entry on, without a gap.
    pub ranges: Vec<ArchiveRange>,
    /// Whether it was done.
    pub applied: bool,
    /// The moment that ages were counted from.
    pub ages: Ages,
}

impl ArchivePlan {
    /// Whether there is a checkpoint to start from, or nothing is old enough to go.
    pub fn is_well(&self) -> bool {
        let stuck = |keeper: &ArchiveKeeper| matches!(keeper, ArchiveKeeper::NoStart { .. });
        !self.ranges.iter().flat_map(|range| &range.kept_by).any(stuck)
    }
}

impl ArchivePlan {
    /// These go.
    pub(super) fn count(&mut self, goes: &[SegmentName]) {
        self.segments += goes.len() as u64;
        self.bytes += goes.iter().map(|name| name.bytes).sum::<u64>();
    }
}

/// A part of an archive, and why it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveRange {
    /// Index of its first entry.
    pub first: u64,
    /// Index of its last entry.
    pub last: u64,
    /// Why it stays; empty if it may go.
    pub kept_by: Vec<ArchiveKeeper>,
}

/// Why a part of an archive is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchiveKeeper {
    /// No checkpoint at the place leads to what comes after it.
    NoStart {
        /// Why each that is there does not.
        why: Vec<String>,
    },
    /// It is needed to restore from the checkpoint to later points.
    Start(CheckpointId),
    /// It holds blocks whose proofs are still to come.
    Unproven,
    /// It is younger than this.
    KeepFor(Duration),
    /// It shares a segment with what is kept.
    Segment,
}

impl fmt::Display for ArchiveKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArchiveKeeper::NoStart { why } if why.is_empty() => {
                f.write_str("there is no checkpoint at this place to start from instead")
            }
            ArchiveKeeper::NoStart { why } => {
                write!(f, "no checkpoint at this place can be started from: {}", why.join("; "))
            }
            ArchiveKeeper::Start(id) => {
                write!(f, "it is needed to replay from checkpoint {id} to any later point")
            }
            ArchiveKeeper::Unproven => f.write_str("it has blocks whose proofs are still to come"),
            ArchiveKeeper::KeepFor(age) => write!(f, "it is younger than {}", duration_text(*age)),
            ArchiveKeeper::Segment => f.write_str("it shares a segment with what is kept"),
        }
    }
}

/// All that it depends on.
pub(super) struct Reasons {
    pub(super) held: Extent,
    pub(super) keep_for: Duration,
    pub(super) ages: Ages,
    /// Everything up to this entry is older than what is to be kept.
    pub(super) old: u64,
    /// The first entry that may be a block without its proof.
    pub(super) unproven: Option<u64>,
    /// The checkpoint to start from, and its index.
    pub(super) start: Option<(CheckpointId, u64)>,
    /// Why newer ones are not it.
    pub(super) why: Vec<String>,
    pub(super) media: Option<String>,
}

impl Reasons {
    /// Segments that end below may go. The one with the checkpoint's own entry stays: its time
    /// and its digest show that the two belong together.
    pub(super) fn floor(&self) -> u64 {
        let start = self.start.as_ref().map_or(0, |(_, index)| *index);
        start.min(self.unproven.unwrap_or(u64::MAX))
    }

    /// The plan; how much goes is not counted yet.
    pub(super) fn plan(self, place: &str, first: u64) -> ArchivePlan {
        let ranges = self.ranges(first);
        let reachable_from = self.start.as_ref().map(|(_, index)| *index);
        ArchivePlan {
            place: place.to_owned(),
            held: self.held,
            first,
            reachable_from,
            start: self.start.map(|(id, _)| id),
            media: self.media,
            segments: 0,
            bytes: 0,
            ranges,
            applied: false,
            ages: self.ages,
        }
    }

    fn ranges(&self, first: u64) -> Vec<ArchiveRange> {
        let Extent { first: oldest, last: newest } = self.held;
        let mut from = Vec::new();
        match &self.start {
            Some((id, index)) => from.push((*index, ArchiveKeeper::Start(id.clone()))),
            None => from.push((0, ArchiveKeeper::NoStart { why: self.why.clone() })),
        }
        from.extend(self.unproven.map(|unproven| (unproven, ArchiveKeeper::Unproven)));
        from.push((self.old.saturating_add(1), ArchiveKeeper::KeepFor(self.keep_for)));
        let mut cuts: Vec<u64> =
            from.iter().map(|(from, _)| *from).chain([oldest, first]).collect();
        cuts.retain(|cut| (oldest..=newest).contains(cut));
        cuts.sort_unstable();
        cuts.dedup();
        let ends = cuts.iter().skip(1).map(|next| next - 1).chain([newest]);
        let range = |(start, last): (&u64, u64)| {
            let keeps = from.iter().filter(|(from, _)| from <= start);
            let mut kept_by: Vec<_> = keeps.map(|(_, keeper)| keeper.clone()).collect();
            if kept_by.is_empty() && *start >= first {
                kept_by.push(ArchiveKeeper::Segment);
            }
            ArchiveRange { first: *start, last, kept_by }
        };
        cuts.iter().zip(ends).map(range).collect()
    }
}
