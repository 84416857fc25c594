//! Whether the fleet could be recovered: for how long the newest backup joins the log, and what
//! else must hold on the day that it is needed.

mod conditions;
mod places;
mod runway;
#[cfg(test)]
mod tests;
mod view;

pub use conditions::{Kept, recovery};
pub use places::{NewestCheckpoint, PlaceState, Unread, follow_places};
pub use view::{Condition, ConditionState, RecoveryView, RunwayView};
