//! The primary: what it says of itself, and what is wrong with that.

use std::time::Duration;

use tipline_proto::limits::{OUTBOX_BYTES, OUTBOX_EVENTS};
use tipline_proto::{Announcement, Digest, Position, Timestamp};

use super::expectation::{Expectation, FILLING, HELD_UP_FOR, NEARLY_FULL};
use super::finding::{Finding, Kind, Verdict};
use super::fleet::{PrimaryView, State};
use super::liveness::{SignOfLife, later};
use super::seen::Seen;
use crate::text::{age, count, number};

/// The time by the primary's clock, which dates the events; our own if there is no primary.
pub(super) fn primary_clock(seen: &Seen, now: Timestamp) -> Timestamp {
    let said = seen.board.primary.as_ref();
    said.map_or(now, |said| {
        let sign = SignOfLife::new(said.time, seen.board.primary_heard, now);
        later(said.time, sign.age)
    })
}

/// The primary, and what is wrong with it.
pub(super) fn primary(
    seen: &Seen,
    now: Timestamp,
    expected: &Expectation,
) -> (Option<PrimaryView>, Vec<Finding>) {
    let Some(said) = &seen.board.primary else {
        let text = "no primary has announced itself".to_owned();
        let missing = Finding::of_all(Kind::PrimaryMissing, Verdict::Degraded, text);
        return (None, vec![missing]);
    };
    let mut view = view(said, seen.board.primary_heard, now);
    let found = [
        history(said, seen),
        life(&view, expected),
        source(&view),
        outbox(&view, expected),
        successor(&view, seen),
        clock(&view),
    ];
    let mut findings = Vec::new();
    for (state, finding) in found.into_iter().flatten() {
        view.state = view.state.max(state);
        findings.push(finding);
    }
    (Some(view), findings)
}

fn view(said: &Announcement, heard: Option<Duration>, now: Timestamp) -> PrimaryView {
    let SignOfLife { age, clock_ahead } = SignOfLife::new(said.time, heard, now);
    let limit = |limit: u64| Some(limit).filter(|limit| *limit > 0);
    PrimaryView {
        name: said.primary.to_string(),
        state: State::Well,
        epoch: said.epoch,
        index: said.tail.index,
        block: said.block_tip.as_ref().map(|tip| tip.height),
        outbox_events: said.outbox_events,
        outbox_bytes: said.outbox_bytes,
        outbox_waiting_bytes: said.outbox_waiting_bytes,
        outbox_oldest: said.outbox_oldest.map(|oldest| said.time.since(oldest)),
        outbox_max_events: limit(said.outbox_max_events),
        outbox_max_bytes: limit(said.outbox_max_bytes),
        held_up: said.held_up.clone(),
        source_failure: said.source_failure.clone(),
        age,
        clock_ahead,
        failure: said.failure.clone(),
    }
}

type Found = Option<(State, Finding)>;

/// The board is read before the tail, so the log has what was announced, unless it lost it.
fn history(said: &Announcement, seen: &Seen) -> Found {
    let (name, Position { index, digest }) = (said.primary.as_str(), said.tail);
    let (tail, event) = (seen.tail.position, number(index));
    if index > tail.index {
        let last = number(tail.index);
        let text = format!(
            "the log lost events: primary {name} published up to {event}, the log ends at {last}"
        );
        return Some((State::Ahead, Finding::broken(Kind::LogLost, name, text)));
    }
    let own: Option<Digest> =
        if index == tail.index { Some(tail.digest) } else { seen.digests.get(&index).copied() };
    own.filter(|own| *own != digest).map(|_| {
        let text =
            format!("primary {name} published another history than the log's, at event {event}");
        (State::Diverged, Finding::broken(Kind::PrimaryDiverged, name, text))
    })
}

fn life(primary: &PrimaryView, expected: &Expectation) -> Found {
    let name = &primary.name;
    if primary.failure.is_some() {
        let text = format!("primary {name} has failed");
        return Some((State::Failed, Finding::degraded(Kind::PrimaryFailed, name, text)));
    }
    (primary.age > expected.silent_after).then(|| {
        let text = format!("primary {name} is silent for {}", age(primary.age));
        (State::Silent, Finding::degraded(Kind::PrimarySilent, name, text))
    })
}

fn source(primary: &PrimaryView) -> Found {
    let (name, why) = (&primary.name, primary.source_failure.as_ref()?);
    let text = format!("the source of primary {name}: {why}");
    Some((State::Failed, Finding::degraded(Kind::SourceFailed, name, text)))
}

fn outbox(primary: &PrimaryView, expected: &Expectation) -> Found {
    let name = &primary.name;
    let waiting = waiting(primary);
    let percent = percent_full(primary);
    let oldest = primary.outbox_oldest.unwrap_or_default();
    if let Some(why) = &primary.held_up {
        let text = format!("the log does not take what primary {name} has: {why}; {waiting}");
        let finding = match percent >= NEARLY_FULL || oldest > HELD_UP_FOR {
            true => Finding::broken(Kind::OutboxHeldUp, name, text),
            false => Finding::degraded(Kind::OutboxHeldUp, name, text),
        };
        return Some((State::Behind, finding));
    }
    (primary.outbox_events > 0 && (percent >= FILLING || oldest > expected.max_lag_time)).then(
        || {
            let text = format!("the outbox of primary {name} backs up: {waiting}");
            (State::Behind, Finding::degraded(Kind::OutboxBacksUp, name, text))
        },
    )
}

fn waiting(primary: &PrimaryView) -> String {
    let wait = if primary.outbox_events == 1 { "waits" } else { "wait" };
    let mut text = format!("{} {wait}", count(primary.outbox_events, "event"));
    if let Some(oldest) = primary.outbox_oldest {
        text.push_str(&format!(", the oldest for {}", age(oldest)));
    }
    match percent_full(primary) {
        0 => text,
        percent => format!("{text}; the outbox is {percent}% full"),
    }
}

/// What waits, of what may. What is kept although it is in the log makes way. An older primary
/// does not say its limits: they are the usual ones then.
fn percent_full(primary: &PrimaryView) -> u64 {
    let percent = |waits: u64, max: u64| waits.saturating_mul(100) / max.max(1);
    let events = primary.outbox_max_events.unwrap_or(OUTBOX_EVENTS);
    let bytes = primary.outbox_max_bytes.unwrap_or(OUTBOX_BYTES);
    percent(primary.outbox_events, events).max(percent(primary.outbox_waiting_bytes, bytes))
}

fn successor(primary: &PrimaryView, seen: &Seen) -> Found {
    let (name, own, newest) = (&primary.name, primary.epoch, seen.tail.epoch);
    (own < newest).then(|| {
        let text = format!(
            "another primary has claimed the log in epoch {newest} and has not announced itself; \
             {name} had epoch {own}"
        );
        (State::Silent, Finding::degraded(Kind::SuccessorClaimed, name, text))
    })
}

fn clock(primary: &PrimaryView) -> Found {
    let name = &primary.name;
    let by = age(primary.clock_ahead?);
    let text = format!("the clock of primary {name} is ahead by {by}");
    Some((State::Well, Finding::degraded(Kind::PrimaryClock, name, text)))
}
