//! Restore: a store at any point of its log's history, from checkpoints, archives and the log.
//!
//! ```text
//! plan ──► newest checkpoint before the target ──► entries up to it ──► inspect ──► install
//! ```
//!
//! - **What it reads is the log.** A checkpoint is a store at an earlier point; everything after
//!   it goes through the same verification and the same [`Store::apply`](tipline_store::Store::apply) as in
//!   a replica. So what is restored is what a replica would be, and continues as one.
//! - **Nothing is bridged.** Entries that are missing on the way to the target are named, and so
//!   is every file that is damaged; what is damaged at one place is taken from the next.
//! - **Nothing is installed before it is whole.** The store is made beside its place, inspected,
//!   and renamed. Whatever ends the work in the middle, the same call resumes where it stopped.

mod apply;
mod attempt;
#[cfg(feature = "sqlite")]
mod entry_order;
mod fill;
mod inspect;
#[cfg(feature = "sqlite")]
mod logical_copy;
mod plan;
mod replay;
mod report;
mod resolve;
mod run;
mod seek;
mod sign_floor;
mod stage;
mod target;
#[cfg(test)]
pub(crate) mod tests;
mod vouched;

pub use plan::{Plan, PlannedCheckpoint, PlannedRead};
pub use replay::catch_up;
pub use report::{Achieved, RestoreProgress, RestoreReport, Step, Verification};
pub use run::{PreparedRestore, RestoreSettings, plan_for, plan_restore, restore};
pub use sign_floor::{BadSignFloor, ClaimedAt, SeenHeights, SignFloor};
pub use stage::{OpenStore, StorePlace};
pub use target::Target;
