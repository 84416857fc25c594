//! The active check: a mark through outbox, log and stores and back, with real programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;
use serde_json::Value;
use tipline_log::Reader;
use tipline_log::embedded::EmbeddedLog;
use tipline_producer::SCHEMA;
use tipline_proto::Event;
use tipline_tests::Finished;

use crate::deployment::{Deployment, WITHIN, stop};

const SOURCE: &str = "dir:node/blocks";

async fn published() -> Deployment {
    let site = Deployment::with_log("00").await;
    for height in 1..=3 {
        site.block("node", height, &[u8::try_from(height).unwrap(); 100]);
    }
    site
}

fn json(run: &Finished) -> Value {
    serde_json::from_str(&run.stdout).expect(&run.stderr)
}

/// What each consumer said, by name.
fn states(check: &Value) -> Vec<(&str, &str)> {
    let consumers = check["consumers"].as_array().unwrap().iter();
    consumers.map(|one| (one["name"].as_str().unwrap(), one["state"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_goes_through_outbox_log_and_stores_and_each_leg_is_timed() {
    let site = published().await;
    let primary = site.tipline(&format!("primary --source {SOURCE}")).spawn();
    let backup = site.tipline("backup --name backup-1 --store sqlite:b.db").spawn();
    let archive = site.tipline("archive --to dir:archive").spawn();
    let names = |status: &Value| status["consumers"].as_array().unwrap().len() == 2;
    site.status("", |status| names(status) && status["consumers"][1]["block"] == 3).await;
    let socket = site.path("node/blocks/.tipline-outbox.sqlite.admin");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);

    let run = site.run(&format!("check --source {SOURCE} --json")).await;
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    let check = json(&run);
    assert_eq!(check["ok"], true);
    assert_eq!(states(&check), [("archive", "acknowledged"), ("backup-1", "acknowledged")]);
    for leg in [&check["logged_ms"], &check["consumers"][1]["acknowledged_ms"]] {
        assert!(leg.as_u64().is_some_and(|time| time < 30_000), "{check}");
    }
    // It went through the outbox as everything else: it is the primary's event, and the store has it.
    let log = EmbeddedLog::open(&site.path("tipline.log.db")).await.unwrap();
    let entry = log.entry(check["index"].as_u64().unwrap()).await.unwrap();
    let Event::Marked { name } = &entry.event else { panic!("{entry:?}") };
    assert_eq!(check["mark"], name.as_str());
    assert_eq!(
        (entry.outbox_sequence, entry.digest.to_string()),
        (4, check["digest"].as_str().unwrap().to_owned())
    );
    let mark = site.run(&format!("get mark {name} --store sqlite:b.db")).await;
    assert_eq!(mark.status.code(), Some(0), "{mark:?}");

    // The blocks after it are published as ever.
    site.block("node", 4, &[4; 100]);
    site.status("", |status| status["tip"]["height"] == 4).await;
    let run = site.run(&format!("check --source {SOURCE} --level verified")).await;
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    assert!(run.stdout.starts_with("every leg ended within 30s: tipline-check-"), "{run:?}");
    assert!(run.stdout.contains("outbox → log") && run.stdout.contains("log → archive"), "{run:?}");
    let not_waited_for = "not waited for: it has never reported verified";
    assert!(run.stdout.contains(not_waited_for), "{run:?}");

    let words = format!("check --source {SOURCE} --expect backup-1,backup-2 --within 2s --json");
    let run = site.run(&words).await;
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    let check = json(&run);
    assert_eq!(states(&check)[2], ("backup-2", "missing"));
    assert_eq!((&check["ok"], check["index"].is_u64()), (&Value::Bool(false), true));
    for mut running in [primary, backup, archive] {
        stop(&mut running).await;
    }
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_or_a_primary_that_is_stopped_is_named() {
    let site = published().await;
    let none = site.run(&format!("check --source {SOURCE}")).await;
    assert_eq!(none.status.code(), Some(16), "{none:?}");
    assert!(none.stderr.contains("no primary answers at "), "{none:?}");

    let mut primary = site.tipline(&format!("primary --source {SOURCE}")).spawn();
    site.wait_for("node/blocks/.tipline-outbox.sqlite.admin").await;
    site.status("", |status| status["tip"]["height"] == 3).await;
    let alone = site.run(&format!("check --source {SOURCE} --within 1s")).await;
    assert_eq!(alone.status.code(), Some(1), "{alone:?}");
    assert!(alone.stdout.starts_with("no consumer acknowledges the mark"), "{alone:?}");

    let mut backup = site.tipline("backup --name backup-1 --store sqlite:b.db").spawn();
    site.status("", |status| status["consumers"][0]["block"] == 3).await;
    backup.process.pause();
    let run = site.run(&format!("check --source {SOURCE} --within 2s")).await;
    backup.process.resume();
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    assert!(run.stdout.starts_with("not acknowledged within 2s by backup-1: "), "{run:?}");

    primary.process.pause();
    let run = site.run(&format!("check --source {SOURCE} --within 2s")).await;
    primary.process.resume();
    assert_eq!(run.status.code(), Some(16), "{run:?}");
    assert!(run.stderr.contains("has not answered in time"), "{run:?}");
    // It had been asked, and does it when it can: nothing is lost by that.
    let run = site.run(&format!("check --source {SOURCE}")).await;
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    for mut running in [primary, backup] {
        stop(&mut running).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_the_log_does_not_take_is_a_failure() {
    let site = published().await;
    let primary = site.tipline(&format!("primary --source {SOURCE}")).spawn();
    let backup = site.tipline("backup --name backup-1 --store sqlite:b.db").spawn();
    site.status("", |status| status["consumers"][0]["block"] == 3).await;
    // Whoever writes to the log waits.
    let file = Connection::open(site.path("tipline.log.db")).unwrap();
    file.busy_timeout(WITHIN).unwrap();
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
    let run = site.run(&format!("check --source {SOURCE} --within 2s --json")).await;
    file.execute_batch("ROLLBACK").unwrap();
    assert_eq!(run.status.code(), Some(2), "{run:?}");
    let check = json(&run);
    assert_eq!((&check["index"], &check["logged_ms"]), (&Value::Null, &Value::Null));
    for mut running in [primary, backup] {
        stop(&mut running).await;
    }
}

/// The outbox in the database of a node that runs elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_its_own_outbox_is_checked_too() {
    let site = Deployment::with_log("07").await;
    let node = Connection::open(site.path("node.db")).unwrap();
    node.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    node.execute_batch(SCHEMA).unwrap();
    node.execute_batch("INSERT INTO tipline_outbox_state (genesis) VALUES (x'07')").unwrap();
    let primary = site.tipline("primary --source sqlite:node.db").spawn();
    let backup = site.tipline("backup --name backup-1 --store sqlite:b.db").spawn();
    site.wait_for("node.db.tipline-admin").await;
    site.status("", |status| status["consumers"][0]["index"].as_u64() >= Some(1)).await;
    let run = site.run("check --source sqlite:node.db").await;
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    let unsaid = site.run("check").await;
    assert_eq!(unsaid.status.code(), Some(2), "{unsaid:?}");
    assert!(unsaid.stderr.contains("--source, as the primary was started with"), "{unsaid:?}");
    for mut running in [primary, backup] {
        stop(&mut running).await;
    }
}
