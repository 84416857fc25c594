//! Listing a directory may fail for a moment, which ends nothing.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use super::created;
use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::spec::{Sink, Store};

/// Where the store is; set for the test that may have few files open.
const PLACE: &str = "TIPLINE_TEST_FEW_FILES";

#[test]
fn a_directory_that_cannot_be_listed_for_now_is_listed_again() {
    let directory = tempfile::tempdir().unwrap();
    let test = concat!(module_path!(), "::with_few_files");
    let (_, test) = test.split_once("::").unwrap();
    let done = Command::new("sh")
        .args(["-c", r#"ulimit -n 200 && exec "$@""#, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(PLACE, directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "started by the test above, which limits its files"]
fn with_few_files() {
    let place = std::env::var_os(PLACE).unwrap();
    let place = Path::new(&place);
    let (mut store, mut model) = (created(&place.join("store")), Model::new(&log()));
    let entries = History::blocks(20, 1000).entries;
    store.apply(&model.batch(&entries[..10])).unwrap();
    let snapshot = store.snapshot().unwrap().remove(0);
    let mut opened = vec![];
    while let Ok(file) = File::open("/dev/null") {
        opened.push(file);
    }
    let refused = [store.probe().unwrap_err(), snapshot.bytes(place).unwrap_err()];
    drop(opened);
    for refused in refused {
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
    }
    store.probe().unwrap();
    assert!(snapshot.bytes(place).unwrap() > 0);
    store.apply(&model.batch(&entries[10..])).unwrap();
    model.assert_is(&*store.reader().unwrap(), "gone on");
}
