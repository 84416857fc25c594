//! Programs of others that tests start.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Prometheus' own program, which checks alerts and tries them.
///
/// # Panics
/// When there is none.
pub fn promtool() -> PathBuf {
    tool("TIPLINE_PROMTOOL", "tools/promtool/bin/promtool", &["/usr/bin/promtool"])
}

/// Systemd's own program, which verifies units.
///
/// # Panics
/// When there is none.
pub fn systemd_analyze() -> PathBuf {
    let installed = ["/usr/bin/systemd-analyze"];
    tool("TIPLINE_SYSTEMD_ANALYZE", "tools/systemd/bin/systemd-analyze", &installed)
}

/// HAProxy.
///
/// # Panics
/// When there is none.
pub fn haproxy() -> PathBuf {
    let installed = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"];
    tool("TIPLINE_HAPROXY", "tools/haproxy/bin/haproxy", &installed)
}

/// Directories from which Python imports `duckdb` and `polars`, as `PYTHONPATH` has them:
/// `TIPLINE_PARQUET_READERS`, else what `tests/run` left in the build directory.
///
/// # Panics
/// When there are none.
pub fn parquet_readers() -> OsString {
    let variable = "TIPLINE_PARQUET_READERS";
    if let Some(named) = std::env::var_os(variable) {
        return named;
    }
    let pinned =
        include_str!("../requirements.txt").lines().filter_map(|line| line.split_once("=="));
    let pinned = pinned
        .filter(|(package, _)| package.starts_with("duckdb") || package.starts_with("polars"));
    let homes = pinned.map(|(package, version)| {
        // A file that each has.
        let inside = format!(
            "tools/{package}-{version}/{}/__init__.py",
            match package {
                "polars-runtime-32" => "_polars_runtime_32",
                package => package,
            }
        );
        let file = tool(variable, &inside, &[]);
        file.ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
    });
    std::env::join_paths(homes).unwrap_or_else(|error| panic!("the build directory: {error}"))
}

/// What the variable names, else what `tests/run` left in the build directory, else one that is
/// installed.
pub(crate) fn tool(variable: &str, built: &str, installed: &[&str]) -> PathBuf {
    if let Some(named) = std::env::var_os(variable) {
        let named = PathBuf::from(named);
        assert!(named.is_file(), "{variable}={}: no such file", named.display());
        return named;
    }
    let own = std::env::current_exe().ok();
    let targets = own.iter().flat_map(|own| own.ancestors().skip(2).take(2));
    let mut all =
        targets.map(|target| target.join(built)).chain(installed.iter().map(PathBuf::from));
    all.find(|file| file.is_file()).unwrap_or_else(|| {
        panic!(
            "there is no {built}. Run ./tests/run once: it gets it into the build directory, \
             without root. Or name one by {variable}=/path/to/it."
        )
    })
}
