//! Archive and checkpoints in object storage, with real programs and an S3 server: made, proven,
//! restored from, out of reach, refused, damaged.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tipline_tests::{Finished, Quirk, S3, Tipline, eventually, write_private};

use crate::deployment::{Deployment, WITHIN, stop};

const LOG: &str = "--log embedded:tipline.log.db";
/// An outage is told, and its end noticed, within this.
const SECONDS: Duration = Duration::from_secs(15);

/// Programs that share a directory, and a bucket in which a backup may be.
struct Bucket {
    site: Deployment,
    s3: S3,
}

impl Bucket {
    /// A log of so many blocks, and a bucket with nothing in it.
    async fn with_blocks(blocks: u64) -> Bucket {
        let bucket = Bucket { site: Deployment::with_log("00").await, s3: S3::start() };
        bucket.publish(1, blocks).await;
        bucket
    }

    async fn publish(&self, first: u64, last: u64) {
        for height in first..=last {
            let byte = u8::try_from(height % 251).unwrap();
            self.site.block("node", height, &vec![byte; 1000 + 37 * height as usize]);
        }
        self.site.publish("embedded:tipline.log.db", "dir:node/blocks", last).await;
    }

    /// `tipline WORDS…`, with the backup's address for `BACKUP` and what lets it in.
    fn tipline(&self, words: &str) -> Tipline {
        self.tipline_in(words, self.s3.environment())
    }

    fn tipline_in(&self, words: &str, environment: Vec<(String, String)>) -> Tipline {
        let tipline = self.site.tipline(&words.replace("BACKUP", &self.s3.address("fleet/main")));
        environment.iter().fold(tipline, |tipline, (name, value)| tipline.env(name, value))
    }

    async fn exit(&self, words: &str, code: i32) -> Finished {
        ended(words, self.tipline(words).finish(WITHIN).await, code)
    }

    async fn json(&self, words: &str, code: i32) -> Value {
        serde_json::from_str(&self.exit(&format!("{words} --json"), code).await.stdout).unwrap()
    }

    /// Archives everything up to a height.
    async fn archive(&self, height: u64) {
        let mut archiver = self.tipline(&format!("archive --to BACKUP --offsite {LOG}")).spawn();
        self.is_offsite(height).await;
        stop(&mut archiver).await;
    }

    /// Waits until receipts say that everything up to a height is in the bucket.
    async fn is_offsite(&self, height: u64) {
        let is_there = |status: &Value| {
            let archive = &status["consumers"][0];
            archive["name"] == "archive"
                && archive["state"] == "well"
                && archive["block"] == height
                && archive["level"] == "offsite"
        };
        self.site.status(LOG, is_there).await;
    }

    /// Waits until status says that archiving has failed, and of what. Gives the time it took.
    /// What was archived until then still is.
    async fn fails(&self, because: &str, height: u64) -> Duration {
        let since = Instant::now();
        let failed = |status: &Value| {
            let archive = &status["consumers"][0];
            archive["state"] == "failed" && archive["failure"].to_string().contains(because)
        };
        let status = self.site.status(LOG, failed).await;
        let archive = &status["consumers"][0];
        assert_eq!((&archive["block"], &archive["level"]), (&height.into(), &"offsite".into()));
        since.elapsed()
    }

    /// The file of the first object below a folder of the backup whose name ends like this.
    fn object(&self, folder: &str, end: &str) -> PathBuf {
        let mut open = vec![self.s3.file("fleet/main", folder)];
        let mut found = Vec::new();
        while let Some(dir) = open.pop() {
            for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() { open.push(path) } else { found.push(path) }
            }
        }
        found.retain(|path| path.to_str().unwrap().ends_with(end));
        found.sort();
        found.swap_remove(0)
    }
}

fn ended(words: &str, finished: Finished, code: i32) -> Finished {
    let Finished { status, stdout, stderr } = &finished;
    assert_eq!(status.code(), Some(code), "{words}\n{stdout}\n{stderr}");
    finished
}

/// Flips a bit in the middle, and gives what was there.
fn damage(file: &PathBuf) -> Vec<u8> {
    let whole = fs::read(file).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 3] ^= 1;
    fs::write(file, damaged).unwrap();
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_enough_to_restore_from_and_to_trim_the_log() {
    let bucket = Bucket::with_blocks(30).await;
    bucket.archive(30).await;
    bucket.site.back_up("embedded:tipline.log.db", "copy.db", 30).await;
    let made = bucket.json("checkpoint create --store sqlite:copy.db --upload BACKUP", 0).await;
    let listed = bucket.json("checkpoint list --checkpoints BACKUP/checkpoints", 0).await;
    assert_eq!(listed["checkpoints"][0]["id"], made["id"], "{listed}");
    bucket.publish(31, 50).await;
    bucket.archive(50).await;

    let verified = bucket.json("verify --from BACKUP --full", 0).await;
    let places = verified["places"].as_array().unwrap();
    let what: Vec<_> = places.iter().map(|place| place["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["archive", "checkpoints"], "{verified}");
    for place in places {
        assert_eq!(place["problems"], Value::Array(vec![]), "{verified}");
        assert!(place["read_back"].as_u64().unwrap() > 0, "{verified}");
    }

    // From the checkpoint and what was archived since, and from the archive alone.
    bucket.site.back_up("embedded:tipline.log.db", "reference.db", 50).await;
    for (store, height) in [("sqlite:new.db", 50), ("files:new", 12)] {
        let restore = format!("restore --store {store} --from BACKUP --to height:{height}");
        let done = bucket.json(&format!("{restore} --verify strict"), 0).await;
        assert_eq!(done["achieved"]["height"], height, "{done}");
        assert_eq!(done["checkpoint"].is_object(), height > 30, "{done}");
        for block in 1..=height {
            let get = format!("get block {block} --json --store");
            let found = bucket.exit(&format!("{get} {store}"), 0).await.stdout;
            let expected = bucket.exit(&format!("{get} sqlite:reference.db"), 0).await.stdout;
            assert_eq!(found, expected, "block {block} of {store}");
        }
    }

    let retention = format!("retention --keep-events 5 --keep-for 0s --apply {LOG}");
    let kept = bucket.json(&retention, 0).await;
    assert_eq!(kept["held"]["first"], 1, "nobody has proven anything: {kept}");
    let trimmed = bucket.json(&format!("{retention} --proven-at BACKUP"), 0).await;
    // 50 blocks and the claims of two primaries; the checkpoint has the first 31 entries.
    assert_eq!(trimmed["held"], serde_json::json!({"first": 32, "last": 52}), "{trimmed}");
    let replica = format!("replica --name new --store files:late --bootstrap BACKUP {LOG}");
    let mut replica = bucket.tipline(&replica).spawn();
    let joined = |status: &Value| {
        let consumers = status["consumers"].as_array().unwrap();
        consumers.iter().any(|one| one["name"] == "new" && one["block"] == 50)
    };
    bucket.site.status(LOG, joined).await;
    stop(&mut replica).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_told_within_seconds_and_its_return_noticed() {
    let mut bucket = Bucket::with_blocks(5).await;
    let mut archiver = bucket.tipline(&format!("archive --to BACKUP --offsite {LOG}")).spawn();
    bucket.is_offsite(5).await;
    bucket.s3.stop();
    let told = bucket.fails("out of reach", 5).await;
    assert!(told < SECONDS, "status says so after {told:?}");
    for words in ["restore --store sqlite:x.db --from BACKUP", "verify --from BACKUP"] {
        let failed = bucket.exit(words, 16).await;
        assert!(failed.stderr.contains("s3://backups/fleet/main is out of reach"), "{failed:?}");
    }
    let kept = format!("retention --keep-events 1 --keep-for 0s --apply {LOG}");
    let kept = bucket.json(&format!("{kept} --proven-at BACKUP"), 1).await;
    assert_eq!(kept["held"]["first"], 1, "what cannot be read proves nothing: {kept}");
    bucket.publish(6, 9).await;

    bucket.s3.start_again();
    let since = Instant::now();
    bucket.is_offsite(9).await;
    let noticed = since.elapsed();
    assert!(noticed < SECONDS, "it goes on after {noticed:?}");
    bucket.exit("verify --from BACKUP --full", 0).await;
    println!("outage told after {told:?}, its end noticed after {noticed:?}");
    stop(&mut archiver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_refused_are_told_within_seconds_and_may_be_put_right() {
    let bucket = Bucket::with_blocks(5).await;
    let mut archiver = bucket.tipline(&format!("archive --to BACKUP --offsite {LOG}")).spawn();
    bucket.is_offsite(5).await;
    bucket.s3.refuse(true);
    let told = bucket.fails("refuses access", 5).await;
    assert!(told < SECONDS, "status says so after {told:?}");
    bucket.publish(6, 9).await;
    bucket.s3.refuse(false);
    let since = Instant::now();
    bucket.is_offsite(9).await;
    let noticed = since.elapsed();
    assert!(noticed < SECONDS, "it goes on after {noticed:?}");
    println!("withdrawal told after {told:?}, its end noticed after {noticed:?}");
    stop(&mut archiver).await;

    let wrong = || bucket.s3.environment_with("wrong");
    for words in ["restore --store sqlite:x.db --from BACKUP", "verify --from BACKUP --full"] {
        let failed = ended(words, bucket.tipline_in(words, wrong()).finish(WITHIN).await, 16);
        let said = "s3://backups/fleet/main refuses access";
        assert!(failed.stderr.contains(said), "{}", failed.stderr);
        assert!(failed.stderr.contains("check the credentials"), "{}", failed.stderr);
        assert!(!bucket.site.path("x.db").exists());
    }
    let archive = format!("archive --to BACKUP --offsite {LOG}");
    let archiver = bucket.tipline_in(&archive, wrong()).spawn();
    let told = bucket.fails("refuses access", 9).await;
    assert!(told < SECONDS, "status says so after {told:?}");
    drop(archiver);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_damaged_on_the_server_is_named() {
    let bucket = Bucket::with_blocks(20).await;
    bucket.archive(20).await;
    bucket.site.back_up("embedded:tipline.log.db", "copy.db", 20).await;
    let segment = bucket.object("segments", ".tips");
    let name = segment.file_name().unwrap().to_str().unwrap();
    let whole = damage(&segment);
    let restore = "restore --store sqlite:new.db --from BACKUP";
    let verified = bucket.exit("verify --from BACKUP --full", 13).await;
    assert!(verified.stdout.contains(name), "{}", verified.stdout);
    let corrupt = bucket.exit(restore, 13).await;
    assert!(corrupt.stderr.contains(name), "{}", corrupt.stderr);
    assert!(!bucket.site.path("new.db").exists());
    let retention = format!("retention --keep-events 1 --keep-for 0s --apply {LOG}");
    let kept = bucket.json(&format!("{retention} --proven-at BACKUP"), 1).await;
    assert_eq!(kept["held"]["first"], 1, "{kept}");
    fs::write(&segment, whole).unwrap();

    // A file of a checkpoint: named, and the archive is used in its place.
    bucket.exit("checkpoint create --store sqlite:copy.db --upload BACKUP", 0).await;
    let file = bucket.object("checkpoints", ".db");
    let name = file.file_name().unwrap().to_str().unwrap();
    damage(&file);
    let verified = bucket.exit("verify --from BACKUP --full", 13).await;
    assert!(verified.stdout.contains(name), "{}", verified.stdout);
    let done = bucket.json(&format!("{restore} --verify strict"), 0).await;
    assert_eq!(done["achieved"]["height"], 20, "{done}");
    assert!(done["notes"].to_string().contains(name), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_would_lose_data_is_refused_before_anything_is_kept_there_and_later_too() {
    let bucket = Bucket::with_blocks(5).await;
    let archive = format!("archive --to BACKUP --offsite {LOG}");
    let refused = |failed: Finished| {
        let said = "ignores conditional writes";
        assert!(failed.stderr.contains(said), "{}", failed.stderr);
    };
    bucket.s3.behave(Quirk::IgnoresConditions);
    refused(bucket.exit("destination check BACKUP", 2).await);
    refused(bucket.exit(&archive, 2).await);
    assert!(!bucket.s3.file("fleet/main", "archive.json").exists());
    // What an archive has been kept at may have moved to another server.
    bucket.s3.behave(None);
    let found = bucket.json("destination check BACKUP", 0).await;
    assert_eq!((&found["removes"], &found["needs_checksums"]), (&true.into(), &false.into()));
    bucket.archive(5).await;
    bucket.s3.behave(Quirk::IgnoresConditions);
    refused(bucket.exit(&archive, 2).await);
    // One with Object Lock needs no setting.
    bucket.s3.behave(Quirk::NeedsChecksums);
    let found = bucket.json("destination check BACKUP", 0).await;
    assert_eq!(found["needs_checksums"], true, "{found}");
    bucket.publish(6, 9).await;
    bucket.archive(9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_told_to_stop_ends_its_upload_at_the_server() {
    let bucket = Bucket::with_blocks(1).await;
    bucket.site.block("node", 2, &vec![7; 60 << 20]);
    bucket.site.publish("embedded:tipline.log.db", "dir:node/blocks", 2).await;
    let every = "--checkpoint-every 1s --checkpoint-rate 20MiB --upload BACKUP";
    let backup = format!("backup --name b --store files:copy {every} {LOG}");
    let mut backup = bucket.tipline(&backup).spawn();
    // Pieces lie beside the buckets until they are put together.
    let pieces = || {
        let all = fs::read_dir(bucket.s3.root()).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.to_string_lossy().contains(".part-")).collect::<Vec<_>>()
    };
    let sent = async || if pieces().is_empty() { Err("none is there") } else { Ok(()) };
    eventually("a piece was sent", WITHIN, sent).await;
    stop(&mut backup).await;
    assert_eq!(pieces(), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_beside_an_encrypted_archive_is_encrypted_too() {
    const PUBLIC: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
    const SECRET: &str =
        "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
    let bucket = Bucket::with_blocks(20).await;
    write_private(bucket.site.path("age.key"), SECRET);
    let archive = format!("archive --to BACKUP --offsite --recipient {PUBLIC} {LOG}");
    let mut archiver = bucket.tipline(&archive).spawn();
    bucket.is_offsite(20).await;
    stop(&mut archiver).await;
    bucket.site.back_up("embedded:tipline.log.db", "copy.db", 20).await;
    bucket.exit("checkpoint create --store sqlite:copy.db --upload BACKUP", 0).await;
    let sealed = fs::read(bucket.object("checkpoints", ".db")).unwrap();
    assert!(sealed.starts_with(b"age-encryption.org/v1"));
    // Checked without a key, and restored with one.
    bucket.exit("checkpoint show latest --verify --checkpoints BACKUP/checkpoints", 0).await;
    let restore = "restore --store sqlite:new.db --from BACKUP";
    let without = bucket.exit(restore, 2).await;
    assert!(without.stderr.contains("identity"), "{}", without.stderr);
    let done = bucket.json(&format!("{restore} --identity age.key --verify strict"), 0).await;
    assert_eq!(done["achieved"]["height"], 20, "{done}");
    assert!(done["checkpoint"].is_object(), "{done}");
    // Another recipient than the archive's is a mistake; in the clear it is said.
    let other = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    bucket.publish(21, 21).await;
    let create = "checkpoint create --store sqlite:copy.db --upload BACKUP";
    let refused = bucket.exit(&format!("{create} --recipient {other}"), 2).await;
    assert!(refused.stderr.contains("encrypts to"), "{}", refused.stderr);
    bucket.site.back_up("embedded:tipline.log.db", "copy.db", 21).await;
    bucket.exit(&format!("{create} --plain"), 0).await;
    let listed = bucket.json("checkpoint list --checkpoints BACKUP/checkpoints", 0).await;
    let id = listed["checkpoints"][0]["id"].as_str().unwrap();
    let plain =
        fs::read(bucket.s3.file("fleet/main/checkpoints", &format!("{id}/part-0/store.db")));
    assert!(plain.unwrap().starts_with(b"SQLite format 3"));
}
