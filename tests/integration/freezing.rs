//! A store that is frozen for a snapshot of its volume by one call and thawed by another, by programs
//! that are killed meanwhile.

use std::fs;

use serde_json::Value;
use tipline_tests::{Port, Running, eventually, http_get};

use crate::deployment::{Deployment, WITHIN, stop};

const STORE: &str = "--store composite:files:copy+sqlite:copy.db";
const UNUSABLE: &str = "must not be used";

/// A backup of four blocks.
async fn backed_up() -> (Deployment, Running) {
    let site = Deployment::with_log("00").await;
    for height in 1..=4 {
        site.block("node", height, &[7; 1000]);
    }
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 4).await;
    let backup = start(&site, "").await;
    (site, backup)
}

async fn start(site: &Deployment, words: &str) -> Running {
    let backup = site.tipline(&format!("backup --name b {STORE} {words}")).spawn();
    site.status("", |status| status["consumers"][0]["block"] == 4).await;
    site.wait_for("copy.db.admin").await;
    backup
}

async fn freeze(site: &Deployment, words: &str) -> Value {
    let frozen = site.run(&format!("checkpoint freeze {STORE} --hold --json {words}")).await;
    assert_eq!(frozen.status.code(), Some(0), "{}", frozen.stderr);
    serde_json::from_str(&frozen.stdout).unwrap()
}

/// Thaws it, and gives the exit code and what was said.
async fn thaw(site: &Deployment, id: &str) -> (i32, String) {
    let thawed = site.run(&format!("checkpoint thaw {id} {STORE}")).await;
    let said = thawed.stdout + &thawed.stderr;
    (thawed.status.code().unwrap(), said)
}

async fn is_unusable(site: &Deployment, id: &str) {
    let (code, said) = thaw(site, id).await;
    assert!(code == 2 && said.contains(UNUSABLE), "{code}: {said}");
}

/// Another block, which is in the log and not yet in the store.
async fn publish(site: &Deployment, height: u64) {
    site.block("node", height, b"another one");
    site.publish("embedded:tipline.log.db", "dir:node/blocks", height).await;
}

async fn applies(site: &Deployment, height: u64) {
    let applied = |status: &Value| {
        let backup = &status["consumers"][0];
        backup["block"] == height && backup["frozen_ms"].is_null() && backup["state"] == "well"
    };
    site.status("", applied).await;
}

/// A copy of the files is whole, and as the store was then.
async fn is_as_of(site: &Deployment, copy: &str, height: u64) {
    let both = format!("files:{copy}/copy sqlite:{copy}/copy.db files:copy sqlite:copy.db");
    let same = site.run(&format!("dr common-point {both} --json")).await;
    let said = format!("\"height\":{height}");
    assert!(same.stdout.contains(&said), "{}{}", same.stdout, same.stderr);
}

fn copy(site: &Deployment, to: &str) {
    fs::create_dir(site.path(to)).unwrap();
    let script = format!("cp -r copy copy.db copy.db-wal {to}");
    let mut command = std::process::Command::new("sh");
    let copied = command.args(["-c", &script]).current_dir(site.path("")).status().unwrap();
    assert!(copied.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_frozen_by_one_call_and_thawed_by_another() {
    let (site, mut backup) = backed_up().await;
    stop(&mut backup).await;
    let health = Port::reserve();
    let mut backup = start(&site, &format!("--health {health}")).await;
    let held = freeze(&site, "--max 10m").await;
    assert_eq!((&held["index"], &held["block"]), (&5.into(), &4.into()));
    let id = held["id"].as_str().unwrap();
    publish(&site, 5).await;
    // It is said to be frozen for as long as it is, by itself and by its receipts.
    let frozen = site.status("", |status| status["consumers"][0]["state"] == "frozen").await;
    assert_eq!(frozen["consumers"][0]["block"], 4);
    eventually("it is not ready, and says why", WITHIN, async || {
        let reply = http_get(&format!("http://{health}/readyz")).await;
        let reply = reply.map_err(|error| error.to_string())?;
        let is_said = reply.body.contains("\"store_frozen\"");
        if is_said && !reply.body.contains("stuck") { Ok(()) } else { Err(reply.body) }
    })
    .await;
    let is_said = |status: &Value| {
        let said = "b has been frozen for a snapshot for ";
        let mut findings = status["findings"].as_array().unwrap().iter();
        findings.any(|one| one["kind"] == "frozen" && one["text"].to_string().contains(said))
    };
    site.status("--max-lag-time 100ms", is_said).await;
    // One at a time, and nobody thaws what is another's.
    let second = site.run(&format!("checkpoint freeze {STORE} --hold")).await;
    assert_eq!(second.status.code(), Some(2), "{}", second.stdout);
    assert!(second.stderr.contains("the store is frozen already"), "{}", second.stderr);
    is_unusable(&site, "0123456789abcdef").await;
    copy(&site, "snap");
    let (code, said) = thaw(&site, id).await;
    assert!(code == 0 && said.contains("its snapshot is good"), "{code}: {said}");
    is_as_of(&site, "snap", 4).await;
    applies(&site, 5).await;
    is_unusable(&site, id).await;
    // The hooks of a scheduler do not know what the one before them has printed.
    let plain = site.run(&format!("checkpoint freeze {STORE} --hold --max 10m")).await;
    assert_eq!(plain.stdout.trim().len(), 16, "{}", plain.stdout);
    let (code, said) = thaw(&site, "").await;
    assert!(code == 0 && said.contains("its snapshot is good"), "{code}: {said}");
    let longer = site.run(&format!("checkpoint freeze {STORE} --hold --max 1h")).await;
    assert_eq!(longer.status.code(), Some(2), "{}", longer.stdout);
    stop(&mut backup).await;
    // With nobody to hold it, nobody says that it was held.
    let alone = site.run(&format!("checkpoint freeze {STORE} --hold")).await;
    assert_eq!(alone.status.code(), Some(2), "{}", alone.stdout);
    is_unusable(&site, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_thaws_by_itself_and_a_snapshot_over_that_is_unusable() {
    let (site, mut backup) = backed_up().await;
    let held = freeze(&site, "--max 100ms").await;
    backup.line_with(UNUSABLE, WITHIN).await;
    publish(&site, 5).await;
    applies(&site, 5).await;
    is_unusable(&site, held["id"].as_str().unwrap()).await;
    // Whoever has no id is not told that its own was good when it was another's.
    freeze(&site, "--max 100ms").await;
    eventually("it has thawed again", WITHIN, async || {
        let thaws = backup.stderr().matches(UNUSABLE).count();
        if thaws == 2 { Ok(()) } else { Err(thaws) }
    })
    .await;
    freeze(&site, "--max 10m").await;
    let (code, said) = thaw(&site, "").await;
    assert!(code == 2 && said.contains(UNUSABLE), "{code}: {said}");
    freeze(&site, "--max 10m").await;
    assert_eq!(thaw(&site, "").await.0, 0);
    stop(&mut backup).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_killed_leaves_a_store_that_thaws_and_lost_nothing() {
    let (site, mut backup) = backed_up().await;
    // As one command: its connection ends with it.
    let wait = "while test -e tipline.log.db; do sleep 0.1; done";
    let words = ["checkpoint", "freeze", "--store", "composite:files:copy+sqlite:copy.db"];
    let rest = ["--max", "10m", "--", "sh", "-c", wait];
    let mut one = site.tipline_args(words.into_iter().chain(rest)).spawn();
    one.line_with("frozen at entry 5", WITHIN).await;
    one.process.kill();
    backup.line_with("before whoever froze it said so", WITHIN).await;
    publish(&site, 5).await;
    applies(&site, 5).await;

    // As two calls: whoever would make the second one is killed.
    let script = format!("\"$@\" && {wait}");
    let hold = format!("checkpoint freeze {STORE} --hold --max 1s");
    let mut caller = site.tipline(&hold).through("sh", ["-c", &script, "sh"]).spawn();
    let id = eventually("the id is printed", WITHIN, async || {
        let said = caller.stdout();
        if said.ends_with('\n') { Ok(said.trim().to_owned()) } else { Err(said) }
    });
    let id = id.await;
    caller.process.kill();
    backup.line_with("has thawed by itself", WITHIN).await;
    publish(&site, 6).await;
    applies(&site, 6).await;
    is_unusable(&site, &id).await;
    stop(&mut backup).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_ends_while_it_is_frozen_has_lost_nothing_and_the_snapshot_is_unusable() {
    let (site, mut backup) = backed_up().await;
    let id = freeze(&site, "--max 10m").await["id"].as_str().unwrap().to_owned();
    publish(&site, 5).await;
    backup.process.kill();
    is_unusable(&site, &id).await;
    let mut backup = site.tipline(&format!("backup --name b {STORE}")).spawn();
    applies(&site, 5).await;
    is_unusable(&site, &id).await;
    // One that is told to stop does not wait for a snapshot.
    let id = freeze(&site, "--max 10m").await["id"].as_str().unwrap().to_owned();
    stop(&mut backup).await;
    assert!(backup.stderr().contains(UNUSABLE), "{}", backup.stderr());
    is_unusable(&site, &id).await;
}
