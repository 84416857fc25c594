//! Three servers with the default sync interval that lose power at once: one of them, most of them or
//! all come back without what they had acknowledged last. What the servers make of that is theirs to
//! decide. If the log lost something, status is not well from the first word after that until it is there
//! again, and everybody goes on without a command.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use tipline_tests::{Cluster, NatsOptions, Rng, SyncInterval, Tipline, eventually};

use crate::power_cut::{compare, copy_all, replica, wait_for_all, wait_for_commits};
use crate::site::Site;

/// Elections, what the publisher waits before it believes a shorter log, and a busy machine.
const HEALED: Duration = Duration::from_secs(180);

/// What `tipline status` says; `None` if the log does not answer.
async fn status(site: &Site) -> Option<Value> {
    let words = ["status", "--json", "--accept-shortfalls", "--log", &site.address];
    let finished = Tipline::new(words).finish(HEALED).await;
    serde_json::from_str(&finished.stdout).ok()
}

/// The files of the servers as they are at one moment.
fn copy(cluster: &mut Cluster, site: &Site) {
    cluster.nodes().iter_mut().for_each(|node| node.pause());
    for node in cluster.nodes() {
        let copy = site.file(node.name());
        drop(fs::remove_dir_all(&copy));
        copy_all(&node.store_dir(), &copy);
    }
    cluster.nodes().iter_mut().for_each(|node| node.resume());
}

/// All servers lose power, and so many of them come back as they were when they were copied.
fn cut_power(cluster: &mut Cluster, site: &Site, losing: usize) {
    cluster.nodes().iter_mut().for_each(|node| node.kill());
    for node in cluster.nodes().iter_mut().take(losing) {
        fs::remove_dir_all(node.store_dir()).unwrap();
        copy_all(&site.file(node.name()), &node.store_dir());
    }
    cluster.nodes().iter_mut().for_each(|node| node.relaunch());
}

/// Whether somebody has announced something, or sent a receipt, since this moment. Until then the log is
/// as it was when it was copied, and there is nothing in it by which anybody could tell.
fn has_been_spoken(status: &Value, since: Instant) -> bool {
    let ages = status["consumers"].as_array().map_or(&[][..], Vec::as_slice).iter();
    let ages = ages.chain([&status["primary"]]).map(|one| one["age_ms"].as_u64());
    ages.flatten().any(|age| u128::from(age) < since.elapsed().as_millis())
}

/// With nobody who publishes: status names what the log has lost.
async fn is_said(site: &Site, newest: u64, cut: Instant) {
    eventually("status says that the log lost its end", HEALED, async || {
        let status = status(site).await.ok_or("no answer")?;
        let kinds = status["findings"].as_array().map_or(&[][..], Vec::as_slice);
        let is_named =
            kinds.iter().any(|found| found["kind"] == "ahead" || found["kind"] == "log_lost");
        let is_shorter = status["log"]["last"].as_u64().is_some_and(|last| last < newest);
        let is_well = status["verdict"] == "well";
        let is_told = has_been_spoken(&status, cut);
        assert!(!(is_shorter && is_well && is_told), "{newest} was there: {status}");
        if is_shorter && is_named { Ok(()) } else { Err(status["summary"].to_string()) }
    })
    .await;
}

/// Waits until the log has everything up to this entry. While it has not, status is not well.
async fn heals(site: &Site, newest: u64, cut: Instant) {
    eventually("the log is whole and status is well", HEALED, async || {
        let status = status(site).await.ok_or("no answer")?;
        let (tail, is_well) = (status["log"]["last"].as_u64(), status["verdict"] == "well");
        let is_whole = tail.is_some_and(|last| last >= newest);
        let is_told = has_been_spoken(&status, cut);
        assert!(is_whole || !is_well || !is_told, "{newest} was there: {status}");
        if is_whole && is_well { Ok(()) } else { Err(status["summary"].to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_lose_their_end_at_once_lose_nothing_for_good() {
    let mut rng = Rng::from_env();
    let options = NatsOptions { sync: SyncInterval::ServerDefault, ..NatsOptions::default() };
    let mut cluster = Cluster::start(options).await;
    let site = Site::on_cluster(&cluster, "cluster", &mut rng).await;
    let mut primary = site.primary("node.db", &["--rate", "20", "--payload", "1000"]);
    let replica = replica(&site);
    site.wait_for_entries(10).await;
    for losing in [1, 2, 3] {
        wait_for_all(&site).await;
        copy(&mut cluster, &site);
        wait_for_commits(&site, 40).await;
        wait_for_all(&site).await;
        let newest = site.log().await.tail().await.unwrap().position.index;
        println!("{losing} of 3 lose what came after their copy, of {newest} entries");
        // Nobody has what all of them have lost, but outbox and stores.
        let is_lost = losing == Cluster::SIZE;
        if is_lost {
            primary.pause();
        }
        let cut = Instant::now();
        cut_power(&mut cluster, &site, losing);
        if is_lost {
            is_said(&site, newest, cut).await;
            primary.resume();
        }
        heals(&site, newest, cut).await;
    }
    compare(&site, primary, replica).await;
}
