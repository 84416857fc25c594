//! The verdict on a fleet, with real processes and a real log: what is not well is said, in text,
//! JSON, exit code and metrics.

use std::fs;

use serde_json::Value;
use tipline_log::embedded::EmbeddedLog;
use tipline_log::{Reader, Receipts, system_clock};
use tipline_proto::{InstanceId, Level, Position, Reached, Receipt, Role, Timestamp};
use tipline_tests::eventually;

use crate::deployment::{Deployment, WITHIN, stop};

const ADDRESS: &str = "embedded:tipline.log.db";

/// A log of some blocks.
async fn published() -> Deployment {
    let site = Deployment::with_log("00").await;
    for height in 1..=8 {
        site.block("node", height, &vec![u8::try_from(height).unwrap(); 5_000]);
    }
    site.publish(ADDRESS, "dir:node/blocks", 8).await;
    site
}

/// Kinds of what is wrong.
fn kinds(status: &Value) -> Vec<&str> {
    let findings = status["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["kind"].as_str().unwrap()).collect()
}

fn names<'a>(status: &'a Value, kind: &str) -> Vec<&'a str> {
    let findings = status["findings"].as_array().unwrap().iter();
    let of_kind = findings.filter(|finding| finding["kind"] == kind);
    of_kind.map(|finding| finding["name"].as_str().unwrap_or_default()).collect()
}

async fn open(site: &Deployment) -> EmbeddedLog {
    EmbeddedLog::open(&site.path("tipline.log.db")).await.unwrap()
}

/// Puts a receipt on the board, as a consumer of that name would.
async fn receipt(log: &EmbeddedLog, name: &str, index: u64, time: Timestamp) {
    let position: Position = log.entry(index).await.unwrap().position();
    let receipt = Receipt {
        lineage: log.identity().lineage,
        consumer: name.parse().unwrap(),
        role: Role::Backup,
        instance: InstanceId::from_bytes([1; 16]),
        reached: Reached::up_to(position, Level::Durable),
        block_tip: None,
        proof_tip: None,
        time,
        failure: None,
        store: "sqlite:elsewhere.db".into(),
        applying: None,
        frozen: None,
        seal: None,
    };
    log.put_receipt(&receipt).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_expected_and_what_the_policy_asks_for_is_missed_until_it_is_there() {
    let site = published().await;
    let primary = site.tipline("primary --source dir:node/blocks --name node").spawn();
    let first = site.tipline("backup --name backup-1 --store sqlite:b1.db").spawn();
    let options = "--expect backup-1,backup-2 --max-lag-time 1ms";
    let policy = ["--policy", "any 2 of backup-* at durable"];
    let status = async || {
        let words = format!("status --json --metrics m.prom {options}");
        let run = site.tipline_args(words.split_whitespace().chain(policy)).finish(WITHIN).await;
        let status: Value = serde_json::from_str(&run.stdout).expect(&run.stderr);
        (run.status.code(), status)
    };
    eventually("one backup is missed", WITHIN, async || {
        let (code, status) = status().await;
        match kinds(&status)[..] {
            ["consumer_missing", "policy_unreached"] if code == Some(1) => Ok(()),
            _ => Err(status["summary"].clone()),
        }
    })
    .await;
    let (_, missed) = status().await;
    assert_eq!(names(&missed, "consumer_missing"), ["backup-2"]);
    assert_eq!(
        (&missed["policy"]["index"], &missed["policy"]["reached"]),
        (&0.into(), &false.into())
    );
    let metrics = fs::read_to_string(site.path("m.prom")).unwrap();
    for line in [
        "tipline_finding{kind=\"consumer_missing\",name=\"backup-2\"} 1.0",
        "tipline_policy_reached{} 0.0",
        "tipline_verdict{verdict=\"degraded\"} 1.0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    let text = site.run(&format!("status {options}")).await.stdout;
    assert!(text.contains("backup-2 is expected, and there is no receipt of it"), "{text}");

    let second = site.tipline("backup --name backup-2 --store sqlite:b2.db").spawn();
    // The chain stands still now, and is well, whatever the limit.
    eventually("all is well", WITHIN, async || match status().await {
        (Some(0), status) if kinds(&status).is_empty() => Ok(()),
        (_, status) => Err(status["summary"].clone()),
    })
    .await;
    for mut running in [primary, first, second] {
        stop(&mut running).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_died_with_its_clock_ahead_is_named_and_is_silent_to_whoever_watches() {
    let site = published().await;
    let log = open(&site).await;
    let hours_ahead = system_clock()().as_micros() + 8 * 3_600_000_000;
    receipt(&log, "backup-1", 9, Timestamp::from_micros(hours_ahead)).await;
    let status = site.run("status --json").await;
    assert_eq!(status.status.code(), Some(1), "{}", status.stderr);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(names(&status, "consumer_clock"), ["backup-1"]);
    assert!(status["consumers"][0]["clock_ahead_ms"].as_u64().unwrap() > 7 * 3_600_000, "{status}");

    let mut watch = site.tipline("status --watch --silent-after 1s").spawn();
    watch.line_with("backup-1 is silent for ", WITHIN).await;
    watch.process.interrupt();
    assert_eq!(watch.finish(WITHIN).await.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_that_is_held_up_is_degraded_then_broken_and_says_why() {
    let site = published().await;
    site.back_up(ADDRESS, "b.db", 8).await;
    let log = open(&site).await;
    let mut said = log.board().await.unwrap().primary.unwrap();
    let now = system_clock()();
    let oldest = Timestamp::from_micros(now.as_micros() - 3_000_000);
    (said.time, said.held_up) = (now, Some("maximum bytes exceeded".into()));
    (said.outbox_events, said.outbox_oldest, said.outbox_max_events) = (38, Some(oldest), 40);
    let status = async |events: u64, code: i32| {
        let mut said = said.clone();
        said.outbox_events = events;
        log.announce(&said).await.unwrap();
        let run = site.run("status --silent-after 1h").await;
        assert_eq!(run.status.code(), Some(code), "{}", run.stdout);
        run.stdout.lines().next().unwrap().to_owned()
    };
    let why = "the log does not take what primary";
    let degraded = status(3, 1).await;
    assert!(degraded.starts_with("DEGRADED: ") && degraded.contains(why), "{degraded}");
    let broken = status(38, 2).await;
    assert!(
        broken.starts_with("BROKEN: ") && broken.contains("maximum bytes exceeded"),
        "{broken}"
    );
    assert!(broken.ends_with("the outbox is 95% full"), "{broken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_that_cannot_be_read_is_named_and_the_rest_is_judged() {
    let site = published().await;
    site.back_up(ADDRESS, "b.db", 8).await;
    let log = open(&site).await;
    receipt(&log, "backup-2", 3, Timestamp::from_micros(1)).await;
    drop(log);
    let file = rusqlite::Connection::open(site.path("tipline.log.db")).unwrap();
    let changed = file.execute("UPDATE entry SET bytes = x'00' WHERE number = 3", []).unwrap();
    assert_eq!(changed, 1);
    let run = site.run("status --json").await;
    assert_eq!(run.status.code(), Some(2), "{}", run.stderr);
    let status: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(kinds(&status)[0], "log_corrupt", "{status}");
    assert!(status["reasons"][0].as_str().unwrap().starts_with("event 3 of the log"), "{status}");
    assert_eq!(status["consumers"].as_array().unwrap().len(), 2, "{status}");
    assert_eq!(status["consumers"][0]["block"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_a_failure_whatever_the_logs_look_like() {
    let site = published().await;
    for format in ["text", "json"] {
        let store = format!("sqlite:{format}.db");
        let words = format!("backup --name {format} --store {store}");
        let mut backup = site.tipline(&words).spawn();
        site.wait_for(&format!("{format}.db.admin")).await;
        let kill = backup.process.id().to_string();
        let freeze = ["checkpoint", "freeze", "--store", &store, "--max", "60s"];
        let words = freeze.iter().copied().chain(["--log-format", format, "--"]);
        // Its consumer is killed while the snapshot is made: the snapshot is not to be used.
        let frozen = site.tipline_args(words.chain(["kill", "-9", &kill])).finish(WITHIN).await;
        assert_eq!(frozen.status.code(), Some(2), "{format}: {frozen:?}");
        assert!(!frozen.stderr.is_empty(), "{format}");
        backup.process.wait(WITHIN).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_nobody_reads_any_more_ends_early_and_well() {
    let site = published().await;
    site.back_up(ADDRESS, "b.db", 8).await;
    for format in ["text", "json"] {
        let words = ["get", "blocks", "1..8", "--store", "sqlite:b.db", "--log-format", format];
        // It starts when nobody reads any more.
        let gone = format!("{format}.gone");
        let script = format!(
            "{{ while [ ! -e {gone} ]; do sleep 0.05; done; \"$@\"; echo \"code $?\" >&2; }} | \
             {{ exec <&-; touch {gone}; }}"
        );
        let get = site.tipline_args(words).through("sh", ["-c", &script, "sh"]);
        let ended = get.finish(WITHIN).await;
        assert_eq!(ended.stderr, "code 0\n", "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_need_another_one_need_it_wherever_they_were_set() {
    let site = Deployment::with_log("00").await;
    fs::write(site.path("tipline.toml"), "[status]\nexpect-verify = '1d'\n").unwrap();
    let refused = site.run("status").await;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("--checks dir:/backup"), "{}", refused.stderr);
    fs::write(site.path("tipline.toml"), "[status]\nchecks = 'dir:b'\n").unwrap();
    assert_eq!(site.run("status --expect-verify 1d").await.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_for_the_log_does_not_shorten_an_archive() {
    let site = published().await;
    let run = site.tipline("retention --archive dir:a --confirm").env("TIPLINE_KEEP_FOR", "24h");
    let refused = run.finish(WITHIN).await;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("--keep-for on the command line"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_of_nagios_says_each_degree_on_one_line() {
    let site = published().await;
    let primary = site.tipline("primary --source dir:node/blocks --name node").spawn();
    let backup = site.tipline("backup --name b --store sqlite:b.db").spawn();
    site.status("", |status| status["verdict"] == "well").await;
    let plugin = async |options: &str, code: i32, state: &str| {
        let run = site.run(&format!("status --nagios {options}")).await;
        assert_eq!(run.status.code(), Some(code), "{run:?}");
        assert!(run.stdout.starts_with(&format!("TIPLINE {state} - ")), "{run:?}");
        assert_eq!(run.stdout.matches('\n').count(), 1, "{run:?}");
        run.stdout
    };
    let well = plugin("", 0, "OK").await;
    assert!(well.contains("every block up to 8 is in 1 backup | findings=0;"), "{well}");
    let missing = plugin("--expect gone", 1, "WARNING").await;
    assert!(missing.contains("gone is expected"), "{missing}");
    let away = plugin("--log embedded:no-such.db", 2, "CRITICAL").await;
    assert!(away.contains("lag_blocks=U;"), "{away}");
    for mistake in ["--max-lag many", "--no-such-option", "--expect-verify 1d", "--json"] {
        let unknown = plugin(mistake, 3, "UNKNOWN").await;
        assert!(!unknown.contains('|'), "{unknown}");
    }
    let help = site.run("status --nagios --help").await;
    assert_eq!(help.status.code(), Some(0), "{help:?}");
    for mut running in [primary, backup] {
        stop(&mut running).await;
    }
}

/// A real archive, with its checks: what makes each condition of a recovery hold, and fail.
#[tokio::test(flavor = "multi_thread")]
async fn whether_the_fleet_could_be_recovered_is_said_with_the_reason() {
    let site = published().await;
    let condition = |status: &Value, name: &str| {
        let all = status["recovery"]["conditions"].as_array().unwrap().iter();
        let mut found = all.filter(|one| one["name"] == name);
        let one = found.next().unwrap_or_else(|| panic!("no {name} in {status}")).clone();
        (one["state"].as_str().unwrap().to_owned(), one["text"].as_str().unwrap().to_owned())
    };
    let before = site.status("", |_| true).await;
    assert_eq!(before["recovery"]["runway"]["left_ms"], Value::Null);
    assert_eq!(condition(&before, "archive_current").0, "fail");
    let unknown = [
        "backup_joins_log",
        "drilled",
        "restored_in_time",
        "identities_backed_up",
        "places_answer",
    ];
    for name in unknown {
        assert_eq!(condition(&before, name).0, "unknown", "{name}");
    }

    let archive = site.tipline("archive --to dir:kept").spawn();
    let primary = site.tipline("primary --source dir:node/blocks").spawn();
    // An archive that has nothing yet is current while all there is is young.
    let has_some = |status: &Value| {
        let mut consumers = status["consumers"].as_array().unwrap().iter();
        consumers.any(|one| one["name"] == "archive" && one["index"].as_u64() > Some(0))
    };
    let is_current = |status: &Value| condition(status, "archive_current").0 == "ok";
    site.status("", |status| is_current(status) && has_some(status)).await;
    let options = "--checks dir:kept --identities dir:keys";
    fs::create_dir(site.path("keys")).unwrap();
    let unproven = site.status(options, |_| true).await;
    assert_eq!(
        condition(&unproven, "drilled"),
        ("fail".into(), "dir:kept was never drilled".into())
    );
    assert_eq!(condition(&unproven, "checkpoint_verified").0, "fail");
    assert_eq!(condition(&unproven, "identities_backed_up").0, "fail");
    assert_eq!(condition(&unproven, "places_answer").0, "ok");
    let joined = condition(&unproven, "backup_joins_log");
    assert_eq!(joined.0, "ok", "{joined:?}");
    assert_eq!(unproven["recovery"]["runway"]["backup"], "archive");

    for check in ["verify --from dir:kept", "drill --from dir:kept"] {
        let run = site.run(check).await;
        assert_eq!(run.status.code(), Some(0), "{run:?}");
    }
    let proven = site.status(options, |_| true).await;
    for name in ["checkpoint_verified", "drilled"] {
        assert_eq!(condition(&proven, name).0, "ok", "{proven}");
    }
    for (most, state) in [("1h", "ok"), ("0s", "fail")] {
        let limited = format!("{options} --max-restore {most}");
        let limited = site.status(&limited, |_| true).await;
        let (is, why) = condition(&limited, "restored_in_time");
        assert!(is == state && why.starts_with("dir:kept was restored in "), "{is}: {why}");
    }
    let text = site.run(&format!("status {options} --metrics m.prom")).await.stdout;
    assert!(text.contains("\nrecovery archive, up to event "), "{text}");
    assert!(text.contains("FAIL     identities_backed_up: no identity of a node"), "{text}");
    let metrics = fs::read_to_string(site.path("m.prom")).unwrap();
    for line in [
        "tipline_recovery_ok{condition=\"drilled\"} 1.0",
        "tipline_recovery_ok{condition=\"identities_backed_up\"} 0.0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    let gone = site.status("--checks dir:nowhere", |_| true).await;
    assert_eq!(condition(&gone, "places_answer").0, "unknown", "{gone}");
    for mut running in [archive, primary] {
        stop(&mut running).await;
    }
}
