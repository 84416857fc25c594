//! Whether the log is heard.

use std::time::{Duration, Instant};

/// Whether the log is heard. It is asked twice a second; that it sends nothing by itself says
/// nothing.
#[derive(Debug, Clone, Default)]
pub struct LogLink {
    /// When the newest question was asked that the log has answered. The answer may have been on
    /// its way for long, so its own time does not count.
    pub(super) answered: Option<Instant>,
    /// Why the newest question was not answered; `None` if it was.
    pub(super) failure: Option<String>,
    /// Since when the board is not followed, and why; `None` while it is.
    pub(super) board_lost: Option<(Instant, String)>,
}

impl LogLink {
    /// The log has answered a question that was asked at this moment.
    pub fn answered(&mut self, asked: Instant) {
        self.answered = self.answered.max(Some(asked));
        self.failure = None;
    }

    /// A question was not answered.
    pub fn failed(&mut self, why: String) {
        self.failure = Some(why);
    }

    /// The board is not followed, for this reason.
    pub(super) fn lost_board(&mut self, why: String, now: Instant) {
        let since = self.board_lost.as_ref().map_or(now, |(since, _)| *since);
        self.board_lost = Some((since, why));
    }

    /// For how long it is silent; `None` if it was never heard.
    pub(super) fn silence(&self, now: Instant) -> Option<Duration> {
        self.answered.map(|at| now.saturating_duration_since(at))
    }

    /// Whether it is silent for longer than this, or was never heard.
    pub(super) fn is_silent(&self, max: Duration, now: Instant) -> bool {
        self.silence(now).is_none_or(|silence| silence > max)
    }
}
