//! How far an audit is, in a line.

use std::future::Future;
use std::time::Duration;

use indicatif::HumanBytes;
use tipline_audit::VerifyProgress;
use tipline_ops::text::{age, number};
use tokio::sync::watch;

use crate::output::progress::{self, Rate};

/// Does the work, and shows the line meanwhile.
pub(super) async fn shown<T>(
    what: &str,
    receiver: watch::Receiver<VerifyProgress>,
    work: impl Future<Output = T>,
) -> T {
    let mut rate = Rate::default();
    let line = || {
        let progress = *receiver.borrow();
        let per_second = rate.note(progress.done);
        text(what, progress, per_second)
    };
    let done = tokio::select! {
        done = work => done,
        never = progress::show(line) => match never {},
    };
    progress::done();
    done
}

fn text(what: &str, progress: VerifyProgress, per_second: f64) -> String {
    let VerifyProgress { done, of, bytes } = progress;
    let percent = (done * 100).checked_div(of).unwrap_or(0);
    let mut text = format!("{what} · {} of {} entries · {percent}%", number(done), number(of));
    if bytes > 0 {
        text += &format!(" · {}", HumanBytes(bytes));
    }
    if per_second >= 1.0 {
        let left = Duration::from_secs_f64(of.saturating_sub(done) as f64 / per_second);
        text += &format!(" · {} per second · {} left", number(per_second as u64), age(left));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_rate_and_time_left() {
        let at =
            |done, bytes, rate| text("verifying", VerifyProgress { done, of: 4_000, bytes }, rate);
        assert_eq!(at(0, 0, 0.0), "verifying · 0 of 4,000 entries · 0%");
        assert_eq!(
            at(1_000, 1 << 20, 1_500.0),
            "verifying · 1,000 of 4,000 entries · 25% · 1.00 MiB · 1,500 per second · 2.0 s left"
        );
        let none = VerifyProgress::default();
        assert_eq!(text("comparing", none, 0.0), "comparing · 0 of 0 entries · 0%");
    }
}
