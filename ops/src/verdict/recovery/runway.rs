//! For how long the newest backup joins the log: pure.

use std::time::Duration;

use tipline_backup::retention::{Reservation, reservations};
use tipline_log::{DropLimit, DropsAfter};
use tipline_proto::{Agreement, Level, Receipt, Role, Timestamp, agreement};

use super::super::assess::survey;
use super::super::checks::CheckState;
use super::super::expectation::Expectation;
use super::super::finding::{Finding, Kind, Verdict};
use super::super::seen::{self, Seen};
use super::view::RunwayView;
use crate::text::{age, number};

/// What `tipline status` and `tipline retention` call it.
const RESERVE: &str = "reserve";

/// The newest backup.
#[derive(Debug)]
struct Newest {
    name: String,
    index: u64,
    /// How long retention waits for it; `None` if nobody here knows.
    reserved: Option<Reservation>,
}

/// How long, and what is wrong with that. `clock` is the primary's, which dates the events.
pub(super) fn runway(
    seen: &Seen,
    checks: &[CheckState],
    clock: Timestamp,
    expected: &Expectation,
) -> (RunwayView, Option<Finding>) {
    let Some(newest) = newest(seen, checks, expected) else {
        let text = "not known: there is no archive, and no place that was verified or drilled";
        return (unknown(text.to_owned()), None);
    };
    if newest.index > seen.tail.position.index {
        return (ahead(newest, seen), None);
    }
    let next = newest.index.saturating_add(1);
    if next < seen.first {
        return cut_off(seen, newest);
    }
    let limits = seen.drops.iter().map(|limit| of_log(limit, seen, newest.index, clock));
    let of_log: Vec<_> = limits.collect();
    // What the log does by itself. Retention only waits no longer.
    let shortest = of_log.iter().filter_map(|(_, left)| *left).min();
    let finding = shortest.filter(|left| *left < expected.min_runway).map(|left| {
        let Newest { name, index, .. } = &newest;
        let (at, left) = (number(*index), age(left));
        let text = format!(
            "{name}, the newest backup, ends at event {at}: the log drops the next one in {left}"
        );
        Finding::degraded(Kind::RunwayShort, name, text)
    });
    let limits = of_log.into_iter().chain([of_retention(&newest)]).collect();
    (left(newest, limits), finding)
}

/// The furthest of the archives that agree with the log and of the places that were checked.
fn newest(seen: &Seen, checks: &[CheckState], expected: &Expectation) -> Option<Newest> {
    let digest_at = |index| seen.digests.get(&index).copied();
    let is_archive = |receipt: &&Receipt| {
        let agreement = agreement(receipt, seen.tail.position, digest_at);
        receipt.role == Role::Archive && matches!(agreement, Agreement::Agrees | Agreement::Unknown)
    };
    let reserved = reservations(&survey(seen), expected.reserve);
    let archives = seen.board.receipts.iter().filter(is_archive).filter_map(|receipt| {
        let mine = reserved.iter().find(|reserved| reserved.consumer == receipt.consumer);
        Some(Newest {
            name: receipt.consumer.to_string(),
            index: receipt.reached.at(Level::Durable)?.index,
            reserved: mine.map(|mine| mine.reservation),
        })
    });
    let places = checks.iter().filter_map(|check| {
        let (name, index) = (check.place.clone(), check.checked_up_to()?);
        Some(Newest { name, index, reserved: None })
    });
    // Of several the last one counts, and a consumer says more than a place.
    let mut all: Vec<Newest> = places.chain(archives).collect();
    all.sort_by_key(|newest| newest.index);
    all.pop()
}

/// It has more than the log, which may have lost its end, and goes on differently then.
fn ahead(Newest { name, index, .. }: Newest, seen: &Seen) -> RunwayView {
    let (at, end) = (number(index), number(seen.tail.position.index));
    let text = format!("not known: {name} ends at event {at}, after the log, which ends at {end}");
    RunwayView { backup: Some(name), index: Some(index), ..unknown(text) }
}

/// The log has dropped what comes next. Whoever has it all keeps it from being lost.
fn cut_off(seen: &Seen, newest: Newest) -> (RunwayView, Option<Finding>) {
    let Newest { name, index, reserved } = newest;
    let (next, last) = (number(index.saturating_add(1)), number(seen.first.saturating_sub(1)));
    let text = format!(
        "{name}, the newest backup, cannot be joined to the log: the log has dropped events {next} \
         to {last}"
    );
    let keeps = |receipt: &Receipt| seen::index(receipt).saturating_add(1) >= seen.first;
    let is_elsewhere = seen.board.receipts.iter().any(keeps);
    let verdict = if is_elsewhere { Verdict::Degraded } else { Verdict::Broken };
    // Of a consumer it is said that it is stranded.
    let finding = (reserved.is_none() || !is_elsewhere).then(|| Finding {
        kind: Kind::RunwayShort,
        name: Some(name.clone()),
        verdict,
        text: text.clone(),
    });
    let view = RunwayView {
        backup: Some(name),
        index: Some(index),
        joins: Some(false),
        left: Some(Duration::ZERO),
        limit: None,
        text,
    };
    (view, finding)
}

/// When the log drops the event after `index` by this limit; `None` if that is not known.
fn of_log(
    limit: &DropLimit,
    seen: &Seen,
    index: u64,
    clock: Timestamp,
) -> (&'static str, Option<Duration>) {
    let behind = seen.tail.position.index.saturating_sub(index);
    let time = |events: u64| survey(seen).time_for(events);
    let left = match limit.after {
        // What comes next is not there yet, or was committed then.
        DropsAfter::Age(most) if behind == 0 => Some(most),
        DropsAfter::Age(most) => {
            let waits = seen.waits_after(index, clock).or_else(|| time(behind));
            waits.map(|waits| most.saturating_sub(waits))
        }
        DropsAfter::Events(most) => time(most.saturating_sub(behind)),
        DropsAfter::Share { .. } | DropsAfter::Unknown => None,
    };
    (limit.setting, left)
}

/// How long retention waits for it.
fn of_retention(newest: &Newest) -> (&'static str, Option<Duration>) {
    let left = match newest.reserved {
        Some(Reservation::Reserved { at_risk_in }) => at_risk_in,
        Some(Reservation::AtRisk { .. } | Reservation::Lost | Reservation::Diverged) => {
            Some(Duration::ZERO)
        }
        // A place has no receipt: whether `--proven-at` names it is not known here.
        _ => None,
    };
    (RESERVE, left)
}

fn left(newest: Newest, limits: Vec<(&'static str, Option<Duration>)>) -> RunwayView {
    let Newest { name, index, .. } = newest;
    let at = number(index);
    let open = limits.iter().filter(|(_, left)| left.is_none()).map(|(limit, _)| match *limit {
        RESERVE => "how long retention waits for it",
        limit => limit,
    });
    let open: Vec<&str> = open.collect();
    let shortest = limits.iter().filter_map(|(limit, left)| Some((*limit, (*left)?)));
    let shortest = shortest.min_by_key(|(_, left)| *left);
    let joins = Some(true);
    let (left, limit, how_long) = match shortest {
        Some((limit, left)) if open.is_empty() => {
            (Some(left), Some(limit), format!("for {} ({limit})", age(left)))
        }
        // It is no longer than that, and nobody knows how much shorter.
        Some((limit, left)) => {
            let (open, most) = (open.join(", "), age(left));
            (None, None, format!("for {most} at most ({limit}); not known: {open}"))
        }
        None => (None, None, format!("for how long is not known: {}", open.join(", "))),
    };
    let text = format!("{name}, up to event {at}, joins the log: {how_long}");
    RunwayView { backup: Some(name), index: Some(index), joins, left, limit, text }
}

pub(super) fn unknown(text: String) -> RunwayView {
    RunwayView { backup: None, index: None, joins: None, left: None, limit: None, text }
}
