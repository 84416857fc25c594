//! Whether what is kept could be restored: checked without restoring (verify), restored for real
//! (drill), and recorded where it is kept.

mod common_point;
mod drill;
mod expected;
mod record;
mod report;
#[cfg(test)]
mod tests;
mod verify;

pub use common_point::common_point;
pub use drill::{DrillReport, drill};
pub use expected::shortfall;
pub use record::{Check, KnownRecords, Newest, Record};
pub use report::{FailedPlace, PlaceKind, VerifiedPlace, VerifyReport};
pub use verify::{Against, CheckedPlace, Sample, verify};
