//! Places that are verified and drilled time and again by whoever fills them, and a status that
//! tells.

use std::fs;

use serde_json::Value;
use tipline_tests::eventually;

use crate::deployment::{Deployment, WITHIN, stop};

const LOG: &str = "--log embedded:tipline.log.db";
const EXPECT: &str = "--expect-verify 1d --expect-drill 7d";

/// A log of some blocks.
async fn filled() -> Deployment {
    let site = Deployment::with_log("00").await;
    for height in 1..=8 {
        site.block("node", height, &vec![u8::try_from(height).unwrap(); 50_000]);
    }
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 8).await;
    fs::create_dir(site.path("scratch")).unwrap();
    site
}

/// The check of this name, if it is as it should be.
fn check<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    status["checks"].as_array()?.iter().find(|check| check["check"] == name)
}

fn is(status: &Value, name: &str, ok: bool) -> bool {
    check(status, name).is_some_and(|check| check["ok"] == ok)
}

fn reminders(status: &Value) -> String {
    status["reminders"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archiver_checks_its_own_place_and_status_tells() {
    let site = filled().await;
    fs::create_dir(site.path("backup")).unwrap();
    let asks = format!("--checks dir:backup {EXPECT} {LOG}");
    let never = site.status(&asks, |status| status["checks"].as_array().is_some()).await;
    assert!(reminders(&never).contains("was never verified"), "{never}");
    assert!(reminders(&never).contains("was never drilled"), "{never}");
    let every = "--verify-every 300ms --sample 100% --drill-every 300ms --scratch scratch";
    let words = format!("archive --to dir:backup {every} {LOG}");
    let mut archiver = site.tipline(&words).spawn();
    let is_well = |status: &Value| is(status, "verify", true) && is(status, "drill", true);
    let well = site.status(&asks, is_well).await;
    assert_eq!(reminders(&well), "[]", "{well}");
    let drilled = check(&well, "drill").unwrap();
    assert!(drilled["summary"].as_str().unwrap().contains("the history of the log"), "{drilled}");
    assert!(drilled["well_age_ms"].as_u64().unwrap() < 60_000, "{drilled}");

    // Killed while it drills, it leaves something, which the next one removes.
    eventually("a drill is under way", WITHIN, async || {
        match fs::read_dir(site.path("scratch")).unwrap().count() {
            0 => Err("the scratch directory is empty"),
            _ => Ok(()),
        }
    })
    .await;
    archiver.process.kill();
    archiver.process.wait(WITHIN).await;
    let mut archiver = site.tipline(&words).spawn();
    // It has started, and read back what is there, once it archives something.
    site.block("node", 9, b"after it");
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 9).await;
    site.status(&asks, |status| {
        let age = check(status, "drill").and_then(|check| check["age_ms"].as_u64());
        let is_there = status["consumers"][0]["block"] == 9;
        is_there && is_well(status) && age.is_some_and(|age| age < 1_000)
    })
    .await;

    let segments = fs::read_dir(site.path("backup/segments")).unwrap();
    let path = segments.map(|entry| entry.unwrap().path()).min().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 4;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let is_bad = |status: &Value| is(status, "verify", false) && is(status, "drill", false);
    let bad = site.status(&asks, is_bad).await;
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(reminders(&bad).contains(name), "{bad}");
    assert!(check(&bad, "verify").unwrap()["well_age_ms"].is_u64(), "{bad}");
    stop(&mut archiver).await;
    assert_eq!(fs::read_dir(site.path("scratch")).unwrap().count(), 0);

    // A program's start is longer ago than that.
    let old = format!("--checks dir:backup --expect-verify 1ms {LOG}");
    let text = site.run(&format!("status {old}")).await.stdout;
    assert!(text.contains("NOT well") && text.contains("dir:"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_drills_what_it_uploaded() {
    let site = filled().await;
    fs::create_dir(site.path("location")).unwrap();
    let store = "--store composite:files:copy+sqlite:copy.db";
    let every = "--checkpoint-every 1s --upload dir:location --verify-every 300ms --sample 100% \
                 --drill-every 300ms --scratch scratch";
    let mut backup = site.tipline(&format!("backup --name b {store} {every} {LOG}")).spawn();
    let asks = format!("--checks dir:location {EXPECT} --metrics tipline.prom {LOG}");
    let well = site.status(&asks, |status| is(status, "verify", true) && is(status, "drill", true));
    let well = well.await;
    let metrics = fs::read_to_string(site.path("tipline.prom")).unwrap();
    for check in ["verify", "drill"] {
        let labels = format!(r#"{{place="dir:location",check="{check}"}}"#);
        for name in ["ok", "success_timestamp_seconds", "expected_interval_seconds"] {
            assert!(metrics.contains(&format!("tipline_check_{name}{labels}")), "{metrics}");
        }
    }
    assert_eq!(reminders(&well), "[]", "{well}");
    stop(&mut backup).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_forgets_what_a_checkpoint_in_its_place_stands_for() {
    let site = filled().await;
    let mut archiver = site.tipline(&format!("archive --to dir:backup {LOG}")).spawn();
    let is_at = |name: &'static str, height: u64| {
        move |status: &Value| {
            let consumers = status["consumers"].as_array().unwrap();
            consumers.iter().any(|one| one["name"] == name && one["block"] == height)
        }
    };
    let at = |height| is_at("archive", height);
    site.status(LOG, at(8)).await;
    let expire = "retention --archive dir:backup --keep-for 0s --json";
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let nothing = site.run(&format!("{expire} --confirm")).await;
    assert_eq!(nothing.status.code(), Some(1), "{}", nothing.stderr);
    let told = json(&nothing.stdout);
    assert_eq!((&told["segments"], &told["applied"]), (&0.into(), &false.into()), "{told}");
    assert!(told["ranges"][0]["kept_by"][0].as_str().unwrap().contains("no checkpoint"), "{told}");

    for height in 9..=12 {
        site.block("node", height, b"more");
    }
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 12).await;
    site.status(LOG, at(12)).await;
    let mut backup = site.tipline(&format!("backup --name b --store sqlite:copy.db {LOG}")).spawn();
    site.status(LOG, is_at("b", 12)).await;
    stop(&mut backup).await;
    let made = site.run("checkpoint create --store sqlite:copy.db --upload dir:backup").await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    let dry = json(&site.run(expire).await.stdout);
    assert!(dry["segments"].as_u64().unwrap() > 0 && dry["applied"] == false, "{dry}");
    let before = fs::read_dir(site.path("backup/segments")).unwrap().count();
    let done = json(&site.run(&format!("{expire} --confirm")).await.stdout);
    assert_eq!((&done["segments"], &done["applied"]), (&dry["segments"], &true.into()), "{done}");
    let after = fs::read_dir(site.path("backup/segments")).unwrap().count();
    assert_eq!(before - after, usize::try_from(done["segments"].as_u64().unwrap()).unwrap());

    // The archiver goes on, and everything can be restored.
    site.block("node", 13, b"the next one");
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 13).await;
    site.status(LOG, at(13)).await;
    stop(&mut archiver).await;
    let words = "restore --store sqlite:restored.db --from dir:backup --json";
    let restored = site.run(words).await;
    assert_eq!(restored.status.code(), Some(0), "{}", restored.stderr);
    assert_eq!(json(&restored.stdout)["achieved"]["height"], 13);
    let too_old = "restore --store sqlite:old.db --from dir:backup --to height:2";
    assert_eq!(site.run(too_old).await.status.code(), Some(10));
    let unsaid = site.run("retention --archive dir:backup").await;
    assert_eq!(unsaid.status.code(), Some(2));
    assert!(unsaid.stderr.contains("--keep-for"), "{}", unsaid.stderr);
}
