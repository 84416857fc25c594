//! A history that is longer than the memory that verifying it takes. Each is measured in a process of its
//! own, which has made nothing before.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;
use tipline_backup::{Archive, Destination, Keys, Sources};
use tipline_proto::ProofsFrom;
use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;
use tipline_store::{Sink, SqliteReader, SqliteStore};

use super::{ALL, Place, verify};
use crate::verify_content;

/// Names the archive or the store, to the process that measures.
const PLACE: &str = "TIPLINE_TEST_MEMORY_OF";
const PAYLOAD: usize = 64 << 10;
/// 512 MiB of payloads: several times what is read ahead.
const LENGTH: usize = 8_000;

/// The history in an archive, and in a store.
async fn made(length: usize) -> (Place, TempDir) {
    let entries = History::blocks(length as u64 - 1, PAYLOAD).entries;
    let place = Place::filled(&entries, 500).await;
    let directory = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(directory.path().join("store.db")).unwrap();
    store.create(&log()).unwrap();
    let mut model = Model::new(&log());
    entries.chunks(500).for_each(|entries| store.apply(&model.batch(entries)).unwrap());
    (place, directory)
}

/// The most memory that a process had which did nothing else than verify this, in MiB.
fn peak(of: &Path) -> u64 {
    let measured = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::memory::measure", "--ignored", "--nocapture"])
        .env(PLACE, of)
        // What the C library keeps for each thread says nothing of what is held.
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let said = String::from_utf8(measured.stdout).unwrap();
    let peak = said.lines().find_map(|line| line.strip_prefix("peak ")?.parse().ok());
    assert!(peak.is_some(), "{said}\n{}", String::from_utf8_lossy(&measured.stderr));
    peak.unwrap()
}

#[test]
#[ignore = "started by the test below, in a process of its own"]
fn measure() {
    let path = std::env::var_os(PLACE).expect("the test below says of what");
    let path = Path::new(&path);
    if path.is_dir() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = Destination::open(&format!("dir:{}", path.display())).unwrap();
            let archives = vec![Archive::open(place, Keys::default()).await.unwrap()];
            let sources = Arc::new(Sources { archives, ..Sources::default() });
            assert!(verify(sources, ALL).await.unwrap().ok);
        });
    } else {
        let reader = SqliteReader::open(path).unwrap();
        let proofs_from = ProofsFrom::default();
        assert!(verify_content("it", &reader, proofs_from, None, || Ok(())).unwrap().ok);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    println!("\npeak {}", kib >> 10);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_is_verified_in_bounded_memory() {
    let (archive, store) = made(LENGTH).await;
    let archive = peak(archive.directory.path());
    let store = peak(&store.path().join("store.db"));
    println!("of an archive {archive} MiB, of a store {store} MiB");
    assert!(archive < 192, "{archive} MiB");
    assert!(store < 64, "{store} MiB");
}
