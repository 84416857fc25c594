//! The verdict on a fleet.

mod assess;
mod checks;
mod consumer;
mod expectation;
mod exposure;
mod finding;
mod fleet;
mod identities;
mod judged;
mod liveness;
mod look;
mod primary;
mod recovery;
mod seen;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use assess::{assess, unreadable};
pub use checks::{CheckReview, CheckState, ExpectedCheck, follow_checks, review_checks};
pub use expectation::Expectation;
pub use exposure::{Exposure, Loss, exposure};
pub use finding::{Finding, Kind, Verdict};
pub use fleet::{
    CheckView, ConsumerView, Fleet, LogView, PolicyView, PrimaryView, ShortfallView, State,
    TipView, UnreadableView,
};
pub use identities::{
    DEFAULT_IDENTITY_AGE, IdentityReview, NodeBackups, backups_by_node, follow_identities,
    review_identities,
};
pub use judged::{NotSeen, judged};
pub use liveness::{CLOCK_TOLERANCE, Listener, SignOfLife};
pub use look::Observer;
pub use recovery::{
    Condition, ConditionState, Kept, NewestCheckpoint, PlaceState, RecoveryView, RunwayView,
    Unread, follow_places, recovery,
};
pub use seen::Seen;
