//! Whether one process is fit to serve, as a load balancer asks it.
//!
//! [`Health`] is what a process knows of itself. It is followed for a consumer by
//! [`Health::watch_consumer`], and decided by pure functions of what was seen and the time:
//! [`consumer_readiness`], [`primary_readiness`]. So what is not heard of any more shows by itself:
//! an age grows whether anything arrives or not.
//!
//! With the feature `health-server`, [`HealthServer`] answers on ports:
//!
//! - `/healthz`: the process works: it answers, and the store's thread does. For liveness.
//! - `/metrics`: what the program measures, if it gives that: [`Health::with_metrics`].
//! - `/readyz`: it is fit to serve: 200 or 503, and why, as JSON.
//! - `grpc.health.v1` on the same port: `Check` and `Watch`.
//! - HAProxy's agent check, on a port of its own.

#[cfg(feature = "health-server")]
mod agent;
mod consumer;
mod fleet;
mod limits;
mod link;
mod pace;
mod primary;
mod process;
mod readiness;
#[cfg(feature = "health-server")]
mod server;
mod steps;
mod store_check;
#[cfg(test)]
mod tests;
mod watch;

#[cfg(feature = "health-server")]
pub use agent::agent_answer;
pub use consumer::{ConsumerState, consumer_readiness};
pub use fleet::{FleetTip, Peer};
pub use limits::{Allowance, HealthLimits};
pub use link::LogLink;
pub use pace::Pace;
pub use primary::{PrimaryState, primary_readiness};
pub use process::{Health, Liveness};
pub use readiness::{Readiness, Reason, ReasonKind};
#[cfg(feature = "health-server")]
pub use server::{BindError, HealthServer};
pub use store_check::StoreCheck;
pub use watch::{HealthWatch, WatchedConsumer};
