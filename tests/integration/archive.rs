//! `tipline archive`, as a process.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tipline_backup::{Archive, Destination, Keys};
use tipline_proto::{Entry, Level};
use tipline_tests::{Rng, Running, Tipline, eventually};

use crate::site::Site;

const DEADLINE: Duration = Duration::from_secs(60);

fn archiver(site: &Site, place: &Path, flags: &[&str]) -> Running {
    let to = format!("dir:{}", place.display());
    let given = ["archive", "--to", &to, "--log", &site.address, "--accept-shortfalls"];
    Tipline::new(given.iter().chain(flags)).spawn()
}

async fn archived(place: &Path) -> Result<Vec<Entry>, String> {
    let destination = Destination::open(&format!("dir:{}", place.display())).unwrap();
    let read = async {
        let archive = Archive::open(destination, Keys::default()).await?;
        let mut all = Vec::new();
        for name in archive.segments().await? {
            all.extend(archive.entries(&name).await?.1);
        }
        Ok::<_, tipline_backup::ArchiveError>(all)
    };
    read.await.map_err(|error| error.to_string())
}

/// What `tipline status` says of the archive.
async fn status_says(site: &Site, what: &str) {
    let log = ["--log", site.address.as_str(), "--accept-shortfalls"];
    eventually(&format!("status says {what}"), DEADLINE, async || {
        let status = Tipline::new(["status"].iter().chain(&log)).finish(DEADLINE).await;
        if status.stdout.contains(what) { Ok(()) } else { Err(status.stdout) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_holds_the_log_and_its_absence_is_shown() {
    let mut rng = Rng::from_env();
    let site = Site::embedded(&mut rng).await;
    let (place, away) = (site.file("archive"), site.file("away"));
    let primary = site.primary("node.db", &["--payload", "500"]);
    site.wait_for_entries(50).await;
    let archiver = archiver(&site, &place, &["--offsite"]);
    status_says(&site, "offsite").await;
    fs::rename(&place, &away).unwrap();
    status_says(&site, "out of reach").await;
    fs::rename(&away, &place).unwrap();
    drop(primary);
    let entries = site.entries().await;
    eventually("the archive holds the log", DEADLINE, async || {
        let found = archived(&place).await?;
        if found == entries { Ok(()) } else { Err(format!("{} entries", found.len())) }
    })
    .await;
    drop(archiver);
}

/// What work at its destination needs: nothing is written there, and all of it later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archiver_that_is_paused_writes_nothing_until_it_resumes() {
    let mut rng = Rng::from_env();
    let site = Site::embedded(&mut rng).await;
    let (place, socket) = (site.file("archive"), site.file("admin"));
    let _primary = site.primary("node.db", &["--payload", "500"]);
    site.wait_for_entries(20).await;
    let at = socket.display().to_string();
    let mut archiver = archiver(&site, &place, &["--socket", &at]);
    eventually("the archive has something", DEADLINE, async || match archived(&place).await {
        Ok(found) if !found.is_empty() => Ok(()),
        found => Err(format!("{found:?}")),
    })
    .await;
    let ask = async |words: &[&str]| {
        let given: Vec<&str> = words.iter().copied().chain(["--socket", at.as_str()]).collect();
        let asked = Tipline::new(given).finish(DEADLINE).await;
        assert!(asked.status.success(), "{}", asked.stderr);
        asked.stdout
    };
    let said = ask(&["archiver", "pause", "--max", "10m"]).await;
    assert!(said.starts_with("paused at entry "), "{said}");
    let before = archived(&place).await.unwrap().len();
    let more = site.entries().await.len() as u64 + 50;
    site.wait_for_entries(more).await;
    assert_eq!(archived(&place).await.unwrap().len(), before);
    let status: serde_json::Value =
        serde_json::from_str(&ask(&["archiver", "status", "--json"]).await).unwrap();
    assert_eq!(status["doing"], "paused");
    assert_eq!(status["name"], "archive");
    assert!(status["paused_ms"].as_u64().unwrap() > 0, "{status}");
    let logged = ask(&["log-level", "debug"]).await;
    assert!(logged.starts_with("it logs debug"), "{logged}");
    assert_eq!(ask(&["archiver", "resume"]).await, "resumed\n");
    eventually("the archive has what came meanwhile", DEADLINE, async || {
        let found = archived(&place).await?.len() as u64;
        if found >= more { Ok(()) } else { Err(format!("{found} of {more} entries")) }
    })
    .await;
    // What is paused does not keep it from ending.
    ask(&["archiver", "pause"]).await;
    archiver.process.terminate();
    assert!(archiver.process.wait(DEADLINE).await.success());
    let nobody = Tipline::new(["archiver", "status", "--socket", &at]).finish(DEADLINE).await;
    assert_eq!(nobody.status.code(), Some(16), "{}", nobody.stderr);
}

/// Waits until the archive's receipt is of the log's newest entry.
async fn is_verified(site: &Site) {
    let log = site.log().await;
    let last = log.extent().await.unwrap().last;
    eventually("the archive says that it has the log", DEADLINE, async || {
        let receipts = log.board().await.map_err(|error| error.to_string())?.receipts;
        let reached = receipts.first().and_then(|one| one.reached.at(Level::Verified));
        if reached.map(|at| at.index) == Some(last) { Ok(()) } else { Err(format!("{reached:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_is_gone_is_not_begun_anew_however_often_it_is_started() {
    let mut rng = Rng::from_env();
    let site = Site::embedded(&mut rng).await;
    let (place, away) = (site.file("archive"), site.file("away"));
    let primary = site.primary("node.db", &["--payload", "500"]);
    site.wait_for_entries(50).await;
    drop(primary);
    let first = archiver(&site, &place, &[]);
    is_verified(&site).await;
    drop(first);
    // A directory on which nothing is mounted any more.
    fs::rename(&place, &away).unwrap();
    fs::create_dir(&place).unwrap();
    for attempt in 1..=3 {
        let again = archiver(&site, &place, &[]).finish(DEADLINE).await;
        assert_eq!(again.status.code(), Some(2), "{attempt}: {}", again.stderr);
        assert!(
            again.stderr.contains("that it held everything up to entry"),
            "{attempt}: {}",
            again.stderr
        );
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "{attempt}");
    }
    // How far it was stays known, and no policy counts it any more.
    let receipts = site.log().await.board().await.unwrap().receipts;
    assert_eq!(receipts[0].reached.at(Level::Verified), None);
    assert!(receipts[0].reached.at(Level::Applied).is_some());
    let new = archiver(&site, &place, &["--new"]);
    eventually("it is made anew on request", DEADLINE, async || {
        let found = archived(&place).await?;
        if found == site.entries().await { Ok(()) } else { Err(format!("{} entries", found.len())) }
    })
    .await;
    drop(new);
}
