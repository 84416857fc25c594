//! The durable log: what it promises, and the logs that keep the promise.
//!
//! A log is the ordered, append-only sequence of entries of one chain, with the newest
//! receipt of every consumer beside it. Three traits specify it: [`Appender`], [`Reader`] and
//! [`Receipts`]; [`Log`] is all three. One conformance suite (`conformance`) holds every
//! implementation to them.
//!
//! - `jetstream`: NATS JetStream, for production. One stream per log, replicated, fsynced.
//! - `embedded`: one SQLite file, for one machine. It is not a broker and does not want to be one.
//! - [`memory`]: nothing durable at all, for simulation and tests; faults on demand.
//!
//! # Words
//! ```text
//! entries        1     2     3     4
//! positions   0     1     2     3     4
//!             ^ origin                ^ tail
//! ```
//! *Tail*: the position directly behind the newest entry. *Behind index n*: entries n + 1 and up.

mod clock;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
#[cfg(feature = "jetstream")]
pub mod jetstream;
pub mod memory;
mod preflight;
mod spec;
mod unit;

pub use clock::{Clock, system_clock};
pub use error::{AppendError, LogError, error_chain, error_texts};
pub use preflight::{Preflight, Shortfall};
pub use spec::{
    Appender, Board, BoardFeed, Extent, Log, Reader, Receipts, Subscription, Tail, Trimmer,
};
