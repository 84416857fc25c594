//! Following, slowing and ending long work.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// How long a blocking call sleeps before it checks again whether it was cancelled.
const SLICE: Duration = Duration::from_millis(50);

/// Counts what a long piece of work moves, keeps it to a rate, and ends it. The work calls it before
/// each piece: [`Throttle::proceed`] where it is asynchronous, and as a
/// [`tipline_store::Throttle`] where it blocks.
pub struct Throttle {
    cancel: CancellationToken,
    /// Bytes per second; `None` is as fast as it goes.
    rate: Option<u64>,
    moved: AtomicU64,
    /// When counting began.
    since: Mutex<Instant>,
    observer: Option<Box<dyn Fn(u64) + Send + Sync>>,
}

impl Throttle {
    /// Work that `cancel` ends, and that goes as fast as it can.
    pub fn new(cancel: CancellationToken) -> Self {
        let (moved, since) = (AtomicU64::new(0), Mutex::new(Instant::now()));
        Self { cancel, rate: None, moved, since, observer: None }
    }

    /// Work that nobody follows, slows or ends.
    pub fn none() -> Self {
        Self::new(CancellationToken::new())
    }

    /// At most this many bytes per second; `None` or 0: as fast as it goes.
    pub fn with_rate(self, rate: Option<u64>) -> Self {
        Self { rate: rate.filter(|rate| *rate > 0), ..self }
    }

    /// Calls `each` with the bytes of every piece, before it is moved. It must not block.
    pub fn observed(self, each: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self { observer: Some(Box::new(each)), ..self }
    }

    /// Ends the work.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Whether the work is to end.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Bytes since counting began.
    pub fn bytes(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// This many more bytes are about to be moved. Waits as long as the rate demands; `false`: stop,
    /// and leave nothing behind.
    pub async fn proceed(&self, bytes: u64) -> bool {
        let wait = self.count(bytes);
        // A timer of no time takes a millisecond.
        if wait.is_zero() {
            return !self.is_cancelled();
        }
        self.wait(wait).await
    }

    /// Waits until the work is to end.
    pub(crate) async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Waits; `false`: stop.
    pub(crate) async fn wait(&self, time: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => false,
            () = tokio::time::sleep(time) => true,
        }
    }

    /// Counts from 0 again, from now on.
    pub(crate) fn restart(&self) {
        self.moved.store(0, Ordering::Relaxed);
        *self.since() = Instant::now();
    }

    /// Counts what is moved; gives how long to wait so that the rate is kept.
    fn count(&self, bytes: u64) -> Duration {
        let moved = self.moved.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(observer) = &self.observer {
            observer(bytes);
        }
        let Some(rate) = self.rate else { return Duration::ZERO };
        let elapsed = self.since().elapsed();
        Duration::from_secs_f64(moved as f64 / rate as f64).saturating_sub(elapsed)
    }

    fn since(&self) -> MutexGuard<'_, Instant> {
        // What is in it is whole at any instant.
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl tipline_store::Throttle for Throttle {
    fn moved(&self, bytes: u64) -> ControlFlow<()> {
        let until = Instant::now() + self.count(bytes);
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

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle")
            .field("rate", &self.rate)
            .field("bytes", &self.bytes())
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
