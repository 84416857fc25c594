//! What a long-running command shows while it runs: one line that is redrawn if somebody is
//! watching, otherwise a log line now and then.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::terminal;

const REDRAW: Duration = Duration::from_millis(250);
const LOG: Duration = Duration::from_secs(10);

/// Shows the line for ever. Call [`done`] behind it.
pub(crate) async fn show(mut line: impl FnMut() -> String) {
    let watched = terminal::is_watched();
    let mut ticks = interval(if watched { REDRAW } else { LOG });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if watched {
            terminal::show(&line());
        } else {
            tracing::info!("{}", line());
        }
    }
}

/// Takes the line away.
pub(crate) fn done() {
    if terminal::is_watched() {
        terminal::show("");
    }
}

/// How fast a counter goes, over the last few seconds.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    seen: VecDeque<(Instant, u64)>,
}

impl Rate {
    const WINDOW: Duration = Duration::from_secs(5);

    /// Notes where the counter is now, and gives its rate per second.
    pub(crate) fn note(&mut self, counter: u64) -> f64 {
        self.note_at(Instant::now(), counter)
    }

    fn note_at(&mut self, now: Instant, counter: u64) -> f64 {
        self.seen.push_back((now, counter));
        // One from before the window stays, so that there are two whenever time has passed.
        while self.seen.get(1).is_some_and(|(at, _)| now - *at >= Self::WINDOW) {
            self.seen.pop_front();
        }
        let (since, before) = self.seen.front().copied().unwrap_or((now, counter));
        let seconds = (now - since).as_secs_f64();
        if seconds > 0.0 { counter.saturating_sub(before) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Rate;

    #[test]
    fn a_rate_forgets_what_is_long_ago() {
        let start = Instant::now();
        let mut rate = Rate::default();
        let mut at = |seconds, counter| rate.note_at(start + Duration::from_secs(seconds), counter);
        assert_eq!(at(0, 1_000), 0.0);
        assert_eq!(at(2, 1_200), 100.0);
        assert_eq!(at(5, 1_500), 100.0);
        // Nothing for a while.
        assert_eq!(at(10, 1_500), 0.0);
        // A minute without a look, as a log line every 10 s.
        assert_eq!(at(70, 1_560), 1.0);
    }
}
