//! Any bytes, read as a `blk*.dat` file, and as what stands between two blocks of one.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a directory"));

fuzz_target!(|input: ([u8; 8], &[u8])| {
    let (key, bytes) = input;
    tipline_sources::fuzzing::blk(DIRECTORY.path(), bytes, key).expect("a directory");
});
