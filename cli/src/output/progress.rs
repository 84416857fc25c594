//! What a long-running command shows while it runs: one line that is redrawn if somebody is
//! watching, otherwise a log line now and then.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use indicatif::HumanBytes;
use tipline_backup::{RestoreProgress, Step};
use tipline_ops::text::number;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::output::terminal;

const REDRAW: Duration = Duration::from_millis(250);
const LOG: Duration = Duration::from_secs(10);

/// Shows the line for ever. Call [`done`] after it.
pub(crate) async fn show(mut line: impl FnMut() -> String) -> Infallible {
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

/// How far a restore is, in a line.
pub(crate) fn restoring(progress: RestoreProgress) -> String {
    let RestoreProgress { step, done, of } = progress;
    let percent = (done * 100).checked_div(of).unwrap_or(0);
    match step {
        Step::Planning => "planning".to_owned(),
        Step::Fetching => {
            format!(
                "fetching a checkpoint · {} of {} · {percent}%",
                HumanBytes(done),
                HumanBytes(of)
            )
        }
        Step::Copying => {
            format!("copying · {} of at most {} entries", number(done), number(of))
        }
        Step::Replaying => {
            format!("applying entries · {} of {} · {percent}%", number(done), number(of))
        }
        Step::Verifying => {
            format!("verifying · {} of {} · {percent}%", number(done), number(of))
        }
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

    use tipline_backup::{RestoreProgress, Step};
    use tokio::time::Instant;

    use super::{Rate, restoring};

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

    #[test]
    fn progress_is_readable() {
        let at = |step, done, of| restoring(RestoreProgress { step, done, of });
        assert_eq!(at(Step::Replaying, 1_500, 3_000), "applying entries · 1,500 of 3,000 · 50%");
        assert_eq!(at(Step::Fetching, 0, 0), "fetching a checkpoint · 0 B of 0 B · 0%");
    }
}
