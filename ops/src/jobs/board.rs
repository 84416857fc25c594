//! What the jobs of a process did last, for whoever measures it, and whether they are to wait.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tipline_proto::Timestamp;
use tokio::sync::watch;

/// What a process does again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum JobKind {
    /// Checkpoints of its store.
    Checkpoint,
    /// Copying them to a backup location.
    Upload,
    /// Writing what is in the log into an archive.
    Archive,
    /// Merging small segments of the archive.
    Merge,
    /// Verifying what is kept.
    Verify,
    /// Restoring what is kept.
    Drill,
}

impl JobKind {
    /// All of them.
    pub const ALL: &[Self] =
        &[Self::Checkpoint, Self::Upload, Self::Archive, Self::Merge, Self::Verify, Self::Drill];

    /// The name, as in metrics. Keep stable.
    pub fn as_str(self) -> &'static str {
        match self {
            JobKind::Checkpoint => "checkpoint",
            JobKind::Upload => "upload",
            JobKind::Archive => "archive",
            JobKind::Merge => "merge",
            JobKind::Verify => "verify",
            JobKind::Drill => "drill",
        }
    }
}

/// What is known of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobView {
    /// When it was last done with success; `None` if it never was, as far as is known here.
    pub success: Option<Timestamp>,
    /// Time from one success to the next, as it is expected; `None` if it is not done by itself.
    pub every: Option<Duration>,
}

/// The jobs of a process. They write on it what they did, and wait while it says so. Clones are the
/// same.
#[derive(Clone, Default)]
pub struct JobBoard(Arc<Board>);

#[derive(Default)]
struct Board {
    jobs: Mutex<BTreeMap<JobKind, JobView>>,
    paused: watch::Sender<bool>,
}

impl JobBoard {
    /// It is done by itself, this often.
    pub fn expect(&self, job: JobKind, every: Duration) {
        self.jobs().entry(job).or_default().every = Some(every);
    }

    /// It was done at this time. An earlier one changes nothing.
    pub fn succeeded(&self, job: JobKind, at: Timestamp) {
        let mut jobs = self.jobs();
        let success = &mut jobs.entry(job).or_default().success;
        *success = (*success).max(Some(at));
    }

    /// All that are known.
    pub fn jobs_known(&self) -> BTreeMap<JobKind, JobView> {
        self.jobs().clone()
    }

    /// From now on no job begins; or again. One that is under way ends.
    pub(crate) fn pause(&self, paused: bool) {
        self.0.paused.send_replace(paused);
    }

    /// Whether none may begin now.
    pub(crate) fn is_paused(&self) -> bool {
        *self.0.paused.borrow()
    }

    /// Waits for as long as none may begin.
    pub(super) async fn may_begin(&self) {
        // It ends with an error only if the board is gone, and this has it.
        _ = self.0.paused.subscribe().wait_for(|paused| !paused).await;
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<JobKind, JobView>> {
        // What is in it is whole at any instant.
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for JobBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JobBoard").field(&self.jobs_known()).finish()
    }
}
