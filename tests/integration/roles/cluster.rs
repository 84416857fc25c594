//! The accounts on three servers: who asks is on one, who answers on another.

use serde_json::Value;
use tipline_tests::{Cluster, NatsOptions, eventually};

use super::{WITHIN, inbox, printed};
use crate::deployment::{Deployment, stop};

#[tokio::test(flavor = "multi_thread")]
async fn every_user_reaches_the_log_from_every_server() {
    let site = Deployment::new();
    let options = NatsOptions { more: printed(&site, "").await, ..NatsOptions::default() };
    let mut cluster = Cluster::start(options).await;
    let monitors: Vec<String> = cluster.nodes().iter().map(|node| node.monitor_url()).collect();
    let monitors = monitors.join(",");
    let urls: Vec<String> = cluster.nodes().iter().map(|node| node.url()).collect();
    let tipline = |server: usize, user: &str, words: &str| {
        site.tipline(words)
            .env("TIPLINE_LOG", format!("{}/main", urls[server % urls.len()]))
            .env("TIPLINE_NATS_NKEY", site.path(&format!("keys/{user}.nk")))
            .env("TIPLINE_NATS_INBOX", inbox(user))
            .env("TIPLINE_NATS_MONITOR", &monitors)
            .env("TIPLINE_ACCEPT_SHORTFALLS", "true")
    };
    let made = tipline(0, "operator", "init --chain test --genesis 00").finish(WITHIN).await;
    assert_eq!(made.status.code(), Some(0), "{}{}", made.stdout, made.stderr);
    for height in 1..=300 {
        site.block("node", height, format!("block {height}").as_bytes());
    }
    let mut running = Vec::new();
    running.push(tipline(1, "primary", "primary --source dir:node").spawn());
    // One on each server, so that two of them are not on the one that leads.
    for (server, user) in [(0, "b-1"), (1, "b-2"), (2, "a-1")] {
        let words = format!("backup --name {user} --store sqlite:{user}.db");
        running.push(tipline(server, user, &words).spawn());
    }
    for server in 0..Cluster::SIZE {
        eventually("everyone is at block 300", WITHIN, async || {
            let finished = tipline(server, "auditor", "status --json").finish(WITHIN).await;
            let status: Value =
                serde_json::from_str(&finished.stdout).map_err(|_| finished.stderr)?;
            let consumers = status["consumers"].as_array().ok_or_else(|| status.to_string())?;
            let there = consumers.iter().filter(|one| one["block"] == 300).count();
            if there == 3 { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        let audited = tipline(server, "auditor", "audit verify log").finish(WITHIN).await;
        assert_eq!(audited.status.code(), Some(0), "{}{}", audited.stdout, audited.stderr);
    }
    for one in &mut running {
        assert!(!one.stderr().contains("denies"), "{}", one.stderr());
        stop(one).await;
    }
}
