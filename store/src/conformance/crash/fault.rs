//! What may fail, and how: the commands of the recorder.

use std::fmt;

/// Ends a fault.
pub(super) const OVER: &str = "over";
/// Asks for a mark of the same word, and how many operations there were.
pub(super) const COUNTS: &str = "counts";
/// What follows belongs to the plan of a number. The recorder takes no notice of it.
pub(super) const BEGIN: &str = "begin";

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing fails.
    None,
    /// One write, new file or new name finds no space.
    NoSpace,
    /// It and all after it find no space, until an error has come up.
    NoSpaceLasting,
    /// Half of a write is done, what is after it finds no space.
    ShortWrite,
    /// As [`Kind::NoSpaceLasting`], for a quota that is used up: the disk has space.
    Quota,
    /// One write fails.
    Write,
    /// One fsync fails, and what it was to make durable may be lost for good.
    Sync,
    /// Opening, renaming, removing, or cutting one file fails.
    Name,
    /// The process ends.
    Death,
    /// The process ends before an fsync.
    DeathBeforeSync,
}

impl Kind {
    /// Those that a store must endure.
    pub(super) const FAULTS: [Self; 7] = [
        Self::NoSpace,
        Self::NoSpaceLasting,
        Self::ShortWrite,
        Self::Quota,
        Self::Write,
        Self::Sync,
        Self::Name,
    ];

    const ALL: [Self; 10] = [
        Self::None,
        Self::NoSpace,
        Self::NoSpaceLasting,
        Self::ShortWrite,
        Self::Quota,
        Self::Write,
        Self::Sync,
        Self::Name,
        Self::Death,
        Self::DeathBeforeSync,
    ];

    /// Classes of operations, error, and manner: see record.c.
    fn terms(self) -> (u32, u32, u32) {
        const ENOSPC: u32 = 28;
        const EIO: u32 = 5;
        const EDQUOT: u32 = 122;
        match self {
            Self::None => (0, 0, 0),
            Self::NoSpace => (2, ENOSPC, 0),
            Self::NoSpaceLasting => (2, ENOSPC, 1),
            Self::ShortWrite => (1, ENOSPC, 2),
            Self::Quota => (2, EDQUOT, 1),
            Self::Write => (1, EIO, 0),
            Self::Sync => (4, EIO, 0),
            Self::Name => (8, EIO, 0),
            Self::Death => (15, 0, 3),
            Self::DeathBeforeSync => (4, 0, 3),
        }
    }

    /// How many operations could fail so, of the counts of the classes.
    pub(super) fn among(self, counts: [usize; 4]) -> usize {
        let (classes, ..) = self.terms();
        counts[classes.trailing_zeros() as usize]
    }
}

/// A fault of the operation of that number, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) at: usize,
}

impl Plan {
    pub(super) const NONE: Self = Self { kind: Kind::None, at: 0 };

    pub(super) fn command(self) -> impl fmt::Display {
        let (classes, error, how) = self.kind.terms();
        format!("plan {classes} {} {error} {how}", self.at)
    }

    /// For the task of a child.
    pub(super) fn to_text(self) -> String {
        format!("{}@{}", self.kind as usize, self.at)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, at) = text.split_once('@')?;
        let kind = *Kind::ALL.get(kind.parse::<usize>().ok()?)?;
        Some(Self { kind, at: at.parse().ok()? })
    }
}
