//! Signatures, with real programs and real logs: what a trusted primary and its consumers sign counts,
//! and what somebody else writes into the same log is refused by name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tipline_log::{Log, SignedLog, Signing, system_clock};
use tipline_proto::{
    Entry, Event, InstanceId, Level, OutboxId, Reached, Receipt, Role, SigningKey, Trust,
};
use tipline_tests::{Nats, NatsOptions, Running, eventually, open_log, write_private};

use crate::deployment::{Deployment, WITHIN, stop};

const TRUST: &str = "--trusted-keys trusted.keys";

/// A primary, a backup and an archive with keys, and the file that trusts them.
struct Site {
    site: Deployment,
    log: String,
}

impl Site {
    async fn new(address: &str) -> Self {
        let site = Deployment::new();
        let log = format!("--log {address}");
        let this = Self { site, log };
        let replicas = if address.starts_with("nats") { "--replicas 1" } else { "" };
        let made = format!("init --accept-shortfalls --chain test --genesis 00 {replicas}");
        this.exits(0, &made, "").await;
        let mut trusted = String::from("# whose signatures count\n");
        for (name, kind) in
            [("node", "primary"), ("b", "consumer b"), ("archive", "consumer archive")]
        {
            let key = this.exits(0, &format!("keys new --name {name} {name}.key"), name).await;
            trusted += &format!("{kind} {key}");
        }
        fs::write(this.site.path("trusted.keys"), trusted).unwrap();
        this
    }

    /// With the log, and this exit code.
    async fn exits(&self, code: i32, words: &str, says: &str) -> String {
        let done = self.site.run(&format!("{words} {}", self.log)).await;
        let told = format!("{}{}", done.stdout, done.stderr);
        assert_eq!(done.status.code(), Some(code), "{words}: {told}");
        assert!(told.contains(says), "{words}: {told}");
        done.stdout
    }

    fn blocks(&self, from: u64, to: u64) {
        for height in from..=to {
            self.site.block("node", height, &vec![u8::try_from(height).unwrap(); 3_000]);
        }
    }

    fn start(&self, words: &str, key: &str) -> Running {
        let shortfalls = "--accept-shortfalls";
        let words = format!("{words} {} {shortfalls} {TRUST} --signing-key {key}", self.log);
        self.site.tipline(&words).spawn()
    }

    fn primary(&self, key: &str) -> Running {
        self.start("primary --source dir:node/blocks --name node", key)
    }

    /// Waits until this consumer has this block, and counts.
    async fn counted(&self, name: &str, block: u64) {
        let options = format!("{} --accept-shortfalls {TRUST}", self.log);
        let is_there = |status: &Value| {
            let consumers = status["consumers"].as_array().unwrap();
            consumers.iter().any(|one| one["name"] == name && one["block"] == block)
        };
        self.site.status(&options, is_there).await;
    }

    async fn open(&self) -> Arc<dyn Log> {
        let address = self.log.trim_start_matches("--log ");
        let address =
            address.replace("embedded:", &format!("embedded:{}/", self.site.path("").display()));
        open_log(&address).await.unwrap()
    }
}

/// Kinds of what is wrong.
fn kinds(status: &str) -> Vec<String> {
    let status: Value = serde_json::from_str(status).unwrap();
    let findings = status["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect()
}

/// Who counts.
fn consumers(status: &str) -> Vec<String> {
    let status: Value = serde_json::from_str(status).unwrap();
    let consumers = status["consumers"].as_array().unwrap();
    consumers.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

/// A receipt of the newest entry, as somebody else makes it.
async fn receipt(log: &Arc<dyn Log>, by: Option<SigningKey>) {
    let tail = log.tail().await.unwrap();
    let receipt = Receipt {
        lineage: log.identity().lineage,
        consumer: "b".parse().unwrap(),
        role: Role::Backup,
        instance: InstanceId::from_bytes([1; 16]),
        reached: Reached::up_to(tail.position, Level::Offsite),
        block_tip: None,
        proof_tip: None,
        time: system_clock()(),
        failure: None,
        store: String::new(),
        applying: None,
        frozen: None,
        seal: None,
    };
    let signing = Signing { key: by.map(Arc::new), trust: Trust::default() };
    let log: Arc<dyn Log> = Arc::new(SignedLog::new(Arc::clone(log), signing));
    log.put_receipt(&receipt).await.unwrap();
}

/// The claim of somebody who may publish to the log and has no key.
async fn take_over(log: &Arc<dyn Log>) -> u64 {
    let tail = log.tail().await.unwrap();
    let (primary, outbox) = ("thief".parse().unwrap(), OutboxId::from_bytes([9; 16]));
    let event = Event::EpochStarted { primary, outbox };
    let claim = Entry::seal(&tail.position, tail.epoch + 1, tail.time, 0, event);
    log.append(&tail, std::slice::from_ref(&claim)).await.unwrap();
    claim.index
}

async fn strangers_count_nowhere(site: &Site) {
    site.blocks(1, 6);
    let mut primary = site.primary("node.key");
    let mut backup = site.start("backup --name b --store sqlite:b.db", "b.key");
    let mut archive = site.start("archive --name archive --to dir:backup", "archive.key");
    for name in ["b", "archive"] {
        site.counted(name, 6).await;
    }
    let status = format!("status --json --accept-shortfalls {TRUST}");
    let well = site.exits(0, &status, "").await;
    assert_eq!(kinds(&well), Vec::<String>::new(), "{well}");

    // While the backup is not there to repeat its own.
    stop(&mut backup).await;
    let log = site.open().await;
    receipt(&log, None).await;
    let told = site.exits(1, &status, "").await;
    assert_eq!(kinds(&told), ["unsigned"], "{told}");
    receipt(&log, Some(SigningKey::from_seed(&[9; 32]))).await;
    let told = site.exits(2, &status, "is not trusted for it").await;
    assert_eq!(kinds(&told), ["forged"], "{told}");
    assert_eq!(consumers(&told), ["archive"]);
    // Who requires no signatures is not told.
    let plain = site.site.run(&format!("status --json --accept-shortfalls {}", site.log)).await;
    assert_eq!(consumers(&plain.stdout), ["archive", "b"]);
    assert!(!kinds(&plain.stdout).contains(&"forged".to_owned()), "{}", plain.stdout);

    // Its own next one takes its place.
    let backup = site.start("backup --name b --store sqlite:b.db", "b.key");
    site.counted("b", 6).await;
    site.exits(0, &status, "").await;

    // The key is rotated while everybody follows, and nobody is told.
    stop(&mut primary).await;
    site.exits(0, "keys rotate node.key node-2.key", "node+").await;
    site.blocks(7, 8);
    let mut primary = site.primary("node-2.key");
    for name in ["b", "archive"] {
        site.counted(name, 8).await;
    }
    stop(&mut archive).await;
    stop(&mut primary).await;
    let verify = format!("audit verify {TRUST}");
    site.exits(0, &verify, "").await;

    // Somebody else takes the log over. Nobody follows him.
    let index = take_over(&log).await;
    let refused = format!("entry {index} (epoch start of thief) is not signed");
    let ended = backup.finish(WITHIN).await;
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains(&refused), "{}", ended.stderr);
    site.exits(13, &verify, &refused).await;
    let told = site.site.run(&format!("{status} {}", site.log)).await;
    assert!(told.stdout.contains(&refused), "{}", told.stdout);
    site.exits(0, "audit verify", "").await;
    // And no primary that is trusted vouches for it by claiming the log back.
    let ended = site.primary("node-2.key").finish(WITHIN).await;
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    let refused = format!("entry {index} is signed by nobody");
    assert!(ended.stderr.contains(&refused), "{}", ended.stderr);
    for more in ["--dry-run", ""] {
        let restore = format!("restore --from log --store sqlite:r.db --as-primary new {more}");
        let restore = format!("{restore} {TRUST} --signing-key node-2.key");
        site.exits(2, &restore, &format!("its entries from {index} to {index}")).await;
    }
    assert_eq!(log.tail().await.unwrap().position.index, index);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_count_nowhere_in_a_log_on_nats() {
    let nats = Nats::start(NatsOptions::default()).await;
    let site = Site::new(&format!("{}/main", nats.url())).await;
    strangers_count_nowhere(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_count_nowhere_in_a_log_in_a_file() {
    let site = Site::new("embedded:tipline.log.db").await;
    strangers_count_nowhere(&site).await;
}

/// Archives blocks of this many bytes with a log and a primary of their own.
async fn archived(key: &str, bytes: usize) -> Site {
    let site = Site::new("embedded:tipline.log.db").await;
    for height in 1..=5 {
        site.site.block("node", height, &vec![7; bytes]);
    }
    let mut primary = site.primary(key);
    let mut archive = site.start("archive --name archive --to dir:backup", "archive.key");
    site.counted("archive", 5).await;
    stop(&mut archive).await;
    stop(&mut primary).await;
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_requires_what_a_bootstrap_requires() {
    let site = archived("node.key", 2_000).await;
    let restore = |to: &str| format!("restore --from dir:backup --store sqlite:{to} {TRUST}");
    site.exits(0, &restore("r.db"), "restored").await;
    let drill = format!("drill --from dir:backup {TRUST}");
    site.exits(0, &drill, "").await;
    let bootstrap = "backup --name b --store sqlite:new.db --bootstrap dir:backup --new";
    let mut backup = site.start(bootstrap, "b.key");
    site.counted("b", 5).await;
    stop(&mut backup).await;
    // The keys of another primary.
    let other = archived("node.key", 2_000).await;
    fs::copy(other.site.path("trusted.keys"), site.site.path("trusted.keys")).unwrap();
    site.exits(13, &restore("s.db"), "signatures are required").await;
    site.exits(13, &format!("{} --dry-run", restore("s.db")), "not trusted").await;
    let bootstrap = bootstrap.replace("new.db", "s.db");
    let bootstrap = format!("{bootstrap} --accept-shortfalls {TRUST}");
    site.exits(13, &bootstrap, "signatures are required").await;
    assert!(!site.site.path("s.db").exists());
    site.exits(13, &format!("{drill} --no-record"), "signatures are required").await;
    site.exits(13, &format!("audit verify dir:backup {TRUST}"), "not trusted").await;
    // So does the drill that an archiver makes by itself.
    let every = "archive --name archive --to dir:backup --drill-every 200ms";
    let mut archive = site.start(every, "archive.key");
    let checks = format!("--accept-shortfalls --checks dir:backup {}", site.log);
    let is_refused = |status: &Value| {
        let all = status["checks"].as_array().unwrap();
        all.iter().any(|one| one["check"] == "drill" && one["ok"] == false)
    };
    let told = site.site.status(&checks, is_refused).await["checks"].to_string();
    assert!(told.contains("no trusted primary vouches for it"), "{told}");
    stop(&mut archive).await;
    site.exits(0, "restore --from dir:backup --store sqlite:s.db", "restored").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_keys_that_cannot_be_used_are_named() {
    let site = Site::new("embedded:tipline.log.db").await;
    let primary = "primary --source dir:node/blocks --signing-key node.key --accept-shortfalls";
    let file = site.site.path("node.key");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    site.exits(2, primary, "chmod 600").await;
    write_private(&file, "no key");
    site.exits(2, primary, "holds no key").await;
    site.exits(2, "keys new --name node node.key", "is there already").await;
    for (text, says) in [
        ("primary", "line 1"),
        ("# nobody", "no trusted key"),
        ("consumer b nokey", "NAME+ID+KEY"),
        ("witness b key", "line 1"),
    ] {
        fs::write(site.site.path("trusted.keys"), text).unwrap();
        site.exits(2, &format!("status {TRUST}"), says).await;
    }
    site.exits(2, "status --trusted-keys nowhere.keys", "nowhere.keys").await;
}

const PUBLIC: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
const SECRET: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

impl Site {
    /// Archives what is published up to a block, and ends.
    async fn archive_up_to(&self, block: u64) {
        let words = format!("archive --name archive --to dir:backup --recipient {PUBLIC}");
        let mut archive = self.start(&words, "archive.key");
        self.counted("archive", block).await;
        stop(&mut archive).await;
    }

    /// Names of the checkpoints at the backup location, the newest first.
    async fn uploaded(&self) -> Vec<String> {
        if !self.site.path("backup/checkpoints").exists() {
            return Vec::new();
        }
        let list = "checkpoint list --json --checkpoints dir:backup/checkpoints";
        let listed = self.site.run(list).await;
        let listed: Value = serde_json::from_str(&listed.stdout).expect(&listed.stderr);
        let all = listed["checkpoints"].as_array().unwrap().iter();
        all.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    }

    /// The signatures of a checkpoint there.
    fn signatures(&self, id: &str) -> Vec<PathBuf> {
        self.signatures_in("backup/checkpoints", id)
    }

    fn signatures_in(&self, set: &str, id: &str) -> Vec<PathBuf> {
        let folder = self.site.path(&format!("{set}/{id}"));
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|name| name == "sig")).collect()
    }

    /// Content that nobody committed, in a copy of the backup's store, and a checkpoint of it at the
    /// place of backups, where the thief may write. He has the public key that is encrypted to.
    async fn forge(&self, key: &str) -> String {
        let (own, forged) = (self.site.path("b.db"), self.site.path("forged.db"));
        let own = rusqlite::Connection::open(own).unwrap();
        own.execute("VACUUM INTO ?1", [forged.to_str().unwrap()]).unwrap();
        let forged = rusqlite::Connection::open(forged).unwrap();
        let altered = forged.execute("UPDATE blocks SET payload = x'ff' WHERE height = 3", []);
        assert_eq!(altered.unwrap(), 1);
        drop(forged);
        let create = "checkpoint create --store sqlite:forged.db --upload dir:backup";
        let done = self.site.run(&format!("{create} --recipient {PUBLIC} {key}")).await;
        assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
        self.uploaded().await.swap_remove(0)
    }
}

/// Seals the text of a manifest that was altered, as whoever reads the documentation can.
fn reseal(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    let (body, end) = text.split_at(text.rfind(",\n  \"blake3\": \"").unwrap());
    let old = blake3::hash(body.as_bytes()).to_hex();
    assert!(end.contains(old.as_str()), "{end}");
    let body = body.replacen(from, to, 1);
    let new = blake3::hash(body.as_bytes()).to_hex();
    fs::write(path, body + &end.replace(old.as_str(), new.as_str())).unwrap();
}

/// A thief may write where backups are, and can encrypt to the recipients.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_checkpoint_is_passed_over_and_never_restored() {
    let site = Site::new("embedded:tipline.log.db").await;
    write_private(site.site.path("age.key"), SECRET);
    site.blocks(1, 4);
    let mut primary = site.primary("node.key");
    site.archive_up_to(4).await;
    // A backup makes one on its timer, signs it, and the upload carries the signature.
    let every = "--checkpoint-every 1h --upload dir:backup --verify-every 200ms --identity age.key";
    let backup = "backup --name b --store sqlite:b.db";
    let mut running = site.start(backup, "b.key");
    site.counted("b", 4).await;
    stop(&mut running).await;
    let mut running = site.start(&format!("{backup} {every}"), "b.key");
    eventually("a checkpoint is uploaded", WITHIN, async || {
        let uploaded = site.uploaded().await;
        if uploaded.len() == 1 { Ok(()) } else { Err(format!("{uploaded:?}")) }
    })
    .await;
    let first = site.uploaded().await.remove(0);
    assert_eq!(site.signatures(&first).len(), 1);
    assert_eq!(site.signatures_in("b.db.checkpoints", &first).len(), 1);
    let checks = format!("--accept-shortfalls {TRUST} --checks dir:backup {}", site.log);
    let is = |status: &Value, ok: bool| {
        let all = status["checks"].as_array().unwrap();
        all.iter().any(|one| one["check"] == "verify" && one["ok"] == ok)
    };
    site.site.status(&checks, |status| is(status, true)).await;
    // Somebody asks for another one, which the running backup signs.
    site.blocks(5, 6);
    site.counted("b", 6).await;
    let create = "checkpoint create --store sqlite:b.db --upload dir:backup";
    let made = site.site.run(create).await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    let second = site.uploaded().await.remove(0);
    assert_eq!(site.signatures(&second).len(), 1);
    site.archive_up_to(6).await;
    let verify = "verify --from dir:backup --identity age.key --no-record";
    site.exits(0, &format!("{verify} {TRUST}"), "nothing is wrong").await;

    // The forged one is the newest. It looks well to whoever requires no signatures.
    site.exits(0, "keys new --name thief thief.key", "").await;
    let forged = site.forge("--signing-key thief.key").await;
    assert!(forged != second && site.signatures(&forged).len() == 1);
    site.exits(0, &format!("{verify} --full"), "nothing is wrong").await;
    let told = site.exits(13, &format!("{verify} {TRUST}"), "not trusted").await;
    assert!(told.contains(&forged) && !told.contains(&second), "{told}");
    let audit = "audit verify dir:backup@latest --identity age.key";
    site.exits(0, audit, "consistent: ").await;
    let refused = format!("no trusted consumer vouches for the checkpoint {forged}");
    site.exits(13, &format!("{audit} {TRUST}"), &refused).await;
    // The backup that checks by itself finds it, and everybody is told.
    let bad = site.site.status(&checks, |status| is(status, false)).await;
    let says = format!("the checkpoint {forged}");
    assert!(bad["reminders"].to_string().contains(&says), "{bad}");
    let status = format!("status --accept-shortfalls {TRUST} --checks dir:backup");
    site.exits(0, &status, &says).await;
    stop(&mut running).await;
    stop(&mut primary).await;

    // A restore takes the one before it, and names it.
    let restore = "restore --from dir:backup --identity age.key --json --store";
    let restored = site.exits(0, &format!("{restore} sqlite:r.db {TRUST}"), "").await;
    let report: Value = serde_json::from_str(&restored).unwrap();
    assert_eq!(report["achieved"]["height"], 6, "{report}");
    assert_eq!(report["checkpoint"]["id"], second, "{report}");
    assert!(report["notes"].to_string().contains(&forged), "{report}");
    let payload = |store: &str| -> Vec<u8> {
        let store = rusqlite::Connection::open(site.site.path(store)).unwrap();
        let payload = "SELECT payload FROM blocks WHERE height = 3";
        store.query_row(payload, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(payload("r.db"), [3; 3_000]);
    // Whoever requires no signatures gets what was forged: that is what they are for.
    site.exits(0, &format!("{restore} sqlite:thiefs.db"), &forged).await;
    assert_eq!(payload("thiefs.db"), [0xff]);

    // With no way but forged ones it is refused: one by a stranger, one whose signature is of the
    // manifest before it was altered, and one whose signature was removed.
    let manifest = site.site.path(&format!("backup/checkpoints/{second}/manifest.json"));
    reseal(&manifest, "\"created_us\": ", "\"created_us\": 1");
    site.signatures(&first).iter().for_each(|path| fs::remove_file(path).unwrap());
    let segments = fs::read_dir(site.site.path("backup/segments")).unwrap();
    let oldest = segments.map(|entry| entry.unwrap().path()).min().unwrap();
    fs::remove_file(oldest).unwrap();
    let told = site.exits(13, &format!("{restore} sqlite:no.db {TRUST}"), "not signed").await;
    assert!(told.is_empty() && !site.site.path("no.db").exists(), "{told}");
    for id in [&first, &second, &forged] {
        site.exits(13, &format!("{restore} sqlite:no.db {TRUST}"), id).await;
        site.exits(13, &format!("{verify} {TRUST}"), id).await;
    }
    // Made without anybody running, by the key that is given.
    let words = format!("{create} --signing-key b.key --recipient {PUBLIC}");
    let made = site.site.run(&words).await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    let last = site.uploaded().await.remove(0);
    assert_eq!(site.signatures(&last).len(), 1);
    let restored = site.exits(0, &format!("{restore} sqlite:s.db {TRUST}"), &last).await;
    assert!(restored.contains("\"height\":6"), "{restored}");
    assert_eq!(payload("s.db"), [3; 3_000]);
}
