//! A place to restore from that does not answer, and a primary that is still being ended.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tipline_tests::{Port, Process, Tipline, eventually};

use crate::deployment::{Deployment, WITHIN, stop};

const LOG: &str = "--log embedded:tipline.log.db";
/// Object storage gives up after it has tried for a while.
const PATIENCE: Duration = Duration::from_secs(120);

/// A log of three blocks, and a store with all of them.
async fn filled() -> Deployment {
    let site = Deployment::with_log("00").await;
    (1..=3).for_each(|height| site.block("node", height, &[7; 100]));
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 3).await;
    site.back_up("embedded:tipline.log.db", "store.db", 3).await;
    site
}

/// A bucket at a port where nobody listens.
fn dead_bucket(tipline: Tipline, port: &Port) -> Tipline {
    tipline
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", port.number()))
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "nobody")
        .env("AWS_SECRET_ACCESS_KEY", "nothing")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_there_needs_no_place_to_restore_from() {
    let site = filled().await;
    let port = Port::reserve();
    let dead_log = format!("--from log --log nats://127.0.0.1:{}/main", port.number());
    let dead = async |words: &str| {
        let done = dead_bucket(site.tipline(words), &port).finish(PATIENCE).await;
        (done.status.code(), done.stderr)
    };
    for from in [dead_log.as_str(), "--from s3://backup/mainnet"] {
        // An init container must not hold its pod up.
        let words = format!("restore --store sqlite:store.db {from} --if-empty");
        let (code, stderr) = dead(&words).await;
        assert_eq!(code, Some(0), "{from}: {stderr}");
        let (code, stderr) = dead(&format!("restore --store sqlite:store.db {from}")).await;
        assert_eq!(code, Some(15), "{from}: {stderr}");
        // Without a store it is needed, and that is no success, whatever is accepted.
        let words = format!("restore --store sqlite:other.db {from} --if-empty --if-available");
        let (code, stderr) = dead(&words).await;
        assert_eq!(code, Some(16), "{from}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_has_its_store_starts_although_its_archive_does_not_answer() {
    let site = filled().await;
    let port = Port::reserve();
    let words = format!("backup --name b {LOG} --store sqlite:store.db --bootstrap s3://x/y");
    let mut backup = dead_bucket(site.tipline(&words), &port).spawn();
    site.block("node", 4, &[8; 100]);
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 4).await;
    site.status(LOG, |status| status["consumers"][0]["block"] == 4).await;
    stop(&mut backup).await;
}

/// Whether a process has a file open.
fn has_open(process: &Process, file: &Path) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap();
    descriptors
        .flatten()
        .any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|to| to == file))
}

/// As overlapping pods do: the new one is there before the old one is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_takes_over_from_one_that_is_still_being_ended() {
    let site = Deployment::with_log("00").await;
    site.block("node", 1, &[1; 100]);
    let words = format!("primary {LOG} --source dir:node/blocks");
    let mut old = site.tipline(&words).spawn();
    site.status(LOG, |status| status["tip"]["height"] == 1).await;
    let mut new = site.tipline(&words).spawn();
    let lock = fs::canonicalize(site.path("node/blocks/.tipline-outbox.sqlite.lock")).unwrap();
    eventually("the new one asks for the index", WITHIN, async || {
        if has_open(&new.process, &lock) { Ok(()) } else { Err("not yet") }
    })
    .await;
    old.process.kill();
    site.block("node", 2, &[2; 100]);
    // It is in the log before whoever put it there announces itself.
    let is_there = |status: &Value| status["tip"]["height"] == 2 && status["primary"]["epoch"] == 2;
    site.status(LOG, is_there).await;
    assert_eq!(new.process.status(), None, "{}", new.stderr());
    stop(&mut new).await;
}
