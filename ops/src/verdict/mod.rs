//! The verdict on a fleet.

mod assess;
mod checks;
mod fleet;
mod identities;
mod look;
#[cfg(test)]
mod tests;

pub use assess::{Seen, Thresholds, assess, unreadable};
pub use checks::{CheckState, ExpectedCheck, follow_checks, review_checks};
pub use fleet::{
    CheckView, ConsumerView, Fleet, LogView, PrimaryView, ShortfallView, State, TipView, Verdict,
};
pub use identities::{
    DEFAULT_IDENTITY_AGE, NodeBackups, backups_by_node, follow_identities, identity_reminders,
};
pub use look::Observer;
