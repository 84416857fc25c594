//! `tipline audit`, over every kind of source, and over each when it is wrong.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tipline_tests::{Finished, Nats, NatsOptions, Rng};

use crate::deployment::{Deployment, WITHIN, stop};
use crate::site::Site;

const LOG: &str = "--log embedded:tipline.log.db";

fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).expect(&finished.stderr)
}

fn assert_exit(finished: &Finished, code: i32) {
    let Finished { status, stdout, stderr } = finished;
    assert_eq!(status.code(), Some(code), "{stdout}\n{stderr}");
}

/// A log of some blocks, an archive, a store and a checkpoint of it.
async fn filled() -> Deployment {
    let site = Deployment::with_log("00").await;
    for height in 1..=8 {
        site.block("node", height, &vec![u8::try_from(height).unwrap(); 3_000]);
    }
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 8).await;
    let mut archiver = site.tipline(&format!("archive --to dir:backup {LOG}")).spawn();
    site.status(LOG, |status| {
        status["consumers"].as_array().unwrap().iter().any(|one| one["block"] == 8)
    })
    .await;
    stop(&mut archiver).await;
    site.back_up("embedded:tipline.log.db", "copy.db", 8).await;
    let made = site.run("checkpoint create --store sqlite:copy.db --upload dir:backup").await;
    assert_exit(&made, 0);
    site
}

fn segment(site: &Deployment) -> PathBuf {
    let segments = fs::read_dir(site.path("backup/segments")).unwrap();
    segments.map(|entry| entry.unwrap().path()).min().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_was_made_from_a_log_is_verified_and_the_same() {
    let site = filled().await;
    for source in ["log", "embedded:tipline.log.db", "dir:backup"] {
        let done = site.run(&format!("audit verify {source} {LOG} --json")).await;
        assert_exit(&done, 0);
        let report = json(&done);
        assert_eq!(report["verified"], serde_json::json!([1, 9]), "{report}");
        assert_eq!(
            (&report["block_tip"], &report["problems"]),
            (&8.into(), &serde_json::json!([]))
        );
    }
    let told = site.run(&format!("audit verify {LOG}")).await.stdout;
    assert!(told.starts_with("verified: entries 1 to 9 of the log"), "{told}");
    assert!(told.contains("claims of others"), "the receipts: {told}");
    for source in ["sqlite:copy.db", "dir:backup@latest"] {
        let done = site.run(&format!("audit verify {source}")).await;
        assert_exit(&done, 0);
        assert!(done.stdout.starts_with("consistent: "), "{}", done.stdout);
        assert!(done.stdout.contains("not verified: payloads"), "{}", done.stdout);
    }
    let all = ["log", "dir:backup", "sqlite:copy.db", "dir:backup@latest"];
    for a in all {
        for b in all {
            let done = site.run(&format!("audit diff {a} {b} --all {LOG}")).await;
            assert_exit(&done, 0);
            assert!(done.stdout.starts_with("the same: "), "{a} {b}: {}", done.stdout);
        }
    }
    // Nothing is left behind, and nothing was changed.
    assert_exit(&site.run(&format!("verify --from dir:backup --full {LOG}")).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_never_called_verified() {
    let site = filled().await;
    let path = segment(&site);
    let whole = fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[whole.len() / 4] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let done = site.run("audit verify dir:backup").await;
    assert_exit(&done, 13);
    assert!(done.stdout.starts_with("NOT verified"), "{}", done.stdout);
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(done.stdout.contains(name), "{}", done.stdout);
    for command in ["audit stats dir:backup", "audit export dir:backup", "audit tail dir:backup"] {
        assert_exit(&site.run(command).await, 13);
    }
    let output = site.run("audit export dir:backup --output rows.jsonl").await;
    assert_exit(&output, 13);
    assert!(!site.path("rows.jsonl").exists(), "half a file is none");
    assert_exit(&site.run(&format!("audit diff log dir:backup {LOG}")).await, 13);
    fs::write(&path, &whole).unwrap();
    assert_exit(&site.run("audit verify dir:backup").await, 0);

    // The store: a payload that nothing in it tells from another, and a block that is gone.
    let database = || rusqlite::Connection::open(site.path("copy.db")).unwrap();
    database().execute_batch("UPDATE blocks SET payload = x'00' WHERE height = 5").unwrap();
    assert_exit(&site.run("audit verify sqlite:copy.db").await, 0);
    let done = site.run(&format!("audit diff sqlite:copy.db log {LOG}")).await;
    assert_exit(&done, 13);
    assert!(done.stdout.contains("block 5, of entry 6: its content differs"), "{}", done.stdout);
    let done = site.run("audit diff dir:backup@latest sqlite:copy.db").await;
    assert_exit(&done, 13);
    database().execute_batch("DELETE FROM blocks WHERE height = 5").unwrap();
    assert_exit(&site.run("audit verify sqlite:copy.db").await, 13);
    // Also if it is not the last part of a store.
    site.back_up("embedded:tipline.log.db", "whole.db", 8).await;
    let (part, both) = ("sqlite:whole.db", "composite:sqlite:copy.db+sqlite:whole.db");
    assert_exit(&site.run(&format!("audit verify {part}")).await, 0);
    for words in [format!("audit verify {both}"), format!("audit diff {both} {part}")] {
        let done = site.run(&words).await;
        assert_exit(&done, 13);
        assert!(done.stdout.contains("copy.db"), "{words}: {}", done.stdout);
    }

    // A checkpoint with a flipped byte is not even read.
    let parts = fs::read_dir(site.path("backup/checkpoints")).unwrap().map(|e| e.unwrap().path());
    let checkpoint = parts.filter(|path| path.join("part-0").exists()).min().unwrap();
    let file = fs::read_dir(checkpoint.join("part-0")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_exit(&site.run("audit verify dir:backup@latest").await, 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_audited_says_why() {
    let site = filled().await;
    site.init("other.db", "00").await;
    for height in 1..=3 {
        site.block("other", height, b"other");
    }
    site.publish("embedded:other.db", "dir:other/blocks", 3).await;
    site.back_up("embedded:other.db", "other-copy.db", 3).await;
    let cases = [
        ("audit diff embedded:other.db dir:backup", 14, "different logs"),
        ("audit diff sqlite:copy.db embedded:other.db", 14, "different logs"),
        ("audit diff sqlite:copy.db sqlite:other-copy.db", 14, "different logs"),
        ("audit diff dir:backup@latest sqlite:other-copy.db", 14, "different logs"),
        ("audit verify composite:sqlite:copy.db+sqlite:other-copy.db", 14, "not"),
        ("audit tail -n 0", 2, "0 is not in"),
        ("audit verify dir:backup --from 5 --to 50", 12, "holds entries 1 to 9"),
        ("audit verify nats://127.0.0.1:1/none", 16, "does not answer"),
        ("audit verify embedded:nothing.db", 2, "tipline init"),
        ("audit verify dir:node", 2, "dir:node@latest"),
        ("audit verify dir:node@latest", 2, "no checkpoint"),
        ("audit verify sqlite:nothing.db", 2, "nothing.db"),
        ("audit verify backup", 2, "names nothing to audit"),
        ("audit verify dir:backup --from 0", 2, "--from"),
        ("audit verify sqlite:copy.db --from 3", 2, "has no entries"),
        ("audit tail sqlite:copy.db", 2, "tipline audit diff"),
        ("audit tail dir:backup --follow", 2, "follow the log"),
        ("audit tail --kind block", 2, "block_committed"),
        ("audit export dir:backup --output copy.db", 2, "there already"),
        ("audit verify dir:backup --proven-to 8", 13, "has no proof"),
    ];
    for (words, code, says) in cases {
        let done = site.run(words).await;
        assert_eq!(done.status.code(), Some(code), "{words}: {}{}", done.stdout, done.stderr);
        let told = format!("{}{}", done.stdout, done.stderr);
        assert!(told.contains(says), "{words}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_counted_exported_and_printed() {
    let site = filled().await;
    let stats = json(&site.run("audit stats dir:backup --json").await);
    assert_eq!((&stats["events"], &stats["bytes"]), (&9.into(), &24_000.into()), "{stats}");
    assert_eq!(stats["kinds"]["block_committed"]["largest"], 3_000, "{stats}");
    assert_exit(&site.run("audit stats dir:backup").await, 0);

    let exported = site.run("audit export dir:backup --output rows.jsonl --payloads").await;
    assert_exit(&exported, 0);
    let rows = fs::read_to_string(site.path("rows.jsonl")).unwrap();
    let printed = site.run(&format!("audit export {LOG} --payloads")).await.stdout;
    assert_eq!(rows, printed);
    let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert_eq!(rows.len(), 9);
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(row["index"], at as u64 + 1);
    }
    assert_eq!(rows[0]["kind"], "epoch_started");
    assert_eq!((&rows[8]["height"], &rows[8]["payload"]), (&8.into(), &"08".repeat(3_000).into()));
    let twice = site.run("audit export dir:backup --output rows.jsonl").await;
    assert_exit(&twice, 2);

    let tail = site.run(&format!("audit tail -n 3 {LOG}")).await;
    assert_eq!(tail.stdout.lines().count(), 3, "{}", tail.stdout);
    assert!(tail.stdout.lines().last().unwrap().contains("block 8 ("), "{}", tail.stdout);
    let kinds = site.run(&format!("audit tail -n 100 --kind epoch_started --json {LOG}")).await;
    assert_eq!(kinds.stdout.lines().count(), 1, "{}", kinds.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_followed_until_it_is_told_to_stop() {
    let site = Deployment::with_log("00").await;
    let mut tail = site.tipline(&format!("audit tail --follow {LOG}")).spawn();
    for height in 1..=2 {
        site.block("node", height, b"block");
    }
    site.publish("embedded:tipline.log.db", "dir:node/blocks", 2).await;
    tail.line_with("block 2 (", WITHIN).await;
    tail.process.interrupt();
    assert_eq!(tail.process.wait(WITHIN).await.code(), Some(0), "{}", tail.stderr());
    assert_eq!(tail.stdout().lines().count(), 3, "{}", tail.stdout());
}

/// Whoever can publish to the broker writes what no primary wrote.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_on_a_broker_is_verified_and_what_was_put_in_from_outside_is_found() {
    let mut rng = Rng::from_env();
    let nats = Nats::start(NatsOptions::default()).await;
    let site = Site::new(&nats, "audited", &mut rng).await;
    let primary = site.primary("node.db", &["--payload", "300"]);
    site.wait_for_entries(60).await;
    drop(primary);
    let run = async |words: &str| {
        let words: Vec<&str> = words.split_whitespace().chain([site.address.as_str()]).collect();
        tipline_tests::Tipline::new(words).finish(WITHIN).await
    };
    let done = run("audit verify --json").await;
    assert_exit(&done, 0);
    let report = json(&done);
    let entries = site.entries().await;
    assert_eq!(report["verified"][1], entries.len() as u64, "{report}");
    assert_eq!(report["digest"], entries.last().unwrap().digest.to_string(), "{report}");

    // The last message once more.
    let client = async_nats::connect(nats.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let stream = context.get_stream("tipline-audited-events").await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    let message = stream.get_raw_message(last).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    for (name, values) in message.headers.iter() {
        let is_ours = !name.to_string().starts_with("Nats-");
        values
            .iter()
            .filter(|_| is_ours)
            .for_each(|value| headers.append(name.clone(), value.clone()));
    }
    let subject = message.subject.clone();
    let sent = context.publish_with_headers(subject, headers, message.payload).await.unwrap();
    sent.await.unwrap();
    let primary = site.primary("node.db", &["--payload", "300"]);
    site.wait_for_entries(entries.len() as u64 + 20).await;
    drop(primary);
    let done = run("audit verify").await;
    assert_exit(&done, 13);
    assert!(done.stdout.contains("is there more than once"), "{}{}", done.stdout, done.stderr);
    drop(nats);
}
