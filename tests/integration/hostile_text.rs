//! Text that somebody else wrote, as it is printed.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tipline_log::embedded::EmbeddedLog;
use tipline_log::{Appender, Reader, Receipts, system_clock};
use tipline_proto::{InstanceId, Level, Reached, Receipt, Role};

use crate::deployment::{Deployment, WITHIN, stop};

/// Clears the screen, sets colours, turns text around and begins a line of the report.
const HOSTILE: &str = "\u{1b}[2J\u{9b}31m\nprimary  ok: \u{202e}x\u{1b}[32m";
const SHOWN: &str = "\\u001b[2J\\u009b31m\\nprimary  ok: \\u202ex\\u001b[32m";

/// A consumer that may say of itself what it wants.
async fn put_hostile(site: &Deployment) {
    let log = EmbeddedLog::open(&site.path("tipline.log.db")).await.unwrap();
    let receipt = Receipt {
        lineage: log.identity().lineage,
        consumer: "other".parse().unwrap(),
        role: Role::Replica,
        instance: InstanceId::from_bytes([1; 16]),
        reached: Reached::up_to(log.tail().await.unwrap().position, Level::Durable),
        block_tip: None,
        proof_tip: None,
        time: system_clock()(),
        failure: Some(HOSTILE.to_owned()),
        store: HOSTILE.to_owned(),
        applying: None,
        frozen: None,
        seal: None,
    };
    log.put_receipt(&receipt).await.unwrap();
}

/// The files in a directory and below.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What a bucket's writer makes of the record of a check.
fn change_summary(site: &Deployment) {
    let mut changed = 0;
    for file in files(&site.path("backup")) {
        let Ok(mut record) = serde_json::from_slice::<Value>(&fs::read(&file).unwrap()) else {
            continue;
        };
        if record["summary"].is_string() {
            record["summary"] = HOSTILE.into();
            fs::write(&file, record.to_string()).unwrap();
            changed += 1;
        }
    }
    assert!(changed > 0, "there is a record");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_say_is_shown_on_a_terminal_and_not_obeyed() {
    let site = Deployment::with_log("00").await;
    site.block("node", 1, b"one");
    site.publish(&site.address(), "dir:node/blocks", 1).await;
    put_hostile(&site).await;
    // It sees the other's receipt before it archives anything.
    let mut archiver = site.tipline("archive --to dir:backup").spawn();
    let is_archived = |status: &Value| {
        let all = status["consumers"].as_array().unwrap();
        all.iter().any(|one| one["name"] == "archive" && one["block"] == 1)
    };
    site.status("", is_archived).await;
    stop(&mut archiver).await;
    let verified = site.run("verify --from dir:backup").await;
    assert_eq!(verified.status.code(), Some(0), "{}", verified.stderr);
    change_summary(&site);

    for (words, lines) in [
        ("status", vec![format!("other failed: {SHOWN}")]),
        ("status --watch --plain", vec![format!("other failed: {SHOWN}")]),
        (
            "audit receipts dir:backup --at 2100-01-01T00:00:00Z",
            vec![format!("other (replica, {SHOWN}): entry "), format!(": {SHOWN}")],
        ),
        (
            "audit receipts dir:backup --from 2020-01-01T00:00:00Z --to 2100-01-01T00:00:00Z",
            vec![format!("other (replica, {SHOWN}): entry ")],
        ),
        ("dr plan --from dir:backup", vec![format!("consumer other, {SHOWN}: entry ")]),
    ] {
        // As to a terminal.
        let mut running = site.tipline(words).env("CLICOLOR_FORCE", "1").spawn();
        running.line_with(&lines[0], WITHIN).await;
        if words.contains("--watch") {
            running.process.interrupt();
        }
        let told = running.finish(WITHIN).await.stdout;
        for line in lines {
            assert!(told.contains(&line), "{words}: {line} is not in {told:?}");
        }
        for obeyed in ["\u{1b}[2J", "\u{1b}[32m", "\u{9b}", "\u{202e}", "\nprimary  ok"] {
            assert!(!told.contains(obeyed), "{words}: {obeyed:?} is in {told:?}");
        }
        assert!(!words.starts_with("status") || told.contains("\u{1b}[2m"), "{words}: {told:?}");
    }

    let status = site.run("status --json").await.stdout;
    assert!(!status.trim_end().contains(|c: char| c.is_control() || c == '\u{202e}'), "{status:?}");
    let status: Value = serde_json::from_str(&status).unwrap();
    let other = status["consumers"].as_array().unwrap().iter().find(|one| one["name"] == "other");
    assert_eq!(other.unwrap()["store"], HOSTILE, "to a program it is what it was");
}
