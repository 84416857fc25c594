//! The outcome of a check in a line, as it is printed, and kept in its record.

use std::time::Duration;

use tipline_backup::{DrillReport, VerifyReport};

use crate::text::{age, number};

/// The outcome of a verification in a line, also what it could not be compared with.
pub fn verify_summary(report: &VerifyReport) -> String {
    let problems: Vec<&String> = report.places.iter().flat_map(|place| &place.problems).collect();
    let found = match problems.as_slice() {
        [] => format!("nothing wrong up to entry {}", number(report.index())),
        [one] => (*one).clone(),
        [first, rest @ ..] => format!("{first}, and {} more", rest.len()),
    };
    report.failed.iter().fold(found, |found, failed| {
        format!("{found}; not compared with the {}: {}", failed.place, failed.why)
    })
}

/// The outcome of a drill in a line.
pub fn drill_summary(report: &DrillReport) -> String {
    let (at, took) = (&report.restore.achieved, age(report.restore.duration));
    let block = at.height.map(|height| format!(", block {}", number(height))).unwrap_or_default();
    let log = match (report.agrees_with_log, &report.not_compared) {
        (None, Some(why)) => format!("not compared with the log: {why}"),
        (None, None) => "not compared with a log".to_owned(),
        (Some(false), _) => "it is NOT the history of the log".to_owned(),
        (Some(true), _) => "it is the history of the log".to_owned(),
    };
    let behind = match (report.entries_behind, report.seconds_behind) {
        (Some(0), _) => "; nothing would have been lost".to_owned(),
        (Some(entries), Some(seconds)) => format!(
            "; {} entries would have been lost, {}",
            number(entries),
            age(Duration::from_secs_f64(seconds))
        ),
        (Some(entries), None) => format!("; {} entries would have been lost", number(entries)),
        (None, _) => String::new(),
    };
    let lost = report.lost.map(|(first, last)| {
        let (first, last) = (number(first), number(last));
        format!("; entries {first} to {last} are LOST: the log has dropped them, too")
    });
    let most = report.max_seconds_behind.filter(|_| report.is_behind());
    let most = most.map(|most| format!(", MORE than {}", age(Duration::from_secs_f64(most))));
    let (lost, most) = (lost.unwrap_or_default(), most.unwrap_or_default());
    format!("restored to entry {}{block} in {took}: {log}{behind}{most}{lost}", number(at.index))
}
