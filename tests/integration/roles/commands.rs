//! Every command works with the user that is meant for it, and with exactly what is printed.

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
    let secured = Secured::with_log().await;
    for height in 1..=3 {
        secured.site.block("node", height, format!("block {height}").as_bytes());
    }
    let accepted = "--accept-shortfalls";
    let mut running = [
        ("primary", format!("primary --source dir:node {accepted}")),
        ("b-1", "backup --name b-1 --store sqlite:b.db".to_owned()),
        ("b-2", "replica --name b-2 --store sqlite:r.db --health 127.0.0.1:0".to_owned()),
        ("a-1", "archive --name a-1 --to dir:archive".to_owned()),
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
}
