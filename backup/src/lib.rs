//! Backups of a log and its stores, and the way back from them.
//!
//! - **Archive**: everything that was ever in the log, in immutable segments ([`ArchiveStore`],
//!   [`Archive`]), and beside them the history of receipts ([`ReceiptRecording`]).
//! - **Checkpoints** of a live store ([`Checkpoints`], [`Job`]).
//! - **Restore** to any point from both and from the log ([`restore`], [`plan_restore`]), and
//!   [`catch_up`] for a store that needs entries which the log no longer has.
//! - **Retention**: what the log and the archive may forget ([`retention`], [`ArchiveKeeper`]).
//! - **Checks** that all could be restored ([`verify`], [`drill`]). Nodes' key files ([`Identities`]).
//!
//! All of it is kept at a [`Destination`]: a directory, or object storage (feature `cloud`).

mod archive;
mod checkpoint;
mod checks;
mod destination;
mod disk;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod identity;
mod keys;
mod restore;
pub mod retention;
mod sources;
mod store_check;
#[cfg(test)]
mod tests;
mod text;
mod throttle;
mod time;

pub use archive::{
    Archive, ArchiveDigests, ArchiveError, ArchiveKeeper, ArchivePlan, ArchiveRange, ArchiveStore,
    ExpireError, Merged, MergedReceipts, ReceiptPart, ReceiptRecord, ReceiptRecording, ReceiptSaid,
    ReceiptSpan, RecordedReceipts, Row, SegmentIndex, SegmentName, SegmentsBack,
};
pub use checkpoint::{
    CheckpointError, CheckpointId, CheckpointRetention, Checkpoints, Job, Keep, KnownHeads,
    KnownSets, Listed, ListedHead, Manifest, ManifestFile, NotAnId, Pack, Packed, PinnedBy,
};
pub use checks::{
    Against, Check, CheckedPlace, DrillReport, FailedPlace, KnownRecords, Newest, PlaceKind,
    Record, Sample, VerifiedPlace, VerifyReport, common_point, drill, shortfall, verify,
};
pub use destination::{Destination, DestinationError, DestinationProbe, Object};
pub use error::RestoreError;
pub use identity::{
    Identities, IdentityBackup, IdentityError, IdentityName, InvalidIdentityName, KeyFile,
};
pub use keys::{KeyError, Keys};
pub use restore::{
    Achieved, BadSignFloor, ClaimedAt, OpenStore, Plan, PlannedCheckpoint, PlannedRead,
    PreparedRestore, RestoreProgress, RestoreReport, RestoreSettings, SeenHeights, SignFloor, Step,
    StorePlace, Target, Verification, catch_up, plan_for, plan_restore, restore,
};
pub use sources::{DamagedArchive, Entries, EntriesRead, Held, Sources};
pub use throttle::Throttle;
pub use time::{TimeDigits, time_text};
