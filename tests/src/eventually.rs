//! Waiting for a condition of something outside this process.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How long to wait between two looks, at least.
const PAUSE: Duration = Duration::from_millis(10);
/// And how long, at most.
const LONGEST: Duration = Duration::from_millis(200);
/// So many times as long as a look takes: a look is often a process that is started, and tests that
/// do nothing else take the processors from what they wait for.
const RATIO: u32 = 3;

/// Asks `probe` again and again until it says `Ok`, and returns what it said.
///
/// This is for what cannot be awaited: another process, a file that it writes.
/// Inside one process await the event itself instead.
///
/// # Panics
/// When `within` has passed; the message has `what` and the newest reason why not.
pub async fn eventually<T, E: Display>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + within;
    let mut reason = String::from("no answer at all");
    loop {
        let began = Instant::now();
        match timeout_at(deadline, probe()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(error)) => reason = error.to_string(),
            Err(_) => reason.push_str(" (and the last look did not return)"),
        }
        if Instant::now() >= deadline {
            panic!("{what}: not within {within:?}: {reason}");
        }
        let pause = (began.elapsed() * RATIO).clamp(PAUSE, LONGEST);
        sleep(pause).await;
    }
}
