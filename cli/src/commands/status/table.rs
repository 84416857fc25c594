//! The fleet as text.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use tipline_ops::text::{age, count, number};
use tipline_ops::{
    CheckView, Condition, ConditionState, ConsumerView, Fleet, LogView, PolicyView, PrimaryView,
    RecoveryView, ShortfallView, State, Verdict,
};

use crate::output::escape::plain;

const HEAD: [&str; 9] = ["NAME", "ROLE", "LEVEL", "BLOCK", "PROOF", "LAG", "LOG", "HEARD", "STATE"];
/// Columns of numbers, which stand at the right.
const NUMBERS: [bool; 9] = [false, false, false, true, true, true, false, true, false];
/// For longer than this it is not said how long the log waits.
const SOON: Duration = Duration::from_secs(7 * 86_400);
const DIM: Style = Style::new().dimmed();
const NONE: &str = "–";

/// Writes the fleet: the verdict, the log, the primary, a row for every consumer.
pub(super) fn render(fleet: &Fleet) -> String {
    let mut text = String::new();
    let (word, style) = match fleet.verdict {
        Verdict::Well => ("WELL", AnsiColor::Green.on_default().bold()),
        Verdict::Degraded => ("DEGRADED", AnsiColor::Yellow.on_default().bold()),
        Verdict::Broken => ("BROKEN", AnsiColor::Red.on_default().bold()),
    };
    line(&mut text, format_args!("{style}{word}{style:#}: {}", plain(&fleet.summary)));
    line(&mut text, format_args!(""));
    if let Some(advice) = &fleet.advice {
        field(&mut text, "to do", advice);
    }
    field(&mut text, "log", &log(&fleet.log));
    if let Some(identity) = chain(&fleet.log) {
        field(&mut text, "chain", &identity);
    }
    if let Some(tail) = tail(&fleet.log) {
        field(&mut text, "tail", &tail);
    }
    if let Some(primary) = &fleet.primary {
        field(&mut text, "primary", &self::primary(primary));
    }
    if let Some(policy) = &fleet.policy {
        field(&mut text, "policy", &self::policy(policy));
    }
    for shortfall in &fleet.shortfalls {
        let ShortfallView { found, risk, remedy, accepted } = shortfall;
        let (name, what) = if *accepted {
            ("accepted", format!("{found}: {risk}"))
        } else {
            ("at risk", format!("{found}: {risk}; {remedy}"))
        };
        field(&mut text, name, &what);
    }
    for check in &fleet.checks {
        field(&mut text, check.check, &self::check(check));
    }
    if let Some(recovery) = &fleet.recovery {
        self::recovery(&mut text, recovery);
    }
    for reminder in &fleet.reminders {
        field(&mut text, "remember", reminder);
    }
    if !fleet.consumers.is_empty() {
        line(&mut text, format_args!(""));
        rows(&mut text, &fleet.consumers);
    }
    let failed = fleet.consumers.iter().filter_map(|c| Some((&c.name, c.failure.as_ref()?)));
    let primary = fleet.primary.iter().filter_map(|p| Some((&p.name, p.failure.as_ref()?)));
    let failures: Vec<_> = primary.chain(failed).collect();
    if !failures.is_empty() {
        line(&mut text, format_args!(""));
    }
    for (name, failure) in failures {
        line(&mut text, format_args!("{} failed: {}", plain(name), plain(failure)));
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.push_str(&std::fmt::format(line));
    text.push('\n');
}

fn field(text: &mut String, name: &str, value: &str) {
    line(text, format_args!("{DIM}{name:<8}{DIM:#} {}", plain(value)));
}

/// The newest backup, and what else must hold on the day that it is needed.
fn recovery(text: &mut String, recovery: &RecoveryView) {
    field(text, "recovery", &recovery.runway.text);
    for Condition { name, state, text: why } in &recovery.conditions {
        let state = match state {
            ConditionState::Ok => "ok",
            ConditionState::Fail => "FAIL",
            ConditionState::Unknown => "unknown",
        };
        line(text, format_args!("         {state:<7}  {name}: {}", plain(why)));
    }
}

fn log(log: &LogView) -> String {
    let mut text = log.address.clone();
    if let (Some(first), Some(last)) = (log.first, log.last) {
        text.push_str(&match last {
            0 => ", empty".to_owned(),
            _ if last < first => format!(", at event {}, none held", number(last)),
            _ => format!(", events {} to {}", number(first), number(last)),
        });
    }
    text
}

/// In the form that `--continue-at` takes.
fn tail(log: &LogView) -> Option<String> {
    Some(format!("{}@{}, epoch {}", log.last?, log.digest.as_ref()?, log.epoch?))
}

fn chain(log: &LogView) -> Option<String> {
    let (chain, lineage) = (log.chain.as_ref()?, log.lineage.as_ref()?);
    let late = log.proofs_from.filter(|height| *height > 1);
    let late = late.map(|height| format!(", proofs from block {} on", number(height)));
    Some(format!("{chain}, lineage {lineage}{}", late.unwrap_or_default()))
}

fn primary(primary: &PrimaryView) -> String {
    let block = primary.block.map_or("no block yet".to_owned(), |b| format!("block {}", number(b)));
    let outbox = match primary.outbox_events {
        0 => "outbox empty".to_owned(),
        waiting => format!("{} waiting in the outbox", count(waiting, "event")),
    };
    let oldest = primary.outbox_oldest.map(|oldest| format!(" for up to {}", age(oldest)));
    let outbox = outbox + &oldest.unwrap_or_default();
    format!(
        "{}, epoch {}, {block}, {outbox}, heard {} ago",
        primary.name,
        primary.epoch,
        age(primary.age)
    )
}

fn policy(policy: &PolicyView) -> String {
    let reached = match policy.lag_events {
        0 => "everything is backed up".to_owned(),
        lag => format!("up to event {}, {} behind", number(policy.index), count(lag, "event")),
    };
    format!("{}: {reached}", policy.policy)
}

fn rows(text: &mut String, consumers: &[ConsumerView]) {
    let rows: Vec<[String; 9]> = consumers.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEAD[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; 9] = std::array::from_fn(width);
    line(text, format_args!("{DIM}{}{DIM:#}", join(&HEAD.map(str::to_owned), &widths)));
    for (row, consumer) in rows.iter().zip(consumers) {
        let style = match consumer.state {
            State::Well => Style::new(),
            State::Diverged | State::Ahead => AnsiColor::Red.on_default(),
            _ => AnsiColor::Yellow.on_default(),
        };
        line(text, format_args!("{style}{}{style:#}", join(row, &widths)));
    }
}

fn join(cells: &[String; 9], widths: &[usize; 9]) -> String {
    let mut line = String::new();
    for ((cell, width), is_number) in cells.iter().zip(widths).zip(NUMBERS) {
        let gap = if line.is_empty() { "" } else { "  " };
        let padding = " ".repeat(width - cell.chars().count());
        let (before, after) = if is_number { (padding.as_str(), "") } else { ("", &*padding) };
        line.push_str(&format!("{gap}{before}{cell}{after}"));
    }
    line.truncate(line.trim_end().len());
    line
}

fn row(consumer: &ConsumerView) -> [String; 9] {
    let height = |height: Option<u64>| height.map_or(NONE.to_owned(), number);
    [
        consumer.name.clone(),
        consumer.role.to_owned(),
        consumer.level.unwrap_or(NONE).to_owned(),
        height(consumer.block),
        height(consumer.proof),
        lag(consumer),
        reservation(consumer),
        format!("{} ago", age(consumer.age)),
        state(consumer.state).to_owned(),
    ]
}

fn lag(consumer: &ConsumerView) -> String {
    match (consumer.lag_blocks, consumer.lag_events) {
        (_, 0) => NONE.to_owned(),
        (Some(0) | None, events) => count(events, "event"),
        (Some(blocks), events) => format!("{}, {}", count(blocks, "block"), count(events, "event")),
    }
}

/// What the log does for it; while that is waiting, for how long if it stands still.
fn reservation(consumer: &ConsumerView) -> String {
    match consumer.at_risk_in {
        Some(time) if consumer.lag_events > 0 && time < SOON => {
            format!("{} for {}", consumer.reservation, age(time))
        }
        _ => consumer.reservation.to_owned(),
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Well => "well",
        State::Behind => "behind",
        State::Orphaned => "orphaned",
        State::Stalled => "stalled",
        State::Frozen => "frozen",
        State::Silent => "silent",
        State::Stranded => "stranded",
        State::Failed => "failed",
        State::Ahead => "ahead of the log",
        State::Diverged => "diverged",
    }
}

/// The last success of a check, and what came after it.
fn check(check: &CheckView) -> String {
    let ago = |time: Option<Duration>| time.map_or("never".to_owned(), |time| age(time) + " ago");
    let (place, well) = (&check.place, ago(check.well_age));
    let index = check.index.map(|index| format!(", up to event {}", number(index)));
    let text = format!("{place}: well {well}{}", index.unwrap_or_default());
    match check.ok {
        Some(false) => format!("{text}; NOT well {}", ago(check.age)),
        _ => text,
    }
}
