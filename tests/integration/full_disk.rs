//! A store whose disk is full in the middle of a batch: it is told, and it goes on by itself.
#![expect(clippy::print_stdout, reason = "a test that is left out says so")]

use std::fs;
use std::process::Command;

use serde_json::Value;
use tipline_tests::{Medium, check_store, open_log, read_log};

use crate::deployment::{Deployment, WITHIN, stop};

/// A disk of 1 GiB that nobody else sees, and the program. Once there is a file `fill`, the
/// disk is filled to the last byte; once there is a file `room` there is room again; once there
/// is a file `stop` the program is asked to end, and the store is copied out.
const SMALL_DISK: &str = r#"
    mount -t tmpfs -o size=1g none disk || exit 99
    "$@" & pid=$!
    while kill -0 $pid 2>/dev/null; do
        if [ -e fill ] && [ ! -e filled ]; then cat /dev/zero > disk/filler 2>/dev/null; touch filled; fi
        if [ -e room ]; then rm -f disk/filler; fi
        if [ -e stop ]; then kill -TERM $pid; fi
        sleep 0.1
    done
    wait $pid; code=$?
    rm -f disk/filler
    cp -a disk/. out/ && exit $code
"#;

const BLOCK: usize = 256 << 10;
/// The newest block: so many do not fit into what a store has reserved before the disk is full.
const LAST: u64 = 300;

async fn a_full_disk(medium: Medium) {
    if !has_namespaces() {
        return;
    }
    let site = Deployment::with_log("00").await;
    for dir in ["disk", "out"] {
        fs::create_dir(site.path(dir)).unwrap();
    }
    let block = |height: u64| site.block("node", height, &[height as u8; BLOCK]);
    (1..=3).for_each(block);
    let mut primary = site.tipline("primary --source dir:node").spawn();
    let store = medium.address("disk".as_ref());
    let replica = site.tipline(&format!("replica --name r --store {store}"));
    let mut replica = replica
        .through("unshare", NAMESPACES.iter().chain(&["sh", "-c", SMALL_DISK, "sh"]))
        .spawn();
    site.status("", |status| status["consumers"][0]["block"] == 3).await;
    fs::write(site.path("fill"), "").unwrap();
    site.wait_for("filled").await;

    (4..=LAST).for_each(block);
    let says = ["no space left for the store", "disk/", "free some"];
    let line = replica.line_with(says[0], WITHIN).await;
    assert!(says.iter().all(|part| line.contains(part)) && line.contains("ERROR"), "{line}");
    let told = |status: &Value| {
        let failure = status["consumers"][0]["failure"].as_str().unwrap_or_default();
        says.iter().all(|part| failure.contains(part)) && status["tip"]["height"] == LAST
    };
    let status = site.status("", told).await;
    assert_eq!(status["verdict"], "degraded");
    assert_eq!(status["consumers"][0]["state"], "failed");
    assert!(status["consumers"][0]["block"].as_u64().unwrap() < LAST, "{status}");

    fs::write(site.path("room"), "").unwrap();
    let well = |status: &Value| {
        let replica = &status["consumers"][0];
        replica["block"] == LAST && replica["failure"].is_null() && replica["state"] == "well"
    };
    site.status("", well).await;
    fs::write(site.path("stop"), "").unwrap();
    let ended = replica.process.wait(WITHIN).await;
    assert_eq!(ended.code(), Some(0), "{}", replica.stderr());
    stop(&mut primary).await;
    let entries = read_log(&*open_log(&site.address()).await.unwrap()).await;
    for reader in medium.readers(&site.path("out")).unwrap() {
        check_store(&*reader, &entries);
    }
    assert!(!replica.stderr().contains("panicked"));
}

#[tokio::test]
async fn a_full_disk_under_sqlite_is_told_and_waited_for_and_nothing_is_lost() {
    a_full_disk(Medium::Sqlite).await;
}

#[tokio::test]
async fn a_full_disk_under_rocksdb_is_told_and_waited_for_and_nothing_is_lost() {
    a_full_disk(Medium::RocksDb).await;
}

#[tokio::test]
async fn a_full_disk_under_block_files_is_told_and_waited_for_and_nothing_is_lost() {
    a_full_disk(Medium::Files).await;
}

#[tokio::test]
async fn a_full_disk_under_all_of_them_is_told_and_waited_for_and_nothing_is_lost() {
    a_full_disk(Medium::Composite).await;
}

/// A mount of its own, without root; whatever runs in it ends with `unshare`.
pub(crate) const NAMESPACES: [&str; 6] =
    ["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"];

/// Whether a disk of its own can be had. A machine without says so explicitly.
pub(crate) fn has_namespaces() -> bool {
    let tried = Command::new("unshare")
        .args(NAMESPACES)
        .args(["sh", "-c", "mount -t tmpfs none /tmp"])
        .output();
    let why = match tried {
        Ok(done) if done.status.success() => return true,
        Ok(done) => String::from_utf8_lossy(&done.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    assert!(
        std::env::var_os("TIPLINE_WITHOUT_NAMESPACES").is_some_and(|value| value == "1"),
        "a full disk needs a mount of its own, which `unshare {}` does not give here: {why}. Allow \
         user namespaces, or leave the test out by TIPLINE_WITHOUT_NAMESPACES=1",
        NAMESPACES.join(" ")
    );
    println!("skipped: no namespaces (TIPLINE_WITHOUT_NAMESPACES=1): {why}");
    false
}
