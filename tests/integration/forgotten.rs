//! No test file lies here without being run.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_file_in_this_directory_is_a_module_of_main() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration");
    let there: BTreeSet<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() || path.extension().is_some_and(|e| e == "rs"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "main")
        .collect();
    let run: BTreeSet<String> = include_str!("main.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    assert_eq!(there, run, "left: files in integration/, right: `mod` lines of main.rs");
}
