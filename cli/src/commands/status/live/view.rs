//! The screen as lines: a function of what is shown, the size and the time.

use std::time::{Duration, Instant};

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use tipline_ops::text::{age, count, number};
use tipline_ops::{ConditionState, ConsumerView, Finding, Fleet, PrimaryView, State, Verdict};

use super::consumers;
use super::state::Live;
use crate::output::escape::plain;
use crate::output::runbook::first_fix;

/// Lines of the verdict, at most.
const HEAD: usize = 3;
/// Width of the names at the left, with what is between.
const NAMES: usize = 10;

/// As many lines as the screen has.
pub(super) fn lines(
    live: &mut Live,
    width: usize,
    height: usize,
    now: Instant,
) -> Vec<Line<'static>> {
    let mut head = verdict(live, width, now);
    head.truncate(height.saturating_sub(1));
    let body = body(live, width, now);
    let room = height.saturating_sub(head.len() + 1);
    live.furthest = body.len().saturating_sub(room);
    live.offset = live.offset.min(live.furthest);
    let last = footer(live.offset, room, body.len(), width);
    let shown = body.into_iter().skip(live.offset).take(room);
    head.extend(shown);
    head.resize(height.saturating_sub(1), Line::default());
    head.push(last);
    head.truncate(height);
    head
}

/// The verdict; while the log is not read, that, and for how long.
fn verdict(live: &Live, width: usize, now: Instant) -> Vec<Line<'static>> {
    let red = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD | Modifier::REVERSED);
    if let Some((silent, failure)) = live.cut_off(now) {
        let (silent, address) = (age(silent), &live.address);
        let (word, text) = match failure {
            None if live.read(now).is_none() => {
                (" WAITING ", format!("for an answer of {address}, for {silent}"))
            }
            failure => {
                let why = failure.map(|failure| failure.summary.clone());
                let why = why.unwrap_or_else(|| format!("{address} does not answer"));
                (" CUT OFF ", format!("for {silent}: {why}"))
            }
        };
        let mut lines = worded(word, red, &text, width);
        lines.truncate(HEAD);
        if let Some(advice) = failure.and_then(|failure| failure.advice.as_ref()) {
            lines.extend(named("to do", advice, width));
        }
        if live.read(now).is_some() {
            let bold = Style::new().add_modifier(Modifier::BOLD);
            let text = format!("Nothing below is new: it is as it was {silent} ago.");
            lines.push(Line::styled(cut(&text, width), bold));
        }
        lines.push(Line::default());
        return lines;
    }
    let Some((fleet, _)) = live.read(now) else { return Vec::new() };
    let (word, color) = match fleet.verdict {
        Verdict::Well => (" WELL ", Color::Green),
        Verdict::Degraded => (" DEGRADED ", Color::Yellow),
        Verdict::Broken => (" BROKEN ", Color::Red),
    };
    let style = Style::new().fg(color).add_modifier(Modifier::BOLD | Modifier::REVERSED);
    let mut lines = worded(word, style, &fleet.summary, width);
    lines.truncate(HEAD);
    lines.push(Line::default());
    lines
}

fn body(live: &Live, width: usize, now: Instant) -> Vec<Line<'static>> {
    let Some((fleet, old)) = live.read(now) else { return Vec::new() };
    let mut lines = Vec::new();
    let mut field = |name: &str, value: &str| lines.extend(named(name, value, width));
    field("log", &fleet.log.address);
    field("tip", &tip(fleet));
    if let Some(primary) = &fleet.primary {
        field("primary", &self::primary(primary, old));
    }
    field("lost now", &lost(fleet, old));
    if let Some(recovery) = &fleet.recovery {
        field("runway", &recovery.runway.text);
    }
    if !fleet.consumers.is_empty() {
        lines.push(Line::default());
        lines.extend(consumers::rows(live, &fleet.consumers, old, width));
    }
    if !fleet.findings.is_empty() {
        lines.push(Line::default());
        fleet.findings.iter().for_each(|finding| lines.extend(self::finding(finding, width)));
    }
    lines.extend(rest(fleet, width));
    // What is not new does not look so.
    if live.cut_off(now).is_some() {
        let dim = Style::new().add_modifier(Modifier::DIM);
        lines = lines.into_iter().map(|line| Line::styled(text(&line), dim)).collect();
    }
    lines
}

/// What is of interest once nothing worse is.
fn rest(fleet: &Fleet, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let failed = fleet.consumers.iter().filter_map(|one| Some((&one.name, one.failure.as_ref()?)));
    let primary = fleet.primary.iter().filter_map(|one| Some((&one.name, one.failure.as_ref()?)));
    for (name, why) in primary.chain(failed) {
        lines.extend(named("failed", &format!("{name}: {why}"), width));
    }
    if let Some(policy) = &fleet.policy {
        let behind = count(policy.lag_events, "event");
        let text =
            format!("{}: up to event {}, {behind} behind", policy.policy, number(policy.index));
        lines.extend(named("policy", &text, width));
    }
    let conditions = fleet.recovery.iter().flat_map(|recovery| &recovery.conditions);
    for condition in conditions {
        let state = match condition.state {
            ConditionState::Ok => "ok",
            ConditionState::Fail => "FAIL",
            ConditionState::Unknown => "unknown",
        };
        let text = format!("{state:<7} {}: {}", condition.name, condition.text);
        lines.extend(named("recovery", &text, width));
    }
    for reminder in &fleet.reminders {
        lines.extend(named("remember", reminder, width));
    }
    if !lines.is_empty() {
        lines.insert(0, Line::default());
    }
    lines
}

fn tip(fleet: &Fleet) -> String {
    let block = fleet
        .tip
        .as_ref()
        .map_or("no block yet".to_owned(), |tip| format!("block {}", number(tip.height)));
    let proof = fleet.consumers.iter().filter_map(|one| one.proof).max();
    // Where none was ever made there is nothing to wait for.
    let proof = proof.filter(|proof| *proof > 0);
    let proof = proof.map_or("no proof yet".to_owned(), |proof| {
        let debt = fleet.tip.as_ref().map_or(0, |tip| tip.height.saturating_sub(proof));
        let behind = if debt > 0 { format!(", {debt} behind") } else { String::new() };
        format!("proofs up to {}{behind}", number(proof))
    });
    let (event, epoch) = (fleet.log.last.unwrap_or(0), fleet.log.epoch.unwrap_or(0));
    format!("{block}, {proof}, event {}, epoch {epoch}", number(event))
}

fn primary(primary: &PrimaryView, old: Duration) -> String {
    let waiting = match primary.outbox_events {
        0 => "outbox empty".to_owned(),
        waiting => {
            let oldest = primary.outbox_oldest.map(|oldest| age(oldest.saturating_add(old)));
            let oldest = oldest.map_or(String::new(), |oldest| format!(" for up to {oldest}"));
            format!("{} in the outbox{oldest}", count(waiting, "event"))
        }
    };
    let state = format!("{:?}", primary.state).to_lowercase();
    let heard = age(primary.age.saturating_add(old));
    format!("{} {state}, {waiting}, heard {heard} ago", primary.name)
}

/// What would be lost with the primary's machine, and with the log, too.
fn lost(fleet: &Fleet, old: Duration) -> String {
    let events = |events: u64, oldest: Option<Duration>| match (events, oldest) {
        (0, _) => "nothing".to_owned(),
        (events, None) => count(events, "event"),
        (events, Some(oldest)) => {
            format!("{} of {}", count(events, "event"), age(oldest.saturating_add(old)))
        }
    };
    let (waiting, oldest) =
        fleet.primary.as_ref().map_or((0, None), |one| (one.outbox_events, one.outbox_oldest));
    let holds = |one: &&ConsumerView| {
        let is_durable = one.level.is_some_and(|level| level != "applied");
        one.role != "audit" && is_durable && !matches!(one.state, State::Diverged | State::Ahead)
    };
    let keeper = fleet.consumers.iter().filter(holds).max_by_key(|one| one.index);
    let kept = keeper.map_or(0, |one| one.index);
    let only_logged = fleet.log.last.unwrap_or(0).saturating_sub(kept);
    let with_primary = events(waiting, oldest);
    let since = if only_logged > 0 { keeper.and_then(|one| one.lag) } else { oldest };
    let with_log = events(only_logged.saturating_add(waiting), since);
    format!("with the primary: {with_primary}; with the log, too: {with_log}")
}

fn finding(finding: &Finding, width: usize) -> Vec<Line<'static>> {
    let color = if finding.verdict == Verdict::Broken { Color::Red } else { Color::Yellow };
    let style = Style::new().fg(color);
    let kind = serde_json::to_value(finding.kind).ok();
    let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or_default();
    let mut lines: Vec<_> = wrap(&format!("! {}", finding.text), width)
        .into_iter()
        .map(|line| Line::styled(line, style))
        .collect();
    if let Some(remedy) = first_fix(kind) {
        lines.extend(named("  to do", &remedy, width));
    }
    lines
}

fn footer(offset: usize, room: usize, lines: usize, width: usize) -> Line<'static> {
    let (first, last) = (offset + 1, (offset + room).min(lines));
    let more = match lines > room {
        true => format!("   ↑↓ scroll: lines {first} to {last} of {lines}"),
        false => String::new(),
    };
    let dim = Style::new().add_modifier(Modifier::DIM);
    Line::styled(cut(&format!("q quits{more}"), width), dim)
}

/// A word that stands out, and a text after it.
fn worded(word: &'static str, style: Style, text: &str, width: usize) -> Vec<Line<'static>> {
    let indent = word.chars().count() + 1;
    let lines = wrap(text, width.saturating_sub(indent)).into_iter().enumerate();
    let line = |(at, line): (usize, String)| match at {
        0 => Line::from(vec![Span::styled(word, style), Span::raw(" "), Span::raw(line)]),
        _ => Line::raw(" ".repeat(indent) + &line),
    };
    lines.map(line).collect()
}

/// A name and what it is, in as many lines as that takes.
fn named(name: &str, value: &str, width: usize) -> Vec<Line<'static>> {
    let dim = Style::new().add_modifier(Modifier::DIM);
    let lines = wrap(value, width.saturating_sub(NAMES)).into_iter().enumerate();
    let line = |(at, line): (usize, String)| {
        let name = if at == 0 { name } else { "" };
        Line::from(vec![Span::styled(format!("{name:<NAMES$}"), dim), Span::raw(line)])
    };
    lines.map(line).collect()
}

/// The text in lines of this width; at least one. What has no space in it is cut where it must be.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let text = plain(text);
    let (mut lines, mut line) = (Vec::new(), String::new());
    let length = |text: &str| text.chars().count();
    for word in text.split_whitespace() {
        let mut word: &str = word;
        if !line.is_empty() && length(&line) + 1 + length(word) > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        while length(&line) + length(word) > width {
            let room = width - length(&line);
            let at = word.char_indices().nth(room).map_or(word.len(), |(at, _)| at);
            line.push_str(&word[..at]);
            lines.push(std::mem::take(&mut line));
            word = &word[at..];
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

fn text(line: &Line<'_>) -> String {
    line.spans.iter().map(|span| span.content.as_ref()).collect()
}
