//! A log in another JetStream domain, reached through a leaf node.

use tipline_tests::{Nats, NatsOptions, Port, eventually};

use super::WITHIN;
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
