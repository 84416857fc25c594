//! `tipline demo`: what it shows, and that it leaves nothing behind.

use std::fs;
use std::path::Path;
use std::time::Duration;

use async_nats::jetstream;
use futures_util::TryStreamExt as _;
use serde_json::Value;
use tempfile::TempDir;
use tipline_log::jetstream::{JetStreamLog, JetStreamOptions};
use tipline_log::{Appender as _, system_clock};
use tipline_proto::{Entry, Event, Label, OutboxId};
use tipline_store::{FileReader, SqliteReader, StoreReader};
use tipline_tests::{
    Finished, Nats, NatsOptions, Port, Running, Tipline, bitcoin_blocks, bitcoin_blocks_path,
    eventually,
};

const WITHIN: Duration = Duration::from_secs(60);
const STORES: [&str; 3] = ["replica-1", "replica-2", "backup-1"];

/// `tipline demo` in a directory whose temporary files are in there too.
fn demo(dir: &Path, words: &str) -> Tipline {
    fs::create_dir_all(dir.join("tmp")).unwrap();
    let words = std::iter::once("demo").chain(words.split_whitespace());
    Tipline::new(words).current_dir(dir).env("TMPDIR", dir.join("tmp"))
}

/// A directory with the real blocks in it.
fn with_blocks() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(bitcoin_blocks_path(), dir.path().join("blocks.dat")).unwrap();
    dir
}

/// What the demo left in the directory for temporary files.
fn left_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("tmp")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[track_caller]
fn summary(finished: &Finished) -> Value {
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    let summary: Value = serde_json::from_str(&finished.stdout).expect("one JSON object");
    assert_eq!(summary["verdict"], "verified");
    summary
}

/// All stores of the summary are at the log's tail and hold the same.
#[track_caller]
fn check_agreement(summary: &Value) {
    let stores = summary["stores"].as_array().unwrap();
    let names: Vec<&str> = stores.iter().map(|store| store["name"].as_str().unwrap()).collect();
    assert_eq!(names, STORES);
    let (index, digest) = (&summary["tail_index"], summary["tail_digest"].as_str().unwrap());
    for store in stores {
        let position = store["position"].as_str().unwrap();
        let (at, short) = position.split_once('@').expect(position);
        assert_eq!(at, index.to_string());
        assert!(digest.starts_with(short.trim_end_matches('…')), "{position} is not {digest}");
        assert_eq!(store["content_digest"], stores[0]["content_digest"]);
        assert_eq!(store["content_digest"].as_str().unwrap().len(), 64);
    }
    let count = |key: &str| summary[key].as_u64().unwrap();
    // One epoch, every block, every proof.
    assert_eq!(count("entries"), 1 + count("blocks") + count("proofs"));
    assert_eq!(count("tail_index"), count("entries"));
    assert_eq!(count("proofs"), count("blocks"));
    assert_eq!(summary["killed"]["name"], "replica-2");
    for latency in ["commit_to_logged_ms", "commit_to_receipt_ms"] {
        let [p50, p99] = ["p50", "p99"].map(|q| summary[latency][q].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99, "{latency}: {p50} {p99}");
    }
}

/// The store has the 255 real blocks, as the oracle reads them, and nothing else.
fn check_real_blocks(kept: &Path, name: &str) {
    let database = kept.join(format!("{name}.db"));
    let store: Box<dyn StoreReader> = match database.exists() {
        true => Box::new(SqliteReader::open(database).unwrap()),
        false => Box::new(FileReader::open(kept.join(name)).unwrap()),
    };
    assert_eq!(store.heights().unwrap(), Some((1, 255)));
    for (real, height) in bitcoin_blocks().iter().zip(1..) {
        let stored = store.block(height).unwrap().expect("a block");
        assert!(stored.payload == real.bytes, "block {height} is the real one, byte for byte");
        assert_eq!(stored.hash.as_ref(), real.hash, "hash of block {height}");
        assert_eq!(stored.parent_hash.as_ref(), real.parent, "link of block {height}");
        let proof = store.proof(height).unwrap().expect("a proof");
        assert_eq!(proof.block_hash.as_ref(), real.hash);
    }
}

/// Names of the streams on a server.
async fn streams(nats: &Nats) -> Vec<String> {
    let client = async_nats::connect(nats.url()).await.unwrap();
    jetstream::new(client).stream_names().try_collect().await.unwrap()
}

async fn blocks_are_committed(running: &mut Running) {
    running.line_with("primary block 1", WITHIN).await;
}

#[tokio::test]
async fn real_blocks_are_in_every_store_byte_for_byte() {
    let dir = with_blocks();
    let words = "--blocks blocks.dat --json --keep kept";
    let finished = demo(dir.path(), words).finish(WITHIN).await;
    let summary = summary(&finished);
    check_agreement(&summary);
    assert_eq!(summary["blocks"], 255);
    for name in STORES {
        check_real_blocks(&dir.path().join("kept"), name);
    }
    assert_eq!(left_in(dir.path()), [""; 0]);
}

#[tokio::test]
async fn real_blocks_over_nats_and_nothing_stays_on_the_server() {
    let (dir, nats) = (with_blocks(), Nats::start(NatsOptions::default()).await);
    let words = format!("--blocks blocks.dat --json --keep kept --nats {}", nats.url());
    let finished = demo(dir.path(), &words).finish(WITHIN).await;
    let summary = summary(&finished);
    check_agreement(&summary);
    assert_eq!(summary["blocks"], 255);
    assert!(summary["log"].as_str().unwrap().starts_with(&nats.url()));
    for name in STORES {
        check_real_blocks(&dir.path().join("kept"), name);
    }
    assert_eq!(streams(&nats).await, [""; 0]);
}

#[tokio::test]
async fn made_blocks_need_nothing_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let finished = demo(dir.path(), "--count 50 --json").finish(WITHIN).await;
    let json = summary(&finished);
    check_agreement(&json);
    assert_eq!(json["blocks"], 50);
    assert_eq!(left_in(dir.path()), [""; 0]);
}

#[tokio::test]
async fn what_stops_it_in_the_middle_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    for terminate in [false, true] {
        let mut running = demo(dir.path(), "--json").spawn();
        blocks_are_committed(&mut running).await;
        assert_eq!(left_in(dir.path()).len(), 1);
        if terminate {
            running.process.terminate();
        } else {
            running.process.interrupt();
        }
        check_stopped(running).await;
        assert_eq!(left_in(dir.path()), [""; 0]);
    }
}

#[tokio::test]
async fn what_stops_it_over_nats_leaves_no_stream() {
    let (dir, nats) = (tempfile::tempdir().unwrap(), Nats::start(NatsOptions::default()).await);
    let mut running = demo(dir.path(), &format!("--json --nats {}", nats.url())).spawn();
    blocks_are_committed(&mut running).await;
    assert_eq!(streams(&nats).await.len(), 2);
    running.process.interrupt();
    check_stopped(running).await;
    assert_eq!(streams(&nats).await, [""; 0]);
    assert_eq!(left_in(dir.path()), [""; 0]);
}

/// It drains, and ends well, without a summary.
async fn check_stopped(running: Running) {
    let finished = running.finish(WITHIN).await;
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert_eq!(finished.stdout, "");
    for word in ["panicked", "ERROR", "error:"] {
        assert!(!finished.stderr.contains(word), "{}", finished.stderr);
    }
}

#[tokio::test]
async fn an_error_in_the_middle_leaves_no_stream_and_says_why() {
    let (dir, nats) = (tempfile::tempdir().unwrap(), Nats::start(NatsOptions::default()).await);
    let words = format!("--count 50 --nats {}", nats.url());
    let mut running = demo(dir.path(), &words).spawn();
    blocks_are_committed(&mut running).await;
    claim(&nats).await;
    let finished = running.finish(WITHIN).await;
    assert_eq!(finished.status.code(), Some(3), "{}", finished.stderr);
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    let says = "error: fenced: epoch 2 has claimed the log";
    assert!(finished.stderr.contains(says), "{}", finished.stderr);
    assert_eq!(streams(&nats).await, [""; 0]);
    assert_eq!(left_in(dir.path()), [""; 0]);
}

/// Claims the demo's log as another primary would.
async fn claim(nats: &Nats) {
    let names = streams(nats).await;
    let name = names.iter().find_map(|name| name.strip_prefix("tipline-")?.strip_suffix("-events"));
    let options = JetStreamOptions::new(nats.url(), name.unwrap().parse().unwrap());
    let log = JetStreamLog::open(&options).await.unwrap();
    eventually("the log is claimed", WITHIN, async || {
        let tail = log.tail().await.unwrap();
        let (primary, outbox) = (Label::new("other").unwrap(), OutboxId::from_bytes([7; 16]));
        let event = Event::EpochStarted { primary, outbox };
        let (time, sequence) = (system_clock()(), tail.outbox_sequence);
        let claim = Entry::seal(&tail.position, tail.epoch + 1, time, sequence, event);
        log.append(&tail, &[claim]).await
    })
    .await;
}

#[tokio::test]
async fn what_it_cannot_use_is_named_and_nothing_is_made() {
    let dir = with_blocks();
    fs::create_dir(dir.path().join("there")).unwrap();
    fs::write(dir.path().join("empty.dat"), "").unwrap();
    let cases = [
        ("--keep there --count 10", "--keep: the directory there cannot be made", "not exist"),
        ("--keep no/such --count 10", "--keep: the directory no/such cannot be made", "not exist"),
        ("--blocks gone.dat", "blk:gone.dat is not a usable outbox", "No such file"),
        ("--blocks empty.dat", "empty.dat: no block in it", ""),
        (
            "--blocks blocks.dat --nats embedded:x",
            "--nats: \"embedded:x\" is no address",
            "nats://",
        ),
        ("--nats 127.0.0.1:4222", "--nats: unknown log", "use embedded:PATH or nats://"),
        ("--nats nats://", "--nats: the address nats:", "has no host"),
    ];
    for (words, says, and) in cases {
        let finished = demo(dir.path(), words).finish(WITHIN).await;
        refused(&finished, 2, says);
        assert!(finished.stderr.contains(and), "{words}: {}", finished.stderr);
        assert_eq!(left_in(dir.path()), [""; 0], "{words}");
    }
    assert_eq!(fs::read_dir(dir.path().join("there")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_server_out_of_reach_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let port = Port::reserve();
    let words = format!("--count 10 --nats nats://127.0.0.1:{}", port.number());
    let finished = demo(dir.path(), &words).finish(WITHIN).await;
    refused(&finished, 16, "does not answer");
    assert!(!finished.stderr.contains("not removed"), "{}", finished.stderr);
}

#[tokio::test]
async fn a_damaged_blk_file_is_refused_with_file_and_place() {
    let dir = with_blocks();
    let whole = fs::read(bitcoin_blocks_path()).unwrap();
    let blocks = bitcoin_blocks();
    let second = 8 + blocks[0].bytes.len();
    let third = second + 8 + blocks[1].bytes.len();

    // Block 2 is not there, so block 3 does not link to the one before it.
    fs::write(dir.path().join("gap.dat"), [&whole[..second], &whole[third..]].concat()).unwrap();
    let finished = demo(dir.path(), "--blocks gap.dat").finish(WITHIN).await;
    refused(&finished, 2, "error: gap.dat: block ");
    let parent = blocks[2].parent;
    let parent: String = parent.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(finished.stderr.contains(&format!("names parent {parent}")), "{}", finished.stderr);

    // The merkle root of block 2.
    let mut flipped = whole.clone();
    flipped[second + 8 + 40] ^= 1;
    fs::write(dir.path().join("flipped.dat"), &flipped).unwrap();
    let finished = demo(dir.path(), "--blocks flipped.dat").finish(WITHIN).await;
    refused(&finished, 13, "damaged at flipped.dat");
    let says = format!("at offset {second}: the block there has a header without proof of work");
    assert!(finished.stderr.contains(&says), "{}", finished.stderr);

    fs::write(dir.path().join("cut.dat"), &whole[..third - 1]).unwrap();
    let finished = demo(dir.path(), "--blocks cut.dat").finish(WITHIN).await;
    refused(&finished, 13, "damaged at cut.dat");
    let says = format!("at offset {second}: the file is cut off: 1 bytes of the block");
    assert!(finished.stderr.contains(&says), "{}", finished.stderr);

    let mut garbage = whole.clone();
    garbage[third] ^= 1;
    fs::write(dir.path().join("garbage.dat"), &garbage).unwrap();
    let finished = demo(dir.path(), "--blocks garbage.dat").finish(WITHIN).await;
    refused(&finished, 13, "damaged at garbage.dat");
    let says = format!("at offset {third}: a record must start with ");
    assert!(finished.stderr.contains(&says), "{}", finished.stderr);
    assert_eq!(left_in(dir.path()), [""; 0]);
}

#[track_caller]
fn refused(finished: &Finished, code: i32, says: &str) {
    assert_eq!(finished.status.code(), Some(code), "{}", finished.stderr);
    assert!(finished.stderr.contains(says), "{says}: {}", finished.stderr);
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    assert_eq!(finished.stdout, "");
}
