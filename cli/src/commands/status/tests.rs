use tipline_log::Preflight;
use tipline_ops::testing::{NOW, at, block, expectation, seconds_ago, seen, unwell};
use tipline_ops::{Expectation, Kind, Seen, Verdict, assess, unreadable};
use tipline_proto::{Level, Reached, Timestamp};

use super::table::render;
use super::verdict::show;
use super::{exit, metrics};
use crate::exit::Exit;

/// Every way to be unwell is said by everything that says how the fleet is.
#[test]
fn every_way_to_be_unwell_is_in_text_json_exit_code_and_metrics() {
    for case in unwell() {
        let fleet = &case.fleet;
        let (word, code, verdict) = match case.verdict {
            Verdict::Broken => ("BROKEN", Exit::Failed, "broken"),
            _ => ("DEGRADED", Exit::Degraded, "degraded"),
        };
        let text = plain(&render(fleet));
        assert!(text.starts_with(&format!("{word}: {}\n", case.text)), "{text}");

        let mut json = String::new();
        show(&mut json, fleet, true).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let kind = serde_json::to_value(case.kind).unwrap();
        let finding = serde_json::json!({
            "kind": kind, "name": case.name, "verdict": verdict, "text": case.text
        });
        assert_eq!(json["findings"], serde_json::json!([finding]));
        assert_eq!(
            (&json["verdict"], &json["reasons"][0]),
            (&finding["verdict"], &finding["text"])
        );

        assert_eq!(exit(fleet), code, "{}", case.text);

        let metrics = metrics::render(fleet, None, NOW).unwrap();
        let (kind, name) = (kind.as_str().unwrap(), case.name.unwrap_or_default());
        let value = case.verdict as u8;
        for line in [
            format!("tipline_verdict{{verdict=\"{verdict}\"}} 1.0"),
            "tipline_verdict{verdict=\"well\"} 0.0".to_owned(),
            format!("tipline_finding{{kind=\"{kind}\",name=\"{name}\"}} {value}.0"),
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
        }
    }
}

#[test]
fn a_chain_that_stands_still_is_well_in_text_json_exit_code_and_metrics() {
    let mut seen = seen();
    seen.board.receipts.truncate(1);
    seen.tail.time = Timestamp::from_micros(1);
    seen.times = [(20, Timestamp::from_micros(1))].into();
    let fleet = assess(&seen, NOW, &expectation());
    assert!(plain(&render(&fleet)).starts_with("WELL: every block up to 1,015 is in 1 backup\n"));
    let mut json = String::new();
    show(&mut json, &fleet, true).unwrap();
    assert!(json.contains("\"findings\":[]") && json.contains("\"verdict\":\"well\""), "{json}");
    assert_eq!(exit(&fleet), Exit::Ok);
    let metrics = metrics::render(&fleet, None, NOW).unwrap();
    assert!(!metrics.lines().any(|line| line.starts_with("tipline_finding{")), "{metrics}");
}

/// Whoever is woken finds what it means.
#[test]
fn every_finding_state_and_field_is_described() {
    let page = include_str!("../../../../docs/operate.md");
    for kind in Kind::ALL {
        let kind = serde_json::to_value(kind).unwrap();
        let row = format!("| `{}` |", kind.as_str().unwrap());
        assert!(page.contains(&row), "docs/operate.md has no row {row}");
    }
    let described =
        |name: &str| page.contains(&format!("`{name}`")) || page.contains(&format!("`{name}[]`"));
    for state in tipline_ops::State::ALL {
        let state = serde_json::to_value(state).unwrap();
        assert!(described(state.as_str().unwrap()), "docs/operate.md does not name {state}");
    }
    let golden = include_str!("../../../../ops/src/verdict/tests/status.json");
    for name in golden.split('"').skip(1).step_by(2) {
        let is_name = golden.contains(&format!("\"{name}\":"));
        assert!(!is_name || described(name), "docs/operate.md does not name the field {name}");
    }
}

/// What it can say is in the schema. The integration tests hold every output to it.
#[test]
fn every_kind_state_and_field_is_in_the_schema() {
    let schema: serde_json::Value = serde_json::from_str(super::SCHEMA).unwrap();
    let names = |values: serde_json::Value| values.as_array().unwrap().clone();
    let all = |name: &str| names(schema["$defs"][name]["enum"].clone());
    assert_eq!(all("kind"), names(serde_json::to_value(Kind::ALL).unwrap()));
    assert_eq!(all("state"), names(serde_json::to_value(tipline_ops::State::ALL).unwrap()));
    for case in unwell() {
        let fleet = serde_json::to_value(&case.fleet).unwrap();
        let fields = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
        };
        let mut parts = vec![("", fleet.clone())];
        for (name, def) in [("log", "log"), ("tip", "tip"), ("primary", "primary")] {
            parts.push((def, fleet[name].clone()));
        }
        for (name, def) in [("consumers", "consumer"), ("findings", "finding")] {
            parts.extend(fleet[name].as_array().unwrap().iter().map(|one| (def, one.clone())));
        }
        for (def, part) in parts.iter().filter(|(_, part)| part.is_object()) {
            let rules = if def.is_empty() { &schema } else { &schema["$defs"][def] };
            let mut known = fields(&rules["properties"]);
            known.sort();
            let mut found = fields(part);
            found.sort();
            assert_eq!(found, known, "{def}");
        }
    }
}

#[test]
fn the_table_is_easy_to_read() {
    let text = told(|seen| {
        seen.board.receipts[1].block_tip = block(1010);
        seen.board.receipts[1].reached = Reached::up_to(at(10), Level::Durable);
        seen.board.receipts[1].time = seconds_ago(75);
        seen.board.primary.as_mut().unwrap().outbox_events = 1;
        seen.board.primary.as_mut().unwrap().outbox_bytes = 2048;
    });
    let digest = "14".repeat(32);
    assert_eq!(
        text,
        format!(
            "DEGRADED: replica-1 is silent for 75 s

log      nats://127.0.0.1:4222/mainnet, events 1 to 20
chain    mainnet, lineage 07070707070707070707070707070707
tail     20@{digest}, epoch 3
primary  node-1, epoch 3, block 1,015, 1 event waiting in the outbox, heard 2.0 s ago

NAME       ROLE     LEVEL    BLOCK  PROOF                  LAG  LOG                      HEARD  STATE
backup-1   backup   durable  1,015  1,010                    –  reserved             1.0 s ago  well
replica-1  replica  durable  1,010  1,009  5 blocks, 10 events  reserved for 41 min   75 s ago  silent
"
        )
    );
}

#[test]
fn who_failed_is_shown_with_the_reason() {
    let text = told(|seen| {
        seen.board.receipts[1].failure = Some("no room left".into());
        seen.board.primary.as_mut().unwrap().failure = Some("fenced".into());
    });
    assert!(text.ends_with("node-1 failed: fenced\nreplica-1 failed: no room left\n"), "{text}");
}

#[test]
fn what_falls_short_is_shown_in_any_case() {
    let mut seen = seen();
    let mut preflight = Preflight::default();
    let risk = "a disk that fails takes it all";
    preflight.shortfall("single-replica", "replicas: 1", risk, "use three");
    seen.shortfalls = preflight.shortfalls;
    let line = "replicas: 1: a disk that fails takes it all";
    let text = plain(&render(&assess(&seen, NOW, &expectation())));
    assert!(text.contains(&format!("\nat risk  {line}; use three\n")), "{text}");
    let accepted =
        Expectation { accept_shortfalls: tipline_log::Accepted::Everything, ..expectation() };
    let text = plain(&render(&assess(&seen, NOW, &accepted)));
    assert!(text.contains(&format!("\naccepted {line}\n")), "{text}");
}

#[test]
fn a_log_that_cannot_be_read_is_broken() {
    let why = "there is no log at embedded:x".to_owned();
    let fleet = unreadable("embedded:x".into(), why, Some("tipline init".into()));
    assert_eq!(
        plain(&render(&fleet)),
        "BROKEN: there is no log at embedded:x\n\nto do    tipline init\nlog      embedded:x\n"
    );
}

fn told(change: impl FnOnce(&mut Seen)) -> String {
    let mut seen = seen();
    change(&mut seen);
    plain(&render(&assess(&seen, NOW, &expectation())))
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}
