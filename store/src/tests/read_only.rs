//! Stores on a medium that cannot be written are readable.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::reader::StoreReader;
use crate::spec::Store;
use crate::{FileReader, FileStore, RocksDbReader, RocksDbStore, SqliteReader, SqliteStore};

/// Where the medium is; set for the test that reads it.
const MEDIUM: &str = "TIPLINE_TEST_READ_ONLY";

fn model(count: usize) -> Model {
    Model::of(&log(), &History::random(1, 60).entries[..count])
}

fn fill(mut store: Box<dyn Store>) -> Box<dyn Store> {
    let mut model = Model::new(&log());
    store.create(&log()).unwrap();
    store.apply(&model.batch(&History::random(1, 60).entries)).unwrap();
    store
}

#[test]
fn every_kind_is_read_from_a_medium_that_is_read_only() {
    let medium = tempfile::tempdir().unwrap();
    let at = |name: &str| medium.path().join(name);
    drop(fill(Box::new(SqliteStore::open(at("closed.db")).unwrap())));
    drop(fill(Box::new(FileStore::open(at("files")).unwrap())));
    drop(fill(Box::new(RocksDbStore::open(at("rocksdb")).unwrap())));
    // As a killed process leaves it: some of it is in the WAL alone.
    let open = fill(Box::new(SqliteStore::open(at("open.db")).unwrap()));
    for name in ["killed.db", "killed.db-wal"] {
        fs::copy(at(&name.replace("killed", "open")), at(name)).unwrap();
    }
    drop(open);
    std::os::unix::fs::symlink("killed.db", at("link.db")).unwrap();
    let script = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@""#;
    let test = concat!(module_path!(), "::on_a_read_only_medium");
    let (_, test) = test.split_once("::").unwrap();
    let done = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"])
        .args(["sh", "-c", script])
        .arg(medium.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(MEDIUM, medium.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let errors = String::from_utf8_lossy(&done.stderr);
    if !said.contains("running 1 test")
        && std::env::var_os("TIPLINE_WITHOUT_NAMESPACES").is_some_and(|value| value == "1")
    {
        println!("skipped: no namespaces (TIPLINE_WITHOUT_NAMESPACES=1): {errors}");
        return;
    }
    assert!(done.status.success() && said.contains("1 passed"), "{said}\n{errors}");
}

#[test]
#[ignore = "it is run by the test above, where the medium is read-only"]
fn on_a_read_only_medium() {
    let medium = std::env::var_os(MEDIUM).unwrap();
    let at = |name: &str| Path::new(&medium).join(name);
    fs::write(at("anything"), "").unwrap_err();
    let readers: [Box<dyn StoreReader>; 3] = [
        Box::new(SqliteReader::open(at("closed.db")).unwrap()),
        Box::new(FileReader::open(at("files")).unwrap()),
        Box::new(RocksDbReader::open(at("rocksdb")).unwrap()),
    ];
    for reader in readers {
        model(60).assert_is(&*reader, &reader.place());
    }
    for name in ["killed.db", "link.db"] {
        let refused = SqliteReader::open(at(name)).unwrap_err();
        assert!(matches!(refused, StoreError::Unusable { .. }), "{refused:?}");
        assert!(refused.to_string().contains("killed.db-wal has some of it"), "{refused}");
    }
}
