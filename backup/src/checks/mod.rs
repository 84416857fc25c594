//! Whether what is kept could be restored: checked without restoring (verify), restored for real
//! (drill), and recorded where it is kept.

mod common_point;
mod drill;
mod record;
#[cfg(test)]
mod tests;
mod verify;

pub use common_point::common_point;
pub use drill::{DrillReport, drill};
pub use record::{Check, Newest, Record};
pub use verify::{PlaceKind, Sample, VerifiedPlace, VerifyReport, verify};
