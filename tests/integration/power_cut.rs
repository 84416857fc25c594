//! One server with the default sync interval that loses power, and one whose stream was put back
//! to an older copy: what it had acknowledged is gone, in the middle of a batch or of an event in
//! parts. Outbox and stores have it, and everybody goes on without a command.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tipline_log::LogError;
use tipline_store::{ChainView, SqliteReader};
use tipline_tests::{
    Nats, NatsOptions, Process, Rng, Running, Stored, SyncInterval, Tipline, check_log,
    check_store, cut_within_batch, eventually, toy_history,
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

pub(crate) fn replica(site: &Site) -> Running {
    let store = format!("sqlite:{}", site.file("replica.db").display());
    let log = ["--log", &site.address, "--accept-shortfalls"];
    let flags = ["replica", "--name", "replica-1", "--store", &store];
    Tipline::new(flags.into_iter().chain(log)).spawn()
}

/// The directory of the stream of events.
pub(crate) fn stream(nats: &Nats, name: &str) -> PathBuf {
    let streams = nats.store_dir().join("jetstream/$G/streams");
    let found = fs::read_dir(&streams).unwrap().map(|entry| entry.unwrap().path());
    let wanted = format!("tipline-{name}-events");
    found.into_iter().find(|path| path.ends_with(&wanted)).expect("the stream of events")
}

/// Cuts the power off, so that the log ends within its newest batch for certain.
fn cut_power(nats: &mut Nats, name: &str, rng: &mut Rng) -> Stored {
    nats.kill();
    cut_within_batch(&stream(nats, name), rng).expect("a batch of several messages")
}

/// The log was really cut off there, and went on after it: in its stream, whose messages cannot be
/// removed, the rest of the batch does not follow.
async fn went_on_after(nats: &Nats, name: &str, cut: &Stored) {
    let client = async_nats::connect(nats.url()).await.unwrap();
    let streams = async_nats::jetstream::new(client);
    let stream = streams.get_stream(format!("tipline-{name}-events")).await.unwrap();
    let batch_of = async |sequence: u64| {
        let headers = stream.get_raw_message(sequence).await.unwrap().headers;
        let value = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        (value("Nats-Batch-Id"), value("Nats-Batch-Sequence"), value("Nats-Batch-Commit"))
    };
    let of = cut.batch.as_ref().expect("a message of a batch");
    let last = (Some(of.id.clone()), Some(of.number.to_string()), None);
    assert_eq!(batch_of(cut.sequence).await, last, "it ended within a batch");
    let (next, ..) = batch_of(cut.sequence + 1).await;
    assert_ne!(next.as_ref(), Some(&of.id), "the rest of the batch is lost");
}

/// With nobody who publishes: the log says that it ends within a unit, until it is certain that no
/// more comes. Then it ends with what is left.
async fn ends_there(site: &Site, cut: &Stored) {
    let log = eventually("the log is open", HEALED, async || {
        tipline_tests::open_log(&site.address).await.map_err(|error| error.to_string())
    });
    let log = log.await;
    let tail = eventually("the log knows where it ends", HEALED, async || {
        let tail = log.tail().await;
        assert!(tail.as_ref().err().is_none_or(LogError::is_retryable), "{tail:?}");
        tail.map_err(|error| error.to_string())
    });
    assert_eq!(tail.await.fence, cut.sequence);
}

/// Waits until everything that was committed before this call is in the log and in the replica.
pub(crate) async fn wait_for_all(site: &Site) {
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
pub(crate) async fn compare(site: &Site, mut primary: Process, mut replica: Running) {
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

/// Waits until the node has committed so many events more.
pub(crate) async fn wait_for_commits(site: &Site, more: usize) {
    let before = toy_history(&site.file("node.db")).len();
    eventually(&format!("{more} events more"), HEALED, async || {
        let committed = toy_history(&site.file("node.db")).len();
        if committed >= before + more { Ok(()) } else { Err(committed - before) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_cut_off_within_a_batch_heals_by_itself() {
    let mut rng = Rng::from_env();
    let mut nats = unsynced().await;
    let site = Site::new(&nats, "cut", &mut rng).await;
    let mut primary = site.primary("node.db", &["--rate", "200", "--payload", "1000"]);
    let replica = replica(&site);
    site.wait_for_entries(10).await;
    for round in 0..cuts() {
        wait_for_all(&site).await;
        // What is committed meanwhile comes as a batch.
        nats.pause();
        wait_for_commits(&site, 50).await;
        nats.resume();
        wait_for_all(&site).await;
        if round == 0 {
            primary.pause();
        }
        let cut = cut_power(&mut nats, "cut", &mut rng);
        println!("the log ends within a batch, after {cut:?}");
        nats.restart().await;
        if round == 0 {
            ends_there(&site, &cut).await;
            primary.resume();
        }
        wait_for_all(&site).await;
        went_on_after(&nats, "cut", &cut).await;
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
    for _ in 0..cuts() {
        wait_for_all(&site).await;
        let cut = cut_power(&mut nats, "parts", &mut rng);
        println!("the log ends within a batch, after {cut:?}");
        nats.restart().await;
        wait_for_all(&site).await;
        went_on_after(&nats, "parts", &cut).await;
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
    wait_for_commits(&site, 2_000).await;
    wait_for_all(&site).await;
    nats.stop().await;
    fs::remove_dir_all(&stream).unwrap();
    copy_all(&copy, &stream);
    nats.restart().await;
    wait_for_all(&site).await;
    compare(&site, primary, replica).await;
}

pub(crate) fn copy_all(from: &Path, to: &Path) {
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
