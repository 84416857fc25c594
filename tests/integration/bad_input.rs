//! What cannot be used is refused: it is said what, where and what to do, and nothing is lost.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use rusqlite::Connection;
use serde_json::Value;
use tipline_log::jetstream::{JetStreamLog, JetStreamOptions};
use tipline_log::{Reader as _, system_clock};
use tipline_producer::{OutboxError, OutboxTable};
use tipline_proto::limits::MAX_PAYLOAD_BYTES;
use tipline_proto::{Digest, Event, Hash, Position};
use tipline_store::{ChainView as _, SqliteReader, content_digest};
use tipline_tests::{
    Finished, Nats, NatsOptions, bitcoin_blocks, bitcoin_blocks_path, check_store, open_log,
    read_log,
};

use crate::deployment::{Deployment, WITHIN, stop};

/// Bitcoin's, in the order of the bytes in its files.
const BITCOIN: &str = "6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000";

/// It was refused with all of this on standard error.
#[track_caller]
fn refused(finished: &Finished, says: &[&str]) {
    refused_with(2, finished, says);
}

/// The same, with this exit code.
#[track_caller]
fn refused_with(code: i32, finished: &Finished, says: &[&str]) {
    assert_eq!(finished.status.code(), Some(code), "{}", finished.stderr);
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    let error = finished.stderr.find("error: ").map(|at| &finished.stderr[at..]);
    let error = error.expect(&finished.stderr);
    for part in says {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

/// All that a store holds, in two words.
fn content(store: &Path) -> (Position, Digest) {
    let store = SqliteReader::open(store).unwrap();
    (store.cursor().unwrap().unwrap().position, content_digest(&store).unwrap())
}

async fn tail(log: &str) -> Position {
    open_log(log).await.unwrap().tail().await.unwrap().position
}

#[tokio::test]
async fn what_is_no_store_is_left_as_it_is() {
    let site = Deployment::with_log("00").await;
    fs::copy(bitcoin_blocks_path(), site.path("blocks.dat")).unwrap();
    let other = Connection::open(site.path("other.db")).unwrap();
    other.execute_batch("CREATE TABLE accounts (id INTEGER)").unwrap();
    drop(other);
    fs::create_dir(site.path("dir")).unwrap();
    let cases = [
        ("blocks.dat", "it is not an SQLite file: give another path"),
        ("other.db", "it is an SQLite file, but not a store of Tipline: give another path"),
        ("tipline.log.db", "it is an SQLite file, but not a store of Tipline: give another path"),
        ("dir", "it is a directory: give the path of a file in it"),
        ("no/such.db", "its directory cannot be opened: make it first"),
    ];
    for (file, why) in cases {
        let before = fs::read(site.path(file)).ok();
        let finished = site.run(&format!("replica --name r --store sqlite:{file}")).await;
        refused(&finished, &[&format!("error: sqlite:{file} is not a usable store: {why}")]);
        assert!(fs::read(site.path(file)).ok() == before, "{file} was not changed");
    }
    // Nor the other way round.
    for (log, why) in [("blocks.dat", "it is not an SQLite file"), ("other.db", "but not a log")] {
        let words = format!("replica --name r --store sqlite:r.db --log embedded:{log}");
        let says = format!("error: the log at embedded:{log} cannot be used: ");
        refused(&site.run(&words).await, &[&says, why]);
    }
}

const OTHER_LOG: &str = "error: this outbox publishes to the log of lineage ";

#[tokio::test]
async fn a_log_made_again_under_its_name_is_not_mixed_with_the_old_one() {
    let site = Deployment::with_log(BITCOIN).await;
    let log = "embedded:tipline.log.db";
    fs::copy(bitcoin_blocks_path(), site.path("blocks.dat")).unwrap();
    site.publish(log, "blk:blocks.dat", 255).await;
    site.back_up(log, "b.db", 255).await;
    let before = content(&site.path("b.db"));

    for file in ["tipline.log.db", "tipline.log.db-wal", "tipline.log.db-shm"] {
        drop(fs::remove_file(site.path(file)));
    }
    site.init("tipline.log.db", BITCOIN).await;
    let words = "backup --name b --store sqlite:b.db";
    let says = ["error: the store sqlite:b.db belongs to chain \"test\" with lineage "];
    refused_with(14, &site.run(words).await, &says);
    assert_eq!(content(&site.path("b.db")), before);

    // The primary notices, too. It still has everything: told to, it makes the new log as
    // whole as the old one was.
    let primary = "primary --source blk:blocks.dat";
    refused_with(14, &site.run(primary).await, &[OTHER_LOG, "--continue-at INDEX@DIGEST"]);
    let origin = tail(&site.address()).await;
    assert_eq!(origin.index, 0, "nothing was published");
    let digest = origin.digest;
    let told = format!("blk:blocks.dat --continue-at 0@{digest} --continue-sequence 0");
    site.publish(log, &told, 255).await;
    refused_with(14, &site.run(words).await, &says);
    assert_eq!(content(&site.path("b.db")), before);
    site.back_up(log, "new.db", 255).await;
    let entries = read_log(&*open_log(&site.address()).await.unwrap()).await;
    check_store(&SqliteReader::open(site.path("new.db")).unwrap(), &entries);
}

#[tokio::test]
async fn a_log_on_nats_that_is_gone_or_made_again_is_refused() {
    let (site, nats) = (Deployment::new(), Nats::start(NatsOptions::default()).await);
    let log = format!("{}/main", nats.url());
    let text = format!("log = '{log}'\naccept-shortfalls = true\n");
    fs::write(site.path("tipline.toml"), text).unwrap();
    fs::copy(bitcoin_blocks_path(), site.path("blocks.dat")).unwrap();
    let backup = "backup --name b --store sqlite:b.db";
    let primary = "primary --source blk:blocks.dat";
    let init = format!("init --chain test --genesis {BITCOIN} --replicas 1");
    let gone = format!("error: there is no log at {log}");
    for words in [backup, primary] {
        refused(&site.run(words).await, &[&gone, "to do: ", "tipline init"]);
    }
    assert_eq!(site.run(&init).await.status.code(), Some(0));
    site.publish(&log, "blk:blocks.dat", 255).await;
    site.back_up(&log, "b.db", 255).await;
    let before = content(&site.path("b.db"));

    let options = JetStreamOptions::new(nats.url(), "main".parse().unwrap());
    let lineage = JetStreamLog::open(&options).await.unwrap().identity().lineage;
    JetStreamLog::delete(&options, lineage).await.unwrap();
    for words in [backup, primary] {
        refused(&site.run(words).await, &[&gone, "to do: "]);
    }
    assert_eq!(site.run(&init).await.status.code(), Some(0));
    let says =
        format!("error: the store sqlite:b.db belongs to chain \"test\" with lineage {lineage}");
    refused_with(14, &site.run(backup).await, &[&says, "give it another place"]);
    refused_with(14, &site.run(primary).await, &[OTHER_LOG, "--continue-at INDEX@DIGEST"]);
    assert_eq!(content(&site.path("b.db")), before);
}

#[tokio::test]
async fn a_store_of_another_history_is_refused_at_the_height_where_it_parts() {
    let site = Deployment::with_log("00").await;
    (1..=4).for_each(|height| site.block("node", height, format!("block {height}").as_bytes()));
    site.publish("embedded:tipline.log.db", "dir:node", 4).await;
    // The same lineage twice from here on, as after a snapshot of the machine was restored.
    let [node, twin] = ["node", "twin"].map(|name| site.path(name));
    let copied = Command::new("cp").arg("-a").arg(node).arg(twin).status();
    assert!(copied.unwrap().success());
    site.copy_log("tipline.log.db", "twin.db");
    for height in 5..=8 {
        site.block("node", height, format!("block {height}").as_bytes());
        site.block("twin", height, format!("another {height}").as_bytes());
    }
    site.publish("embedded:tipline.log.db", "dir:node", 8).await;
    site.publish("embedded:twin.db", "dir:twin", 8).await;
    site.back_up("embedded:tipline.log.db", "b.db", 8).await;
    let before = content(&site.path("b.db"));
    let twin = format!("embedded:{}", site.path("twin.db").display());
    let twin_tail = tail(&twin).await;

    let words = "backup --name b --store sqlite:b.db --log embedded:twin.db";
    let says = ["error: the store sqlite:b.db diverges from the log at height 5: ", "entry 10"];
    refused(&site.run(words).await, &says);
    assert_eq!(content(&site.path("b.db")), before);
    assert_eq!(tail(&twin).await, twin_tail);
}

#[tokio::test]
async fn a_store_ahead_of_its_log_waits_for_it_and_says_both_ends() {
    let site = Deployment::with_log("00").await;
    for height in 1..=3 {
        site.block("node", height, format!("block {height}").as_bytes());
    }
    site.publish("embedded:tipline.log.db", "dir:node", 3).await;
    site.copy_log("tipline.log.db", "older.db");
    for height in 4..=8 {
        site.block("node", height, format!("block {height}").as_bytes());
    }
    site.publish("embedded:tipline.log.db", "dir:node", 8).await;
    site.back_up("embedded:tipline.log.db", "b.db", 8).await;
    let before = content(&site.path("b.db"));
    let words = "backup --name b --store sqlite:b.db --log embedded:older.db";
    let mut backup = site.tipline(words).spawn();
    let told = backup.line_with("the log ends before the store's cursor", WITHIN).await;
    assert!(told.contains("is at entry 10, but the log ends at 4"), "{told}");
    // It waits, and everybody can see why.
    let is_told = |status: &Value| {
        let failure = status["consumers"][0]["failure"].as_str();
        failure.is_some_and(|failure| failure.contains("the log ends at 4"))
    };
    site.status("--log embedded:older.db", is_told).await;
    stop(&mut backup).await;
    assert_eq!(content(&site.path("b.db")), before);
}

#[tokio::test]
async fn a_backup_whose_store_is_gone_does_not_begin_again_unasked() {
    let site = Deployment::with_log("00").await;
    for height in 1..=5 {
        site.block("node", height, format!("block {height}").as_bytes());
    }
    site.publish("embedded:tipline.log.db", "dir:node", 5).await;
    site.back_up("embedded:tipline.log.db", "b.db", 5).await;
    let before = content(&site.path("b.db"));
    // As if nothing were mounted there.
    let words = "backup --name b --store sqlite:elsewhere.db --log embedded:tipline.log.db";
    let says = ["error: the store sqlite:elsewhere.db is new", "up to entry", "--new"];
    refused(&site.run(words).await, &says);
    refused(&site.run(words).await, &says);
    let mut backup = site.tipline(&format!("{words} --new")).spawn();
    let is_there = |status: &Value| {
        let consumer = &status["consumers"][0];
        consumer["state"] == "well" && consumer["block"] == 5
    };
    site.status("--log embedded:tipline.log.db", is_there).await;
    stop(&mut backup).await;
    assert_eq!(content(&site.path("elsewhere.db")), before);
}

#[tokio::test]
async fn a_damaged_blk_file_is_published_up_to_the_damage() {
    let site = Deployment::with_log(BITCOIN).await;
    let whole = fs::read(bitcoin_blocks_path()).unwrap();
    let real = bitcoin_blocks();
    let offsets: Vec<usize> = real
        .iter()
        .scan(0, |at, block| Some(std::mem::replace(at, *at + 8 + block.bytes.len())))
        .collect();

    // Cut off in block 8: a node may still be writing it, so it is waited for, and told.
    fs::write(site.path("blocks.dat"), &whole[..offsets[7] + 100]).unwrap();
    let mut primary = site.tipline("primary --source blk:blocks.dat").spawn();
    let line = primary.line_with("was the file cut off?", WITHIN).await;
    assert!(
        line.contains("blocks.dat") && line.contains(&format!("offset {}", offsets[7])),
        "{line}"
    );
    site.status("", |status| status["tip"]["height"] == 7).await;
    fs::write(site.path("blocks.dat"), &whole).unwrap();
    site.status("", |status| status["tip"]["height"] == 255).await;
    stop(&mut primary).await;

    // Garbage in the place of block 100.
    site.init("second.db", BITCOIN).await;
    let mut garbage = whole;
    garbage[offsets[99]..offsets[99] + 200].fill(0x5a);
    fs::create_dir(site.path("second")).unwrap();
    fs::write(site.path("second/garbage.dat"), &garbage).unwrap();
    let words = "primary --log embedded:second.db --source blk:second/garbage.dat";
    let at = format!("at offset {}: a record must start with", offsets[99]);
    let finished = site.run(words).await;
    refused_with(13, &finished, &["error: the outbox cannot be used", "second/garbage.dat", &at]);
    // And the same once more: what a record starts with is not forgotten.
    refused_with(13, &site.run(words).await, &["second/garbage.dat", &at]);
    let second = format!("embedded:{}", site.path("second.db").display());
    let entries = read_log(&*open_log(&second).await.unwrap()).await;
    let logged = entries.iter().filter(|entry| !entry.event.payload().is_empty());
    assert!(logged.map(|entry| entry.event.payload()).eq(real.iter().take(99).map(|b| &b.bytes)));
}

#[tokio::test]
async fn a_block_file_that_is_empty_is_waited_for_and_one_that_was_cut_is_named() {
    let site = Deployment::with_log("00").await;
    for height in 1..=3 {
        site.block("node", height, format!("block {height}").as_bytes());
    }
    site.block("node", 4, b"");
    site.block("node", 5, b"block 5");
    let log = "embedded:tipline.log.db";
    let mut primary = site.tipline("primary --source dir:node").spawn();
    let line = primary.line_with("is empty: the blocks above wait", WITHIN).await;
    assert!(line.contains("block_00000004.dat"), "{line}");
    site.status("", |status| status["tip"]["height"] == 3).await;
    stop(&mut primary).await;
    site.block("node", 4, b"block 4");
    site.publish(log, "dir:node", 5).await;
    let before = tail(&site.address()).await;

    // Only the newest may be replaced: whatever is below is what the chain stands on.
    let cut = File::options().write(true).open(site.block_path("node", 4)).unwrap();
    cut.set_len(3).unwrap();
    drop(cut);
    site.block("node", 6, b"block 6");
    let finished = site.run("primary --source dir:node").await;
    refused_with(13, &finished, &["error: the outbox cannot be used", "block_00000004.dat"]);
    let log = open_log(&site.address()).await.unwrap();
    let entries = read_log(&*log).await;
    assert!(entries.iter().any(|entry| entry.position() == before), "the log is what it was");
    let blocks = entries.iter().filter(|e| matches!(e.event, Event::BlockCommitted { .. }));
    assert_eq!(blocks.count(), 5, "nothing was put behind it");
}

#[tokio::test]
async fn a_payload_over_the_limit_is_refused_and_the_file_named() {
    let site = Deployment::with_log("00").await;
    site.block("node", 1, b"block 1");
    site.block("node", 2, b"");
    let large = File::options().write(true).open(site.block_path("node", 2)).unwrap();
    large.set_len(65 << 20).unwrap();
    drop(large);
    let finished = site.run("primary --source dir:node").await;
    refused(&finished, &["block_00000002.dat", "68157440", "67108864"]);
    let log = open_log(&site.address()).await.unwrap();
    let entries = read_log(&*log).await;
    let blocks = entries.iter().filter(|e| matches!(e.event, Event::BlockCommitted { .. }));
    assert_eq!(blocks.count(), 1, "what comes before it is published");
}

#[test]
fn a_payload_over_the_limit_is_not_enqueued_and_the_node_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut conn = Connection::open(dir.path().join("node.db")).unwrap();
    let genesis = Hash::new([0; 32]).unwrap();
    let table = OutboxTable::install(&conn, &genesis, system_clock()).unwrap();
    let block = |payload: Bytes| Event::BlockCommitted {
        height: 1,
        hash: Hash::new([1; 32]).unwrap(),
        parent_hash: genesis.clone(),
        payload,
    };
    let tx = conn.transaction().unwrap();
    let large = block(Bytes::from(vec![0; MAX_PAYLOAD_BYTES + 1]));
    let error = table.enqueue(&tx, &large).unwrap_err();
    assert!(matches!(error, OutboxError::TooLarge(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("67108865") && text.contains("67108864"), "{text}");
    // The transaction is as it was, and takes what fits: the largest one, too.
    let largest = block(Bytes::from(vec![0; MAX_PAYLOAD_BYTES]));
    assert_eq!(table.enqueue(&tx, &largest).unwrap(), 1);
    tx.commit().unwrap();
}
