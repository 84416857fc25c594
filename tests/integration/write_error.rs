//! A server whose disk fails in the middle of storing a batch. The first messages of the batch are
//! stored and the rest is not, and nobody is told which. The tail decides: nothing is lost, nothing is
//! there twice, and all goes on once there is space and the server was restarted, which NATS needs
//! after a failed write.

use std::time::Duration;

use serde_json::Value;
use tipline_tests::{Nats, NatsOptions, Rng, Tipline, eventually, stored};

use crate::power_cut::{compare, replica, stream, wait_for_all, wait_for_commits};
use crate::site::Site;

const WITHIN: Duration = Duration::from_secs(120);

/// What `tipline status` says.
async fn status(site: &Site) -> Value {
    let words = ["status", "--json", "--accept-shortfalls", "--log", &site.address];
    let finished = Tipline::new(words).finish(WITHIN).await;
    serde_json::from_str(&finished.stdout).expect(&finished.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_in_the_middle_of_a_batch_loses_and_doubles_nothing() {
    let mut rng = Rng::from_env();
    let mut nats = Nats::start(NatsOptions::default()).await;
    let site = Site::new(&nats, "failing", &mut rng).await;
    let primary = site.primary("node.db", &["--rate", "200", "--payload", "1000"]);
    let replica = replica(&site);
    // The stream's file is far longer than that of a batch which is being staged.
    site.wait_for_entries(500).await;
    wait_for_all(&site).await;

    // What is committed meanwhile comes as a batch, of at least 200,000 bytes. Before it come the two
    // that were sent and prepared when the server was paused: a few entries each.
    nats.pause();
    wait_for_commits(&site, 200).await;
    let files = stream(&nats, "failing");
    let before = stored(&files).last().cloned().expect("messages");
    nats.limit_files(Some(before.end + rng.within(60_000..=150_000)));
    nats.resume();
    nats.wait_for_line("tipline-failing-events' critical write error").await;
    let newest = stored(&files).last().cloned().expect("messages");
    assert!(newest.sequence > before.sequence, "it failed after {before:?}");
    let batch = newest.batch.expect("a message of a batch");
    assert!(!batch.commits, "it failed within the batch: {batch:?}");

    let said = eventually("status says it", WITHIN, async || {
        let status = status(&site).await;
        let is_said = status["reasons"].to_string().contains("does not take what primary");
        if is_said { Ok(status) } else { Err(status) }
    });
    assert_ne!(said.await["verdict"], "well");

    nats.limit_files(None);
    nats.restart().await;
    wait_for_all(&site).await;
    compare(&site, primary, replica).await;
}
