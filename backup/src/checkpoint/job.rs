//! Following, slowing and ending a checkpoint under way.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tipline_store::Pace;
use tokio_util::sync::CancellationToken;

use crate::destination::Watch;

/// How long it sleeps before it looks whether it was cancelled.
const SLICE: Duration = Duration::from_millis(50);

/// A checkpoint being made, copied or checked, for whoever follows it.
#[derive(Debug)]
pub struct Job {
    cancel: CancellationToken,
    /// Bytes per second; `None` is as fast as it goes.
    rate: Option<u64>,
    moved: AtomicU64,
    total: AtomicU64,
    /// When the newest step began, and what it is.
    step: Mutex<(Instant, &'static str)>,
}

impl Job {
    /// A job that is ended by `cancel`, and moves at most `rate` bytes per second.
    pub fn new(cancel: CancellationToken, rate: Option<u64>) -> Self {
        let step = Mutex::new((Instant::now(), "waiting"));
        Self { cancel, rate, moved: AtomicU64::new(0), total: AtomicU64::new(0), step }
    }

    /// Ends it. Nothing of the checkpoint is left then.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// What it does, for people: `copying`.
    pub fn doing(&self) -> &'static str {
        self.step().1
    }

    /// Bytes moved in this step.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Bytes that this step moves, as far as is known.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Begins a step: what it does, and how many bytes it moves if that is known, otherwise 0.
    pub fn begin(&self, doing: &'static str, total: u64) {
        self.moved.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        *self.step() = (Instant::now(), doing);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    fn step(&self) -> std::sync::MutexGuard<'_, (Instant, &'static str)> {
        // What is in it is whole at any instant.
        self.step.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Notes what was moved, and how long to wait so that the rate is kept.
    fn note(&self, bytes: u64) -> Duration {
        let moved = self.moved.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let Some(rate) = self.rate.filter(|rate| *rate > 0) else { return Duration::ZERO };
        let since = self.step().0.elapsed();
        Duration::from_secs_f64(moved as f64 / rate as f64).saturating_sub(since)
    }
}

impl Pace for Job {
    fn moved(&self, bytes: u64) -> ControlFlow<()> {
        let until = Instant::now() + self.note(bytes);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.is_cancelled() {
                return ControlFlow::Break(());
            }
            if left.is_zero() {
                return ControlFlow::Continue(());
            }
            thread::sleep(left.min(SLICE));
        }
    }
}

impl Watch for Job {
    async fn proceed(&self, bytes: u64) -> bool {
        let wait = self.note(bytes);
        // A timer of no time takes a millisecond.
        if wait.is_zero() {
            return !self.cancel.is_cancelled();
        }
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => false,
            () = tokio::time::sleep(wait) => true,
        }
    }
}
