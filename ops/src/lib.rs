//! What operators ask of a fleet, as a library, for a node that embeds a replica.
//!
//! - **Verdict**: what is backed up where. [`Observer`] reads a log, [`assess`] decides.
//! - **Jobs on a timer**: checkpoints and uploads ([`CheckpointSchedule`]), verifying and drilling
//!   ([`CheckSchedule`]), merging small segments, starting from what is kept ([`Bootstrap`]).
//! - **Admin socket**: asking the process that has a store open for a checkpoint, a pause or a mark
//!   ([`AdminServer`]).
//! - **Active check**: a mark through outbox, log and stores and back, each leg timed ([`Prober`]).
//! - **Dashboard**: the fleet and its last hours on a page (feature `dashboard`).
//! - **Health**: whether one process is fit to serve, as a load balancer asks it ([`health`]).
//!
//! It prints nothing, ends no process and reads no command line. Jobs log what they do.

#[cfg(unix)]
mod admin;
#[cfg(feature = "dashboard")]
pub mod dashboard;
#[cfg(all(unix, feature = "fuzzing"))]
pub mod fuzzing;
pub mod health;
#[cfg(any(feature = "dashboard", feature = "health-server"))]
pub mod http;
mod jobs;
mod millis;
mod retention;
mod round_trip;
mod sources;
mod summary;
pub mod text;
mod verdict;

#[cfg(unix)]
pub use admin::{
    AdminError, AdminServer, Archiver, ArchiverStatus, CheckpointProgress, FrozenStore, HeldStore,
    LONGEST_FREEZE, LONGEST_PAUSE, LevelRequest, LogLevel, LoggedLevel, Mark, archiver_status,
    cancel_checkpoint, freeze, hold, log_level, pause_archiver, release, request_checkpoint,
    request_mark, resume_archiver,
};
pub use jobs::{
    Bootstrap, CheckJob, CheckSchedule, CheckpointFailure, CheckpointMaker, CheckpointMode,
    CheckpointOrder, CheckpointRun, CheckpointSchedule, DrillStore, Filled, JobBoard, JobKind,
    JobView, ReceiptRecorder, Sealing, SealingError, checkpoint_set, merge_segments, note_archived,
    tidy_archive,
};
pub use retention::{Blocker, RetentionSeen, RetentionWatch, follow_retention};
pub use round_trip::{Answer, AnswerState, Probe, Prober, RoundTrip};
pub use sources::{SourcesError, open_sources};
pub use summary::{drill_summary, verify_summary};
#[cfg(any(test, feature = "testing"))]
pub use verdict::testing;
pub use verdict::{
    CLOCK_TOLERANCE, CheckReview, CheckState, CheckView, Condition, ConditionState, ConsumerView,
    DEFAULT_IDENTITY_AGE, Expectation, ExpectedCheck, Exposure, Finding, Fleet, IdentityReview,
    Kept, Kind, Listener, LogView, Loss, NewestCheckpoint, NodeBackups, NotSeen, Observer,
    PlaceState, PolicyView, PrimaryView, RecoveryView, RunwayView, Seen, ShortfallView, SignOfLife,
    State, TipView, Unread, UnreadableView, Verdict, assess, backups_by_node, exposure,
    follow_checks, follow_identities, follow_places, judged, recovery, review_checks,
    review_identities, unreadable,
};
