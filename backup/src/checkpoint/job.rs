//! A checkpoint under way: what it does, how far it is, and its end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::throttle::Throttle;

/// A checkpoint that is being made, copied or checked, in steps.
#[derive(Debug)]
pub struct Job {
    throttle: Throttle,
    total: AtomicU64,
    step: Mutex<&'static str>,
}

impl Job {
    /// A job that is ended by `cancel`, and moves at most `rate` bytes per second.
    pub fn new(cancel: CancellationToken, rate: Option<u64>) -> Self {
        let throttle = Throttle::new(cancel).with_rate(rate);
        Self { throttle, total: AtomicU64::new(0), step: Mutex::new("waiting") }
    }

    /// Ends it. Nothing of the checkpoint is left then.
    pub fn cancel(&self) {
        self.throttle.cancel();
    }

    /// What it does, human-readable: `copying`.
    pub fn doing(&self) -> &'static str {
        *self.step()
    }

    /// Bytes moved in this step.
    pub fn moved(&self) -> u64 {
        self.throttle.bytes()
    }

    /// Bytes that this step moves, as far as is known.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Begins a step: what it does, and how many bytes it moves if that is known, otherwise 0.
    pub fn begin(&self, doing: &'static str, total: u64) {
        self.throttle.restart();
        self.total.store(total, Ordering::Relaxed);
        *self.step() = doing;
    }

    /// What counts, slows and ends it.
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    fn step(&self) -> MutexGuard<'_, &'static str> {
        // What is in it is whole at any instant.
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
