//! The day a node is lost: archive, checkpoints, restore, and what is done with them before.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tipline_tests::{Finished, Rng, eventually};

use crate::deployment::{Deployment, WITHIN, stop};
use crate::full_disk::{NAMESPACES, has_namespaces};

const LOG: &str = "--log embedded:tipline.log.db";
const STORES: &[&str] = &[
    "sqlite:SITE/store",
    "files:SITE/store",
    "rocksdb:SITE/store",
    "composite:files:SITE/store+sqlite:SITE/store.db",
];

fn json(finished: &Finished, code: i32) -> Value {
    assert_eq!(finished.status.code(), Some(code), "{}\n{}", finished.stdout, finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap()
}

async fn exit(site: &Deployment, words: &str, code: i32) -> Finished {
    let finished = site.run(words).await;
    assert_eq!(
        finished.status.code(),
        Some(code),
        "{words}\n{}\n{}",
        finished.stdout,
        finished.stderr
    );
    finished
}

/// A chain of so many blocks in a log and an archive, each of them some KiB.
async fn archived(blocks: u64) -> Deployment {
    let site = Deployment::with_log("00").await;
    for height in 1..=blocks {
        let byte = u8::try_from(height % 251).unwrap();
        site.block("node", height, &vec![byte; 1000 + 37 * height as usize]);
    }
    site.publish("embedded:tipline.log.db", "dir:node/blocks", blocks).await;
    archive(&site, blocks).await;
    site
}

/// Archives everything up to a height.
async fn archive(site: &Deployment, height: u64) {
    let mut archiver = site.tipline(&format!("archive --to dir:backup {LOG}")).spawn();
    let is_there = |status: &Value| {
        let consumers = status["consumers"].as_array().unwrap();
        let archive = consumers.iter().find(|consumer| consumer["name"] == "archive");
        archive.is_some_and(|archive| archive["block"] == height && archive["level"] == "verified")
    };
    site.status(LOG, is_there).await;
    stop(&mut archiver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_any_kind_is_restored_to_any_point() {
    let site = archived(40).await;
    let reference = "get block 25 --store sqlite:reference.db --json";
    exit(&site, &format!("restore --store sqlite:reference.db --from log {LOG}"), 0).await;
    let reference = exit(&site, reference, 0).await.stdout;
    for (at, store) in STORES.iter().enumerate() {
        let store = store.replace("SITE", &format!("restored-{at}"));
        let from = format!("restore --store {store} --from dir:backup --json");
        let plan = json(&site.run(&format!("{from} --to height:30 --dry-run")).await, 0);
        assert_eq!(plan["index"], 31, "the claim and 30 blocks");
        assert!(!site.path(&format!("restored-{at}/store")).exists());
        let done = json(&site.run(&format!("{from} --to height:30 --verify strict")).await, 0);
        assert_eq!(done["achieved"]["height"], 30);
        assert_eq!(done["verification"], "strict");
        let found = exit(&site, &format!("get block 25 --store {store} --json"), 0).await.stdout;
        assert_eq!(found, reference);
        // Twice is refused, unless that is what is wanted.
        exit(&site, &format!("{from} --to latest"), 15).await;
        exit(&site, &format!("{from} --to latest --if-empty"), 0).await;
        let all = json(&site.run(&format!("{from} --to latest --force")).await, 0);
        assert_eq!(all["achieved"]["height"], 40);
        // It goes on as if nothing had been.
        let words = format!("replica --name r{at} --store {store} {LOG}");
        let mut replica = site.tipline(&words).spawn();
        let name = format!("r{at}");
        site.status(LOG, |status| {
            let consumers = status["consumers"].as_array().unwrap();
            consumers.iter().any(|consumer| consumer["name"] == *name && consumer["block"] == 40)
        })
        .await;
        stop(&mut replica).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_restored_has_an_exit_code_that_says_why() {
    let site = archived(30).await;
    let restore = |to: &str| format!("restore --store sqlite:r.db --from dir:backup --to {to}");
    let late = exit(&site, &restore("height:31"), 11).await;
    assert!(late.stderr.contains("the latest point is index 31, height 30"), "{}", late.stderr);
    exit(&site, &restore("time:2001-01-01T00:00:00Z"), 10).await;
    exit(&site, &restore("mark:nothing"), 11).await;
    exit(&site, "restore --store sqlite:r.db --from dir:nowhere", 16).await;
    fs::create_dir(site.path("empty")).unwrap();
    exit(&site, "restore --store sqlite:r.db --from dir:empty", 2).await;
    exit(&site, "restore --store sqlite:r.db --from dir:empty --if-available", 0).await;
    let wrong = exit(&site, &restore("heigth:5"), 2).await;
    assert!(wrong.stderr.contains("did you mean height:5?"), "{}", wrong.stderr);

    let mut segments: Vec<_> = fs::read_dir(site.path("backup/segments")).unwrap().collect();
    segments.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
    let first = segments[0].as_ref().unwrap().path();
    let whole = fs::read(&first).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 3] ^= 1;
    fs::write(&first, damaged).unwrap();
    let corrupt = exit(&site, &restore("latest"), 13).await;
    let name = first.file_name().unwrap().to_str().unwrap();
    assert!(corrupt.stderr.contains(name), "{}", corrupt.stderr);
    let verified = exit(&site, "verify --from dir:backup --full", 13).await;
    assert!(verified.stdout.contains(name), "{}", verified.stdout);
    // The log has the same entries.
    let report =
        json(&site.run(&format!("{} --from log {LOG} --json", restore("latest"))).await, 0);
    assert!(report["notes"].to_string().contains(name), "{report}");
    fs::remove_file(&first).unwrap();
    fs::remove_file(site.path("r.db")).unwrap();
    let lost = exit(&site, &restore("latest"), if segments.len() == 1 { 2 } else { 12 }).await;
    let named = ["no segment", "entries 1 to "];
    assert!(named.iter().any(|text| lost.stderr.contains(text)), "{}", lost.stderr);

    // Segments without the description of the archive are damage, whatever is asked.
    fs::write(&first, whole).unwrap();
    let described = fs::read(site.path("backup/archive.json")).unwrap();
    fs::remove_file(site.path("backup/archive.json")).unwrap();
    for words in [
        restore("latest"),
        restore("latest") + " --if-empty --if-available",
        restore("latest") + " --dry-run",
        "verify --from dir:backup".to_owned(),
    ] {
        let Finished { stdout, stderr, .. } = exit(&site, &words, 13).await;
        assert!((stdout.clone() + &stderr).contains("archive.json"), "{words}: {stdout}{stderr}");
    }
    let told = site.run(&format!("dr plan --from dir:backup {LOG}")).await;
    assert!(told.stdout.contains("archive.json is damaged"), "{}", told.stdout);
    fs::write(site.path("backup/archive.json"), described).unwrap();

    // The archive of another chain under the same name.
    site.init("other.log.db", "00").await;
    let other = "--from dir:backup --from log --log embedded:other.log.db";
    exit(&site, &format!("restore --store sqlite:r.db {other}"), 14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_trimmed_by_what_is_proven_and_a_new_replica_starts_from_there() {
    let site = archived(60).await;
    let policy = format!("retention --keep-events 5 --keep-for 0s {LOG} --json");
    let nothing = json(&site.run(&format!("{policy} --apply")).await, 0);
    assert_eq!(nothing["free"], 0, "nobody has proven anything: {nothing}");
    let told = json(&site.run(&format!("{policy} --proven-at dir:backup")).await, 0);
    assert_eq!((&told["free"], &told["held"]["first"]), (&56.into(), &1.into()));

    // Corrupt where nobody looks before it is needed: nothing goes.
    let mut segments: Vec<_> = fs::read_dir(site.path("backup/segments")).unwrap().collect();
    segments.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
    let path = segments[0].as_ref().unwrap().path();
    let whole = fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 4] ^= 4;
    fs::write(&path, damaged).unwrap();
    let kept = json(&site.run(&format!("{policy} --proven-at dir:backup --apply")).await, 1);
    assert_eq!(kept["held"]["first"], 1, "{kept}");
    fs::write(&path, whole).unwrap();

    let trimmed = json(&site.run(&format!("{policy} --proven-at dir:backup --apply")).await, 0);
    assert_eq!(trimmed["held"]["first"], 57, "{trimmed}");
    let refused = site.run(&format!("replica --name new --store sqlite:new.db {LOG}")).await;
    assert_eq!(refused.status.code(), Some(12));
    assert!(refused.stderr.contains("--bootstrap"), "{}", refused.stderr);
    let words = format!("replica --name new --store files:new --bootstrap dir:backup {LOG}");
    let mut replica = site.tipline(&words).spawn();
    let new_is_at = |height: u64| {
        move |status: &Value| {
            let consumers = status["consumers"].as_array().unwrap();
            consumers.iter().any(|one| one["name"] == "new" && one["block"] == height)
        }
    };
    site.status(LOG, new_is_at(60)).await;
    // The primary goes on behind a trimmed log, and so does the replica.
    site.block("node", 61, b"the next one");
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 61).await;
    site.status(LOG, new_is_at(61)).await;
    stop(&mut replica).await;

    // One that stood still while the log moved on is brought forward.
    for height in 62..=90 {
        site.block("node", height, &vec![7; 500]);
    }
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 90).await;
    archive(&site, 90).await;
    let reserve = format!("{policy} --proven-at dir:backup --reserve 1 --apply");
    let trimmed = json(&site.run(&reserve).await, 1);
    assert!(trimmed["held"]["first"].as_u64().unwrap() > 80, "{trimmed}");
    let mut replica = site.tipline(&words).spawn();
    site.status(LOG, new_is_at(90)).await;
    stop(&mut replica).await;
    let found = exit(&site, "dr common-point files:new dir:backup --json", 0).await;
    assert_eq!(json(&found, 0)["height"], 90);
    json(&site.run(&format!("dr plan --from dir:backup {LOG} --json")).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_measures_and_is_remembered_where_the_copies_are() {
    let site = archived(20).await;
    for height in 21..=23 {
        site.block("node", height, b"later");
    }
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 23).await;
    fs::create_dir(site.path("scratch")).unwrap();
    let drill = format!("drill --from dir:backup --scratch scratch --json {LOG}");
    let report = json(&site.run(&drill).await, 0);
    assert_eq!(report["agrees_with_log"], true);
    // Three blocks, and the claim of the primary that was started again.
    assert_eq!(report["entries_behind"], 4, "{report}");
    assert_eq!(report["restore"]["achieved"]["height"], 20);
    assert_eq!(fs::read_dir(site.path("scratch")).unwrap().count(), 0);
    let verified = json(&site.run("verify --from dir:backup --sample 50% --json").await, 0);
    assert_eq!(verified["places"][0]["problems"], Value::Array(vec![]));
    let records = fs::read_dir(site.path("backup/checks")).unwrap();
    let mut records: Vec<_> =
        records.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    records.sort();
    assert!(records[0].starts_with("drill-") && records[1].starts_with("verify-"), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_primary_fences_the_old_one_and_knows_what_not_to_sign() {
    let site = archived(20).await;
    let mut old = site.tipline(&format!("primary --source dir:node/blocks {LOG}")).spawn();
    // Epoch 1 was of the one that filled the log, which looks well for some seconds more.
    site.status(LOG, |status| status["primary"]["epoch"] == 2).await;
    let restore =
        format!("restore --store sqlite:new.db --from dir:backup --from log {LOG} --json");
    let restore = |more: &str| format!("{restore} --as-primary new-node {more}");

    // Whatever refuses it does so before the claim: the old one goes on.
    let taken = restore("").replace("sqlite:new.db", "files:taken");
    fs::create_dir(site.path("taken")).unwrap();
    fs::write(site.path("taken/index.db"), "a store").unwrap();
    exit(&site, &taken, 15).await;
    exit(&site, &restore("--to height:21"), 11).await;
    let floor = site.path("new.db.sign-floor.json");
    fs::write(&floor, r#"{"chain": "another", "height": 3}"#).unwrap();
    exit(&site, &restore(""), 2).await;
    let status = site.status(LOG, |status| status["primary"]["epoch"] == 2).await;
    let earlier = serde_json::json!({"chain": status["log"]["chain"], "height": 35});
    fs::write(&floor, earlier.to_string()).unwrap();
    let rehearsed = json(&site.run(&restore("--dry-run")).await, 0);
    assert_eq!(rehearsed["sign_floor_at_least"], 35, "{rehearsed}");
    assert_eq!(rehearsed["sign_floor_seen"]["entries"], 20, "{rehearsed}");
    let told = site.run(&restore("--dry-run").replace(" --json", "")).await.stdout;
    let unshown = "no entry shows block 35, and so the floor: only the earlier sign floor\n";
    assert!(told.contains(unshown), "{told}");
    assert_eq!(rehearsed["index"], 22, "the claims of two primaries: {rehearsed}");
    site.status(LOG, |status| status["primary"]["epoch"] == 2).await;
    assert!(!site.path("new.db").exists());

    let done = json(&site.run(&restore("")).await, 0);
    let status = old.process.wait(WITHIN).await;
    assert_eq!(status.code(), Some(3), "fenced: {}", old.stderr());
    let floor: Value = serde_json::from_slice(&fs::read(floor).unwrap()).unwrap();
    assert_eq!(floor["height"], 35, "it never falls: {floor}");
    assert_eq!((&floor["seen"]["entries"], &floor["epoch"]), (&20.into(), &3.into()), "{floor}");
    assert_eq!(done["sign_floor"]["height"], 35);
    assert_eq!(done["achieved"]["height"], 20);
    assert_eq!(done["achieved"]["index"], 23, "with all that was logged up to the claim: {done}");
    exit(&site, &restore(""), 15).await;
    site.status(LOG, |status| status["primary"]["epoch"] == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_too_small_is_told_before_anything_is_written() {
    if !has_namespaces() {
        return;
    }
    // Bytes that nothing can compress.
    let site = Deployment::with_log("00").await;
    let mut rng = Rng::from_env();
    for height in 1..=4 {
        let block: Vec<u8> = (0..1 << 20).map(|_| rng.within(0..=255) as u8).collect();
        site.block("node", height, &block);
    }
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 4).await;
    archive(&site, 4).await;
    fs::create_dir(site.path("disk")).unwrap();
    const DISK: &str =
        "mount -t tmpfs -o size=2m none disk && \"$@\"; code=$?; ls -A disk >&2; exit $code";
    let restore = site.tipline("restore --store sqlite:disk/r.db --from dir:backup");
    let restore = restore
        .through("unshare", NAMESPACES.iter().chain(&["sh", "-c", DISK, "sh"]))
        .finish(WITHIN)
        .await;
    assert_eq!(restore.status.code(), Some(2), "{}", restore.stderr);
    assert!(restore.stderr.contains("free some space"), "{}", restore.stderr);
    assert!(!restore.stderr.lines().any(|line| line == "r.db"), "{}", restore.stderr);
}

/// A rename cannot replace it: that must not be found out when all is restored.
#[tokio::test(flavor = "multi_thread")]
async fn a_mount_point_is_refused_before_anything_is_read() {
    if !has_namespaces() {
        return;
    }
    let site = archived(5).await;
    fs::create_dir(site.path("disk")).unwrap();
    const DISK: &str = "mount -t tmpfs -o size=2m none disk && exec \"$@\"";
    // It would not even be asked.
    let restore = site.tipline("restore --store files:disk --from dir:backup --json");
    let restore = restore
        .through("unshare", NAMESPACES.iter().chain(&["sh", "-c", DISK, "sh"]))
        .finish(WITHIN)
        .await;
    assert_eq!(restore.status.code(), Some(2), "{}", restore.stderr);
    assert!(restore.stderr.contains("mount point"), "{}", restore.stderr);
    assert!(!site.path("disk.restoring").exists());
}

/// How often something is killed; `TIPLINE_KILLS` in the environment overrides it.
fn kills() -> usize {
    std::env::var("TIPLINE_KILLS").map_or(20, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_restore_leaves_nothing_half_and_goes_on() {
    let site = archived(150).await;
    // A place with a checkpoint alone, that is copied logically into stores of other kinds.
    let made = site.run("restore --store files:of --from dir:backup").await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    fs::create_dir(site.path("carried")).unwrap();
    let made = site.run("checkpoint create --store files:of --upload dir:carried").await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    let mut rng = Rng::from_env();
    let mut interrupted = 0;
    let places = ["backup", "carried"];
    let cases = STORES.iter().flat_map(|store| places.map(|place| (store, place)));
    for (at, (store, place)) in cases.enumerate() {
        let store = store.replace("SITE", &format!("killed-{at}"));
        let words = format!("restore --store {store} --from dir:{place} --verify strict --json");
        for round in 0..kills().div_ceil(STORES.len() * places.len()) {
            let mut running = site.tipline(&words).spawn();
            // Any moment of its life: it takes some tens of milliseconds, or some hundred. The
            // first time as early as can be.
            let moment = if round == 0 { 0 } else { rng.within(0..=150) };
            tokio::time::sleep(Duration::from_millis(moment)).await;
            running.process.kill();
            running.process.wait(WITHIN).await;
            let there = site.run(&format!("get cursor --store {store} --json")).await;
            if there.status.code() == Some(0) {
                assert_eq!(
                    json(&there, 0)["index"],
                    151,
                    "{store}, round {round}: {}",
                    there.stdout
                );
                fs::remove_dir_all(site.path(&format!("killed-{at}"))).unwrap();
            } else {
                interrupted += 1;
            }
        }
        let last = site.run(&words).await;
        assert!(matches!(last.status.code(), Some(0 | 15)), "{store}: {}", last.stderr);
        let drill = format!("dr common-point {store} dir:backup --json");
        assert_eq!(json(&site.run(&drill).await, 0)["height"], 150, "{store}");
        let left = fs::read_dir(site.path(&format!("killed-{at}"))).unwrap();
        for name in left.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
            let rests = [".restoring", ".fetching", ".carrying", ".placing", ".replaced"];
            let is_rest = rests.iter().any(|rest| name.contains(rest));
            assert!(!is_rest, "{store}: {name} is left");
        }
    }
    println!("{interrupted} of {} were interrupted in the middle", kills());
    assert!(interrupted > 0, "nothing was tried");
}

/// Killed while it replaces a store: that one is there, or the new one, after whatever looks next.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_restore_over_a_store_leaves_that_or_the_new_one() {
    let site = archived(150).await;
    let mut rng = Rng::from_env();
    let mut interrupted = 0;
    for (at, store) in STORES.iter().enumerate() {
        let store = store.replace("SITE", &format!("forced-{at}"));
        let words = |to: &str| format!("restore --store {store} --from dir:backup {to}");
        json(&site.run(&words("--to height:70 --json")).await, 0);
        for round in 0..kills().div_ceil(STORES.len()) {
            let mut running = site.tipline(&words("--force")).spawn();
            let moment = if round == 0 { 0 } else { rng.within(0..=150) };
            tokio::time::sleep(Duration::from_millis(moment)).await;
            running.process.kill();
            running.process.wait(WITHIN).await;
            // As an init container does: it undoes what was begun, and finds a store.
            exit(&site, &words("--if-empty --verify none"), 0).await;
            let there = json(&site.run(&format!("get cursor --store {store} --json")).await, 0);
            let index = there["index"].as_u64().unwrap();
            assert!(index == 71 || index == 151, "{store}, round {round}: {there}");
            if index == 71 {
                interrupted += 1;
            } else {
                json(&site.run(&words("--to height:70 --force --json")).await, 0);
            }
        }
        json(&site.run(&words("--force --verify strict --json")).await, 0);
        let drill = format!("dr common-point {store} dir:backup --json");
        assert_eq!(json(&site.run(&drill).await, 0)["height"], 150, "{store}");
    }
    assert!(interrupted > 0, "nothing was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_gone_is_shown_within_seconds() {
    let site = archived(10).await;
    let mut archiver = site.tipline(&format!("archive --to dir:backup {LOG}")).spawn();
    site.status(LOG, |status| status["consumers"][0]["state"] == "well").await;
    fs::rename(site.path("backup"), site.path("away")).unwrap();
    let asks = format!("--metrics tipline.prom {LOG}");
    let shown = site.status(&asks, |status| status["consumers"][0]["state"] == "failed").await;
    assert!(shown["consumers"][0]["failure"].to_string().contains("out of reach"), "{shown}");
    let metrics = fs::read_to_string(site.path("tipline.prom")).unwrap();
    let failed = r#"tipline_consumer_failed{name="archive",role="archive"} 1.0"#;
    assert!(metrics.contains(failed), "{metrics}");
    fs::rename(site.path("away"), site.path("backup")).unwrap();
    site.block("node", 11, b"behind it");
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 11).await;
    eventually("it goes on by itself", WITHIN, async || {
        let plan =
            site.run("restore --store sqlite:x.db --from dir:backup --to height:11 --dry-run");
        let plan = plan.await;
        if plan.status.code() == Some(0) { Ok(()) } else { Err(plan.stderr) }
    })
    .await;
    stop(&mut archiver).await;
}
