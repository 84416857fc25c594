//! What checks and restores say of several places, each of which is judged by itself.

use std::fs;

use serde_json::Value;
use tipline_tests::Finished;

use crate::deployment::{Deployment, WITHIN, stop};
use crate::full_disk::{NAMESPACES, has_namespaces};

const LOG: &str = "--log embedded:tipline.log.db";

async fn exit(site: &Deployment, words: &str, code: i32) -> Finished {
    let finished = site.run(words).await;
    let told = format!("{words}\n{}\n{}", finished.stdout, finished.stderr);
    assert_eq!(finished.status.code(), Some(code), "{told}");
    finished
}

fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).expect(&finished.stderr)
}

/// Two archives of a chain of 20 blocks.
async fn archived() -> Deployment {
    let site = Deployment::with_log("00").await;
    (1..=20).for_each(|height| site.block("node", height, &[7; 500]));
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 20).await;
    for name in ["one", "two"] {
        let words = format!("archive --name {name} --to dir:{name} --new {LOG}");
        let mut archiver = site.tipline(&words).spawn();
        site.status(LOG, |status| {
            let consumers = status["consumers"].as_array().unwrap();
            consumers.iter().any(|one| one["name"] == name && one["block"] == 20)
        })
        .await;
        stop(&mut archiver).await;
    }
    site
}

fn records(site: &Deployment, place: &str) -> Vec<Value> {
    let Ok(found) = fs::read_dir(site.path(&format!("{place}/checks"))) else { return Vec::new() };
    let mut paths: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    paths.into_iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_at_one_place_ends_nothing_at_the_other() {
    let site = archived().await;
    let both = "--from dir:one --from dir:two";
    exit(&site, &format!("verify {both} --from log --full {LOG}"), 0).await;
    fs::write(site.path("one/archive.json"), "{").unwrap();
    let verified = exit(&site, &format!("verify {both}"), 13).await.stdout;
    assert!(verified.contains("archive.json is damaged"), "{verified}");
    let ok = |place: &str| records(&site, place).last().unwrap()["ok"].clone();
    assert_eq!((ok("one"), ok("two")), (false.into(), true.into()));
    for (at, from) in [both, "--from dir:two --from dir:one"].iter().enumerate() {
        let words = format!("restore --store sqlite:r{at}.db {from} --json");
        let report = json(&exit(&site, &words, 0).await);
        assert_eq!(report["achieved"]["height"], 20);
        assert!(report["notes"].to_string().contains("archive.json"), "{report}");
    }
    let before = [records(&site, "one").len(), records(&site, "two").len()];
    let drilled = exit(&site, &format!("drill {both} {LOG}"), 0).await.stdout;
    assert!(drilled.contains("archive.json"), "{drilled}");
    // What both can do together says nothing of each.
    assert_eq!(before, [records(&site, "one").len(), records(&site, "two").len()]);
    let plan = json(&exit(&site, &format!("dr plan {both} {LOG} --json"), 0).await);
    let copies = plan["copies"].as_array().unwrap();
    let of = |place: &str| copies.iter().find(|copy| copy["place"] == place).unwrap();
    assert_eq!(of("dir:one")["index"], Value::Null, "{plan}");
    assert!(of("dir:one")["problems"].to_string().contains("archive.json"), "{plan}");
    assert_eq!(of("dir:two")["index"], 21, "{plan}");
    assert_eq!(of("all of these places together")["index"], 21, "{plan}");
    let words = format!("replica --name r --store files:r --bootstrap dir:one,dir:two {LOG}");
    let mut replica = site.tipline(&words).spawn();
    site.status(LOG, |status| {
        let consumers = status["consumers"].as_array().unwrap();
        consumers.iter().any(|one| one["name"] == "r" && one["block"] == 20)
    })
    .await;
    stop(&mut replica).await;
    // One that is not there at all is said so, after the other was checked.
    fs::rename(site.path("one"), site.path("gone")).unwrap();
    let verified = exit(&site, &format!("verify {both}"), 16).await.stdout;
    assert!(verified.contains("not checked") && verified.contains("dir:two"), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_missed() {
    let site = archived().await;
    exit(&site, "verify --from dir:one", 0).await;
    for segment in fs::read_dir(site.path("one/segments")).unwrap() {
        fs::remove_file(segment.unwrap().path()).unwrap();
    }
    let missed = exit(&site, "verify --from dir:one", 13).await.stdout;
    assert!(missed.contains("no segment is there"), "{missed}");
    let missed = exit(&site, "verify --from dir:one --from dir:two", 13).await.stdout;
    assert!(missed.contains("everything up to entry 21"), "{missed}");
    // Without records the receipts know.
    fs::remove_dir_all(site.path("one/checks")).unwrap();
    let missed =
        exit(&site, &format!("verify --from dir:one --from log --no-record {LOG}"), 13).await;
    assert!(missed.stdout.contains("consumer one said"), "{}", missed.stdout);
    let plan = exit(&site, &format!("dr plan --from dir:one {LOG}"), 0).await.stdout;
    assert!(plan.contains("consumer one said"), "{plan}");
    exit(&site, &format!("drill --from dir:one {LOG}"), 13).await;
    assert_eq!(records(&site, "one").last().unwrap()["ok"], false);
    // An empty directory may be one that is not mounted.
    fs::create_dir(site.path("mnt")).unwrap();
    exit(&site, "verify --from dir:mnt", 2).await;
    exit(&site, &format!("drill --from dir:mnt {LOG}"), 2).await;
    assert_eq!(fs::read_dir(site.path("mnt")).unwrap().count(), 0);
    // Whatever receipts say of it.
    fs::remove_dir_all(site.path("one")).unwrap();
    fs::create_dir(site.path("one")).unwrap();
    exit(&site, &format!("drill --from dir:one {LOG}"), 13).await;
    exit(&site, &format!("verify --from dir:one --from log {LOG}"), 13).await;
    assert_eq!(fs::read_dir(site.path("one")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_address_is_refused_without_what_may_be_secret() {
    let site = Deployment::with_log("00").await;
    for command in ["verify", "dr plan"] {
        let words = format!("{command} --from dir:one --from s3//KEY:S3CRET@bucket {LOG}");
        let refused = exit(&site, &words, 2).await;
        let told = refused.stdout + &refused.stderr;
        assert!(told.contains("is no destination") && !told.contains("S3CRET"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_may_be_only_so_far_behind() {
    let site = archived().await;
    exit(&site, &format!("drill --from dir:one --max-lag 1s {LOG}"), 0).await;
    site.block("node", 21, b"more");
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 21).await;
    exit(&site, &format!("drill --from dir:one {LOG}"), 0).await;
    let behind = exit(&site, &format!("drill --from dir:one --max-lag 1ms {LOG}"), 13).await;
    assert!(behind.stdout.contains("MORE than"), "{}", behind.stdout);
    assert_eq!(records(&site, "one").last().unwrap()["ok"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_held_to_the_digest_of_a_receipt() {
    let site = archived().await;
    let status = site.status(LOG, |_| true).await;
    let receipt = &status["consumers"][0];
    let (index, digest) = (&receipt["index"], receipt["digest"].as_str().unwrap());
    let verified = json(&exit(&site, "verify --from dir:one --json", 0).await);
    assert_eq!(verified["places"][0]["digest"], digest);
    let restore = |expected: &str, store: &str| {
        let from = "--from dir:one --json";
        format!("restore --store {store} {from} --to index:{index} --expect-digest {expected}")
    };
    let report = json(&exit(&site, &restore(digest, "sqlite:r.db"), 0).await);
    assert_eq!(report["achieved"]["digest"], digest);
    let wrong = "5".repeat(64);
    for more in ["", " --dry-run", &format!(" --as-primary p {LOG}")] {
        let refused = exit(&site, &(restore(&wrong, "sqlite:no.db") + more), 13).await;
        assert!(refused.stderr.contains(&wrong), "{}", refused.stderr);
        assert!(!site.path("no.db").exists());
    }
    // Nothing was claimed.
    let now = site.status(LOG, |_| true).await;
    assert_eq!(now["log"]["epoch"], status["log"]["epoch"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_another_log_is_one_line() {
    let site = archived().await;
    site.init("other.log.db", "00").await;
    (1..=20).for_each(|height| site.block("other", height, &[7; 500]));
    site.publish("embedded:other.log.db", "dir:other/blocks", 20).await;
    site.back_up("embedded:other.log.db", "other.db", 20).await;
    let words = "verify --from dir:one --full --no-record --store sqlite:other.db";
    let refused = exit(&site, words, 14).await;
    assert!(refused.stderr.contains("belongs to"), "{}", refused.stderr);
    site.back_up("embedded:tipline.log.db", "own.db", 20).await;
    let words = "verify --from dir:one --full --no-record --store sqlite:own.db";
    exit(&site, words, 0).await;
    let connection = rusqlite::Connection::open(site.path("own.db")).unwrap();
    connection.execute("DELETE FROM blocks WHERE height = 7", []).unwrap();
    drop(connection);
    for words in [words.to_owned(), words.replace("--full", "")] {
        let missing = exit(&site, &words, 13).await.stdout;
        assert!(missing.contains("block 7 is not there"), "{missing}");
    }
}

/// Shows the directory once more, read-only, to the program alone.
const READ_ONLY: &str = r#"
    mount --bind . seen || exit 99
    mount -o remount,bind,ro seen || exit 99
    "$@"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_on_read_only_media_is_checked() {
    if !has_namespaces() {
        return;
    }
    let site = archived().await;
    fs::create_dir(site.path("seen")).unwrap();
    fs::create_dir(site.path("scratch")).unwrap();
    for words in [
        "verify --from dir:seen/one --full".to_owned(),
        format!("drill --from dir:seen/one --scratch scratch {LOG}"),
    ] {
        let through = NAMESPACES.iter().chain(&["sh", "-c", READ_ONLY, "sh"]);
        let checked = site.tipline(&words).through("unshare", through).finish(WITHIN).await;
        assert_eq!(checked.status.code(), Some(0), "{}\n{}", checked.stdout, checked.stderr);
        assert!(checked.stderr.contains("--no-record"), "{}", checked.stderr);
    }
    assert!(records(&site, "one").is_empty());
}

/// A scratch directory of a few pages.
const SMALL: &str = r#"
    mount -t tmpfs -o size=24k none scratch || exit 99
    "$@"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_this_machine_is_not_a_failure_of_the_backup() {
    if !has_namespaces() {
        return;
    }
    let site = archived().await;
    fs::create_dir(site.path("scratch")).unwrap();
    let through = NAMESPACES.iter().chain(&["sh", "-c", SMALL, "sh"]);
    let words = format!("drill --from dir:one --scratch scratch {LOG}");
    let full = site.tipline(&words).through("unshare", through).finish(WITHIN).await;
    assert_eq!(full.status.code(), Some(2), "{}\n{}", full.stdout, full.stderr);
    assert!(records(&site, "one").is_empty());
}
