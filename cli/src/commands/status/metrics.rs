//! The status as metrics, in the text format of OpenMetrics, which Prometheus reads.
//!
//! Points in time, not ages: a file that is no longer written does not stop the clock.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use std::{fs, io};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tipline_ops::{
    CheckView, ConditionState, ConsumerView, Fleet, PrimaryView, RecoveryView, RetentionSeen,
    State, Verdict,
};
use tipline_proto::Timestamp;

use crate::output::report::{Failure, Sentence};

type Labels = Vec<(&'static str, String)>;
type Number = Gauge<f64, AtomicU64>;

/// Puts the metrics into a file, in the place of the one before as a whole.
pub(super) fn write(
    file: &Path,
    fleet: &Fleet,
    retention: Option<&RetentionSeen>,
    now: Timestamp,
) -> Result<(), Failure> {
    let text = render(fleet, retention, now)?;
    let fail = |e: io::Error| {
        let text = format!("the metrics cannot be written to {}: {e}", file.display());
        Failure::from(Sentence(text)).advise("check the directory and its permissions".to_owned())
    };
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    // It says how things are now: nothing of it has to survive a power cut.
    fs::write(&beside, text).and_then(|()| fs::rename(&beside, file)).map_err(fail)
}

/// The metrics as text.
pub(super) fn render(
    fleet: &Fleet,
    retention: Option<&RetentionSeen>,
    now: Timestamp,
) -> Result<String, Failure> {
    let mut metrics = Metrics { registry: Registry::with_prefix("tipline"), now };
    let verdicts = [Verdict::Well, Verdict::Degraded, Verdict::Broken];
    let verdict =
        verdicts.map(|verdict| (vec![("verdict", name(&verdict))], verdict == fleet.verdict));
    metrics.add(
        "verdict",
        "1 for the current verdict",
        verdict.map(|(l, is)| (l, Some(f64::from(is)))),
    );
    metrics.one("written_timestamp_seconds", "When these metrics were written", Some(seconds(now)));
    metrics.one("reminders", "Open reminders", Some(fleet.reminders.len() as f64));
    metrics.one("log_first_index", "Oldest event in the log", count(fleet.log.first));
    metrics.one("log_last_index", "Newest event in the log", count(fleet.log.last));
    metrics.one("log_epoch", "Epoch of the newest event", count(fleet.log.epoch));
    let tip = fleet.tip.as_ref().map(|tip| tip.height);
    metrics.one("tip_height", "Newest block of the fleet", count(tip));
    metrics.findings(fleet);
    metrics.primary(fleet.primary.as_ref());
    metrics.consumers(&fleet.consumers);
    metrics.checks(&fleet.checks);
    metrics.recovery(fleet.recovery.as_ref());
    metrics.retention(retention);
    let mut text = String::new();
    encode(&mut text, &metrics.registry)?;
    Ok(text)
}

struct Metrics {
    registry: Registry,
    now: Timestamp,
}

impl Metrics {
    /// A metric of all that have a value of it.
    fn add(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, Option<f64>)>,
    ) {
        let family = Family::<Labels, Number>::default();
        for (labels, value) in values {
            if let Some(value) = value {
                family.get_or_create(&labels).set(value);
            }
        }
        self.registry.register(name, help, family);
    }

    fn one(&mut self, name: &str, help: &str, value: Option<f64>) {
        self.add(name, help, [(Labels::new(), value)]);
    }

    fn findings(&mut self, fleet: &Fleet) {
        let findings = fleet.findings.iter().map(|finding| {
            let about = escaped(finding.name.as_deref().unwrap_or_default());
            let labels = vec![("kind", name(&finding.kind)), ("name", about)];
            (labels, Some(f64::from(finding.verdict as u8)))
        });
        self.add("finding", "Something that is wrong: 1 degraded, 2 broken", findings);
        let policy = fleet.policy.as_ref();
        self.one(
            "policy_index",
            "Event up to which the policy is reached",
            policy.map(|p| p.index as f64),
        );
        self.one(
            "policy_reached",
            "1 if the policy is reached",
            policy.map(|p| f64::from(p.reached)),
        );
    }

    fn primary(&mut self, primary: Option<&PrimaryView>) {
        let labels = |primary: &PrimaryView| vec![("name", primary.name.clone())];
        let mut add = |name: &str, help: &str, value: &dyn Fn(&PrimaryView) -> Option<f64>| {
            self.add(name, help, primary.map(|primary| (labels(primary), value(primary))));
        };
        add("primary_block_height", "Newest block it published", &|p| count(p.block));
        add("primary_outbox_events", "Events not in the log yet", &|p| {
            count(Some(p.outbox_events))
        });
        add("primary_outbox_bytes", "Payload bytes in the outbox", &|p| {
            count(Some(p.outbox_bytes))
        });
        add("primary_outbox_waiting_bytes", "Payload bytes not in the log yet", &|p| {
            count(Some(p.outbox_waiting_bytes))
        });
        add("primary_outbox_max_events", "Events that may wait in the outbox", &|p| {
            count(p.outbox_max_events)
        });
        add("primary_outbox_max_bytes", "Payload bytes that the outbox may hold", &|p| {
            count(p.outbox_max_bytes)
        });
        add("primary_held_up", "1 if the log does not take what waits", &|p| {
            Some(f64::from(p.held_up.is_some()))
        });
        add("primary_source_failed", "1 if something is wrong with its source", &|p| {
            Some(f64::from(p.source_failure.is_some()))
        });
        add("primary_clock_ahead_seconds", "How far its clock is ahead", &|p| {
            p.clock_ahead.map(|ahead| ahead.as_secs_f64())
        });
        let now = self.now;
        let oldest =
            primary.map(|p| (labels(p), p.outbox_oldest.and_then(|oldest| before(now, oldest))));
        self.add(
            "primary_outbox_oldest_timestamp_seconds",
            "Since when the oldest event waits",
            oldest,
        );
        let said = primary.map(|primary| (labels(primary), before(now, primary.age)));
        self.add("primary_announced_timestamp_seconds", "When it last announced itself", said);
        let states = primary.into_iter().flat_map(|p| states(labels(p), p.state));
        self.add("primary_state", "1 for its current state", states.collect::<Vec<_>>());
    }

    fn consumers(&mut self, consumers: &[ConsumerView]) {
        let labels = |c: &ConsumerView| vec![("name", c.name.clone()), ("role", c.role.to_owned())];
        let now = self.now;
        let mut add = |name: &str, help: &str, value: &dyn Fn(&ConsumerView) -> Option<f64>| {
            self.add(name, help, consumers.iter().map(|one| (labels(one), value(one))));
        };
        add("consumer_index", "Newest event it has", &|c| count(Some(c.index)));
        add("consumer_block_height", "Newest block it has", &|c| count(c.block));
        add("consumer_proof_height", "Height up to which every block has its proof", &|c| {
            count(c.proof)
        });
        add("consumer_lag_blocks", "Blocks behind the fleet's newest", &|c| count(c.lag_blocks));
        add("consumer_lag_events", "Events behind the fleet's newest", &|c| {
            count(Some(c.lag_events))
        });
        add("consumer_receipt_timestamp_seconds", "When it sent its newest receipt", &|c| {
            before(now, c.age)
        });
        add(
            "consumer_lag_timestamp_seconds",
            "Commit time of the oldest event it does not have",
            &|c| before(now, c.lag?),
        );
        add(
            "consumer_applying_seconds",
            "For how long its store has applied the present batch",
            &|c| c.applying.map(|applying| applying.as_secs_f64()),
        );
        add(
            "consumer_frozen_seconds",
            "For how long its store has been frozen for a snapshot",
            &|c| c.frozen.map(|frozen| frozen.as_secs_f64()),
        );
        add("consumer_clock_ahead_seconds", "How far its clock is ahead", &|c| {
            c.clock_ahead.map(|ahead| ahead.as_secs_f64())
        });
        add("consumer_failed", "1 if it reports a failure, or waits for its store", &|c| {
            Some(f64::from(c.failure.is_some()))
        });
        let states = consumers.iter().flat_map(|c| states(labels(c), c.state));
        self.add("consumer_state", "1 for its current state", states.collect::<Vec<_>>());
    }

    fn checks(&mut self, checks: &[CheckView]) {
        let now = self.now;
        let labels =
            |c: &CheckView| vec![("place", escaped(&c.place)), ("check", c.check.to_owned())];
        let mut add = |name: &str, help: &str, value: &dyn Fn(&CheckView) -> Option<f64>| {
            self.add(name, help, checks.iter().map(|one| (labels(one), value(one))));
        };
        add(
            "check_ok",
            "1 if the newest check found nothing wrong; absent if there is none, or the place is unavailable",
            &|c| c.ok.map(f64::from),
        );
        add("check_timestamp_seconds", "When the newest check was made", &|c| before(now, c.age?));
        add("check_success_timestamp_seconds", "When the newest successful check was made", &|c| {
            before(now, c.well_age?)
        });
        add("check_success_index", "Event up to which the newest successful check looked", &|c| {
            count(c.index)
        });
        add(
            "check_expected_interval_seconds",
            "Time within which a successful check is expected",
            &|c| c.expected.map(|expected| expected.as_secs_f64()),
        );
    }
}

impl Metrics {
    fn recovery(&mut self, recovery: Option<&RecoveryView>) {
        let runway = recovery.map(|recovery| &recovery.runway).and_then(|runway| {
            let labels = vec![
                ("backup", escaped(runway.backup.as_deref()?)),
                ("limit", runway.limit.unwrap_or_default().to_owned()),
            ];
            Some((labels, runway.left.map(|left| left.as_secs_f64())))
        });
        self.add("runway_seconds", "For how long the newest backup joins the log", runway);
        let conditions = recovery.into_iter().flat_map(|recovery| &recovery.conditions);
        let holds = conditions.map(|condition| {
            let holds = match condition.state {
                ConditionState::Ok => Some(1.0),
                ConditionState::Fail => Some(0.0),
                ConditionState::Unknown => None,
            };
            (vec![("condition", condition.name.to_owned())], holds)
        });
        let help = "1 if a condition of a recovery holds; absent if that is not known";
        self.add("recovery_ok", help, holds.collect::<Vec<_>>());
    }

    fn retention(&mut self, seen: Option<&RetentionSeen>) {
        let of = |value: fn(&RetentionSeen) -> u64| count(seen.map(value));
        self.one(
            "retention_keep_from_index",
            "Oldest event that somebody keeps",
            of(|seen| seen.keep_from),
        );
        self.one("retention_free_events", "Events that nobody keeps", of(|seen| seen.free));
        let blockers = seen.into_iter().flat_map(|seen| &seen.blockers).map(|blocker| {
            let labels = vec![("by", blocker.by.to_owned()), ("name", escaped(&blocker.name))];
            (labels, count(Some(blocker.events)))
        });
        let help = "Events that it keeps, and that are neither among the newest nor young";
        self.add("retention_blocked_events", help, blockers.collect::<Vec<_>>());
    }
}

fn states(labels: Labels, is: State) -> impl Iterator<Item = (Labels, Option<f64>)> {
    State::ALL.iter().copied().map(move |state| {
        let labels = labels.iter().cloned().chain([("state", name(&state))]).collect();
        (labels, Some(f64::from(state == is)))
    })
}

/// The library writes values of labels as they are. Names of the fleet have nothing to be escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// As in JSON.
fn name(of: &impl serde::Serialize) -> String {
    match serde_json::to_value(of) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

fn count(number: Option<u64>) -> Option<f64> {
    number.map(|number| number as f64)
}

fn before(now: Timestamp, age: Duration) -> Option<f64> {
    Some(seconds(now) - age.as_secs_f64())
}

fn seconds(time: Timestamp) -> f64 {
    time.as_micros() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use tipline_ops::unreadable;
    use tipline_ops::{Blocker, TipView};

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_500_000);

    fn fleet() -> Fleet {
        let fleet = unreadable("embedded:l.db".to_owned(), "it is away".to_owned(), None);
        let consumer = ConsumerView {
            name: "backup-1".to_owned(),
            role: "backup",
            state: State::Behind,
            level: Some("durable"),
            index: 77,
            digest: None,
            block: Some(50),
            proof: None,
            lag_blocks: Some(4),
            lag_events: 9,
            reservation: "reserved",
            at_risk_in: None,
            age: Duration::from_millis(1500),
            rolled_back_to: None,
            lag: Some(Duration::from_millis(2500)),
            applying: None,
            frozen: None,
            clock_ahead: None,
            failure: None,
            store: "sqlite:b.db".to_owned(),
        };
        let check = CheckView {
            place: "dir:/a \"b\"\n\\c".to_owned(),
            check: "drill",
            ok: Some(false),
            age: Some(Duration::from_secs(10)),
            well_age: Some(Duration::from_secs(100)),
            index: Some(70),
            expected: Some(Duration::from_secs(3600)),
            summary: None,
        };
        let tip = Some(TipView { height: 54, hash: "ab".to_owned() });
        Fleet { tip, consumers: vec![consumer], checks: vec![check], ..fleet }
    }

    #[test]
    fn everything_has_its_line() {
        let blocker = Blocker { by: "place", name: "dir:/a".to_owned(), events: 7 };
        let seen = RetentionSeen { keep_from: 11, free: 10, blockers: vec![blocker] };
        let text = render(&fleet(), Some(&seen), NOW).unwrap();
        for line in [
            "tipline_verdict{verdict=\"broken\"} 1.0",
            "tipline_verdict{verdict=\"well\"} 0.0",
            "tipline_written_timestamp_seconds{} 1800000000.5",
            "tipline_tip_height{} 54.0",
            "tipline_consumer_state{name=\"backup-1\",role=\"backup\",state=\"behind\"} 1.0",
            "tipline_consumer_state{name=\"backup-1\",role=\"backup\",state=\"well\"} 0.0",
            "tipline_consumer_lag_blocks{name=\"backup-1\",role=\"backup\"} 4.0",
            "tipline_consumer_receipt_timestamp_seconds{name=\"backup-1\",role=\"backup\"} 1799999999.0",
            "tipline_consumer_lag_timestamp_seconds{name=\"backup-1\",role=\"backup\"} 1799999998.0",
            "tipline_finding{kind=\"log_unavailable\",name=\"\"} 2.0",
            "tipline_check_ok{place=\"dir:/a \\\"b\\\"\\n\\\\c\",check=\"drill\"} 0.0",
            "tipline_check_success_timestamp_seconds{place=\"dir:/a \\\"b\\\"\\n\\\\c\",check=\"drill\"} 1799999900.5",
            "tipline_retention_keep_from_index{} 11.0",
            "tipline_retention_free_events{} 10.0",
            "tipline_retention_blocked_events{by=\"place\",name=\"dir:/a\"} 7.0",
            "tipline_check_expected_interval_seconds{place=\"dir:/a \\\"b\\\"\\n\\\\c\",check=\"drill\"} 3600.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        // What is not known has no value, not one of 0.
        let values = || text.lines().filter(|line| !line.starts_with('#'));
        assert!(!values().any(|line| line.starts_with("tipline_consumer_proof_height")), "{text}");
        assert!(!values().any(|line| line.starts_with("tipline_log_last_index")), "{text}");
    }

    #[test]
    fn the_file_is_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tipline.prom");
        fs::write(&file, "old").unwrap();
        write(&file, &fleet(), None, NOW).unwrap();
        assert!(fs::read_to_string(&file).unwrap().ends_with("# EOF\n"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let nowhere = directory.path().join("no/such/directory.prom");
        assert!(write(&nowhere, &fleet(), None, NOW).unwrap_err().text().contains("no/such"));
    }
}
