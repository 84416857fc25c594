//! What the log may forget: only what is backed up and proven, never silently.
//!
//! [`survey`] reads the log, [`plan`] decides, as a pure function, and
//! [`Trimmer::trim`](tipline_log::Trimmer::trim) carries the plan out. Before that, read what goes:
//! [`Survey::read_ages`](tipline_log::Survey::read_ages), and the destinations.
//!
//! ```text
//! log      1 ─────────── 400 ──────── 900 ─────────── 5000
//! policy   ├─ backed up ───────────────┤ keeps 901 …
//! archive  ├─ proven ─────────┤ keeps 701 …
//! replica  ├─ has ──┤ keeps 401 …, while it lags by at most `reserve` events
//! plan     ├─ free ─┤ 401 is the oldest to be kept
//! ```
//!
//! Receipts only restrict. A consumer that acknowledges what it never wrote moves nothing: what
//! may go is bounded by what was read at the destinations themselves ([`Proven`]). Without any
//! such proof nothing may go.

mod gate;
mod prove;
mod proven;
mod reservation;
#[cfg(test)]
mod tests;

pub use gate::{Holder, KeptRange, RetentionPlan, RetentionRule, plan};
pub use proven::{NotProven, Proven, ProvenKind, survey};
pub use reservation::{Reservation, Reserved, reservations};
