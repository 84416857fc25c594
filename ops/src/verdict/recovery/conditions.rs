//! What must hold on the day of a recovery: pure.

use std::time::Duration;

use tipline_backup::Check;
use tipline_proto::{Agreement, Level, Receipt, Role, Timestamp, agreement};

use super::super::checks::CheckState;
use super::super::expectation::Expectation;
use super::super::finding::Finding;
use super::super::identities::IdentityReview;
use super::super::liveness::SignOfLife;
use super::super::primary::primary_clock;
use super::super::seen::Seen;
use super::places::{NewestCheckpoint, PlaceState};
use super::runway::{runway, unknown};
use super::view::{Condition, ConditionState, RecoveryView, RunwayView};
use crate::text::{age, list, number};

/// What was read at the places of backups; empty where none is named.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    /// Records of checks.
    pub checks: &'a [CheckState],
    /// What is there.
    pub places: &'a [PlaceState],
    /// The backups of identities.
    pub identities: &'a IdentityReview,
}

/// Whether the fleet could be recovered, and what is wrong with that: pure. `seen` is `None` if the
/// log could not be read.
pub fn recovery(
    seen: Option<&Seen>,
    kept: Kept<'_>,
    now: Timestamp,
    expected: &Expectation,
) -> (RecoveryView, Vec<Finding>) {
    let (runway, finding) = match seen {
        Some(seen) => runway(seen, kept.checks, primary_clock(seen, now), expected),
        None => (unknown("not known: the log cannot be read".to_owned()), None),
    };
    let conditions = vec![
        archive_current(seen, now, expected),
        backup_joins_log(&runway),
        checkpoint_verified(kept),
        drilled(kept.checks, now),
        restored_in_time(kept.checks, expected),
        identities_backed_up(kept.identities),
        places_answer(kept.places),
    ];
    (RecoveryView { runway, conditions }, finding.into_iter().collect())
}

fn condition(name: &'static str, state: ConditionState, text: String) -> Condition {
    Condition { name, state, text }
}

/// An archive has everything that is not younger than an event may wait, and lives.
fn archive_current(seen: Option<&Seen>, now: Timestamp, expected: &Expectation) -> Condition {
    let condition = |state, text| condition("archive_current", state, text);
    let Some(seen) = seen else {
        return condition(ConditionState::Unknown, "the log cannot be read".to_owned());
    };
    let is_archive = |receipt: &&Receipt| receipt.role == Role::Archive;
    let archives: Vec<&Receipt> = seen.board.receipts.iter().filter(is_archive).collect();
    if archives.is_empty() {
        let text = "no archive has ever sent a receipt".to_owned();
        return condition(ConditionState::Fail, text);
    }
    let clock = primary_clock(seen, now);
    let why_not = |receipt: &Receipt| behind(receipt, seen, now, clock, expected);
    let (mut well, mut wrong, mut unsure) = (Vec::new(), Vec::new(), Vec::new());
    for archive in archives {
        match why_not(archive) {
            Ok(()) => well.push(archive.consumer.to_string()),
            Err((ConditionState::Unknown, why)) => unsure.push(why),
            Err((_, why)) => wrong.push(why),
        }
    }
    // One that is current is enough to restore from.
    match (well.is_empty(), unsure.is_empty()) {
        (false, _) => {
            let most = age(expected.max_lag_time);
            let text = format!("{} has everything that is older than {most}", list(&well));
            condition(ConditionState::Ok, text)
        }
        (true, false) => condition(ConditionState::Unknown, unsure.join("; ")),
        (true, true) => condition(ConditionState::Fail, wrong.join("; ")),
    }
}

/// Why an archive is not current.
fn behind(
    receipt: &Receipt,
    seen: &Seen,
    now: Timestamp,
    clock: Timestamp,
    expected: &Expectation,
) -> Result<(), (ConditionState, String)> {
    let name = &receipt.consumer;
    let fail = |why: String| Err((ConditionState::Fail, why));
    let digest_at = |index| seen.digests.get(&index).copied();
    let found = agreement(receipt, seen.tail.position, digest_at);
    if matches!(found, Agreement::Diverged { .. } | Agreement::Ahead) {
        return fail(format!("{name} holds another history than the log, or more"));
    }
    if receipt.failure.is_some() {
        return fail(format!("{name} has failed"));
    }
    let heard = seen.board.heard.get(name).copied();
    let silent = SignOfLife::new(receipt.time, heard, now).age;
    if silent > expected.silent_after {
        return fail(format!("{name} is silent for {}", age(silent)));
    }
    let index = receipt.reached.at(Level::Durable).map_or(0, |position| position.index);
    if index >= seen.tail.position.index {
        return Ok(());
    }
    match seen.waits_after(index, clock) {
        Some(waits) if waits <= expected.max_lag_time => Ok(()),
        Some(waits) => fail(format!("{name} lacks events for {}", age(waits))),
        None => {
            let why = format!("for how long {name} has lacked events is not known");
            Err((ConditionState::Unknown, why))
        }
    }
}

/// The log begins no later than right after the newest backup.
fn backup_joins_log(runway: &RunwayView) -> Condition {
    let state = match runway.joins {
        Some(true) => ConditionState::Ok,
        Some(false) => ConditionState::Fail,
        None => ConditionState::Unknown,
    };
    condition("backup_joins_log", state, runway.text.clone())
}

/// What a restore begins with was verified where it is. That a verification came after it was made says
/// nothing: its upload takes hours.
fn checkpoint_verified(kept: Kept<'_>) -> Condition {
    let condition = |state, text| condition("checkpoint_verified", state, text);
    let newest = kept.places.iter().filter_map(|place| Some((place, place.found.as_ref().ok()?)));
    let newest = newest.max_by_key(|(_, found)| found.as_ref().map(|checkpoint| &checkpoint.id));
    // One that does not answer may have a newer one; one that is known and not verified is not.
    let Some((place, found)) = newest else {
        return condition(ConditionState::Unknown, not_read(kept.places));
    };
    let place = &place.place;
    let verified = of(kept.checks, Check::Verify).find(|check| check.place == *place);
    let Some(Ok(records)) = verified.map(|check| &check.found) else {
        let text = format!("whether {place} was verified is not known");
        return condition(ConditionState::Unknown, text);
    };
    if let Some(bad) = records.newest.as_ref().filter(|newest| !newest.ok) {
        let text = format!("the last verify of {place}: {}", bad.summary);
        return condition(ConditionState::Fail, text);
    }
    let what = match found {
        Some(NewestCheckpoint { index, .. }) => {
            format!("the newest checkpoint at {place}, of event {},", number(*index))
        }
        None => format!("what is at {place}, where there is no checkpoint,"),
    };
    let newest = found.as_ref().map(|checkpoint| checkpoint.id.as_str());
    match &records.succeeded {
        Some(well) if well.checkpoint.as_deref() >= newest => {
            condition(ConditionState::Ok, format!("{what} was verified"))
        }
        _ => {
            let text = format!("{what} was not verified: tipline verify --from {place}");
            condition(ConditionState::Fail, text)
        }
    }
}

/// A drill succeeded at every place, and not too long ago.
fn drilled(checks: &[CheckState], now: Timestamp) -> Condition {
    let (mut well, mut wrong, mut unsure) = (Vec::new(), Vec::new(), Vec::new());
    for drill in of(checks, Check::Drill) {
        let place = &drill.place;
        let Ok(records) = &drill.found else {
            unsure.push(format!("whether {place} was drilled is not known"));
            continue;
        };
        let ago = |time: Timestamp| now.since(time);
        match (&records.newest, &records.succeeded) {
            (Some(bad), _) if !bad.ok => {
                let when = age(ago(bad.time()));
                wrong.push(format!("the last drill of {place}, {when} ago: {}", bad.summary));
            }
            (_, None) => wrong.push(format!("{place} was never drilled")),
            (_, Some(record)) => {
                let since = ago(record.time());
                let is_late = drill.expected.is_some_and(|expected| since > expected);
                let text = format!("{place} was drilled {} ago", age(since));
                if is_late { wrong.push(text) } else { well.push(text) }
            }
        }
    }
    of_every_place("drilled", [wrong, unsure, well])
}

/// The last drill that succeeded restored within the time that there is for it, at every place.
fn restored_in_time(checks: &[CheckState], expected: &Expectation) -> Condition {
    let (mut well, mut wrong, mut unsure) = (Vec::new(), Vec::new(), Vec::new());
    for drill in of(checks, Check::Drill) {
        let place = &drill.place;
        let succeeded = drill.found.as_ref().map(|records| records.succeeded.as_ref());
        let took = match succeeded {
            Ok(None) => {
                wrong.push(format!("{place} was never restored"));
                continue;
            }
            Ok(Some(record)) => record.restored_ms.map(Duration::from_millis),
            Err(_) => None,
        };
        let Some(took) = took else {
            unsure.push(format!("how long restoring {place} takes is not known"));
            continue;
        };
        let text = format!("{place} was restored in {}", age(took));
        match expected.max_restore {
            Some(most) if took > most => wrong.push(format!("{text}, and may take {}", age(most))),
            Some(_) => well.push(text),
            None => unsure.push(format!("how long it may take is not said: --max-restore; {text}")),
        }
    }
    of_every_place("restored_in_time", [wrong, unsure, well])
}

/// As it is at the places: what is wrong at one counts before what is not known, and that before what
/// is well. Without any place nobody knows.
fn of_every_place(name: &'static str, [wrong, unsure, well]: [Vec<String>; 3]) -> Condition {
    let said = [
        (ConditionState::Fail, wrong),
        (ConditionState::Unknown, unsure),
        (ConditionState::Ok, well),
    ];
    match said.into_iter().find(|(_, texts)| !texts.is_empty()) {
        Some((state, texts)) => condition(name, state, texts.join("; ")),
        None => condition(name, ConditionState::Unknown, NOT_NAMED.to_owned()),
    }
}

fn identities_backed_up(identities: &IdentityReview) -> Condition {
    let condition = |state, text| condition("identities_backed_up", state, text);
    let said = || identities.reminders.join("; ");
    match identities.backed_up {
        Some(true) => condition(ConditionState::Ok, "every one has a backup".to_owned()),
        Some(false) => condition(ConditionState::Fail, said()),
        None if identities.reminders.is_empty() => {
            let text = "where they are is not said: --identities".to_owned();
            condition(ConditionState::Unknown, text)
        }
        None => condition(ConditionState::Unknown, said()),
    }
}

/// The places answer, and take the credentials that this process has.
fn places_answer(places: &[PlaceState]) -> Condition {
    let condition = |state, text| condition("places_answer", state, text);
    if places.is_empty() {
        return condition(ConditionState::Unknown, NOT_NAMED.to_owned());
    }
    let unread = || places.iter().filter_map(|place| place.found.as_ref().err());
    let text = || unread().map(|unread| unread.why.clone()).collect::<Vec<_>>().join("; ");
    if unread().any(|unread| unread.denied) {
        condition(ConditionState::Fail, text())
    } else if unread().next().is_some() {
        condition(ConditionState::Unknown, text())
    } else {
        let names: Vec<String> = places.iter().map(|place| place.place.clone()).collect();
        condition(ConditionState::Ok, format!("{} can be read", list(&names)))
    }
}

/// Where to look was not said.
const NOT_NAMED: &str = "where backups are is not said: --checks";

fn not_read(places: &[PlaceState]) -> String {
    match places {
        [] => NOT_NAMED.to_owned(),
        _ => "no place of backups can be read".to_owned(),
    }
}

fn of(checks: &[CheckState], check: Check) -> impl Iterator<Item = &CheckState> {
    checks.iter().filter(move |state| state.check == check)
}
