use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_store::conformance::history::{History, log};

use super::{Site, key, verifier};
use crate::AuditError;
use crate::tests::seed;
use crate::tlog::{Checkpoint, TreeHash};
use crate::tree::{KeyFile, KeyFileError, TreeError};

#[test]
fn a_key_file_is_for_its_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.key");
    KeyFile::create(&path, &key(&log())).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let open = KeyFile::open(&path).unwrap();
    assert_eq!(open.verifier(), verifier());
    assert!(matches!(KeyFile::open(&path), Err(KeyFileError::InUse { .. })));
    assert_eq!(KeyFile::read_verifier(&path).unwrap(), verifier());
    drop(open);
    assert!(matches!(KeyFile::create(&path, &key(&log())), Err(KeyFileError::Exists { .. })));
    for mode in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = KeyFile::open(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("{mode:04o}")) && error.contains("chmod 600"), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    KeyFile::open(&path).unwrap();
    let secret = key(&log()).to_secret();
    for (bytes, says) in [("no key\n", "does not begin"), (&secret[..secret.len() - 8], "")] {
        let path = directory.path().join("bad.key");
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = KeyFile::open(&path).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(matches!(error, KeyFileError::Unusable { .. }), "{said}");
        assert!(said.contains(says) && !said.contains(&secret[60..70]), "{said}");
    }
}

/// A child has a copy of every handle from the fork until it runs its program.
#[test]
fn a_key_is_free_once_it_is_closed_while_other_processes_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.key");
    KeyFile::create(&path, &key(&log())).unwrap();
    let has_ended = AtomicBool::new(false);
    let opened = thread::scope(|scope| {
        scope.spawn(|| {
            while !has_ended.load(Ordering::Relaxed) {
                assert!(Command::new("true").status().unwrap().success());
            }
        });
        let opened = (0..2_000).try_for_each(|_| KeyFile::open(&path).map(drop));
        has_ended.store(true, Ordering::Relaxed);
        opened
    });
    opened.unwrap();
}

#[test]
fn a_key_does_not_lie_with_what_it_signs() {
    let directory = tempfile::tempdir().unwrap();
    let (inside, outside) = (directory.path().join("backup/a"), directory.path().join("keys"));
    fs::create_dir_all(&inside).unwrap();
    fs::create_dir_all(&outside).unwrap();
    let backup = directory.path().join("backup");
    let apart = |path: &std::path::Path| KeyFile::check_apart(path, &backup, "dir:backup");
    assert!(matches!(apart(&inside.join("log.key")), Err(KeyFileError::WithData { .. })));
    apart(&outside.join("log.key")).unwrap();
    KeyFile::create(&inside.join("log.key"), &key(&log())).unwrap();
    std::os::unix::fs::symlink(inside.join("log.key"), outside.join("log.key")).unwrap();
    assert!(matches!(apart(&outside.join("log.key")), Err(KeyFileError::WithData { .. })));
}

/// By another name of its file the key has signed the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_remembers_under_every_name() {
    let history = History::random(seed(), 120);
    let site = Site::new(&history.entries, 120).await;
    site.sign().await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link.key");
    std::os::unix::fs::symlink(site.key_path(), &link).unwrap();
    // Archive and tree are put back to before.
    site.remove_tree();
    let newest = site.archive.archive.segments().await.unwrap().pop().unwrap();
    fs::remove_file(site.archive.path(&newest)).unwrap();
    let error = site.sign_with(&link).await.unwrap_err();
    let AuditError::Tree(TreeError::Shorter { size: 120, by, .. }) = &error else {
        panic!("{error:?}")
    };
    assert!(by.ends_with("log.key.signed"), "{by}");
    assert!(site.files().is_empty() && !elsewhere.path().join("link.key.signed").exists());
}

#[test]
fn what_a_key_remembers_only_grows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.key");
    KeyFile::create(&path, &key(&log())).unwrap();
    let file = KeyFile::open(&path).unwrap();
    let of = |size: u64, root: u8| Checkpoint {
        origin: verifier().name().to_owned(),
        size,
        root: TreeHash::from_bytes([root; 32]),
    };
    for checkpoint in [of(3, 1), of(3, 1), of(5, 2)] {
        file.sign(&file.signed().unwrap(), &checkpoint).unwrap();
    }
    // Nor does it sign what continues something else than what it signed last.
    let last = of(5, 2);
    let refused = [(&last, of(4, 3)), (&last, of(5, 3)), (&last, of(0, 2)), (&of(3, 1), of(6, 3))];
    for (known, refused) in refused {
        let error = file.sign(known, &refused).unwrap_err();
        assert!(matches!(error, KeyFileError::Signed { .. }), "{error:?}");
        assert_eq!(file.signed().unwrap(), last);
    }
    file.sign(&last, &of(6, 3)).unwrap();
}

/// A key that remembers nothing would contradict itself.
#[test]
fn a_key_that_has_forgotten_signs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let [path, signed] = ["log.key", "log.key.signed"].map(|name| directory.path().join(name));
    KeyFile::create(&path, &key(&log())).unwrap();
    assert_eq!(fs::metadata(&signed).unwrap().permissions().mode() & 0o7777, 0o600);
    let nothing = fs::read(&signed).unwrap();
    let file = KeyFile::open(&path).unwrap();
    let known = file.signed().unwrap();
    assert_eq!((known.size, known.root), (0, TreeHash::empty()));
    let is_forgotten = |error: KeyFileError| {
        let told = error.to_string();
        assert!(
            told.contains("log.key.signed: put it back, or make a new key, and sign with --after"),
            "{told}"
        );
        assert!(matches!(error, KeyFileError::Forgotten { .. }), "{error:?}");
    };
    fs::remove_file(&signed).unwrap();
    let new = Checkpoint { size: 1, root: TreeHash::from_bytes([1; 32]), ..known.clone() };
    is_forgotten(file.sign(&known, &new).unwrap_err());
    drop(file);
    is_forgotten(KeyFile::open(&path).unwrap_err());
    assert_eq!(KeyFile::read_verifier(&path).unwrap(), verifier());
    // Making the key again is no way round.
    let again = KeyFile::create(&path, &key(&log())).unwrap_err();
    assert!(matches!(again, KeyFileError::Exists { .. }) && !signed.exists(), "{again:?}");
    fs::write(&signed, &nothing).unwrap();
    KeyFile::open(&path).unwrap().sign(&known, &new).unwrap();
    // What a key has signed that is away is not written over.
    let remembered = fs::read(&signed).unwrap();
    fs::remove_file(&path).unwrap();
    let again = KeyFile::create(&path, &key(&log())).unwrap_err();
    assert!(matches!(again, KeyFileError::Exists { .. }) && !path.exists(), "{again:?}");
    assert_eq!(fs::read(&signed).unwrap(), remembered);
}

/// Two tasks with one key, or one whose caller was cancelled beside the next one.
#[test]
fn a_key_that_several_sign_with_at_once_never_signs_less_than_it_has_given_out() {
    let seed = seed();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.key");
    KeyFile::create(&path, &key(&log())).unwrap();
    let file = KeyFile::open(&path).unwrap();
    let of = |size: u64| Checkpoint {
        origin: verifier().name().to_owned(),
        size,
        root: TreeHash::from_bytes([1; 32]),
    };
    let newest = AtomicU64::new(0);
    thread::scope(|scope| {
        for number in 0..8 {
            let (file, newest) = (&file, &newest);
            let mut rng = StdRng::seed_from_u64(seed ^ number);
            scope.spawn(move || {
                for _ in 0..60 {
                    let given_out = newest.load(Ordering::SeqCst);
                    let known = file.signed().unwrap();
                    let size = known.size + rng.random_range(1..4);
                    if file.sign(&known, &of(size)).is_err() {
                        continue;
                    }
                    let meanwhile = newest.fetch_max(size, Ordering::SeqCst);
                    assert!(size > given_out, "{size} after {given_out}, and now {meanwhile}");
                    let remembered = file.signed().unwrap().size;
                    assert!(remembered >= size, "{remembered} are remembered, {size} signed");
                }
            });
        }
    });
    assert_eq!(file.signed().unwrap(), of(newest.load(Ordering::SeqCst)));
}

/// After a failed fsync nobody knows what is on the disk.
#[cfg(target_os = "linux")]
#[test]
fn nothing_is_signed_after_remembering_failed_until_the_key_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let short = directory.path().join("k");
    KeyFile::create(&short, &key(&log())).unwrap();
    // In a directory whose path is so long that `k.signed` is read there, and that what would replace
    // it has a name that is too long.
    let mut deep = fs::canonicalize(directory.path()).unwrap();
    while let Some(more @ 1..) = 4_083_usize.checked_sub(deep.as_os_str().len()) {
        deep.push("d".repeat(if more > 202 { 100 } else { more - 1 }));
        fs::create_dir(&deep).unwrap();
    }
    let signed = directory.path().join("k.signed");
    for file in [&short, &signed] {
        fs::rename(file, deep.join(file.file_name().unwrap())).unwrap();
    }
    let file = KeyFile::open(&deep.join("k")).unwrap();
    let known = file.signed().unwrap();
    let new = Checkpoint { size: 1, root: TreeHash::from_bytes([1; 32]), ..known.clone() };
    let error = file.sign(&known, &new).unwrap_err();
    assert!(matches!(error, KeyFileError::File { what: "writing", .. }), "{error:?}");
    let error = file.sign(&known, &new).unwrap_err();
    assert!(matches!(error, KeyFileError::Poisoned { .. }), "{error:?}");
    drop(file);
    for file in [&short, &signed] {
        fs::rename(deep.join(file.file_name().unwrap()), file).unwrap();
    }
    let file = KeyFile::open(&short).unwrap();
    assert_eq!(file.signed().unwrap(), known);
    file.sign(&known, &new).unwrap();
    assert_eq!(file.signed().unwrap(), new);
}

/// Whatever is in the file that remembers, it is the key's own, or nothing more is signed.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_key_remembers_is_not_forged() {
    let history = History::random(seed(), 120);
    let site = Site::new(&history.entries, 60).await;
    site.sign().await.unwrap();
    site.archive_more(60, 120).await;
    let whole = fs::read(site.signed_path()).unwrap();
    let before = site.files();
    for at in (0..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(site.signed_path(), bytes).unwrap();
        assert!(site.sign().await.is_err(), "byte {at}");
    }
    fs::write(site.signed_path(), b"").unwrap();
    assert!(site.sign().await.is_err());
    assert_eq!(site.files(), before);
    fs::write(site.signed_path(), whole).unwrap();
    assert_eq!(site.sign().await.unwrap().unwrap().added, 60);
    let mode = fs::metadata(site.signed_path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}
