//! A full disk, which is a small tmpfs that nobody else sees.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{assert_files, created, layout};
use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::files::{FileReader, FileStore};
use crate::spec::{Sink, Store};

/// Where the small disk is; set for the test that runs on it.
const DISK: &str = "TIPLINE_TEST_SMALL_DISK";
/// A mount of its own, without root; whatever runs in it ends with `unshare`.
const NAMESPACES: [&str; 6] =
    ["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"];

fn in_namespaces(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(NAMESPACES).args(["sh", "-c", script, "sh"]);
    command
}

/// Whether a disk of its own can be had. A machine without says so explicitly.
fn has_namespaces() -> bool {
    let why = match in_namespaces("mount -t tmpfs none /tmp").output() {
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

/// Runs a test of this file on a disk of its own.
fn on_a_disk_of(mib: u32, test: &str) {
    if !has_namespaces() {
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    let script = format!(r#"mount -t tmpfs -o size={mib}m none "$0" && exec "$@""#);
    let test = format!("{}::{test}", module_path!());
    let (_, test) = test.split_once("::").unwrap();
    let mut command = Command::new("unshare");
    let done = command
        .args(NAMESPACES)
        .args(["sh", "-c", &script])
        .arg(disk.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DISK, disk.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn a_full_disk_loses_nothing_and_the_handle_goes_on_when_there_is_room() {
    on_a_disk_of(12, "on_a_small_disk");
}

#[test]
fn a_commit_that_may_have_been_made_keeps_its_payloads() {
    on_a_disk_of(96, "without_space_for_the_index_of_the_wal");
}

/// Fills what is left of the disk, but for so many bytes.
fn fill(disk: &Path, left: u64) -> PathBuf {
    let path = disk.join("filler");
    let mut filler = File::create(&path).unwrap();
    // In large pieces: this is done fifty times.
    let zeros = vec![0; 1 << 20];
    let full = loop {
        if let Err(error) = filler.write_all(&zeros) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    let bytes = filler.metadata().unwrap().len();
    filler.set_len(bytes.saturating_sub(left)).unwrap();
    path
}

#[test]
#[ignore = "started by the test above, on its small disk"]
fn on_a_small_disk() {
    let disk = PathBuf::from(std::env::var_os(DISK).unwrap());
    let root = disk.join("store");
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    let mut history = History::blocks(10, 10_000);
    let first = history.entries.len();
    let tip = history.model.cursor.block_tip.clone().unwrap().height;
    history.roll_back_to(tip - 5);
    (0..30).for_each(|_| history.block_of(20_000));
    history.record_of(1, Some(vec![1; 300_000].into()));
    store.apply(&model.batch(&history.entries[..first])).unwrap();
    let before = model.clone();
    let batch = model.batch(&history.entries[first..]);
    // It runs out of room at the first payload, in the middle of them, and behind the last one, when
    // only the index is left to write: 600 KB of payloads, 300 KB of a record.
    let (mut in_the_files, mut in_the_index) = (0, 0);
    for left in (0..2 << 20).step_by(40 << 10) {
        let filler = fill(&disk, left);
        match store.apply(&batch) {
            Ok(()) => break,
            Err(error) => {
                assert!(matches!(error, StoreError::NoSpace { .. }), "{left} bytes: {error:?}");
                let source = std::error::Error::source(&error).unwrap().to_string();
                if source.contains("database") { in_the_index += 1 } else { in_the_files += 1 }
            }
        }
        before.assert_is(&*store.reader().unwrap(), &format!("{left} bytes"));
        let staged = fs::read_dir(layout(&root).staging()).unwrap().count();
        assert_eq!(staged, 0, "{left} bytes: the room is given back");
        fs::remove_file(filler).unwrap();
        assert_files(&root, &before, &format!("{left} bytes"));
    }
    println!("no room: {in_the_files} times in the files, {in_the_index} times in the index");
    assert!(in_the_files > 5 && in_the_index > 2, "{in_the_files} and {in_the_index}");
    model.assert_is(&*store.reader().unwrap(), "with room again");
    assert_files(&root, &model, "with room again");
    drop(store);
    model.assert_is(&*FileStore::open(&root).unwrap().reader().unwrap(), "opened again");
}

/// What a page takes in a WAL, and how many of them the first piece of the index of a WAL is for.
const FRAME: u64 = 24 + 8192;
const FRAMES: u64 = 4062;

/// The store as a power cut leaves it: without the index of the WAL, which is made again.
fn left(root: &Path) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("left");
    let (mut from, mut made) = (vec![root.to_owned()], vec![copy.clone()]);
    while let Some((from_directory, to)) = from.pop().zip(made.pop()) {
        fs::create_dir(&to).unwrap();
        for file in fs::read_dir(from_directory).unwrap() {
            let file = file.unwrap();
            let to = to.join(file.file_name());
            if file.path().is_dir() {
                from.push(file.path());
                made.push(to);
            } else if file.file_name() != "index.db-shm" {
                fs::copy(file.path(), to).unwrap();
            }
        }
    }
    (directory, copy)
}

fn is_of_the_index(error: &StoreError) -> bool {
    let source = std::error::Error::source(error);
    let source = source.and_then(|source| source.downcast_ref::<rusqlite::Error>());
    source
        .and_then(rusqlite::Error::sqlite_error)
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

/// The WAL takes all of a batch, and is fsynced; then the index of the WAL cannot be extended, and
/// the commit fails.
#[test]
#[ignore = "started by a test above, on its small disk"]
fn without_space_for_the_index_of_the_wal() {
    let disk = PathBuf::from(std::env::var_os(DISK).unwrap());
    let root = disk.join("store");
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    let mut history = History::new(3);
    history.claim();
    let record = |key: u8| Some(vec![key; 2 << 20].into());
    let frames = || fs::metadata(root.join("index.db-wal")).unwrap().len() / FRAME;
    let mut from = 0;
    for key in 0.. {
        history.record_of(key, record(key));
        store.apply(&model.batch(&history.entries[from..])).unwrap();
        from = history.entries.len();
        if frames() + 400 > FRAMES {
            break;
        }
    }
    assert!(frames() <= FRAMES, "{} frames", frames());
    let (before, used) = (model.clone(), frames());
    (0..10).for_each(|_| history.block_of(20_000));
    history.record_of(255, Some(vec![255; 4 << 20].into()));
    let batch = model.batch(&history.entries[from..]);
    // With each attempt the WAL takes a little more of the batch, of 512 pages and some, until it takes
    // all of it. What is left then is less than a piece of its index.
    let payloads = 10 * (20 << 10);
    let mut doubt = None;
    for round in 0..1000 {
        let more = if frames() < used + 450 { 256 << 10 } else { (round % 7) * (4 << 10) };
        let filler = fill(&disk, payloads + more);
        let error = store.apply(&batch).unwrap_err();
        if is_of_the_index(&error) {
            doubt = Some((filler, error));
            break;
        }
        assert!(matches!(error, StoreError::NoSpace { .. }), "{error:?}");
        fs::remove_file(filler).unwrap();
    }
    let (filler, error) = doubt.expect("there was no space for the index of the WAL");
    assert!(matches!(error, StoreError::Failed { .. }), "{error:?}");
    let poisoned = store.apply(&batch).unwrap_err();
    assert!(poisoned.to_string().contains("stopped earlier"), "{poisoned}");
    // The power is cut: the index has the batch, so its payloads must be there.
    let (_directory, copy) = left(&root);
    model.assert_is(&*FileStore::open(&copy).unwrap().reader().unwrap(), "the power was cut");
    assert_files(&copy, &model, "the power was cut");
    // It is opened again while somebody reads it, and has the index of the WAL open: the batch does not
    // count, and never will.
    let reader = FileReader::open(&root).unwrap();
    drop(store);
    fs::remove_file(filler).unwrap();
    let mut store = FileStore::open(&root).unwrap();
    before.assert_is(&reader, "opened again");
    assert_files(&root, &before, "opened again");
    let (_directory, copy) = left(&root);
    before.assert_is(&*FileStore::open(&copy).unwrap().reader().unwrap(), "cut again");
    assert_files(&copy, &before, "cut again");
    store.apply(&batch).unwrap();
    model.assert_is(&*store.reader().unwrap(), "with room again");
    assert_files(&root, &model, "with room again");
}
