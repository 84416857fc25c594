//! What is known of files that change: which to look at, and which are complete.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tipline_proto::Timestamp;

/// A file whose bytes prove that they are all there is left alone for this long if nobody was
/// seen writing it.
const SETTLED: Duration = Duration::from_secs(2);
/// A file whose bytes prove nothing is complete if it was not changed for this long. The kernel
/// closes the files of a process that is killed, so its being closed proves nothing either. A
/// node that is started again has this long to continue.
const ALONE: Duration = Duration::from_secs(10);
/// Files that are kept in mind one by one; with more, everything is scanned.
const MOST: usize = 10_000;

/// A notification about one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// It was written to, and is open for more.
    Writing,
    /// It was closed after writing: by its writer, or because that was killed.
    Closed,
    /// It was renamed into place.
    Renamed,
    /// It is there, gone, or different in a way that says nothing about its being complete.
    Touched,
}

/// Whether a file may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completeness {
    /// It is complete.
    Complete,
    /// It will count as complete after this time if nothing happens to it.
    Settles(Duration),
    /// It is being written. There will be a notification.
    Writing,
}

/// What has been noticed since the last look.
#[derive(Debug)]
pub(crate) struct FileChanges {
    everything: bool,
    /// Any file may have changed, and nobody was told.
    lost: bool,
    changed: BTreeSet<PathBuf>,
    /// What was seen of the writer of a file last, if anything was.
    writers: HashMap<PathBuf, ChangeKind>,
}

impl FileChanges {
    /// Nothing is known: look at everything.
    pub(crate) fn new() -> Self {
        Self { everything: true, lost: true, changed: BTreeSet::new(), writers: HashMap::new() }
    }

    /// Takes a notification in; answers whether there is a reason to look.
    pub(crate) fn record(&mut self, path: PathBuf, seen: ChangeKind) -> bool {
        if self.writers.len() >= MOST || self.changed.len() >= MOST {
            self.forget();
        }
        if seen != ChangeKind::Touched {
            self.writers.insert(path.clone(), seen);
        }
        self.changed.insert(path);
        // There will be more. The next look comes soon enough.
        seen != ChangeKind::Writing
    }

    /// Everything must be scanned.
    pub(crate) fn look_at_everything(&mut self) {
        self.everything = true;
    }

    /// Notifications were lost: nothing is known any more.
    pub(crate) fn forget(&mut self) {
        *self = Self::new();
    }

    /// Whether everything is to be scanned; answered once.
    pub(crate) fn take_everything(&mut self) -> bool {
        std::mem::take(&mut self.everything)
    }

    /// Whether every file is to be compared, however old.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Every file was.
    pub(crate) fn compared(&mut self) {
        self.lost = false;
    }

    /// The files to look at; answered once.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<PathBuf> {
        std::mem::take(&mut self.changed)
    }

    /// The file was read; how it came about does not matter any more.
    pub(crate) fn done(&mut self, path: &Path) {
        if !self.is_open(path) {
            self.writers.remove(path);
        }
    }

    /// Whether somebody has the file open, and has written to it.
    pub(crate) fn is_open(&self, path: &Path) -> bool {
        self.writers.get(path) == Some(&ChangeKind::Writing)
    }

    /// Whether a file that was last changed at `modified` may be read `now`. `proven` says whether
    /// its bytes show whether they are all there; `succeeded`, whether the node has moved on to
    /// the next file.
    pub(crate) fn completeness(
        &self,
        path: &Path,
        modified: Timestamp,
        now: Timestamp,
        proven: bool,
        succeeded: impl FnOnce() -> bool,
    ) -> Completeness {
        match self.writers.get(path) {
            Some(ChangeKind::Renamed) => return Completeness::Complete,
            Some(ChangeKind::Closed) if proven => return Completeness::Complete,
            Some(ChangeKind::Writing) => return Completeness::Writing,
            _ => {}
        }
        let quiet = if proven { SETTLED } else { ALONE };
        let left = quiet.saturating_sub(now.since(modified));
        if left.is_zero() || succeeded() {
            Completeness::Complete
        } else {
            Completeness::Settles(left)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_file_is_complete_when_renamed_settled_or_succeeded() {
        let path = Path::new("block");
        let mut changes = FileChanges::new();
        let of = |changes: &FileChanges, now, proven, next: bool| {
            changes.completeness(path, at(10), at(now), proven, || next)
        };
        let settles = |seconds| Completeness::Settles(Duration::from_secs(seconds));
        assert_eq!(of(&changes, 11, true, false), settles(1));
        assert_eq!(of(&changes, 11, false, false), settles(9));
        assert_eq!(of(&changes, 9, false, false), settles(10), "clocks may disagree");
        assert_eq!(of(&changes, 12, true, false), Completeness::Complete);
        assert_eq!(of(&changes, 20, false, false), Completeness::Complete);
        assert_eq!(of(&changes, 11, false, true), Completeness::Complete);
        assert!(!changes.record(path.into(), ChangeKind::Writing), "no reason to look yet");
        assert_eq!(of(&changes, 99, true, true), Completeness::Writing, "slow ones are waited for");
        assert!(changes.record(path.into(), ChangeKind::Closed));
        assert_eq!(of(&changes, 10, true, false), Completeness::Complete);
        assert_eq!(of(&changes, 10, false, false), settles(10), "its writer may have been killed");
        assert!(changes.record(path.into(), ChangeKind::Renamed));
        assert_eq!(of(&changes, 10, false, false), Completeness::Complete);
        changes.record(path.into(), ChangeKind::Writing);
        assert_eq!(of(&changes, 99, false, false), Completeness::Writing, "opened again");
        changes.forget();
        assert_eq!(of(&changes, 99, false, false), Completeness::Complete);
    }
}
