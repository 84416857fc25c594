//! Live progress: what the primary knows of everyone, as it is pushed. Drawn in place on a
//! terminal, a line every second elsewhere; always on stderr.

use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tipline_producer::{BackupStatus, Progress};

/// The consumers, in the order in which they are drawn.
pub(super) struct Screen {
    bars: Option<Bars>,
    names: Vec<String>,
    start: Instant,
    next_line: Instant,
}

struct Bars {
    _all: MultiProgress,
    primary: ProgressBar,
    consumers: Vec<ProgressBar>,
}

/// What is known at one moment.
pub(super) struct Moment<'a> {
    pub(super) committed: u64,
    pub(super) progress: &'a Progress,
    pub(super) status: &'a BackupStatus,
    /// Consumers that are killed right now.
    pub(super) killed: &'a [String],
}

impl Screen {
    pub(super) fn new(names: &[&str], blocks: u64) -> Self {
        let now = Instant::now();
        let bars = std::io::stderr().is_terminal().then(|| Bars::new(names, blocks));
        let names = names.iter().map(ToString::to_string).collect();
        Self { bars, names, start: now, next_line: now }
    }

    /// Shows the moment; elsewhere than on a terminal once a second.
    pub(super) fn show(&mut self, moment: &Moment<'_>) {
        let primary = self.primary_text(moment);
        let height = |name: &str| {
            let receipt = &moment.status.consumer(name)?.receipt;
            Some(receipt.block_tip.as_ref()?.height)
        };
        if let Some(bars) = &self.bars {
            bars.primary.set_position(moment.committed);
            bars.primary.set_message(primary);
            for (name, bar) in self.names.iter().zip(&bars.consumers) {
                bar.set_position(height(name).unwrap_or(0));
                bar.set_message(consumer_text(name, moment));
            }
            return;
        }
        let now = Instant::now();
        if now < self.next_line {
            return;
        }
        self.next_line = now + Duration::from_secs(1);
        let mut line = format!(
            "{:4.0} s  primary block {}",
            self.start.elapsed().as_secs_f64(),
            moment.committed
        );
        for name in &self.names {
            let gone = if moment.killed.contains(name) { " (killed)" } else { "" };
            line.push_str(&format!("  {name} {}{gone}", height(name).unwrap_or(0)));
        }
        note(&format!("{line}  {primary}"));
    }

    /// Says something once, above the bars.
    pub(super) fn say(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.primary.suspend(|| note(text)),
            None => note(text),
        }
    }

    /// Leaves the last picture where it is.
    pub(super) fn finish(self) {
        if let Some(bars) = self.bars {
            bars.primary.abandon();
            bars.consumers.iter().for_each(ProgressBar::abandon);
            // The cursor is still at the end of the last bar.
            note("");
        }
    }

    fn primary_text(&self, moment: &Moment<'_>) -> String {
        let logged = moment.progress.logged;
        let rate = logged as f64 / self.start.elapsed().as_secs_f64().max(0.001);
        let waiting = moment.progress.waiting_events;
        format!("{logged} events logged, {waiting} waiting, {rate:.0}/s")
    }
}

fn consumer_text(name: &str, moment: &Moment<'_>) -> String {
    let tail = moment.progress.tail.map_or(0, |tail| tail.index);
    let Some(consumer) = moment.status.consumer(name) else {
        return "no receipt yet".into();
    };
    let Some((level, position)) = consumer.receipt.reached.highest() else {
        return "no receipt yet".into();
    };
    let lag = tail.saturating_sub(position.index);
    let proven = consumer.receipt.proof_tip.unwrap_or(0);
    let gone = if moment.killed.iter().any(|killed| killed == name) { "KILLED, " } else { "" };
    format!("{gone}{level} to {position}, proven {proven}, lag {lag}")
}

/// A line of text. If nobody can read it any more, nothing is lost.
fn note(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

impl Bars {
    fn new(names: &[&str], blocks: u64) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let bar = |name: &str, unit: &str| {
            let template =
                format!("  {{prefix:10}} {{bar:24.cyan/dim}} {{pos:>6}}/{{len}} {unit} {{msg}}");
            let style = ProgressStyle::with_template(&template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("━━╌");
            let bar = all.add(ProgressBar::new(blocks).with_style(style));
            bar.set_prefix(name.to_owned());
            bar
        };
        let primary = bar("primary", "blocks ");
        let consumers = names.iter().map(|name| bar(name, "blocks ")).collect();
        Self { _all: all, primary, consumers }
    }
}
