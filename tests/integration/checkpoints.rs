//! Checkpoints of a store that a backup applies to, over its admin socket, and without one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::Value;
use tipline_tests::eventually;

use crate::deployment::{Deployment, WITHIN, stop};

const STORE: &str = "--store composite:files:copy+sqlite:copy.db";

async fn listed(site: &Deployment, words: &str) -> Vec<Value> {
    let list = site.run(&format!("checkpoint list --json {words}")).await;
    assert_eq!(list.status.code(), Some(0), "{}", list.stderr);
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    list["checkpoints"].as_array().unwrap().clone()
}

/// A backup of some blocks, whose checkpoints take minutes at 100 KiB/s.
async fn filled() -> Deployment {
    let site = Deployment::with_log("00").await;
    for height in 1..=8 {
        site.block("node", height, &vec![u8::try_from(height).unwrap(); 1 << 20]);
    }
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 8).await;
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_backup_makes_cancels_and_uploads_checkpoints() {
    let site = filled().await;
    let words = format!("backup --name b {STORE} --log embedded:tipline.log.db");
    let mut backup = site.tipline(&words).spawn();
    site.status("", |status| status["consumers"][0]["block"] == 8).await;
    let mode = fs::metadata(site.path("copy.db.admin")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::create_dir(site.path("location")).unwrap();
    let made = site.run(&format!("checkpoint create {STORE} --upload dir:location --json")).await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    assert_eq!((&made["block"], &made["parts"]), (&8.into(), &vec!["files", "sqlite"].into()));
    let uploaded = "--checkpoints dir:location/checkpoints";
    for words in [STORE, uploaded] {
        let listed = listed(&site, words).await;
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0]["id"], made["id"]);
        let shown = site.run(&format!("checkpoint show latest --verify {words}")).await;
        assert_eq!(shown.status.code(), Some(0), "{}", shown.stderr);
    }

    let slow = format!("checkpoint create {STORE} --rate 100KiB");
    let slow = site.tipline(&slow).spawn();
    eventually("the slow one has begun", WITHIN, async || {
        let folders = fs::read_dir(site.path("copy.db.checkpoints")).unwrap().count();
        // The first one, the lock, and this one.
        if folders == 3 { Ok(()) } else { Err(folders) }
    })
    .await;
    let second = site.run(&format!("checkpoint create {STORE}")).await;
    assert_eq!(second.status.code(), Some(2));
    assert!(second.stderr.contains("by someone else"), "{}", second.stderr);
    let asked = Instant::now();
    let cancelled = site.run(&format!("checkpoint cancel {STORE}")).await;
    assert_eq!(cancelled.stdout, "cancelled\n", "{}", cancelled.stderr);
    let slow = slow.finish(WITHIN).await;
    assert_eq!(slow.status.code(), Some(2));
    assert!(slow.stderr.contains("cancelled; nothing of it is left"), "{}", slow.stderr);
    // Two starts of the program are in it.
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(listed(&site, STORE).await.len(), 1);
    stop(&mut backup).await;
    assert!(!site.path("copy.db.admin").exists());

    // Nobody has it open any more.
    let alone = site.run(&format!("checkpoint create {STORE}")).await;
    assert_eq!(alone.status.code(), Some(0), "{}", alone.stderr);
    let dry = site.run(&format!("checkpoint expire --keep-last 1 {STORE}")).await;
    assert!(dry.stdout.contains("nothing was removed"), "{}", dry.stdout);
    assert_eq!(listed(&site, STORE).await.len(), 2);
    let words = format!("checkpoint expire --keep-last 1 --confirm {STORE}");
    assert_eq!(site.run(&words).await.status.code(), Some(0));
    let left = listed(&site, STORE).await;
    assert_eq!(left.len(), 1);
    assert_ne!(left[0]["id"], made["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_makes_checkpoints_by_itself_and_keeps_some() {
    let site = filled().await;
    let every = "--checkpoint-every 200ms --keep-last 2";
    let words = format!("backup --name b {STORE} --log embedded:tipline.log.db {every}");
    let mut backup = site.tipline(&words).spawn();
    // Before the first one, the set is not there.
    site.wait_for("copy.db.checkpoints").await;
    let mut seen = std::collections::BTreeSet::new();
    eventually("four were made", WITHIN, async || {
        let ids = listed(&site, STORE).await.into_iter().map(|one| one["id"].to_string());
        seen.extend(ids);
        if seen.len() >= 4 { Ok(()) } else { Err(seen.len()) }
    })
    .await;
    stop(&mut backup).await;
    // The last one may have been made, and the program stopped before others were removed.
    let left = listed(&site, STORE).await.len();
    assert!((2..=3).contains(&left), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_held_still_while_a_command_runs_and_goes_on_by_itself() {
    let site = filled().await;
    let words = format!("backup --name b {STORE} --log embedded:tipline.log.db");
    let mut backup = site.tipline(&words).spawn();
    site.status("", |status| status["consumers"][0]["block"] == 8).await;
    // A snapshot that takes as long as it likes: what it copies is of one moment.
    fs::create_dir(site.path("snap")).unwrap();
    let copy = "cp -r copy copy.db copy.db-wal snap";
    let copied = site.run(&format!("checkpoint freeze {STORE} --max 60s -- {copy}")).await;
    assert_eq!(copied.status.code(), Some(0), "{}", copied.stderr);
    assert!(copied.stdout.contains("frozen at entry 9"), "{}", copied.stdout);
    let both = "files:snap/copy sqlite:snap/copy.db files:copy sqlite:copy.db";
    let same = site.run(&format!("dr common-point {both} --json")).await;
    assert!(same.stdout.contains("\"height\":8"), "{}{}", same.stdout, same.stderr);

    // One that takes too long: the store thaws, and the snapshot must not be used.
    fs::write(site.path("wait.sh"), "until test -e go; do :; done").unwrap();
    let late = format!("checkpoint freeze {STORE} --max 100ms -- sh wait.sh");
    let mut late = site.tipline(&late).spawn();
    late.line_with("frozen at", WITHIN).await;
    site.block("node", 9, b"after it");
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 9).await;
    site.status("", |status| status["consumers"][0]["block"] == 9).await;
    fs::write(site.path("go"), "").unwrap();
    let late = late.finish(WITHIN).await;
    assert_eq!(late.status.code(), Some(2), "{}", late.stdout);
    assert!(late.stderr.contains("the store was thawed before it ended"), "{}", late.stderr);

    let failed = site.run(&format!("checkpoint freeze {STORE} -- false")).await;
    assert_eq!(failed.status.code(), Some(2), "{}", failed.stdout);
    stop(&mut backup).await;
    // Without a consumer nobody begins to write meanwhile.
    let alone = site.run(&format!("checkpoint freeze {STORE} -- true")).await;
    assert_eq!(alone.status.code(), Some(0), "{}", alone.stderr);
}
