//! Ways for a fleet to be unwell, made for real: each is said in text, JSON, exit code and metrics, and
//! goes away when its cause does.

use std::fs;

use async_nats::jetstream::{self, stream::Config};
use serde_json::Value;
use tipline_tests::{Nats, NatsOptions, Running, eventually};

use crate::deployment::{Deployment, WITHIN, stop};
use crate::health::stuck_disk::{HUNG_DISK, compile};

/// What a finding is, about whom.
struct Finding<'a> {
    kind: &'a str,
    name: &'a str,
    /// 1 for degraded, 2 for broken.
    degree: i32,
    /// What of it is in the text.
    says: &'a [&'a str],
}

impl Finding<'_> {
    fn is_in(&self, status: &Value) -> bool {
        let mut findings = status["findings"].as_array().unwrap().iter();
        findings.any(|one| one["kind"] == self.kind && one["name"] == self.name)
    }

    /// Waits until there is such a finding, and compares everything that says so.
    async fn is_said(&self, site: &Deployment, options: &str) {
        let what = format!("{} of {} is found", self.kind, self.name);
        let found = eventually(&what, WITHIN, async || {
            let run = site.run(&format!("status --json --metrics m.prom {options}")).await;
            let status: Value = serde_json::from_str(&run.stdout).expect(&run.stderr);
            if self.is_in(&status) { Ok((run, status)) } else { Err(status) }
        });
        let (run, status) = found.await;
        assert_eq!(run.status.code(), Some(self.degree), "{status}");
        let verdict = if self.degree == 1 { "degraded" } else { "broken" };
        assert_eq!(status["verdict"], verdict, "{status}");
        let metrics = fs::read_to_string(site.path("m.prom")).unwrap();
        for line in [
            format!(
                "tipline_finding{{kind=\"{}\",name=\"{}\"}} {}.0",
                self.kind, self.name, self.degree
            ),
            format!("tipline_verdict{{verdict=\"{verdict}\"}} 1.0"),
            "tipline_verdict{verdict=\"well\"} 0.0".to_owned(),
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
        }
        let text = site.run(&format!("status {options}")).await;
        assert_eq!(text.status.code(), Some(self.degree), "{}", text.stdout);
        let first = text.stdout.lines().next().unwrap_or_default();
        assert!(first.starts_with(&format!("{}: ", verdict.to_uppercase())), "{}", text.stdout);
        for part in self.says {
            assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
        }
    }
}

async fn is_well(site: &Deployment, options: &str, height: u64) {
    let well =
        |status: &Value| status["verdict"] == "well" && status["consumers"][0]["block"] == height;
    site.status(options, well).await;
    assert_eq!(site.run(&format!("status {options}")).await.status.code(), Some(0));
}

fn blocks(site: &Deployment, heights: impl IntoIterator<Item = u64>) {
    heights.into_iter().for_each(|height| site.block("node", height, &[height as u8; 5_000]));
}

/// A primary and a replica of a chain of five blocks.
async fn fleet(site: &Deployment, log: &str) -> [Running; 2] {
    blocks(site, 1..=5);
    let primary = site.tipline(&format!("primary --name node --source dir:node {log}")).spawn();
    let replica = site.tipline(&format!("replica --name r --store sqlite:r.db {log}")).spawn();
    is_well(site, log, 5).await;
    [primary, replica]
}

async fn stop_all(running: [Running; 2]) {
    for mut running in running {
        stop(&mut running).await;
    }
}

/// A log on a server of its own.
async fn on_nats() -> (Nats, Deployment, String) {
    let (nats, site) = (Nats::start(NatsOptions::default()).await, Deployment::new());
    let log = format!("--log {}/main --accept-shortfalls", nats.url());
    let made = site.run(&format!("init {log} --chain test --genesis 00 --replicas 1")).await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    (nats, site, log)
}

fn source_failed<'a>(says: &'a [&'a str]) -> Finding<'a> {
    Finding { kind: "source_failed", name: "node", degree: 1, says }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_goes_away_or_is_damaged_is_said_until_it_is_mended() {
    let site = Deployment::with_log("00").await;
    let [mut primary, mut replica] = fleet(&site, "").await;
    let newest = site.block_path("node", 5);
    let aside = site.path("aside");
    for (how, says) in [
        ("gone", "block_00000005.dat is gone"),
        ("empty", "block_00000005.dat is empty"),
        ("cut", "block_00000005.dat is cut off"),
    ] {
        fs::copy(&newest, &aside).unwrap();
        match how {
            "gone" => fs::remove_file(&newest).unwrap(),
            "empty" => fs::write(&newest, "").unwrap(),
            _ => fs::write(&newest, [5; 1_000]).unwrap(),
        }
        source_failed(&["the source of primary node: ", says]).is_said(&site, "").await;
        // Nothing is published in its place.
        let status = site.status("", |_| true).await;
        assert_eq!((&status["tip"]["height"], &status["log"]["last"]), (&5.into(), &6.into()));
        fs::rename(&aside, &newest).unwrap();
        is_well(&site, "", 5).await;
    }
    // What it cannot come back from by itself it ends with.
    fs::rename(site.path("node/blocks"), &aside).unwrap();
    source_failed(&["the source of primary node: ", "node/blocks"]).is_said(&site, "").await;
    let ended = primary.process.wait(WITHIN).await;
    assert_eq!(ended.code(), Some(13), "{}", primary.stderr());
    let primary_failed = Finding {
        kind: "primary_failed",
        name: "node",
        degree: 1,
        says: &["primary node has failed", "node/blocks"],
    };
    primary_failed.is_said(&site, "").await;
    fs::rename(&aside, site.path("node/blocks")).unwrap();
    let mut primary = site.tipline("primary --name node --source dir:node").spawn();
    blocks(&site, [6]);
    is_well(&site, "", 6).await;
    stop(&mut primary).await;
    stop(&mut replica).await;
}

/// What may be in the stream of events, or what is in it now and so many bytes more.
async fn limit(nats: &Nats, more: Option<i64>) {
    let client = async_nats::connect(nats.url()).await.unwrap();
    let streams = jetstream::new(client);
    let stream = streams.get_stream("tipline-main-events").await.unwrap();
    let info = stream.cached_info();
    let most = more.map_or(-1, |more| i64::try_from(info.state.bytes).unwrap() + more);
    streams.update_stream(Config { max_bytes: most, ..info.config.clone() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_holds_the_outbox_up_with_the_servers_reason_until_there_is_room() {
    let (nats, site, log) = on_nats().await;
    let running = fleet(&site, &log).await;
    limit(&nats, Some(8_000)).await;
    blocks(&site, 6..=8);
    let held_up = Finding {
        kind: "outbox_held_up",
        name: "node",
        degree: 1,
        says: &["the log does not take what primary node has", "maximum bytes exceeded"],
    };
    held_up.is_said(&site, &log).await;
    let status = site.status(&log, |_| true).await;
    let said = status["primary"]["held_up"].to_string();
    assert!(said.contains("maximum bytes exceeded"), "{status}");
    assert!(status["primary"]["outbox_events"].as_u64() > Some(0), "{status}");
    limit(&nats, None).await;
    is_well(&site, &log, 8).await;
    stop_all(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_in_one_batch_has_stalled_until_it_goes_on() {
    let (_nats, site, log) = on_nats().await;
    let (shim, hung) = (compile(&site.path("")), site.path("hung"));
    blocks(&site, 1..=5);
    let primary = site.tipline(&format!("primary --name node --source dir:node {log}")).spawn();
    let replica = site.tipline(&format!("replica --name r --store sqlite:r.db {log}"));
    let replica = replica.env("LD_PRELOAD", &shim).env(HUNG_DISK, &hung).spawn();
    is_well(&site, &log, 5).await;
    fs::write(&hung, "").unwrap();
    blocks(&site, [6]);
    let stalled = Finding {
        kind: "stalled",
        name: "r",
        degree: 1,
        says: &["r has been applying one batch for "],
    };
    stalled.is_said(&site, &format!("{log} --max-lag-time 1s")).await;
    let status = site.status(&log, |_| true).await;
    assert!(status["consumers"][0]["applying_ms"].as_u64() > Some(1_000), "{status}");
    assert_eq!(status["consumers"][0]["block"], 5, "nothing is receipted that is not durable");
    fs::remove_file(&hung).unwrap();
    is_well(&site, &log, 6).await;
    stop_all([primary, replica]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_removed_under_a_replica_fails_it_and_nothing_more_is_receipted() {
    let site = Deployment::with_log("00").await;
    let [mut primary, mut replica] = fleet(&site, "").await;
    fs::remove_file(site.path("r.db")).unwrap();
    let failed = Finding {
        kind: "failed",
        name: "r",
        degree: 1,
        says: &["r has failed", "r.db was removed while it was open"],
    };
    failed.is_said(&site, "").await;
    blocks(&site, [6]);
    let ended = replica.process.wait(WITHIN).await;
    assert_eq!(ended.code(), Some(2), "{}", replica.stderr());
    let status = site.status("", |status| status["tip"]["height"] == 6).await;
    assert_eq!(status["consumers"][0]["block"], 5, "{status}");
    // What is left of it is not taken for a new one.
    let again = site.run("replica --name r --store sqlite:r.db").await;
    assert_eq!(again.status.code(), Some(2), "{}", again.stderr);
    assert!(again.stderr.contains("r.db"), "{}", again.stderr);
    stop(&mut primary).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_on_a_branch_that_was_rolled_back_while_it_was_away_is_an_orphan() {
    let site = Deployment::with_log("00").await;
    let [primary, mut replica] = fleet(&site, "").await;
    replica.process.pause();
    site.block("node", 5, b"the replacement");
    let orphaned = Finding {
        kind: "orphaned",
        name: "r",
        degree: 1,
        says: &["r is on a branch that was rolled back: it has block 5, the log went back to 4"],
    };
    orphaned.is_said(&site, "--max-lag-time 1s --silent-after 1h").await;
    let status = site.status("--silent-after 1h", |_| true).await;
    let one = &status["consumers"][0];
    assert_eq!((&one["rolled_back_to"], &one["lag_blocks"]), (&4.into(), &1.into()), "{status}");
    replica.process.resume();
    let again = |status: &Value| {
        let one = &status["consumers"][0];
        status["verdict"] == "well" && one["rolled_back_to"].is_null() && one["lag_events"] == 0
    };
    site.status("--max-lag-time 1s", again).await;
    stop_all([primary, replica]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_cut_to_nothing_is_not_taken_for_a_new_one() {
    let site = Deployment::with_log("00").await;
    let [mut primary, mut replica] = fleet(&site, "").await;
    stop(&mut replica).await;
    for name in ["r.db-wal", "r.db-shm"] {
        fs::remove_file(site.path(name)).ok();
    }
    fs::write(site.path("r.db"), "").unwrap();
    let again = site.run("replica --name r --store sqlite:r.db").await;
    assert_eq!(again.status.code(), Some(2), "{}", again.stderr);
    assert!(again.stderr.contains("r.db"), "{}", again.stderr);
    let status = site.status("", |status| status["tip"]["height"] == 5).await;
    assert_eq!(status["consumers"][0]["block"], 5, "{status}");
    stop(&mut primary).await;
}
