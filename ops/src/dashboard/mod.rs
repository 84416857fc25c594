//! A page that shows a fleet, for people, with its last hours.
//!
//! [`Dashboard`] is what the page is told: whoever judges the fleet hands it each verdict
//! ([`Dashboard::show`]). It keeps a bounded history of its own, so a page that is loaded again
//! shows the last hours. [`DashboardServer`] answers on a port: the page, and every change pushed to
//! it as server-sent events.
//!
//! The page has no log-in. Everything in it is read-only, and asks no other host for anything.

mod history;
mod kept;
mod picture;
mod server;
mod state;
#[cfg(test)]
mod tests;
mod window;

pub use history::{ConsumerPoint, HISTORY_FINE, HISTORY_SPAN, History, MAX_CONSUMERS, Point};
pub use kept::{
    ArchiveShown, CheckpointShown, DrillShown, HeldRange, KeptView, PlaceView, RetentionView,
    Watched, follow_kept,
};
pub use picture::{About, Limits, Picture, Remedy};
pub use server::{DashboardServer, HostRule, ServeError};
pub use state::Dashboard;
pub use window::restorable;
