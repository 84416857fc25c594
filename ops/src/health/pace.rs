//! How long catching up still takes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The pace is measured over so long.
const WINDOW: Duration = Duration::from_secs(10);
/// Two that are closer together than this are one.
const APART: Duration = Duration::from_millis(250);

/// How many events it was behind, and when.
#[derive(Debug, Clone, Default)]
pub struct Pace(VecDeque<(Instant, u64)>);

impl Pace {
    /// It is so many events behind now.
    pub fn note(&mut self, now: Instant, behind: u64) {
        if self.0.back().is_some_and(|(at, _)| now.saturating_duration_since(*at) < APART) {
            return;
        }
        self.0.push_back((now, behind));
        while self.0.len() > 2
            && self.0.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW)
        {
            self.0.pop_front();
        }
    }

    /// In which time it will be at the tip, which moves meanwhile; `None` if it does not come closer.
    pub fn time_left(&self, behind: u64) -> Option<Duration> {
        let ((start, before), (end, after)) = (self.0.front()?, self.0.back()?);
        let closer = before.checked_sub(*after).filter(|closer| *closer > 0)?;
        let took = end.saturating_duration_since(*start).as_secs_f64();
        let seconds = took / closer as f64 * behind as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }
}
