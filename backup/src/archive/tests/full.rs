//! A full disk, which is a small tmpfs that nobody else sees.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;
use tipline_store::{Sink, StoreError};

use super::{everything, open, runtime, store};

/// Where the small disk is; set for the test that runs on it.
const DISK: &str = "TIPLINE_TEST_SMALL_DISK";
/// A mount of its own, without root; whatever runs in it ends with `unshare`.
const NAMESPACES: [&str; 6] =
    ["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"];

#[test]
fn a_full_destination_loses_nothing_and_resumes_when_there_is_space() {
    let disk = tempfile::tempdir().unwrap();
    let test = concat!(module_path!(), "::on_a_small_disk");
    let (_, test) = test.split_once("::").unwrap();
    let script = r#"mount -t tmpfs -o size=12m none "$0" && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(NAMESPACES).args(["sh", "-c", script]).arg(disk.path());
    command.arg(std::env::current_exe().unwrap());
    let done = command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DISK, disk.path())
        .output()
        .unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    let allowed = std::env::var_os("TIPLINE_WITHOUT_NAMESPACES").is_some_and(|value| value == "1");
    if !said.contains("running") && allowed {
        println!("skipped: no namespaces (TIPLINE_WITHOUT_NAMESPACES=1): {errors}");
        return;
    }
    assert!(done.status.success() && said.contains("1 passed"), "{said}\n{errors}");
}

/// Fills what is left of the disk, except these bytes.
fn fill(disk: &Path, left: u64) -> PathBuf {
    let path = disk.join("filler");
    let mut filler = File::create(&path).unwrap();
    std::io::copy(&mut std::io::repeat(0), &mut filler).unwrap_err();
    let bytes = filler.metadata().unwrap().len();
    filler.set_len(bytes.saturating_sub(left)).unwrap();
    path
}

#[test]
#[ignore = "started by the test above, on its small disk"]
fn on_a_small_disk() {
    let disk = PathBuf::from(std::env::var_os(DISK).unwrap());
    let (runtime, directory) = (runtime(), disk.join("archive"));
    let history = History::blocks(40, 50_000);
    let mut archiver = store(&runtime, &directory);
    archiver.identity().unwrap();
    archiver.create(&log()).unwrap();
    let mut model = Model::new(&log());
    archiver.apply(&model.batch(&history.entries[..10])).unwrap();
    let mut refused = 0;
    for left in (0..2 << 20).step_by(100 << 10) {
        let filler = fill(&disk, left);
        let batch = model.clone().batch(&history.entries[10..]);
        match archiver.apply(&batch) {
            Ok(()) => break,
            Err(error) => {
                assert!(matches!(error, StoreError::NoSpace { .. }), "{left} bytes: {error:?}");
                refused += 1;
            }
        }
        fs::remove_file(filler).unwrap();
        let found = runtime.block_on(async { everything(&open(&directory).await).await });
        assert_eq!(found.unwrap(), history.entries[..10], "{left} bytes");
        let files = fs::read_dir(directory.join("segments")).unwrap().count();
        assert_eq!(files, 1, "{left} bytes: the room is given back");
    }
    assert!(refused > 5, "{refused}");
    let found = runtime.block_on(async { everything(&open(&directory).await).await });
    assert_eq!(found.unwrap(), history.entries);
}
