//! The durable log. What it promises, and the logs that keep the promise.
//!
//! A log is the ordered, append-only sequence of entries of one chain, with the newest receipt of
//! every consumer beside it. Four traits specify it: [`Appender`], [`Reader`], [`Receipts`] and
//! [`Trimmer`]; [`Log`] is all four. One suite (`conformance`) holds every implementation to them.
//!
//! - `jetstream`: NATS JetStream, for production. One stream per log, replicated, fsynced.
//! - `embedded`: one SQLite file, for one machine. [`memory`]: for simulation; faults on demand.
//!
//! What stands on any log is here too: [`claim`], [`Survey`], [`Ages`], [`SignedLog`] and more.

mod ages;
mod backoff;
mod board;
mod claim;
mod clock;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(any(feature = "embedded", feature = "jetstream"))]
mod contract;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
#[cfg(feature = "jetstream")]
pub mod jetstream;
pub mod memory;
mod meters;
mod preflight;
mod secret_file;
mod signed;
mod spec;
mod survey;
#[cfg(test)]
mod tests;
mod traces;
mod unit;
mod vouched;
mod young;

pub use ages::{Ages, AgesBy};
pub use backoff::Backoff;
pub use claim::{Claim, check_claim, claim, next_epoch};
pub use clock::{Clock, system_clock};
pub use error::{AppendError, LogError, error_chain, error_texts};
pub use meters::{counter, latency, meter};
pub use preflight::{
    Accepted, DropLimit, DropsAfter, Preflight, SHORTFALL_NAMES, Shortfall, UnknownShortfall,
};
pub use secret_file::{SecretFileError, check_secret_file, check_trusted_file, read_secret_file};
pub use signed::{SignedLog, Signing};
pub use spec::{
    Appender, Board, BoardFeed, Extent, Forged, ForgedBy, Log, Reader, Receipts, Subscription,
    Tail, Trimmer, Unreadable,
};
pub use survey::{Survey, newest_block, newest_entry};
pub use traces::{BoxedSpan, Stage, Traces, end_at, extract, inject};
pub use vouched::{VouchedTail, check_tail, vouched_block, vouched_tail};
