//! The plan as it is shown. Serialised, it is the object of `tipline retention --json`: keep the
//! names stable.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use tipline_backup::retention::{KeptRange, Reservation, Reserved, RetentionPlan};
use tipline_log::Extent;
use tipline_ops::text::{age, count, number};

use super::ages::AgesView;
use super::lines::{field, span};
use crate::output::escape::plain;

#[derive(Debug, Serialize)]
pub(super) struct Explained {
    /// The log's address.
    log: String,
    held: Held,
    /// The oldest event that somebody keeps.
    keep_from: u64,
    /// How many events nobody keeps.
    free: u64,
    /// Whether they were trimmed away.
    applied: bool,
    ages: AgesView,
    ranges: Vec<RangeView>,
    consumers: Vec<ConsumerView>,
}

/// What the log holds.
#[derive(Debug, Serialize)]
struct Held {
    first: u64,
    last: u64,
}

#[derive(Debug, Serialize)]
struct RangeView {
    first: u64,
    last: u64,
    /// Everyone who keeps it, and why, in a sentence each; empty if nobody does.
    kept_by: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ConsumerView {
    name: String,
    /// `reserved`, `at risk`, `lost` or `diverged`.
    reservation: &'static str,
    /// Index of the event that it needs next.
    needs: u64,
    /// How many events it lags the log's tail.
    behind: u64,
    /// When it will be at risk if it stands still.
    at_risk_in_ms: Option<u64>,
    /// When it will be lost if it stands still; 0: with the next trim.
    lost_in_ms: Option<u64>,
}

impl Explained {
    /// `trimmed` is what the log holds after it was trimmed.
    pub(super) fn new(log: String, plan: &RetentionPlan, trimmed: Option<Extent>) -> Self {
        let Extent { first, last } = trimmed.unwrap_or(plan.held);
        Self {
            log,
            held: Held { first, last },
            keep_from: plan.first,
            free: plan.free(),
            applied: trimmed.is_some(),
            ages: AgesView::new(plan.ages),
            ranges: plan.ranges.iter().map(RangeView::of).collect(),
            consumers: plan.consumers.iter().map(ConsumerView::of).collect(),
        }
    }

    /// As text.
    pub(super) fn text(&self, held: Extent) -> String {
        let mut text =
            field("log", &format!("{}, {}", plain(&self.log), span(held.first, held.last)));
        text.push_str(&field("free", &self.free_text()));
        text.push_str(&self.ages.text());
        for range in self.ranges.iter().filter(|range| !range.kept_by.is_empty()) {
            text.push_str(&field("kept", &format!("{}:", span(range.first, range.last))));
            for why in &range.kept_by {
                text.push_str(&field("", &format!("  {}", plain(why))));
            }
        }
        if !self.consumers.is_empty() {
            text.push('\n');
        }
        let width = self.consumers.iter().map(|consumer| consumer.name.len()).max().unwrap_or(0);
        for consumer in &self.consumers {
            text.push_str(&consumer.line(width));
        }
        text
    }

    fn free_text(&self) -> String {
        let Some(last) = self.keep_from.checked_sub(1).filter(|_| self.free > 0) else {
            return "nothing may go".to_owned();
        };
        let (first, what) = (self.keep_from - self.free, count(self.free, "event"));
        let free = format!("{what}, {} to {}", number(first), number(last));
        match self.applied {
            true => format!("{free}: trimmed away"),
            false => format!("{free}: --apply trims them away"),
        }
    }
}

impl RangeView {
    fn of(range: &KeptRange) -> Self {
        let kept_by = range.kept_by.iter().map(ToString::to_string).collect();
        Self { first: range.first, last: range.last, kept_by }
    }
}

impl ConsumerView {
    fn of(reserved: &Reserved) -> Self {
        let millis =
            |time: Option<Duration>| Some(u64::try_from(time?.as_millis()).unwrap_or(u64::MAX));
        let (at_risk_in_ms, lost_in_ms) = match reserved.reservation {
            Reservation::Reserved { at_risk_in } => (millis(at_risk_in), None),
            Reservation::AtRisk { lost_in } => (None, millis(lost_in)),
            _ => (None, None),
        };
        Self {
            name: reserved.consumer.to_string(),
            reservation: reserved.reservation.as_str(),
            needs: reserved.needs,
            behind: reserved.behind,
            at_risk_in_ms,
            lost_in_ms,
        }
    }

    fn line(&self, width: usize) -> String {
        let time = |millis: u64| age(Duration::from_millis(millis));
        let when = match (self.at_risk_in_ms, self.lost_in_ms) {
            (_, Some(0)) => ", lost with the next trim".to_owned(),
            (_, Some(millis)) => format!(", lost in {} if it stands still", time(millis)),
            (Some(millis), _) if self.behind > 0 => {
                format!(", at risk in {} if it stands still", time(millis))
            }
            _ => String::new(),
        };
        let style = match self.reservation {
            "reserved" => Style::new(),
            "at risk" => AnsiColor::Yellow.on_default(),
            _ => AnsiColor::Red.on_default(),
        };
        let (name, behind) = (&self.name, count(self.behind, "event"));
        format!("{style}{name:<width$}  {}: {behind} behind{when}{style:#}\n", self.reservation)
    }
}
