//! The generated code is committed; this checks that it is what the schema gives.
//! `TIPLINE_REGENERATE=1 cargo test -p tipline-proto generated` writes it anew.

use std::fs;
use std::path::Path;

#[test]
fn generated_code_matches_the_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let schema = root.join("schema");
    let files = protox::compile([schema.join("tipline/v1/tipline.proto")], [&schema]).unwrap();
    let mut config = prost_build::Config::new();
    config.bytes(["."]).out_dir(out.path()).compile_fds(files).unwrap();

    let fresh = fs::read_to_string(out.path().join("tipline.v1.rs")).unwrap();
    let committed = root.join("src/gen/tipline.v1.rs");
    if std::env::var_os("TIPLINE_REGENERATE").is_some() {
        fs::write(&committed, &fresh).unwrap();
    }
    assert!(
        fs::read_to_string(&committed).unwrap() == fresh,
        "src/gen/tipline.v1.rs is not what the schema gives: \
         run TIPLINE_REGENERATE=1 cargo test -p tipline-proto generated"
    );
}
