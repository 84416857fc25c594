//! What cannot be used is refused: it is said what, where and what to do, and nothing is lost.
#![expect(clippy::print_stdout, reason = "a test that is left out says so")]

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;
use tipline_consumer::{SqliteReader, StoreReader as _, content_digest};
use tipline_log::jetstream::{JetStreamLog, JetStreamOptions};
use tipline_log::{Reader as _, system_clock};
use tipline_producer::{OutboxError, OutboxTable};
use tipline_proto::limits::MAX_PAYLOAD_BYTES;
use tipline_proto::{Digest, Event, Hash, Position};
use tipline_tests::{
    Finished, Nats, NatsOptions, Running, Tipline, bitcoin_blocks, bitcoin_blocks_path,
    check_store, eventually, open_log, read_log,
};

const WITHIN: Duration = Duration::from_secs(30);
/// Bitcoin's, in the order of the bytes in its files.
const BITCOIN: &str = "6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000";

/// A directory with everything that a test's programs share.
struct Site(TempDir);

impl Site {
    async fn with_log(genesis: &str) -> Site {
        let site = Site(tempfile::tempdir().unwrap());
        site.init("tipline.log.db", genesis).await;
        site
    }

    async fn init(&self, log: &str, genesis: &str) {
        let words = format!("init --log embedded:{log} --chain test --genesis {genesis}");
        let made = self.run(&words).await;
        assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.0.path().join(file)
    }

    fn tipline(&self, words: &str) -> Tipline {
        Tipline::new(words.split_whitespace()).current_dir(self.0.path())
    }

    async fn run(&self, words: &str) -> Finished {
        self.tipline(words).finish(WITHIN).await
    }

    /// Waits for a status that is as wanted.
    async fn status(&self, options: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually("the status is as wanted", WITHIN, async || {
            let finished = self.run(&format!("status --json {options}")).await;
            let status: Value = serde_json::from_str(&finished.stdout).expect(&finished.stderr);
            if wanted(&status) { Ok(status) } else { Err(status) }
        })
        .await
    }

    /// Copies a log that nobody has open, with what is not in its main file yet, if anything.
    fn copy_log(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
        let [from, to] = [from, to].map(|name| self.path(&format!("{name}-wal")));
        if from.exists() {
            fs::copy(from, to).unwrap();
        }
    }

    /// The node's block file of a height, as a node that is careful writes it.
    fn block(&self, node: &str, height: u64, bytes: &[u8]) {
        let path = self.block_path(node, height);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let written = path.with_extension("tmp");
        fs::write(&written, bytes).unwrap();
        fs::rename(written, path).unwrap();
    }

    fn block_path(&self, node: &str, height: u64) -> std::path::PathBuf {
        self.path(&format!("{node}/blocks/0000/block_{height:08x}.dat"))
    }

    /// Publishes a source up to a height and ends the primary.
    async fn publish(&self, log: &str, source: &str, height: u64) {
        let mut primary = self.tipline(&format!("primary --log {log} --source {source}")).spawn();
        self.status(&format!("--log {log}"), |status| status["tip"]["height"] == height).await;
        stop(&mut primary).await;
    }

    /// Lets a backup fill a store up to a height and ends it.
    async fn back_up(&self, log: &str, store: &str, height: u64) {
        let words = format!("backup --name b --log {log} --store sqlite:{store}");
        let mut backup = self.tipline(&words).spawn();
        let is_there = |status: &Value| status["consumers"][0]["block"] == height;
        self.status(&format!("--log {log}"), is_there).await;
        stop(&mut backup).await;
    }
}

async fn stop(running: &mut Running) {
    running.process.terminate();
    let status = running.process.wait(WITHIN).await;
    assert_eq!(status.code(), Some(0), "{}", running.stderr());
}

/// It was refused with all of this on standard error.
#[track_caller]
fn refused(finished: &Finished, says: &[&str]) {
    assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
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
    let site = Site::with_log("00").await;
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
    let site = Site::with_log(BITCOIN).await;
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
    refused(&site.run(words).await, &says);
    assert_eq!(content(&site.path("b.db")), before);

    // The primary notices, too. It still has everything: told to, it makes the new log as
    // whole as the old one was.
    let primary = "primary --source blk:blocks.dat";
    refused(&site.run(primary).await, &[OTHER_LOG, "--continue-at INDEX@DIGEST"]);
    let origin = tail(&address(&site)).await;
    assert_eq!(origin.index, 0, "nothing was published");
    let digest = origin.digest;
    let told = format!("blk:blocks.dat --continue-at 0@{digest} --continue-sequence 0");
    site.publish(log, &told, 255).await;
    refused(&site.run(words).await, &says);
    assert_eq!(content(&site.path("b.db")), before);
    site.back_up(log, "new.db", 255).await;
    let entries = read_log(&*open_log(&address(&site)).await.unwrap()).await;
    check_store(&SqliteReader::open(site.path("new.db")).unwrap(), &entries);
}

fn address(site: &Site) -> String {
    format!("embedded:{}", site.path("tipline.log.db").display())
}

#[tokio::test]
async fn a_log_on_nats_that_is_gone_or_made_again_is_refused() {
    let (site, nats) =
        (Site(tempfile::tempdir().unwrap()), Nats::start(NatsOptions::default()).await);
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
    refused(&site.run(backup).await, &[&says, "give it another place"]);
    refused(&site.run(primary).await, &[OTHER_LOG, "--continue-at INDEX@DIGEST"]);
    assert_eq!(content(&site.path("b.db")), before);
}

#[tokio::test]
async fn a_store_of_another_history_is_refused_at_the_height_where_it_parts() {
    let site = Site::with_log("00").await;
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
async fn a_store_ahead_of_its_log_is_refused_with_both_ends() {
    let site = Site::with_log("00").await;
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
    let says = [
        "error: the store sqlite:b.db is at entry 10, but the log ends at 4: the log lost entries",
        "start again when the primary has published them again",
    ];
    refused(&site.run(words).await, &says);
    assert_eq!(content(&site.path("b.db")), before);
}

#[tokio::test]
async fn a_damaged_blk_file_is_published_up_to_the_damage() {
    let site = Site::with_log(BITCOIN).await;
    let whole = fs::read(bitcoin_blocks_path()).unwrap();
    let real = bitcoin_blocks();
    let offsets: Vec<usize> = real
        .iter()
        .scan(0, |at, block| Some(std::mem::replace(at, *at + 8 + block.bytes.len())))
        .collect();

    // Cut off in block 8: a node may still be writing it, so it is waited for, and told.
    fs::write(site.path("blocks.dat"), &whole[..offsets[7] + 100]).unwrap();
    let file = File::options().write(true).open(site.path("blocks.dat")).unwrap();
    let written = file.metadata().unwrap().modified().unwrap();
    file.set_modified(written - Duration::from_secs(120)).unwrap();
    drop(file);
    let mut primary = site.tipline("primary --source blk:blocks.dat").spawn();
    let line = primary.line_with("was the file cut off?", WITHIN).await;
    assert!(
        line.contains("blocks.dat") && line.contains(&format!("offset={}", offsets[7])),
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
    refused(&finished, &["error: the outbox cannot be used", "second/garbage.dat", &at]);
    // And the same once more: what a record starts with is not forgotten.
    refused(&site.run(words).await, &["second/garbage.dat", &at]);
    let second = format!("embedded:{}", site.path("second.db").display());
    let entries = read_log(&*open_log(&second).await.unwrap()).await;
    let logged = entries.iter().filter(|entry| !entry.event.payload().is_empty());
    assert!(logged.map(|entry| entry.event.payload()).eq(real.iter().take(99).map(|b| &b.bytes)));
}

#[tokio::test]
async fn a_block_file_that_is_empty_is_waited_for_and_one_that_was_cut_is_named() {
    let site = Site::with_log("00").await;
    for height in 1..=3 {
        site.block("node", height, format!("block {height}").as_bytes());
    }
    site.block("node", 4, b"");
    site.block("node", 5, b"block 5");
    let log = "embedded:tipline.log.db";
    let mut primary = site.tipline("primary --source dir:node").spawn();
    let line = primary.line_with("the block file is empty", WITHIN).await;
    assert!(line.contains("block_00000004.dat"), "{line}");
    site.status("", |status| status["tip"]["height"] == 3).await;
    stop(&mut primary).await;
    site.block("node", 4, b"block 4");
    site.publish(log, "dir:node", 5).await;
    let before = tail(&address(&site)).await;

    // Only the newest may be replaced: whatever is below is what the chain stands on.
    let cut = File::options().write(true).open(site.block_path("node", 4)).unwrap();
    cut.set_len(3).unwrap();
    drop(cut);
    site.block("node", 6, b"block 6");
    let finished = site.run("primary --source dir:node").await;
    refused(&finished, &["error: the outbox cannot be used", "block_00000004.dat"]);
    let log = open_log(&address(&site)).await.unwrap();
    let entries = read_log(&*log).await;
    assert!(entries.iter().any(|entry| entry.position() == before), "the log is what it was");
    let blocks = entries.iter().filter(|e| matches!(e.event, Event::BlockCommitted { .. }));
    assert_eq!(blocks.count(), 5, "nothing was put behind it");
}

#[tokio::test]
async fn a_payload_over_the_limit_is_refused_and_the_file_named() {
    let site = Site::with_log("00").await;
    site.block("node", 1, b"block 1");
    site.block("node", 2, b"");
    let large = File::options().write(true).open(site.block_path("node", 2)).unwrap();
    large.set_len(65 << 20).unwrap();
    drop(large);
    let finished = site.run("primary --source dir:node").await;
    refused(&finished, &["block_00000002.dat", "68157440", "67108864"]);
    let log = open_log(&address(&site)).await.unwrap();
    let entries = read_log(&*log).await;
    let blocks = entries.iter().filter(|e| matches!(e.event, Event::BlockCommitted { .. }));
    assert_eq!(blocks.count(), 1, "what comes before it is published");
}

#[test]
fn a_payload_over_the_limit_is_not_enqueued_and_the_node_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut conn = Connection::open(dir.path().join("node.db")).unwrap();
    let genesis = Hash::new(vec![0; 32]).unwrap();
    let table = OutboxTable::install(&conn, &genesis, system_clock()).unwrap();
    let block = |payload: Bytes| Event::BlockCommitted {
        height: 1,
        hash: Hash::new(vec![1; 32]).unwrap(),
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

/// A disk of 12 MiB that nobody else sees, with 10.5 MiB of filler on it, and the program. The
/// filler is removed once there is a file `room`; once there is a file `stop` the
/// program is asked to end, and the store is copied out.
const SMALL_DISK: &str = r#"
    mount -t tmpfs -o size=12m none disk && head -c 11010048 /dev/zero > disk/filler || exit 99
    "$@" & pid=$!
    while kill -0 $pid 2>/dev/null; do
        if [ -e room ]; then rm -f disk/filler; fi
        if [ -e stop ]; then kill -TERM $pid; fi
        sleep 0.1
    done
    wait $pid; code=$?
    cp disk/r.db* out/ && exit $code
"#;

#[tokio::test]
async fn a_full_disk_is_told_and_waited_for_and_nothing_is_lost() {
    if !has_namespaces() {
        return;
    }
    let site = Site::with_log("00").await;
    for dir in ["disk", "out"] {
        fs::create_dir(site.path(dir)).unwrap();
    }
    let block = |height: u64| site.block("node", height, &[height as u8; 64 << 10]);
    (1..=3).for_each(block);
    let mut primary = site.tipline("primary --source dir:node").spawn();
    let replica = site.tipline("replica --name r --store sqlite:disk/r.db");
    let mut replica = replica
        .through("unshare", NAMESPACES.iter().chain(&["sh", "-c", SMALL_DISK, "sh"]))
        .spawn();
    site.status("", |status| status["consumers"][0]["block"] == 3).await;

    (4..=40).for_each(block);
    let says = ["no room left for the store sqlite:", "disk/r.db: make room"];
    let line = replica.line_with(says[0], WITHIN).await;
    assert!(line.contains(says[1]) && line.contains("ERROR"), "{line}");
    let told = |status: &Value| {
        let failure = status["consumers"][0]["failure"].as_str().unwrap_or_default();
        says.iter().all(|part| failure.contains(part)) && status["tip"]["height"] == 40
    };
    let status = site.status("", told).await;
    assert_eq!(status["verdict"], "degraded");
    assert_eq!(status["consumers"][0]["state"], "failed");
    assert!(status["consumers"][0]["block"].as_u64().unwrap() < 40, "{status}");

    fs::write(site.path("room"), "").unwrap();
    let well = |status: &Value| {
        let replica = &status["consumers"][0];
        replica["block"] == 40 && replica["failure"].is_null() && replica["state"] == "well"
    };
    site.status("", well).await;
    fs::write(site.path("stop"), "").unwrap();
    let ended = replica.process.wait(WITHIN).await;
    assert_eq!(ended.code(), Some(0), "{}", replica.stderr());
    stop(&mut primary).await;
    let entries = read_log(&*open_log(&address(&site)).await.unwrap()).await;
    check_store(&SqliteReader::open(site.path("out/r.db")).unwrap(), &entries);
    assert!(!replica.stderr().contains("panicked"));
}

/// A mount of its own, without root; whatever runs in it ends with `unshare`.
const NAMESPACES: [&str; 6] =
    ["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"];

/// Whether a disk of its own can be had. A machine without says so explicitly.
fn has_namespaces() -> bool {
    let tried = Command::new("unshare")
        .args(NAMESPACES)
        .args(["sh", "-c", "mount -t tmpfs none /tmp"])
        .output();
    let why = match tried {
        Ok(done) if done.status.success() => return true,
        Ok(done) => String::from_utf8_lossy(&done.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    assert!(
        std::env::var_os("TIPLINE_WITHOUT_NAMESPACES").is_some_and(|value| value == "1"),
        "a full disk needs a mount of its own, which `unshare {}` does not give here: {why}. Allow \
         user namespaces, or leave the test out by TIPLINE_WITHOUT_NAMESPACES=1",
        NAMESPACES.join(" ")
    );
    println!("skipped: no namespaces (TIPLINE_WITHOUT_NAMESPACES=1): {why}");
    false
}
