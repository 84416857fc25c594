//! One server with the default sync interval that loses power, and one whose stream was put back
//! to an older copy: what it had acknowledged is gone, in the middle of a batch or of an event in
//! parts. Outbox and stores have it, and everybody goes on without a command.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tipline_store::{ChainView, SqliteReader};
use tipline_tests::{
    Nats, NatsOptions, Process, Rng, Running, SyncInterval, Tipline, check_log, check_store,
    eventually, toy_history,
};

use crate::site::Site;

/// The publisher believes a shorter log after 15 s; the rest is for a busy machine.
const HEALED: Duration = Duration::from_secs(120);

/// How often the power is cut; `TIPLINE_KILLS` in the environment overrides it.
fn cuts() -> usize {
    std::env::var("TIPLINE_KILLS").map_or(3, |text| text.parse().unwrap())
}

async fn unsynced() -> Nats {
    Nats::start(NatsOptions { sync: SyncInterval::ServerDefault, ..NatsOptions::default() }).await
}

fn replica(site: &Site) -> Running {
    let store = format!("sqlite:{}", site.file("replica.db").display());
    let log = ["--log", &site.address, "--accept-shortfalls"];
    let flags = ["replica", "--name", "replica-1", "--store", &store];
    Tipline::new(flags.into_iter().chain(log)).spawn()
}

/// The directory of the stream of events.
fn stream(nats: &Nats, name: &str) -> PathBuf {
    let streams = nats.store_dir().join("jetstream/$G/streams");
    let found = fs::read_dir(&streams).unwrap().map(|entry| entry.unwrap().path());
    let wanted = format!("tipline-{name}-events");
    found.into_iter().find(|path| path.ends_with(&wanted)).expect("the stream of events")
}

/// What a power cut leaves of an unsynced file: it ends anywhere. Gives how many bytes are gone.
fn lose_the_end(stream: &Path, rng: &mut Rng) -> u64 {
    let blocks = fs::read_dir(stream.join("msgs")).unwrap().map(|entry| entry.unwrap().path());
    let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u64>().ok();
    let blocks = blocks.filter(|path| path.extension().is_some_and(|found| found == "blk"));
    let newest = blocks.max_by_key(number).expect("a block file");
    let length = fs::metadata(&newest).unwrap().len();
    let lost = rng.within(1..=length.min(60_000));
    fs::File::options().write(true).open(&newest).unwrap().set_len(length - lost).unwrap();
    // It is written now and then, and tells how far the blocks went.
    drop(fs::remove_file(stream.join("msgs/index.db")));
    lost
}

/// Waits until everything that was committed before this call is in the log and in the replica.
async fn wait_for_all(site: &Site) {
    let committed = toy_history(&site.file("node.db")).len() as u64;
    eventually("what is committed is in log and replica", HEALED, async || {
        let log = tipline_tests::open_log(&site.address).await.map_err(|e| e.to_string())?;
        let tail = log.tail().await.map_err(|e| e.to_string())?;
        if tail.outbox_sequence < committed {
            return Err(format!("row {} of {committed} is in the log", tail.outbox_sequence));
        }
        let reader = SqliteReader::open(site.file("replica.db")).map_err(|e| e.to_string())?;
        let cursor = reader.cursor().map_err(|e| e.to_string())?;
        let at = cursor.map_or(0, |cursor| cursor.position.index);
        if at < tail.position.index {
            return Err(format!("the replica is at {at} of {}", tail.position.index));
        }
        Ok(())
    })
    .await;
}

/// Everything equals what the node has, and both have run all the time.
async fn compare(site: &Site, mut primary: Process, mut replica: Running) {
    assert_eq!(primary.status(), None, "the primary has gone on by itself");
    assert_eq!(replica.process.status(), None, "the replica has gone on by itself");
    primary.kill();
    let mut last = site.primary("node.db", &["--blocks", "1"]);
    assert!(last.wait(Duration::from_secs(60)).await.success());
    wait_for_all(site).await;
    replica.process.kill();
    let entries = site.entries().await;
    check_log(&entries, &toy_history(&site.file("node.db")));
    check_store(&SqliteReader::open(site.file("replica.db")).unwrap(), &entries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_cut_off_within_a_batch_heals_by_itself() {
    let mut rng = Rng::from_env();
    let mut nats = unsynced().await;
    let site = Site::new(&nats, "cut", &mut rng).await;
    let primary = site.primary("node.db", &["--rate", "200", "--payload", "1000"]);
    let replica = replica(&site);
    site.wait_for_entries(10).await;
    for round in 0..cuts() {
        wait_for_all(&site).await;
        // What is committed meanwhile comes as a batch.
        nats.pause();
        tokio::time::sleep(Duration::from_millis(rng.within(200..=600))).await;
        nats.resume();
        wait_for_all(&site).await;
        nats.kill();
        let lost = lose_the_end(&stream(&nats, "cut"), &mut rng);
        println!("round {round}: {lost} bytes are gone");
        nats.restart().await;
        wait_for_all(&site).await;
    }
    compare(&site, primary, replica).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_cut_off_within_an_event_in_parts_heals_by_itself() {
    let mut rng = Rng::from_env();
    let options = NatsOptions {
        sync: SyncInterval::ServerDefault,
        max_payload: 64 << 10,
        ..NatsOptions::default()
    };
    let mut nats = Nats::start(options).await;
    let site = Site::new(&nats, "parts", &mut rng).await;
    let primary = site.primary("node.db", &["--rate", "5", "--payload", "300000"]);
    let replica = replica(&site);
    site.wait_for_entries(10).await;
    for round in 0..cuts() {
        wait_for_all(&site).await;
        nats.kill();
        let lost = lose_the_end(&stream(&nats, "parts"), &mut rng);
        println!("round {round}: {lost} bytes are gone");
        nats.restart().await;
        wait_for_all(&site).await;
    }
    compare(&site, primary, replica).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_put_back_to_an_older_copy_heals_by_itself() {
    let mut rng = Rng::from_env();
    let mut nats = unsynced().await;
    let site = Site::new(&nats, "older", &mut rng).await;
    let primary = site.primary("node.db", &["--rate", "200", "--payload", "1000"]);
    let replica = replica(&site);
    site.wait_for_entries(10).await;
    wait_for_all(&site).await;
    nats.stop().await;
    let (stream, copy) = (stream(&nats, "older"), site.file("copy"));
    copy_all(&stream, &copy);
    nats.restart().await;
    let before = toy_history(&site.file("node.db")).len();
    eventually("thousands of events more", HEALED, async || {
        let committed = toy_history(&site.file("node.db")).len();
        if committed > before + 2_000 { Ok(()) } else { Err(committed) }
    })
    .await;
    wait_for_all(&site).await;
    nats.stop().await;
    fs::remove_dir_all(&stream).unwrap();
    copy_all(&copy, &stream);
    nats.restart().await;
    wait_for_all(&site).await;
    compare(&site, primary, replica).await;
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
