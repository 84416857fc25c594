//! Compiles the schema into `proto/src/gen/`, or with `--check` tells whether what is committed
//! there is what the schema gives.

use std::error::Error;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let schema = root.join("schema");
    let out = std::env::temp_dir().join(format!("tipline-generate-{}", std::process::id()));
    fs::create_dir(&out)?;
    let files = protox::compile([schema.join("tipline/v1/tipline.proto")], [&schema])?;
    prost_build::Config::new().bytes(["."]).out_dir(&out).compile_fds(files)?;
    let fresh = fs::read_to_string(out.join("tipline.v1.rs"))?;
    fs::remove_dir_all(out)?;
    let committed = root.join("src/gen/tipline.v1.rs");
    match std::env::args().nth(1).as_deref() {
        None => Ok(fs::write(committed, fresh)?),
        Some("--check") if fs::read_to_string(&committed)? == fresh => Ok(()),
        Some("--check") => Err("proto/src/gen/tipline.v1.rs is not what the schema gives: run \
            cargo run --manifest-path proto/generate/Cargo.toml"
            .into()),
        Some(other) => Err(format!("{other} is not --check").into()),
    }
}
