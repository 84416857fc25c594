//! What runs beside a consumer.

mod archived;
mod board;
mod bootstrap;
mod checks;
mod maker;
mod merge;
mod receipts;
mod schedule;
mod scratch;
#[cfg(test)]
mod tests;
mod tidy;

pub use archived::note_archived;
pub use board::{JobBoard, JobKind, JobView};
pub use bootstrap::{Bootstrap, Filled};
pub use checks::{CheckJob, CheckSchedule, DrillStore};
pub use maker::{
    CheckpointFailure, CheckpointMaker, CheckpointMode, CheckpointOrder, CheckpointRun, Sealing,
    SealingError, checkpoint_set,
};
pub use merge::merge_segments;
pub use receipts::ReceiptRecorder;
pub use schedule::CheckpointSchedule;
pub use tidy::tidy_archive;
