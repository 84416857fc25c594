//! What is in `deploy/` and on the pages about alerts is what the program says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tipline_ops::testing::{NOW, unwell};
use tipline_ops::{Blocker, CheckView, JobKind, Kind, RetentionSeen, Verdict};

use super::metrics;

const RUNBOOK: &str = include_str!("../../../../docs/runbook.md");
const RULES: &str = include_str!("../../../../deploy/prometheus/tipline.rules.yml");
const DASHBOARD: &str = include_str!("../../../../deploy/grafana/tipline.json");
const TELEMETRY: &str = include_str!("../../../../docs/telemetry.md");
const OPERATE: &str = include_str!("../../../../docs/operate.md");

/// The metrics of fleets that have everything that there can be.
fn exported() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for mut case in unwell() {
        let place = CheckView {
            place: "dir:b".to_owned(),
            check: "drill",
            ok: Some(true),
            age: Some(Duration::from_secs(1)),
            well_age: Some(Duration::from_secs(1)),
            index: Some(1),
            expected: Some(Duration::from_secs(9)),
            summary: None,
        };
        case.fleet.checks.push(place);
        let blocker = Blocker { by: "place", name: "dir:b".to_owned(), events: 1 };
        let retention = RetentionSeen { keep_from: 1, free: 0, blockers: vec![blocker] };
        let text = metrics::render(&case.fleet, Some(&retention), NOW).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        names.extend(lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()));
    }
    names
}

/// Metrics of the processes that are about jobs, and their label, as Prometheus has them. That there are
/// such metrics is tried in `tests/integration/telemetry.rs`.
fn of_processes() -> BTreeSet<String> {
    let rows = TELEMETRY.lines().filter_map(|row| row.strip_prefix("| `tipline.job."));
    let names = rows.filter_map(|row| row.split('`').next());
    let names = names.map(|name| format!("tipline_job_{}_seconds", name.replace('.', "_")));
    names.chain(["tipline_job".to_owned()]).collect()
}

#[test]
fn every_job_is_documented() {
    let row = TELEMETRY.lines().find(|row| row.contains("`tipline.job.success.timestamp`"));
    let row = row.unwrap();
    for job in JobKind::ALL {
        assert!(row.contains(&format!("`{}`", job.as_str())), "{job:?}");
    }
}

/// Names of metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = text.match_indices("tipline_").map(|(at, _)| at);
    let whole = starts.filter(|at| !text[..*at].ends_with(is_part));
    whole
        .map(|at| {
            let end = text[at..].find(|c| !is_part(c)).map_or(text.len(), |length| at + length);
            text[at..end].to_owned()
        })
        .collect()
}

#[test]
fn every_query_names_a_metric_that_there_is() {
    let exported: BTreeSet<_> = exported().into_iter().chain(of_processes()).collect();
    for (file, text) in [("rules", RULES), ("dashboard", DASHBOARD), ("runbook", RUNBOOK)] {
        let named = named(text);
        assert!(!named.is_empty(), "{file}");
        let missing: Vec<_> = named.difference(&exported).collect();
        assert!(missing.is_empty(), "{file}: {missing:?}");
    }
}

#[test]
fn every_metric_is_documented_and_every_documented_one_is_there() {
    let start = OPERATE.find("| metric, with the prefix `tipline_`").unwrap();
    let table = OPERATE[start..].split("\n\n").next().unwrap();
    let cells = table.lines().skip(2).map(|row| row.split('|').nth(1).unwrap());
    let documented: BTreeSet<_> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(|name| format!("tipline_{name}"))
        .collect();
    assert_eq!(exported(), documented, "left: exported, right: in docs/operate.md");
}

/// The sections of the runbook, and what each says first.
fn sections() -> BTreeMap<&'static str, &'static str> {
    let sections = RUNBOOK.split("\n## ").skip(1);
    sections.map(|section| section.split_once("\n\n").unwrap()).collect()
}

#[test]
fn every_finding_has_its_section_in_the_runbook_and_its_degree_there() {
    let sections = sections();
    let mut mildest = BTreeMap::new();
    for case in unwell() {
        let least = mildest.entry(case.kind).or_insert(case.verdict);
        *least = (*least).min(case.verdict);
    }
    for kind in Kind::ALL {
        let name = serde_json::to_value(kind).unwrap();
        let name = name.as_str().unwrap();
        let section = sections.get(name).unwrap_or_else(|| panic!("no section {name}"));
        let degree = match mildest[kind] {
            Verdict::Broken => "*Broken.*",
            _ => "*Degraded.*",
        };
        assert!(section.starts_with(degree), "{name}: not {degree}");
        for part in ["**At risk:**", "**Check:**", "**Fix:**"] {
            assert!(section.contains(part), "{name}: no {part}");
        }
    }
}

#[test]
fn every_alert_leads_to_a_section() {
    let sections = sections();
    let alerts = RULES.matches("- alert: ").count();
    let links: Vec<_> = RULES.lines().filter_map(|line| line.split_once("runbook.md#")).collect();
    assert_eq!(links.len(), alerts);
    for (_, anchor) in links {
        let anchor = anchor.trim_end_matches('\'');
        let is_of_finding = anchor == "{{ $labels.kind }}";
        assert!(is_of_finding || sections.contains_key(anchor), "no section {anchor}");
    }
}

#[test]
fn the_dashboard_can_be_read() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 8);
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        assert!(!panel["description"].as_str().unwrap_or("").is_empty(), "{title}");
        let targets = panel["targets"].as_array().unwrap();
        let is_query = |target: &serde_json::Value| !target["expr"].as_str().unwrap().is_empty();
        assert!(!targets.is_empty() && targets.iter().all(is_query), "{title}");
    }
}
