//! The suite that every log must pass: what the traits of this crate promise, as tests.
//!
//! Tell the suite how to make a log, and let [`log_conformance!`](crate::log_conformance)
//! write one test per case:
//!
//! ```text
//! struct OnDisk(tempfile::TempDir);
//!
//! #[async_trait::async_trait]
//! impl tipline_log::conformance::Fixture for OnDisk { /* … */ }
//!
//! tipline_log::log_conformance!(OnDisk(tempfile::tempdir().unwrap()));
//! ```
//!
//! A case panics where a promise is broken, and when it takes longer than [`CASE_LIMIT`].
//! Cases need a tokio runtime with time; they use no wall clock, no randomness, and never
//! sleep to wait for something.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken promise is a failed test, with its place; nothing else calls this"
)]

mod append;
mod board;
mod follow;
mod read;
mod script;
mod trim;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tipline_proto::LogIdentity;

#[cfg(test)]
pub(crate) use self::script::receipt;
use crate::spec::Log;

/// How long one case may take.
pub const CASE_LIMIT: Duration = Duration::from_secs(120);

/// How long a push may take from one handle to another at most. A log that asks again in
/// intervals, instead of being notified, does not pass.
pub const PUSH_LIMIT: Duration = Duration::from_secs(2);

/// How the suite gets at logs of one kind. Each case has a fixture of its own.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Creates the log, empty, and gives a handle on it. Called once, first. The name of the
    /// log is another one in each case, so that cases may share a server.
    async fn create(&self, identity: &LogIdentity) -> Arc<dyn Log>;

    /// Another handle on the log that was created, as another process has it: the two share
    /// no connection and no memory.
    async fn open(&self) -> Arc<dyn Log>;

    /// Puts bytes in the place of the receipt of `name` beside the log that was created, as a later
    /// version or another program may. `name` may be one that no consumer has.
    async fn garble_receipt(&self, name: &str, bytes: Bytes);

    /// What a log of this kind is checked for, as it was created: each check, as often as it is made,
    /// by the names of the shortfalls that can come of it.
    fn checks(&self) -> Vec<&'static [&'static str]>;

    /// Payloads larger than this are more than one message of the log, or are otherwise
    /// large for it, in bytes. The suite appends up to 20 MiB in any case.
    fn max_message(&self) -> usize;
}

/// Runs one case by its name.
///
/// # Panics
/// A promise is broken; the case takes longer than [`CASE_LIMIT`]; there is no such case.
pub async fn run(case: &str, fixture: &dyn Fixture) {
    let verdict = tokio::time::timeout(CASE_LIMIT, dispatch(case, fixture)).await;
    assert!(verdict.is_ok(), "{case}: not done within {CASE_LIMIT:?}");
}

/// One test per case of the suite. The argument is an expression that gives a
/// [`conformance::Fixture`](crate::conformance::Fixture), evaluated again in each test; it may
/// await. The crate that uses it needs tokio with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! log_conformance {
    ($fixture:expr) => {
        $crate::__log_conformance_cases!(__log_conformance_test, $fixture);
    };
}

/// The list of cases, once: each is handed to the macro of `$crate` that is named.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_conformance_cases {
    ($then:ident, $($argument:tt)*) => {
        $crate::$then! {
            $($argument)*;
            append: empty_log, proofs_that_begin_late, append_one, append_many, append_full_unit,
                stale_tail, refused_units, racing_writers, claim, lost_claim, large_payloads,
                mixed_unit, reopened;
            read: every_kind, headers, range, preflight;
            follow: from_the_origin, from_the_middle, waits_at_the_tail, beyond_the_tail,
                batch_bounds, cancelled_next, taken_over, names_are_apart, pushed,
                never_half_a_unit, acknowledged;
            trim: trimmed, trimmed_claim, trimmed_large, trimmed_under_readers,
                trimmed_while_written;
            board: receipts, wrong_lineage, announcement, feed, flood, unreadable, ages;
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_conformance_test {
    ($fixture:expr; $($module:ident: $($case:ident),+;)+) => {
        $(mod $module {
            #[allow(unused_imports, reason = "the fixture may be all there is")]
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let fixture = $fixture;
                    $crate::conformance::run(stringify!($case), &fixture).await;
                }
            )+
        })+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_conformance_dispatch {
    ($name:ident, $fixture:ident; $($module:ident: $($case:ident),+;)+) => {
        match $name {
            $($(stringify!($case) => $module::$case($fixture).await,)+)+
            other => panic!("there is no case {other}"),
        }
    };
}

async fn dispatch(case: &str, fixture: &dyn Fixture) {
    crate::__log_conformance_cases!(__log_conformance_dispatch, case, fixture);
}
