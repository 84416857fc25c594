//! Whether the store answers.

use std::time::{Duration, Instant};

/// Whether the store answers, and what.
#[derive(Debug, Clone, Default)]
pub struct StoreCheck {
    /// Since when a question waits for its answer; `None` if none does.
    pub(super) waits: Option<Instant>,
    /// When it was last seen to be frozen, as somebody wanted it.
    pub(super) frozen: Option<Instant>,
    /// What is wrong with it by its newest answer; `None` if nothing is.
    pub(super) failure: Option<String>,
}

impl StoreCheck {
    /// A question was asked.
    pub fn asked(&mut self, at: Instant) {
        self.waits = Some(at);
    }

    /// It was answered.
    pub fn answered(&mut self, failure: Option<String>) {
        *self = Self { waits: None, frozen: None, failure };
    }

    /// It is frozen at this moment, and answers nothing before it thaws.
    pub fn is_frozen(&mut self, at: Instant) {
        self.frozen = Some(at);
    }

    /// For how long its thread has not answered.
    pub(super) fn unanswered(&self, now: Instant) -> Duration {
        self.waits.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// For how long its thread has not answered although it was not frozen.
    pub(super) fn hangs(&self, now: Instant) -> Duration {
        let since_frozen = self.frozen.map(|at| now.saturating_duration_since(at));
        since_frozen.unwrap_or(Duration::MAX).min(self.unanswered(now))
    }
}
