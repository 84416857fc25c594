//! The verdict as a plug-in of Nagios says it.

use std::time::Duration;

use tipline_ops::text::count;
use tipline_ops::{Expectation, Fleet, Verdict};

use crate::output::nagios::{Figure, line};

/// The one line. The exit codes of the verdict are those of Nagios: 0, 1 and 2.
pub(super) fn render(fleet: &Fleet, expected: &Expectation) -> String {
    let state = match fleet.verdict {
        Verdict::Well => "OK",
        Verdict::Degraded => "WARNING",
        Verdict::Broken => "CRITICAL",
    };
    let reminders = match fleet.reminders.len() as u64 {
        0 => String::new(),
        open => format!(" ({})", count(open, "reminder")),
    };
    line(state, &format!("{}{reminders}", fleet.summary), &figures(fleet, expected))
}

/// Of those that a fleet has several of, the worst. One that nobody knows is not 0.
fn figures(fleet: &Fleet, expected: &Expectation) -> Vec<Figure> {
    let figure = |label, value: Option<f64>| Figure { label, value, unit: "", limit: None };
    let seconds = |label, value: Option<Duration>, limit: String| Figure {
        label,
        value: value.map(|time| time.as_secs_f64()),
        unit: "s",
        limit: Some(limit),
    };
    let max_lag_time = expected.max_lag_time.as_secs_f64().to_string();
    let min_runway = format!("{}:", expected.min_runway.as_secs_f64());
    let runway = fleet.recovery.as_ref().and_then(|recovery| recovery.runway.left);
    let number = |number: u64| number as f64;
    let consumers = || fleet.consumers.iter();
    let lag_blocks = worst(consumers().map(|one| one.lag_blocks.map(number)));
    let lag = worst(consumers().map(|one| match one.lag_events {
        0 => Some(Duration::ZERO),
        _ => one.lag,
    }));
    let primary = fleet.primary.as_ref();
    let waits = primary.and_then(|primary| match primary.outbox_events {
        0 => Some(Duration::ZERO),
        _ => primary.outbox_oldest,
    });
    // Without the log nobody knows how many there are.
    let is_read = fleet.log.last.is_some();
    let consumers = is_read.then_some(number(fleet.consumers.len() as u64));
    vec![
        figure("findings", Some(number(fleet.findings.len() as u64))),
        figure("reminders", Some(number(fleet.reminders.len() as u64))),
        figure("consumers", consumers),
        Figure { limit: Some(expected.max_lag.to_string()), ..figure("lag_blocks", lag_blocks) },
        seconds("lag", lag, max_lag_time.clone()),
        figure("outbox_events", primary.map(|primary| number(primary.outbox_events))),
        seconds("outbox_oldest", waits, max_lag_time),
        seconds("runway", runway, min_runway),
    ]
}

/// The largest; `None` if one is not known, or if there are none.
fn worst<T: PartialOrd>(mut values: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = values.next()??;
    values.try_fold(first, |most, value| {
        let value = value?;
        Some(if value > most { value } else { most })
    })
}

#[cfg(test)]
mod tests {
    use tipline_ops::testing::{NOW, expectation, seen, unwell};
    use tipline_ops::{Fleet, Verdict, assess, unreadable};

    use super::render;

    fn line(fleet: &Fleet) -> String {
        render(fleet, &expectation())
    }

    #[test]
    fn a_fleet_that_is_well_is_ok_with_its_figures() {
        let mut fleet = assess(&seen(), NOW, &expectation());
        assert_eq!(
            line(&fleet),
            "TIPLINE OK - every block up to 1,014 is in 1 replica and 1 backup | findings=0;;;0 \
             reminders=0;;;0 consumers=2;;;0 lag_blocks=1;2;;0 lag=1s;60;;0 outbox_events=0;;;0 \
             outbox_oldest=0s;60;;0 runway=U;3600:;;0\n"
        );
        fleet.reminders.push("the newest backup of the identity of a is old".to_owned());
        assert!(line(&fleet).contains("1 backup (1 reminder) | "), "{}", line(&fleet));
    }

    #[test]
    fn every_way_to_be_unwell_is_a_warning_or_critical_on_one_line() {
        for case in unwell() {
            let state = match case.verdict {
                Verdict::Broken => "CRITICAL",
                _ => "WARNING",
            };
            let text = line(&case.fleet);
            let text_of = case.text.replace('|', "/");
            assert!(text.starts_with(&format!("TIPLINE {state} - {text_of} | ")), "{text}");
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(text.contains(" findings=1;;;0 "), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_not_0() {
        let fleet = unreadable("embedded:x".into(), "there is no log at embedded:x".into(), None);
        assert_eq!(
            line(&fleet),
            "TIPLINE CRITICAL - there is no log at embedded:x | findings=1;;;0 reminders=0;;;0 \
             consumers=U;;;0 lag_blocks=U;2;;0 lag=U;60;;0 outbox_events=U;;;0 \
             outbox_oldest=U;60;;0 runway=U;3600:;;0\n"
        );
        let mut seen = seen();
        seen.times.clear();
        let text = line(&assess(&seen, NOW, &expectation()));
        assert!(text.contains(" lag=U;60;;0 "), "{text}");
    }
}
