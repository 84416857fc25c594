//! A full disk, on a disk of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::copy;
use crate::batch::Batch;
use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::rocksdb::{RocksDbReader, RocksDbStore};
use crate::spec::{Sink, Store};

const DISK_BYTES: u64 = 256 << 20;
/// It looks for room every 5 s.
const WITHIN: Duration = Duration::from_secs(30);

/// RocksDB says so when it finds too little space to go on.
const LOOKED: &str = "Cannot clear hard error";

/// A mount of its own, without root; whatever runs in it ends with `unshare`.
const NAMESPACES: [&str; 6] =
    ["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"];

#[test]
fn a_full_disk_loses_nothing_and_the_handle_goes_on_when_there_is_room() {
    if !has_namespaces() {
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size="$1" none "$DISK" && shift && exec "$@""#;
    let done = Command::new("unshare")
        .args(NAMESPACES)
        .args(["sh", "-c", script, "sh", &DISK_BYTES.to_string()])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "rocksdb::tests::full_disk::on_a_small_disk", "--include-ignored"])
        .arg("--nocapture")
        .env("DISK", disk.path())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    println!("{out}");
    assert!(done.status.success() && out.contains("1 passed"), "{out}\n{err}");
}

#[test]
#[ignore = "the one above runs it, on a disk of its own"]
fn on_a_small_disk() {
    let disk = PathBuf::from(std::env::var_os("DISK").expect("it is run by the other test"));
    let seeds = std::env::var("SEEDS").map_or(1, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        println!("seed {seed}");
        fill_up_and_go_on(&disk.join("store"), &disk.join("filler"), seed);
        fs::remove_dir_all(disk.join("store")).unwrap();
    }
    it_does_not_go_on_by_itself(&disk.join("store"), &disk.join("filler"));
}

/// RocksDB would, in a new log, with the refused write in the old one.
fn it_does_not_go_on_by_itself(path: &Path, filler: &Path) {
    let mut store = RocksDbStore::open(path).unwrap();
    store.create(&log()).unwrap();
    let (mut model, mut history) = (Model::new(&log()), History::new(0));
    history.claim();
    fill(filler, 4 << 20);
    let mut applied = 0;
    let batch = loop {
        history.block_of(2 << 20);
        let batch = model.batch(&history.entries[applied..]);
        applied = history.entries.len();
        match store.apply(&batch) {
            Ok(()) => {}
            Err(StoreError::NoSpace { .. }) => break batch,
            Err(other) => panic!("{other:?}"),
        }
    };
    let looked = || fs::read_to_string(path.join("LOG")).unwrap().matches(LOOKED).count();
    fs::remove_file(filler).unwrap();
    let (before, freed) = (looked(), Instant::now());
    while looked() == before {
        assert!(freed.elapsed() < WITHIN, "RocksDB did not look for space, or took it");
        std::thread::sleep(Duration::from_millis(20));
    }
    store.with_db(|db| db.put(b"key", b"row")).expect_err("RocksDB went on by itself");
    store.apply(&batch).unwrap();
    model.assert_is(&*store.reader().unwrap(), "opened again");
}

fn fill_up_and_go_on(path: &Path, filler: &Path, seed: u64) {
    let mut store = RocksDbStore::open(path).unwrap();
    store.create(&log()).unwrap();
    let (mut model, mut history) = (Model::new(&log()), History::new(seed));
    history.claim();
    let mut applied = 0;
    let mut next = |history: &mut History, model: &mut Model| {
        for _ in 0..10 {
            history.step();
        }
        history.block_of(2 << 20);
        let batch = model.batch(&history.entries[applied..]);
        applied = history.entries.len();
        batch
    };
    // At once, after it was opened and all is in files; in the log; when files are written.
    for (round, room) in [0, (5 + seed) << 20, 40 << 20].into_iter().enumerate() {
        if round == 0 {
            drop(store);
            store = RocksDbStore::open(path).unwrap();
        }
        fill(filler, room);
        let (before, batch) = loop {
            let before = model.clone();
            let batch = next(&mut history, &mut model);
            match store.apply(&batch) {
                Ok(()) => continue,
                Err(StoreError::NoSpace { .. }) => {}
                Err(other) => panic!("round {round}: {other:?}"),
            }
            // Opened again, RocksDB may need less: it had taken some in advance.
            match store.apply(&batch) {
                Ok(()) => {}
                Err(StoreError::NoSpace { .. }) => break (before, batch),
                Err(other) => panic!("round {round}, again: {other:?}"),
            }
        };
        let error = store.apply(&batch).unwrap_err();
        assert!(matches!(error, StoreError::NoSpace { .. }), "{error:?}");
        let left = is_as_before_or_after(path, &before, &model);
        match store.reader().unwrap().cursor() {
            // What is whole in the log is not shown before it is applied.
            Err(StoreError::NoSpace { .. }) if left == "after" => {}
            _ => before.assert_is(&*store.reader().unwrap(), "while the disk is full"),
        }
        if left == "before" {
            before.assert_is(&RocksDbReader::open(path).unwrap(), "from outside");
        }
        println!("round {round}: full at {}, a crash leaves it {left}", batch.cursor.position);
        fs::remove_file(filler).unwrap();
        let waited = go_on(&mut store, &batch);
        println!("went on after {waited:?}");
        model.assert_is(&*store.reader().unwrap(), "with room again");
        assert_eq!(is_as_before_or_after(path, &before, &model), "after");
        for _ in 0..3 {
            let batch = next(&mut history, &mut model);
            store.apply(&batch).unwrap();
        }
    }
    drop(store);
    let store = RocksDbStore::open(path).unwrap();
    model.assert_is(&*store.reader().unwrap(), "opened again");
}

/// Leaves this many bytes of the disk.
fn fill(filler: &Path, room: u64) {
    let mut file = fs::File::create(filler).unwrap();
    let zeros = [0; 64 << 10];
    while std::io::Write::write_all(&mut file, &zeros).is_ok() {}
    let used = file.metadata().unwrap().len();
    file.set_len(used.saturating_sub(room)).unwrap();
}

fn go_on(store: &mut RocksDbStore, batch: &Batch) -> Duration {
    let start = Instant::now();
    loop {
        match store.apply(batch) {
            Ok(()) => return start.elapsed(),
            Err(StoreError::NoSpace { .. }) if start.elapsed() < WITHIN => {}
            Err(error) => panic!("after {:?}: {error:?}", start.elapsed()),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a crash now would leave: the files as they are, opened elsewhere.
fn is_as_before_or_after(path: &Path, before: &Model, after: &Model) -> &'static str {
    let elsewhere = tempfile::tempdir_in("/var/tmp").unwrap();
    copy(path, elsewhere.path());
    let store = RocksDbStore::open(elsewhere.path()).unwrap();
    let reader = store.reader().unwrap();
    if reader.cursor().unwrap().as_ref() == Some(&before.cursor) {
        before.assert_is(&*reader, "left by a crash");
        return "before";
    }
    after.assert_is(&*reader, "left by a crash");
    "after"
}

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
