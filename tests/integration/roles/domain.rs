//! A log in another JetStream domain, reached through a leaf node.

use tipline_tests::{Nats, NatsOptions, Port, eventually};

use super::{WITHIN, inbox, printed};
use crate::deployment::{Deployment, stop};

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_reached_through_a_leaf_node() {
    let site = Deployment::new();
    let port = Port::reserve();
    let hub = NatsOptions {
        domain: Some("hub".into()),
        more: format!("leafnodes {{ listen: \"{port}\" }}"),
        ..NatsOptions::default()
    };
    let hub = Nats::start(hub).await;
    let leaf = NatsOptions {
        domain: Some("leaf".into()),
        more: format!("leafnodes {{ remotes: [ {{ url: \"nats://{port}\" }} ] }}"),
        ..NatsOptions::default()
    };
    let leaf = Nats::start(leaf).await;
    let run = async |url: &str, words: &str| {
        site.run(&format!("{words} --accept-shortfalls --log {url}/main")).await
    };
    let made = run(&hub.url(), "init --chain test --genesis 00 --replicas 1").await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    site.block("node", 1, b"block");

    // Without the domain it is the leaf's own JetStream, where there is no such log.
    let without = run(&leaf.url(), "status").await;
    assert!(
        format!("{}{}", without.stdout, without.stderr).contains("there is no log"),
        "{}{}",
        without.stdout,
        without.stderr
    );
    let log = format!("--log {}/main --nats-domain hub --accept-shortfalls", leaf.url());
    let mut primary = site.tipline(&format!("primary --source dir:node {log}")).spawn();
    let mut backup = site.tipline(&format!("backup --name b --store sqlite:b.db {log}")).spawn();
    eventually("the backup has block 1", WITHIN, async || {
        let status = run(&hub.url(), "status --json").await;
        let status: serde_json::Value =
            serde_json::from_str(&status.stdout).map_err(|error| error.to_string())?;
        if status["consumers"][0]["block"] == 1 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    stop(&mut primary).await;
    stop(&mut backup).await;
}

/// A replica behind a leaf node, which logs in as the replica's user: it may there what it may here.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_comes_through_a_leaf_node() {
    let site = Deployment::new();
    let port = Port::reserve();
    let accounts = printed(&site, "--nats-domain hub").await;
    let hub = NatsOptions {
        domain: Some("hub".into()),
        more: format!("leafnodes {{ listen: \"{port}\" }}\n{accounts}"),
        ..NatsOptions::default()
    };
    let hub = Nats::start(hub).await;
    let key = |user: &str| site.path(&format!("keys/{user}.nk"));
    let seed = std::fs::read_to_string(key("b-1")).unwrap();
    let remote = format!("url: \"nats://{port}\", nkey: {}", seed.trim());
    let leaf = NatsOptions {
        domain: Some("leaf".into()),
        more: format!("leafnodes {{ remotes: [ {{ {remote} }} ] }}"),
        ..NatsOptions::default()
    };
    let leaf = Nats::start(leaf).await;
    let direct = |user: &str, words: &str| {
        site.tipline(&format!("{words} --accept-shortfalls --log {}/main", hub.url()))
            .env("TIPLINE_NATS_NKEY", key(user))
            .env("TIPLINE_NATS_INBOX", inbox(user))
    };
    let init = "init --chain test --genesis 00 --replicas 1";
    let made = direct("operator", init).finish(WITHIN).await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    site.block("node", 1, b"block");
    let mut primary = direct("primary", "primary --source dir:node").spawn();
    let log = format!("--log {}/main --nats-domain hub --nats-inbox {}", leaf.url(), inbox("b-1"));
    let backup = format!("backup --name b-1 --store sqlite:b.db --accept-shortfalls {log}");
    let mut backup = site.tipline(&backup).spawn();
    eventually("the backup has block 1", WITHIN, async || {
        // The name of the domain is good on the hub itself, too.
        let status = direct("auditor", "status --json --nats-domain hub").finish(WITHIN).await;
        let json: serde_json::Value = serde_json::from_str(&status.stdout)
            .map_err(|error| format!("{error}: {} {}", status.stderr, backup.stderr()))?;
        if json["consumers"][0]["block"] == 1 { Ok(()) } else { Err(json.to_string()) }
    })
    .await;
    stop(&mut primary).await;
    stop(&mut backup).await;
}
