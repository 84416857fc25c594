//! `tipline audit sign`, `prove`, `check` and `consistency`: from an archive to a stranger.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;

use serde_json::Value;
use tipline_tests::{Finished, Quirk, S3, eventually};

use crate::deployment::{Deployment, WITHIN, stop};

const LOG: &str = "--log embedded:tipline.log.db";
const PROVE: &str = "audit prove --archive dir:backup";

/// What is run, with everything that was ever printed.
struct Site {
    site: Deployment,
    printed: String,
}

impl Site {
    async fn run(&mut self, words: &str) -> Finished {
        let done = self.site.run(words).await;
        self.printed += &done.stdout;
        self.printed += &done.stderr;
        done
    }

    async fn exits(&mut self, code: i32, words: &str, says: &str) -> String {
        let done = self.run(words).await;
        let told = format!("{}{}", done.stdout, done.stderr);
        assert_eq!(done.status.code(), Some(code), "{words}: {told}");
        assert!(told.contains(says), "{words}: {told}");
        done.stdout
    }

    async fn archive(&self, from: u64, to: u64) {
        for height in from..=to {
            self.site.block("node", height, &vec![u8::try_from(height).unwrap(); 3_000]);
        }
        self.site.publish("embedded:tipline.log.db", "dir:node/blocks", to).await;
        let mut archiver = self.site.tipline(&format!("archive --to dir:backup {LOG}")).spawn();
        self.site
            .status(LOG, |status| {
                status["consumers"].as_array().unwrap().iter().any(|one| one["block"] == to)
            })
            .await;
        stop(&mut archiver).await;
    }

    /// An archive of 8 blocks, and a key.
    async fn new() -> (Self, String) {
        let mut site = Self { site: Deployment::with_log("00").await, printed: String::new() };
        site.archive(1, 8).await;
        let words = "keys new --archive dir:backup --prefix logs.example.org log.key";
        let key = site.exits(0, words, "logs.example.org/embedded/").await;
        (site, key.trim().to_owned())
    }
}

/// Its memory is lost with it, or somebody else has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_on_after_another() {
    let (mut site, old) = Site::new().await;
    let sign = "audit sign --archive dir:backup --key";
    site.exits(0, &format!("{sign} log.key"), "signed: entries 1 to 9").await;
    site.exits(0, &format!("{PROVE} --block 8 -o 8.tlog-proof"), "").await;
    fs::remove_file(site.site.path("log.key.signed")).unwrap();
    site.exits(2, &format!("{sign} log.key"), "make a new key, and sign with --after").await;

    let new = "keys new --archive dir:backup --prefix logs.example.org new.key";
    let new = site.exits(0, new, "logs.example.org/embedded/").await.trim().to_owned();
    let other = "keys new --archive dir:backup --prefix logs.example.net other.key";
    site.exits(0, other, "logs.example.net/embedded/").await;
    site.exits(13, &format!("{sign} new.key"), "is not signed by").await;
    site.exits(14, &format!("{sign} other.key --after {old}"), "must have one name").await;
    let after = format!("{sign} new.key --after {old}");
    site.exits(0, &after, "signed: entries 1 to 9, 0 of them new").await;
    site.archive(9, 10).await;
    // It may be said again.
    site.exits(0, &after, "3 of them new").await;
    site.exits(0, &format!("{sign} new.key"), "0 of them new").await;

    site.exits(0, &format!("{PROVE} --block 10 -o 10.tlog-proof"), "").await;
    for (proof, key, code) in [("8", &old, 0), ("8", &new, 13), ("10", &new, 0), ("10", &old, 13)] {
        site.exits(code, &format!("audit check {proof}.tlog-proof --key {key}"), "").await;
    }
    site.exits(0, &format!("audit verify dir:backup --key {new}"), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_proven_to_a_stranger() {
    let (mut site, key) = Site::new().await;
    site.exits(2, &format!("{PROVE} --block 8"), "nothing is signed").await;
    let sign = "audit sign --archive dir:backup --key log.key";
    site.exits(0, sign, "signed: entries 1 to 9, 9 of them new").await;
    let signed: Value =
        serde_json::from_str(&site.exits(0, &format!("{sign} --json"), "").await).unwrap();
    assert_eq!((&signed["size"], &signed["added"]), (&9.into(), &0.into()), "{signed}");
    assert_eq!(signed["key"], key.as_str());
    assert_eq!(site.exits(0, "keys show log.key", "").await.trim(), key);
    let checkpoint = site.site.path("backup/tlog/checkpoint");
    fs::copy(&checkpoint, site.site.path("old.checkpoint")).unwrap();

    site.exits(0, &format!("{PROVE} --block 8 -o 8.tlog-proof"), "").await;
    site.exits(2, &format!("{PROVE} --block 7 -o 8.tlog-proof"), "there already").await;
    let proof = fs::read_to_string(site.site.path("8.tlog-proof")).unwrap();
    assert!(proof.starts_with("c2sp.org/tlog-proof@v1\nextra ") && proof.len() < 2048, "{proof}");
    assert_eq!(site.exits(0, &format!("{PROVE} --index 9"), "").await, proof);
    let hash = site.exits(0, &format!("audit tail dir:backup -n 1 --json {LOG}"), "").await;
    let hash: Value = serde_json::from_str(&hash).unwrap();
    let by_hash = format!("{PROVE} --hash 0x{}", hash["hash"].as_str().unwrap());
    assert_eq!(site.exits(0, &by_hash, "").await, proof);

    // From here on there is nothing but the proof, the key and the block.
    fs::rename(site.site.path("backup"), site.site.path("away")).unwrap();
    let check = format!("audit check 8.tlog-proof --key {key}");
    site.exits(0, &check, "not compared: the payload").await;
    let block = "node/blocks/0000/block_00000008.dat";
    let with_block = format!("{check} --block-file {block}");
    let told = site.exits(0, &with_block, "block_committed, height 8").await;
    assert!(told.contains("the file is the payload"), "{told}");
    let json = site.exits(0, &format!("{check} --block-file {block} --json"), "").await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["height"], &json["index"], &json["size"]), (&8.into(), &9.into(), &9.into()));
    assert_eq!(json["payload_compared"], true);
    // Whoever asked for another block is not content with any that is proven.
    let hash = hash["hash"].as_str().unwrap();
    site.exits(0, &format!("{check} --block 8 --hash 0x{hash}"), "height 8").await;
    site.exits(13, &format!("{check} --block 7"), "it proves entry 9, block_committed, height 8")
        .await;
    let another = "00".repeat(32);
    site.exits(13, &format!("{check} --block 8 --hash {another}"), "not what was asked for").await;
    site.exits(0, &format!("{check} --block 8 --kind block_committed"), "height 8").await;
    let proven = format!("{check} --block 8 --kind block_proven");
    site.exits(13, &proven, "not what was asked for: block_proven, height 8").await;
    // It may come through a pipe, which has no length.
    let (pipe, from) = (site.site.path("pipe"), site.site.path(block));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let sending = thread::spawn(move || fs::write(pipe, fs::read(from).unwrap()));
    site.exits(0, &format!("{check} --block-file pipe"), "the file is the payload").await;
    sending.join().unwrap().unwrap();
    let other = "node/blocks/0000/block_00000007.dat";
    site.exits(13, &format!("{check} --block-file {other}"), "is not the payload of entry 9").await;
    let mut bytes = fs::read(site.site.path(block)).unwrap();
    bytes[1_000] ^= 1;
    fs::write(site.site.path("changed.dat"), bytes).unwrap();
    site.exits(13, &format!("{check} --block-file changed.dat"), "is not the payload").await;
    // Every byte is tried by the library's tests: here some of each line.
    for at in (0..proof.len()).step_by(29) {
        let mut bytes = proof.clone().into_bytes();
        bytes[at] ^= 1;
        fs::write(site.site.path("8.tlog-proof"), bytes).unwrap();
        site.exits(13, &check, "error: ").await;
    }
    fs::write(site.site.path("8.tlog-proof"), &proof).unwrap();
    site.exits(2, "audit check 8.tlog-proof --key nonsense", "NAME+ID+KEY").await;
    site.exits(2, &format!("audit check none.tlog-proof --key {key}"), "cannot be read").await;
    fs::rename(site.site.path("away"), site.site.path("backup")).unwrap();

    // It grows, and what was signed stays.
    site.archive(9, 12).await;
    site.exits(11, &format!("{PROVE} --index 12"), "is not in what is signed").await;
    site.exits(11, &format!("{PROVE} --block 12"), "no entry").await;
    let verify = format!("audit verify dir:backup --key {key}");
    let told = site.exits(0, &verify, "entries 1 to 9 are signed").await;
    assert!(told.contains("they are not signed yet"), "{told}");
    site.exits(0, sign, "new").await;
    fs::copy(&checkpoint, site.site.path("new.checkpoint")).unwrap();
    let consistency = |old: &str, new: &str| {
        format!("audit consistency {old} {new} --archive dir:backup --key {key}")
    };
    let right = consistency("old.checkpoint", "new.checkpoint");
    site.exits(0, &right, "consistent: the 9 entries").await;
    site.exits(13, &consistency("new.checkpoint", "old.checkpoint"), "earlier one").await;
    site.exits(13, &consistency("old.checkpoint", "8.tlog-proof"), "cannot be used").await;
    site.exits(0, &check, "proven: entry 9").await;
    let tile = fs::read_dir(site.site.path("backup/tlog/tile/0/000.p")).unwrap();
    let tile =
        tile.map(|entry| entry.unwrap().path()).max_by_key(|path| path.metadata().unwrap().len());
    let tile = tile.unwrap();
    let mut bytes = fs::read(&tile).unwrap();
    bytes[0] ^= 1;
    fs::write(&tile, bytes).unwrap();
    site.exits(13, &verify, "has another entry 1 than the archive").await;
    site.exits(13, &right, "do not give the root").await;
    site.exits(13, &format!("{PROVE} --block 8"), "another history").await;

    let secret = fs::read_to_string(site.site.path("log.key")).unwrap();
    // PRIVATE+KEY+NAME+ID+KEY; there may be more of them in the last.
    let secret = secret.trim().splitn(5, '+').last().unwrap();
    assert!(secret.len() > 40 && !site.printed.contains(secret), "{}", site.printed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_signed_is_refused_by_name() {
    let (mut site, key) = Site::new().await;
    let sign = "audit sign --archive dir:backup --key log.key";
    let path = site.site.path("log.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    site.exits(2, sign, "chmod 600").await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    site.exits(2, "keys new --archive dir:backup log.key", "is there already").await;
    site.exits(2, "keys new --archive dir:backup --prefix / no.key", "--prefix must not").await;
    assert!(!site.site.path("no.key").exists());
    site.exits(2, "keys new --archive dir:backup backup/log.key", "keep it elsewhere").await;
    for name in ["log.key", "log.key.signed"] {
        fs::copy(site.site.path(name), site.site.path(&format!("backup/{name}"))).unwrap();
    }
    let inside = "audit sign --archive dir:backup --key backup/log.key";
    site.exits(2, inside, "keep it elsewhere").await;
    assert!(!site.site.path("backup/tlog").exists());
    site.exits(0, sign, "").await;
    site.exits(2, &format!("audit verify {LOG} --key {key}"), "for an archive").await;

    // Another log.
    site.site.init("other.db", "00").await;
    site.site.block("other", 1, b"other");
    site.site.publish("embedded:other.db", "dir:other/blocks", 1).await;
    let words = "archive --to dir:other-backup --log embedded:other.db";
    let mut archiver = site.site.tipline(words).spawn();
    site.site
        .status("--log embedded:other.db", |status| {
            status["consumers"].as_array().unwrap().iter().any(|one| one["block"] == 1)
        })
        .await;
    stop(&mut archiver).await;
    let other = "audit sign --archive dir:other-backup --key log.key";
    site.exits(14, other, "is not of the log").await;
    site.exits(2, "audit sign --archive dir:node --key log.key", "no archive").await;
    site.exits(16, "audit sign --archive dir:nowhere --key log.key", "nowhere").await;

    // It lost what was signed.
    let segments = fs::read_dir(site.site.path("backup/segments")).unwrap();
    let newest = segments.map(|entry| entry.unwrap().path()).max().unwrap();
    fs::rename(&newest, site.site.path("kept")).unwrap();
    let told = "were signed";
    site.exits(13, sign, told).await;
    fs::remove_dir_all(site.site.path("backup/tlog")).unwrap();
    site.exits(13, sign, "log.key.signed").await;
    assert!(!site.site.path("backup/tlog").exists());
    fs::rename(site.site.path("kept"), newest).unwrap();
    site.exits(0, sign, "9 of them new").await;
    // The key lost what it signed.
    fs::rename(site.site.path("log.key.signed"), site.site.path("kept")).unwrap();
    site.exits(2, sign, "log.key.signed: put it back, or make a new key").await;
    assert_eq!(site.exits(0, "keys show log.key", "").await.trim(), key);
    fs::rename(site.site.path("kept"), site.site.path("log.key.signed")).unwrap();
    site.exits(0, sign, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_grows_is_signed_until_ctrl_c() {
    let (mut site, key) = Site::new().await;
    let words = "audit sign --archive dir:backup --key log.key --every 100ms";
    let mut signing = site.site.tipline(words).spawn();
    let size = async |wanted: &str| {
        let path = site.site.path("backup/tlog/checkpoint");
        eventually(&format!("{wanted} entries are signed"), WITHIN, async || {
            let note = fs::read_to_string(&path).unwrap_or_default();
            let size = note.lines().nth(1).unwrap_or_default().to_owned();
            if size == wanted { Ok(()) } else { Err(size) }
        })
        .await;
    };
    size("9").await;
    // Only one signs with a key.
    let second = site.site.run("audit sign --archive dir:backup --key log.key").await;
    assert_eq!(second.status.code(), Some(2), "{}", second.stderr);
    assert!(second.stderr.contains("in use"), "{}", second.stderr);
    // A place that is not there is not a new one.
    fs::rename(site.site.path("backup"), site.site.path("away")).unwrap();
    eventually("it is tried again", WITHIN, async || {
        let stderr = signing.stderr();
        if stderr.contains("trying again") { Ok(()) } else { Err(stderr) }
    })
    .await;
    fs::rename(site.site.path("away"), site.site.path("backup")).unwrap();
    site.archive(9, 10).await;
    size("12").await;
    signing.process.interrupt();
    assert_eq!(signing.process.wait(WITHIN).await.code(), Some(0), "{}", signing.stderr());
    site.exits(0, &format!("audit verify dir:backup --key {key}"), "entries 1 to 12 are signed")
        .await;
}

/// In a bucket it is the same, and one that gives a name twice gets nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_in_object_storage_is_signed_and_proven() {
    let (site, s3) = (Deployment::with_log("00").await, S3::start());
    let place = s3.address("fleet/main");
    let tipline = |words: &str| {
        let words = words.replace("BACKUP", &place);
        let tipline = site.tipline(&words);
        s3.environment().iter().fold(tipline, |tipline, (name, value)| tipline.env(name, value))
    };
    let run = async |code: i32, words: &str| {
        let done = tipline(words).finish(WITHIN).await;
        assert_eq!(done.status.code(), Some(code), "{words}: {}{}", done.stdout, done.stderr);
        done
    };
    let archive = async |from: u64, to: u64| {
        for height in from..=to {
            site.block("node", height, &[u8::try_from(height).unwrap(); 500]);
        }
        site.publish("embedded:tipline.log.db", "dir:node/blocks", to).await;
        let mut archiver = tipline(&format!("archive --to BACKUP {LOG}")).spawn();
        site.status(LOG, |status| {
            status["consumers"].as_array().unwrap().iter().any(|one| one["block"] == to)
        })
        .await;
        stop(&mut archiver).await;
    };
    archive(1, 5).await;
    let key = run(0, "keys new --archive BACKUP log.key").await.stdout.trim().to_owned();
    let sign = "audit sign --archive BACKUP --key log.key";
    s3.behave(Quirk::IgnoresConditions);
    run(2, sign).await;
    assert!(!s3.file("fleet/main", "tlog").exists());
    s3.behave(None);
    run(0, sign).await;
    archive(6, 9).await;
    run(0, sign).await;
    run(0, "audit prove --archive BACKUP --block 7 --output 7.tlog-proof").await;
    let check = format!("audit check 7.tlog-proof --key {key}");
    run(0, &format!("{check} --block-file node/blocks/0000/block_00000007.dat")).await;
    let verified = run(0, &format!("audit verify BACKUP --key {key}")).await.stdout;
    assert!(verified.contains("entries 1 to 11 are signed"), "{verified}");
    // A name that is taken by something else is not written over.
    archive(10, 10).await;
    let tile = s3.file("fleet/main", "tlog/tile/0/000.p/13");
    fs::write(&tile, b"else").unwrap();
    let refused = run(13, sign).await.stderr;
    assert!(refused.contains("tile/0/000.p/13"), "{refused}");
    assert_eq!(fs::read(tile).unwrap(), b"else");
}
