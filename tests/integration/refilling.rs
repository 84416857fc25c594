//! A log that lost more of its end than the outbox keeps, and is refilled from an archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tipline_producer::{Outbox as _, SqliteOutbox};
use tipline_proto::Level;
use tipline_store::SqliteReader;
use tipline_tests::{
    Finished, Nats, NatsOptions, Process, Rng, Running, Tipline, check_log, check_store,
    eventually, toy_history,
};

use crate::site::Site;

const WITHIN: Duration = Duration::from_secs(90);

/// `tipline WORDS`, with the log of this site.
fn tipline(site: &Site, words: &str) -> Tipline {
    let words = words.replace("SITE", site.file("").to_str().unwrap().trim_end_matches('/'));
    let log = ["--log", &site.address, "--accept-shortfalls"];
    Tipline::new(words.split_whitespace().chain(log))
}

/// The node has so many blocks, all of them proven. Gives its newest row.
async fn commit(site: &Site, blocks: u64, payload: usize) -> u64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toy-primary"));
    command.args(["--commit", "only", "--blocks", &blocks.to_string()]);
    command.args(["--payload", &payload.to_string()]).arg("--db").arg(site.file("node.db"));
    let mut node = Process::spawn("node", command, &site.file("node.log"));
    assert!(node.wait(WITHIN).await.success());
    toy_history(&site.file("node.db")).len() as u64
}

fn primary(site: &Site) -> Running {
    tipline(site, "primary --name node-1 --source sqlite:SITE/node.db").spawn()
}

async fn stop(running: &mut Running) {
    running.process.terminate();
    assert_eq!(running.process.wait(WITHIN).await.code(), Some(0), "{}", running.stderr());
}

/// Publishes all that the node has.
async fn publish(site: &Site) {
    let mut primary = primary(site);
    site.wait_for_all("node.db").await;
    stop(&mut primary).await;
}

/// Waits until a consumer says that it has the log's newest entry, at this level.
async fn has_all(site: &Site, name: &str, level: Level) {
    let log = site.log().await;
    eventually(&format!("{name} has the log"), WITHIN, async || {
        let last = log.tail().await.map_err(|e| e.to_string())?.position.index;
        let receipts = log.board().await.map_err(|e| e.to_string())?.receipts;
        let receipt = receipts.iter().find(|receipt| receipt.consumer.as_str() == name);
        let at = receipt.and_then(|receipt| receipt.reached.at(level)).map(|at| at.index);
        if at == Some(last) { Ok(()) } else { Err(format!("{at:?} of {last}")) }
    })
    .await;
}

/// The outbox keeps no more than the newest rows: those before grew old.
fn forget(site: &Site, upto: u64) {
    let mut outbox = SqliteOutbox::open(&site.file("node.db")).unwrap();
    outbox.trim(upto).unwrap();
    assert_eq!(outbox.pending().unwrap().first, upto + 1);
}

/// Refills, as soon as the primary that was stopped is silent for long enough.
async fn refill(site: &Site, words: &str) -> Finished {
    eventually("nobody takes the primary for alive", WITHIN, async || {
        let done = tipline(site, &format!("refill {words}")).finish(WITHIN).await;
        if done.stderr.contains("may still run") { Err(done.stderr) } else { Ok(done) }
    })
    .await
}

fn ended(finished: &Finished, code: i32, says: &[&str]) {
    let text = format!("{}{}", finished.stdout, finished.stderr);
    assert_eq!(finished.status.code(), Some(code), "{text}");
    says.iter().for_each(|part| assert!(text.contains(part), "{part}: {text}"));
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_more_than_the_outbox_keeps_is_refilled_and_everybody_continues() {
    let mut rng = Rng::from_env();
    // Every block comes in parts.
    let options = NatsOptions { max_payload: 64 << 10, ..NatsOptions::default() };
    let mut nats = Nats::start(options).await;
    let site = Site::new(&nats, "refill", &mut rng).await;
    let archive = "archive --to dir:SITE/archive --linger 50ms --no-merge";
    let mut archive = tipline(&site, archive).spawn();
    let replica = "replica --name replica-1 --store sqlite:SITE/replica.db";
    let mut replica = tipline(&site, replica).spawn();
    commit(&site, 10, 100_000).await;
    publish(&site).await;
    let older = site.entries().await;

    nats.stop().await;
    let stream = nats.store_dir().join("jetstream/$G/streams/tipline-refill-events");
    let copy = site.file("copy");
    copy_all(&stream, &copy);
    nats.restart().await;
    let rows = commit(&site, 40, 100_000).await;
    let mut primary_1 = primary(&site);
    site.wait_for_all("node.db").await;
    has_all(&site, "archive", Level::Verified).await;
    has_all(&site, "replica-1", Level::Durable).await;
    let refused = tipline(&site, "refill --from dir:SITE/archive").finish(WITHIN).await;
    ended(&refused, 2, &["the primary node-1 announced itself", "it may still run"]);
    stop(&mut primary_1).await;
    let all = site.entries().await;

    nats.stop().await;
    fs::remove_dir_all(&stream).unwrap();
    copy_all(&copy, &stream);
    nats.restart().await;
    forget(&site, rows - 5);
    let halted = primary(&site).finish(WITHIN).await;
    let (next, last) = (older.last().unwrap().outbox_sequence + 1, rows - 5);
    let lost = format!("rows {next} to {last} are in neither");
    ended(&halted, 2, &[&lost, "tipline refill"]);
    assert_eq!(site.entries().await, older, "nothing was claimed");

    let (first, last) = (older.len() + 1, all.len());
    let range = format!("entries {first} to {last} of dir:");
    let rehearsed = refill(&site, "--from dir:SITE/archive --dry-run").await;
    ended(&rehearsed, 0, &["would refill: ", &range]);
    assert_eq!(site.entries().await, older, "nothing was appended");
    let refilled = refill(&site, "--from dir:SITE/archive").await;
    ended(&refilled, 0, &["refilled: ", &range]);
    assert_eq!(site.entries().await, all, "every entry is as it was");
    let again = refill(&site, "--from dir:SITE/archive").await;
    ended(&again, 0, &["nothing to refill"]);

    commit(&site, 45, 100_000).await;
    publish(&site).await;
    has_all(&site, "archive", Level::Verified).await;
    has_all(&site, "replica-1", Level::Durable).await;
    assert_eq!(archive.process.status(), None, "the archive has continued by itself");
    assert_eq!(replica.process.status(), None, "the replica has continued by itself");
    let entries = site.entries().await;
    assert_eq!(entries[..all.len()], all);
    check_log(&entries, &toy_history(&site.file("node.db")));
    check_store(&SqliteReader::open(site.file("replica.db")).unwrap(), &entries);
}

/// Copies a log that nobody has open.
fn copy_log(site: &Site, from: &str, to: &str) {
    for end in ["", "-wal", "-shm"] {
        let [from, to] = [from, to].map(|name| -> PathBuf { site.file(&format!("{name}{end}")) });
        drop(fs::remove_file(&to));
        if from.exists() {
            fs::copy(from, to).unwrap();
        }
    }
}

async fn archive(site: &Site, place: &str) {
    let words = format!("archive --name {place} --to dir:SITE/{place} --linger 50ms");
    let mut archive = tipline(site, &words).spawn();
    has_all(site, place, Level::Verified).await;
    stop(&mut archive).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_too_short_refills_what_it_has_and_the_rest_is_named() {
    let mut rng = Rng::from_env();
    let site = Site::embedded(&mut rng).await;
    commit(&site, 5, 500).await;
    publish(&site).await;
    copy_log(&site, "log.db", "older.db");
    let archived_rows = commit(&site, 10, 500).await;
    publish(&site).await;
    archive(&site, "archive").await;
    let archived = site.entries().await;
    let rows = commit(&site, 15, 500).await;
    publish(&site).await;
    let replica = "replica --name replica-1 --store sqlite:SITE/replica.db";
    let mut first = tipline(&site, replica).spawn();
    has_all(&site, "replica-1", Level::Durable).await;
    stop(&mut first).await;
    let newest = site.entries().await.len();
    let receipts = site.log().await.board().await.unwrap().receipts;

    copy_log(&site, "older.db", "log.db");
    forget(&site, rows - 2);
    // On NATS receipts are in a stream of their own.
    let log = site.log().await;
    for receipt in &receipts {
        log.put_receipt(receipt).await.unwrap();
    }
    drop(log);
    let refilled = refill(&site, "--from dir:SITE/archive").await;
    let end = archived.len();
    let next = format!("its primary continues with row {} of the outbox", archived_rows + 1);
    let lost =
        format!("entries {} to {newest}, rows of the outbox from {}", end + 1, archived_rows + 1);
    ended(&refilled, 0, &[&next, &lost, &format!("replica-1 had entry {newest}")]);
    assert_eq!(site.entries().await, archived);
    let halted = primary(&site).finish(WITHIN).await;
    let ends = format!("the log ends at entry {end} ");
    let neither = format!("rows {} to {} are in neither", archived_rows + 1, rows - 2);
    ended(&halted, 2, &[&ends, &neither]);
    assert_eq!(site.entries().await, archived, "nothing was claimed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_another_history_is_refused_with_the_entry_where_they_part() {
    let mut rng = Rng::from_env();
    let site = Site::embedded(&mut rng).await;
    commit(&site, 5, 500).await;
    publish(&site).await;
    let common = site.entries().await.len();
    copy_log(&site, "log.db", "twin.db");
    commit(&site, 10, 500).await;
    publish(&site).await;
    archive(&site, "archive").await;
    // Another claim, and then the same blocks.
    copy_log(&site, "twin.db", "log.db");
    publish(&site).await;
    let twin = site.entries().await;
    let parted = format!("they part at entry {}; nothing was appended", common + 1);
    let refused = refill(&site, "--from dir:SITE/archive").await;
    ended(&refused, 13, &["two histories", &parted]);
    assert_eq!(site.entries().await, twin);

    // Of another log altogether.
    let other = Site::embedded(&mut rng).await;
    let place = site.file("archive");
    let refused = refill(&other, &format!("--from dir:{}", place.display())).await;
    ended(&refused, 14, &["belongs to chain"]);
    assert_eq!(other.entries().await, []);
    // A log that was lost whole is not made.
    fs::remove_file(other.file("log.db")).unwrap();
    let refused = refill(&other, &format!("--from dir:{}", place.display())).await;
    ended(&refused, 2, &["there is no log", "tipline init"]);
    assert!(!other.file("log.db").exists());
}
