//! Every command works with the user that is meant for it, and with exactly what is printed.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tipline_tests::{Finished, eventually};

use super::{Secured, WITHIN};
use crate::deployment::stop;

fn well(finished: &Finished, what: &str) {
    let code = finished.status.code();
    assert_eq!(code, Some(0), "{what}: {}{}", finished.stdout, finished.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_as_the_user_that_it_is_for() {
    let mut secured = Secured::with_log().await;
    // The servers as they are now, for a log that loses all it is given.
    let (servers, empty) = (secured.nats.store_dir(), secured.site.path("servers"));
    secured.nats.stop().await;
    copy_all(&servers, &empty);
    secured.nats.restart().await;
    for height in 1..=3 {
        secured.site.block("node", height, format!("block {height}").as_bytes());
    }
    let accepted = "--accept-shortfalls";
    let mut running = [
        ("primary", format!("primary --source dir:node {accepted}")),
        ("b-1", "backup --name b-1 --store sqlite:b.db".to_owned()),
        ("b-2", "replica --name b-2 --store sqlite:r.db --health 127.0.0.1:0".to_owned()),
        ("a-1", "archive --name a-1 --to dir:archive --linger 100ms".to_owned()),
        ("auditor", "dashboard --listen 127.0.0.1:0".to_owned()),
    ]
    .map(|(user, words)| secured.tipline(user, &words).spawn());
    // The auditor sees all of it.
    eventually("everyone is at block 3", WITHIN, async || {
        let finished = secured.run("auditor", &format!("status --json {accepted}")).await;
        let status: Value = serde_json::from_str(&finished.stdout).expect(&finished.stderr);
        let consumers = status["consumers"].as_array().unwrap();
        let there = consumers.iter().filter(|one| one["block"] == 3).count();
        if there == 3 { Ok(()) } else { Err(status) }
    })
    .await;
    for words in [
        "audit verify log",
        "audit stats",
        "audit tail -n 1",
        "audit export log -o log.jsonl",
        "audit diff dir:archive log",
        "check --source dir:node --within 1m",
        "drill --from dir:archive",
        "dr plan --from dir:archive",
        "restore --store sqlite:new.db --from log",
        "verify --from dir:archive --from log",
        "retention",
    ] {
        well(&secured.run("auditor", words).await, words);
    }
    for one in &mut running {
        assert_eq!(one.process.status(), None, "{}", one.stderr());
        // What is denied is no more than a warning where it can be done without.
        assert!(!one.stderr().contains("denies"), "{}", one.stderr());
        stop(one).await;
    }
    // The primary's key is also for what takes its place.
    let words = "restore --store sqlite:other.db --from log --as-primary other";
    well(&secured.run("primary", words).await, words);
    let words = "retention --proven-at dir:archive --apply --keep-events 1";
    let trimmed = secured.run("operator", words).await;
    assert!(!trimmed.stderr.contains("denies"), "{}", trimmed.stderr);
    eventually("b-2 may be forgotten", WITHIN, async || {
        let finished = secured.run("operator", "forget b-2").await;
        if finished.status.success() { Ok(()) } else { Err(finished.stderr) }
    })
    .await;
    // The log is empty again, and is given back what the archive has of it.
    secured.nats.stop().await;
    fs::remove_dir_all(&servers).unwrap();
    copy_all(&empty, &servers);
    secured.nats.restart().await;
    let words = format!("refill --from dir:archive {accepted}");
    well(&secured.run("primary", &words).await, &words);
    let refilled = secured.run("auditor", "audit verify log").await;
    well(&refilled, "audit verify log");
    let audited = secured.run("auditor", "audit verify dir:archive").await;
    let digest = |finished: &Finished| -> Option<String> {
        finished.stdout.lines().find(|line| line.contains("digest")).map(str::to_owned)
    };
    assert_eq!(digest(&refilled), digest(&audited), "{} {}", refilled.stdout, audited.stdout);
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
