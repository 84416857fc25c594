//! `tipline identity`: key files go out encrypted, and come back as they were.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tipline_backup::{Destination, Identities, IdentityError, Keys};
use tipline_proto::Timestamp;
use tipline_tests::{Finished, Rng, S3, Tipline, write_private};

const WITHIN: Duration = Duration::from_secs(30);
/// Made for these tests: 32 times the byte 0x42.
const SECRET: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
const PUBLIC: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

struct Site(TempDir);

impl Site {
    /// Two key files of a node, and a key to open their backups.
    fn new() -> Site {
        let site = Site(TempDir::new().unwrap());
        site.write("node/validator.key", b"secret of the validator");
        site.write("node/peer.key", &[0, 255, 10, 13]);
        write_private(site.path("usb/age.key"), format!("# a comment\n{SECRET}\n"));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn tipline(&self, words: &str) -> Tipline {
        Tipline::new(words.split_whitespace()).current_dir(self.0.path())
    }

    async fn run(&self, words: &str) -> Finished {
        self.tipline(words).finish(WITHIN).await
    }

    async fn back_up(&self, options: &str) -> Finished {
        let files = "--file node/validator.key node/peer.key";
        self.run(&format!("identity backup --name n-1 {files} --recipient {PUBLIC} {options}"))
            .await
    }

    async fn check(&self, options: &str) -> (Option<i32>, Value) {
        let done = self.run(&format!("identity check --json {options}")).await;
        (done.status.code(), serde_json::from_str(&done.stdout).expect(&done.stderr))
    }

    /// The one backup that there is.
    fn object(&self, place: &str) -> PathBuf {
        let mut all = std::fs::read_dir(self.path(place).join("identities")).unwrap();
        let object = all.next().unwrap().unwrap().path();
        assert!(all.next().is_none());
        object
    }
}

fn ok(done: &Finished) {
    assert_eq!(done.status.code(), Some(0), "{}{}", done.stdout, done.stderr);
}

fn failed(done: &Finished, says: &[&str]) {
    failed_by(2, done, says);
}

/// With this exit code.
fn failed_by(code: i32, done: &Finished, says: &[&str]) {
    assert_eq!(done.status.code(), Some(code), "{}{}", done.stdout, done.stderr);
    assert!(says.iter().all(|part| done.stderr.contains(part)), "{}", done.stderr);
}

fn is_private(path: &Path) -> bool {
    path.metadata().unwrap().permissions().mode() & 0o777 == 0o600
}

const RESTORE: &str =
    "identity restore --name n-1 --to-dir back/keys --identity usb/age.key --identities dir:safe";

#[tokio::test]
async fn key_files_come_back_as_they_were_and_only_for_their_owner() {
    let site = Site::new();
    ok(&site.back_up("--identities dir:safe").await);
    let sealed = std::fs::read(site.object("safe")).unwrap();
    assert!(sealed.starts_with(b"age-encryption.org/v1\n"));
    assert!(!sealed.windows(6).any(|six| six == b"secret" || six == b"peer.k"));
    std::fs::remove_dir_all(site.path("node")).unwrap();
    ok(&site.run(RESTORE).await);
    let (validator, peer) = (site.path("back/keys/validator.key"), site.path("back/keys/peer.key"));
    assert_eq!(std::fs::read(&validator).unwrap(), b"secret of the validator");
    assert_eq!(std::fs::read(&peer).unwrap(), [0, 255, 10, 13]);
    assert!(is_private(&validator) && is_private(&peer));
    assert_eq!(std::fs::read_dir(site.path("back/keys")).unwrap().count(), 2);
}

#[tokio::test]
async fn files_that_are_there_are_not_replaced_unless_forced() {
    let site = Site::new();
    ok(&site.back_up("--identities dir:safe").await);
    site.write("back/keys/peer.key", b"of today");
    failed_by(15, &site.run(RESTORE).await, &["there already", "peer.key", "--force"]);
    assert_eq!(std::fs::read(site.path("back/keys/peer.key")).unwrap(), b"of today");
    assert!(!site.path("back/keys/validator.key").exists(), "none is written then");
    ok(&site.run(&format!("{RESTORE} --force")).await);
    assert_eq!(std::fs::read(site.path("back/keys/peer.key")).unwrap(), [0, 255, 10, 13]);
    assert!(is_private(&site.path("back/keys/peer.key")));
}

#[tokio::test]
async fn a_check_tells_what_is_kept_whether_it_opens_and_what_changed_since() {
    let site = Site::new();
    std::fs::create_dir(site.path("safe")).unwrap();
    let at = "--identities dir:safe";
    let (code, found) = site.check(at).await;
    assert_eq!((code, &found["verdict"]), (Some(1), &"degraded".into()));
    ok(&site.back_up(at).await);
    let (code, found) = site.check(at).await;
    assert_eq!((code, &found["identities"][0]["opens"]), (Some(0), &Value::Null));
    let with_key = format!("{at} --identity usb/age.key");
    let (code, found) = site.check(&with_key).await;
    assert_eq!((code, &found["identities"][0]["opens"]), (Some(0), &true.into()), "{found}");
    assert_eq!(found["identities"][0]["files"][1]["same_here"], true);
    site.write("node/peer.key", b"rotated");
    let (code, found) = site.check(&with_key).await;
    assert_eq!((code, &found["identities"][0]["files"][1]["same_here"]), (Some(1), &false.into()));
    ok(&site.back_up(at).await);
    let (code, found) = site.check(&with_key).await;
    assert_eq!((code, &found["identities"][0]["backups"]), (Some(0), &2.into()));
    let (code, found) = site.check(&format!("{at} --max-age 0s")).await;
    assert_eq!(code, Some(1), "{found}");
    let (code, found) = site.check(&format!("{at} --name n-2")).await;
    assert_eq!(code, Some(1), "{found}");
    failed_by(
        16,
        &site.run("identity check --identities dir:nowhere").await,
        &["out of reach", "nowhere"],
    );
}

#[tokio::test]
async fn a_damaged_backup_is_named_and_the_one_before_it_restored() {
    let site = Site::new();
    let mut rng = Rng::from_env();
    ok(&site.back_up("--identities dir:safe").await);
    let first = site.object("safe");
    let whole = std::fs::read(&first).unwrap();
    let named = first.file_name().unwrap().to_str().unwrap();
    let header = whole.windows(4).position(|four| four == b"\n---").unwrap();
    for turn in 0..20 {
        let mut bytes = whole.clone();
        // The header is short, and a case of its own.
        let most = if turn % 4 == 0 { header } else { bytes.len() - 1 };
        let at = rng.within(0..=most as u64) as usize;
        match rng.once_in(4) {
            true => bytes.truncate(at),
            false => bytes[at] ^= 1 << rng.within(0..=7),
        }
        std::fs::write(&first, &bytes).unwrap();
        let done = site.run(RESTORE).await;
        match done.status.code() {
            // For whom it is encrypted: another key would look the same.
            Some(2) if at <= header => failed(&done, &[named, "or it is damaged"]),
            _ => failed_by(13, &done, &[named, "is damaged"]),
        }
        assert!(!site.path("back").exists());
    }
    // The newest is damaged, an older one is not.
    std::fs::write(&first, &whole).unwrap();
    ok(&site.back_up("--identities dir:safe").await);
    let mut all: Vec<PathBuf> = std::fs::read_dir(first.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    all.sort();
    let mut bytes = std::fs::read(&all[1]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&all[1], bytes).unwrap();
    let (code, found) = site.check("--identities dir:safe --identity usb/age.key").await;
    assert_eq!((code, &found["identities"][0]["opens"]), (Some(2), &false.into()));
    let done = site.run(RESTORE).await;
    failed_by(13, &done, &["is damaged", all[1].file_name().unwrap().to_str().unwrap(), "--time "]);
    let time = done.stderr.split("--time ").nth(1).unwrap().trim();
    ok(&site.run(&format!("{RESTORE} --time {time}")).await);
    assert_eq!(std::fs::read(site.path("back/keys/peer.key")).unwrap(), [0, 255, 10, 13]);
}

#[tokio::test]
async fn a_backup_put_under_another_name_or_time_is_found_out() {
    let site = Site::new();
    ok(&site.back_up("--identities dir:safe").await);
    let object = site.object("safe");
    for (from, to) in [("n-1-", "n-2-"), ("T", "T0")] {
        let name = object.file_name().unwrap().to_str().unwrap();
        let renamed = match to {
            "n-2-" => name.replacen(from, to, 1),
            _ => format!("n-1-20200101T000000.000000Z{}", ".age"),
        };
        std::fs::copy(&object, object.with_file_name(&renamed)).unwrap();
    }
    let key = "--identity usb/age.key --identities dir:safe";
    let (_, found) = site.check(key).await;
    assert_eq!(found["identities"].as_array().unwrap().len(), 2);
    let done = site.run(&format!("identity restore --name n-2 --to-dir back {key}")).await;
    failed_by(13, &done, &["is damaged", "n-2-"]);
    let done = site.run(&format!("{RESTORE} --time 2020-01-01T00:00:00Z")).await;
    failed_by(13, &done, &["is damaged", "n-1-20200101"]);
}

#[tokio::test]
async fn keys_are_kept_apart_from_data_and_from_the_key_that_opens_them() {
    let site = Site::new();
    for data in ["archive.json", "segments/1", "checkpoints/1/manifest.json"] {
        let place = format!("data-{}", &data[..3]);
        site.write(&format!("{place}/{data}"), b"x");
        let done = site.back_up(&format!("--identities dir:{place}")).await;
        failed(&done, &["kept apart", "--beside-data"]);
        assert!(!site.path(&place).join("identities").exists());
    }
    ok(&site.back_up("--identities dir:data-arc --beside-data").await);
    write_private(site.path("safe/age.key"), SECRET);
    ok(&site.back_up("--identities dir:safe").await);
    let done = site.run("identity check --identities dir:safe --identity safe/age.key").await;
    failed(&done, &["age.key", "keep it elsewhere"]);
}

/// As secrets are mounted in a pod: what a link leads to has another name, and will be elsewhere
/// tomorrow.
#[tokio::test]
async fn a_key_behind_a_link_is_kept_and_restored_under_its_own_name() {
    let site = Site::new();
    site.write("of-monday/key-v1", b"of monday");
    site.write("of-tuesday/key-v2", b"of tuesday");
    let link = |to: &str| {
        _ = std::fs::remove_file(site.path("node/tls.key"));
        std::os::unix::fs::symlink(to, site.path("node/tls.key")).unwrap();
    };
    link("../of-monday/key-v1");
    let at = "--identities dir:safe";
    let back_up =
        format!("identity backup --name n-1 --file node/tls.key --recipient {PUBLIC} {at}");
    ok(&site.run(&back_up).await);
    let with_key = format!("{at} --identity usb/age.key");
    let (code, found) = site.check(&with_key).await;
    let file = &found["identities"][0]["files"][0];
    assert_eq!(
        (code, &file["same_here"], &file["name"]),
        (Some(0), &true.into(), &"tls.key".into())
    );
    // What it is now is compared, not what it was.
    link("../of-tuesday/key-v2");
    std::fs::remove_dir_all(site.path("of-monday")).unwrap();
    let (code, found) = site.check(&with_key).await;
    assert_eq!((code, &found["identities"][0]["files"][0]["same_here"]), (Some(1), &false.into()));
    ok(&site.run(RESTORE).await);
    assert_eq!(std::fs::read(site.path("back/keys/tls.key")).unwrap(), b"of monday");
    // In its place: the link is no file to be written over without a word, and stays a link.
    let in_place = RESTORE.replace("back/keys", "node");
    failed_by(15, &site.run(&in_place).await, &["there already", "tls.key"]);
    ok(&site.run(&format!("{in_place} --force")).await);
    assert!(site.path("node/tls.key").is_symlink());
    assert_eq!(std::fs::read(site.path("of-tuesday/key-v2")).unwrap(), b"of monday");
    assert!(is_private(&site.path("of-tuesday/key-v2")));
}

#[tokio::test]
async fn mistakes_are_told_with_what_to_do() {
    let site = Site::new();
    failed(&site.back_up("").await, &["no place", "--identities"]);
    let wrong = "--identities dir:safe --recipient age1nonsense";
    failed(&site.back_up(wrong).await, &["is no recipient"]);
    assert!(!site.path("safe").exists(), "nothing is made by a mistake");
    let done = site.back_up("--identities dir:safe --file nowhere.key").await;
    failed(&done, &["cannot read the key file nowhere.key"]);
    site.write("other/peer.key", b"x");
    let done = site.back_up("--identities dir:safe --file other/peer.key").await;
    failed(&done, &["have the same name"]);
    ok(&site.back_up("--identities dir:safe").await);
    let done = site.run(&RESTORE.replace("n-1", "n-11")).await;
    failed(&done, &["no backup of the identity of n-11", "did you mean n-1?"]);
    std::fs::set_permissions(site.path("usb/age.key"), Permissions::from_mode(0o644)).unwrap();
    failed(&site.run(RESTORE).await, &["age.key has a secret", "mode 644", "chmod 600"]);
    // A key of somebody else, made by flipping what makes the checksum fail is no key at all.
    write_private(site.path("usb/age.key"), "AGE-SECRET-KEY-1NOKEY");
    let done = site.run(RESTORE).await;
    failed(&done, &["age.key", "no usable identity"]);
    assert!(!done.stderr.contains("NOKEY"), "{}", done.stderr);
}

#[tokio::test]
async fn on_object_storage_it_is_the_same_and_an_outage_is_told_within_seconds() {
    let site = Site::new();
    let mut s3 = S3::start();
    let with = |words: &str, s3: &S3| {
        let words = format!("{words} --identities {}", s3.address("keys"));
        let environment = s3.environment().into_iter();
        environment.fold(site.tipline(&words), |run, (name, value)| run.env(&name, value))
    };
    let backup = format!("identity backup --name n-1 --file node/peer.key --recipient {PUBLIC}");
    ok(&with(&backup, &s3).finish(WITHIN).await);
    ok(&with("identity check --identity usb/age.key", &s3).finish(WITHIN).await);
    let restore = "identity restore --name n-1 --to-dir back --identity usb/age.key";
    ok(&with(restore, &s3).finish(WITHIN).await);
    assert_eq!(std::fs::read(site.path("back/peer.key")).unwrap(), [0, 255, 10, 13]);
    s3.refuse(true);
    failed_by(16, &with(&backup, &s3).finish(WITHIN).await, &["refuses access"]);
    s3.refuse(false);
    s3.stop();
    let told = with("identity check", &s3).finish(Duration::from_secs(10)).await;
    failed_by(16, &told, &["out of reach"]);
}

#[tokio::test]
async fn status_reminds_of_a_backup_that_is_missing_or_old_or_out_of_reach() {
    let site = Site::new();
    ok(&site.run("init --chain toy --genesis 00").await);
    let reminders = async |options: &str| {
        let done = site.run(&format!("status --json {options}")).await;
        let status: Value = serde_json::from_str(&done.stdout).expect(&done.stderr);
        assert_eq!(status["verdict"], "degraded", "it changes no verdict: there is no primary");
        status["reminders"].clone()
    };
    assert_eq!(reminders("").await, serde_json::json!([]));
    let told = reminders("--identities dir:safe").await[0].to_string();
    assert!(told.contains("not known") && told.contains("dir:safe"), "{told}");
    std::fs::create_dir(site.path("safe")).unwrap();
    let told = reminders("--identities dir:safe").await[0].to_string();
    assert!(told.contains("no identity of a node is backed up at dir:safe"), "{told}");
    ok(&site.back_up("--identities dir:safe").await);
    assert_eq!(reminders("--identities dir:safe").await, serde_json::json!([]));
    let told = reminders("--identities dir:safe --identities-max-age 0s").await[0].to_string();
    assert!(told.contains("identity of n-1"), "{told}");
    site.write("tipline.toml", b"[status]\nidentities = 'dir:safe'\nidentities-max-age = '0s'\n");
    let shown = site.run("status").await;
    assert!(shown.stdout.contains("remember the newest backup of the"), "{}", shown.stdout);
}

#[tokio::test]
async fn nobody_to_encrypt_to_is_refused_and_another_key_does_not_open() {
    let site = Site::new();
    let at = || Destination::open(&format!("dir:{}", site.path("safe").display())).unwrap();
    at().prepare().await.unwrap();
    let (name, files) = ("n".parse().unwrap(), [site.path("node/peer.key")]);
    let now = Timestamp::from_micros(1);
    let nobody = Identities::at(at(), Keys::default()).unwrap();
    let refused = nobody.back_up(&name, &files, now).await;
    assert!(matches!(refused, Err(IdentityError::NoRecipient)));
    let keys = Keys::default().recipient(PUBLIC).unwrap();
    let identities = Identities::at(at(), keys).unwrap();
    let backup = identities.back_up(&name, &files, now).await.unwrap();
    assert_eq!(identities.list().await.unwrap(), std::slice::from_ref(&backup));
    let opened = identities.open(&backup).await;
    assert!(matches!(opened, Err(IdentityError::NeedsKey { .. })));
    // The same name at the same time is another backup: the first one stays.
    let again = identities.back_up(&name, &files, now).await.unwrap_err();
    assert!(again.to_string().contains("the name is taken"), "{again}");
}

#[tokio::test]
async fn a_secret_key_given_for_a_public_one_is_not_repeated() {
    let site = Site::new();
    let files = "--file node/peer.key --identities dir:keys";
    for words in [
        format!("identity backup --name n-1 {files} --recipient {SECRET}"),
        format!("identity check --identities dir:usb --identity {SECRET}"),
        format!("archive --to dir:a --recipient {SECRET} --log embedded:none.db"),
        format!("verify --from dir:a --identity {SECRET}"),
    ] {
        let refused = site.run(&words).await;
        assert_eq!(refused.status.code(), Some(2), "{words}: {}", refused.stderr);
        assert!(refused.stderr.contains("a secret key was given"), "{words}: {}", refused.stderr);
        let told = refused.stdout + &refused.stderr;
        assert!(!told.contains(&SECRET[20..40]), "{told}");
    }
}

#[tokio::test]
async fn a_medium_that_is_not_mounted_gets_no_keys() {
    let site = Site::new();
    // /media/stick is where it would be.
    std::fs::create_dir(site.path("media")).unwrap();
    let refused = site.back_up("--identities dir:media/stick/keys").await;
    failed_by(16, &refused, &["is not there: mount it"]);
    assert_eq!(std::fs::read_dir(site.path("media")).unwrap().count(), 0);
    // Where only its mount point is, the keys are beside those that they are copies of.
    std::fs::create_dir(site.path("media/stick")).unwrap();
    let done = site.back_up("--identities dir:media/stick/keys").await;
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("same file system as the key"), "{}", done.stderr);
}
