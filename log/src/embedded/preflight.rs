//! Preflight: the disk under the log, and SQLite's settings.

use std::path::Path;

use super::sqlite;
use crate::preflight::Preflight;

/// SQLite before these versions can lose a commit when one process writes while another
/// one brings the write-ahead log home (the "WAL-reset bug").
const FIXED_SQLITE: [std::ops::RangeInclusive<i32>; 3] =
    [3_044_006..=3_044_999, 3_050_007..=3_050_999, 3_051_003..=i32::MAX];

/// `synchronous` as the pragma gives it: 2 is FULL, 3 is EXTRA.
pub(super) fn preflight(path: &Path, journal_mode: &str, synchronous: &str) -> Preflight {
    let mut found = Preflight::default();
    found.note("copies: 1, on this machine: the log is as safe as this disk");
    if journal_mode == "wal" {
        found.good("journal-mode", "journal_mode: wal");
    } else {
        found.shortfall(
            "journal-mode",
            format!("journal_mode: {journal_mode}"),
            "readers and the writer stop each other",
            "run PRAGMA journal_mode = wal",
        );
    }
    if matches!(synchronous, "2" | "3") {
        found.good(
            "synchronous",
            "synchronous: full, an append is fsynced before it is acknowledged",
        );
    } else {
        found.shortfall(
            "synchronous",
            format!("synchronous: {synchronous}"),
            "a power failure loses appends that were acknowledged",
            "use an SQLite that takes PRAGMA synchronous = FULL",
        );
    }
    check_sqlite(&mut found, sqlite::version());
    check_file_system(&mut found, path);
    found
}

fn check_sqlite(found: &mut Preflight, version: i32) {
    let text =
        format!("SQLite: {}.{}.{}", version / 1_000_000, version / 1000 % 1000, version % 1000);
    if FIXED_SQLITE.iter().any(|fixed| fixed.contains(&version)) {
        found.good("sqlite-version", text);
        return;
    }
    found.shortfall(
        "sqlite-version",
        text,
        "it has the WAL-reset bug: when several processes use the log, a commit can be lost, rarely",
        "link SQLite 3.51.3 or newer, or build with the feature `bundled`",
    );
}

#[cfg(target_os = "linux")]
fn check_file_system(found: &mut Preflight, path: &Path) {
    match rustix::fs::statfs(path) {
        // Its width differs between architectures; the values fit in 32 bits.
        Ok(system) => classify(found, system.f_type as u32),
        Err(error) => found.shortfall(
            "file-system",
            format!("file system: unknown ({error})"),
            "it may not keep what it fsynced",
            "put the log on a local disk",
        ),
    }
}

#[cfg(not(target_os = "linux"))]
fn check_file_system(_found: &mut Preflight, _path: &Path) {}

/// Classifies a file system by its number, as statfs gives it.
#[cfg(target_os = "linux")]
fn classify(found: &mut Preflight, magic: u32) {
    let (name, risk) = match magic {
        0x0102_1994 => ("tmpfs", IN_MEMORY),
        0x8584_58F6 => ("ramfs", IN_MEMORY),
        0x6969 => ("nfs", ON_NETWORK),
        0xFF53_4D42 => ("cifs", ON_NETWORK),
        0xFE53_4D42 => ("smb2", ON_NETWORK),
        0x0102_1997 => ("9p", ON_NETWORK),
        0x00C3_6400 => ("ceph", ON_NETWORK),
        local => return found.good("file-system", format!("file system: {}", local_name(local))),
    };
    found.shortfall(
        "file-system",
        format!("file system: {name}"),
        risk,
        "put the log on a local disk",
    );
}

#[cfg(target_os = "linux")]
fn local_name(magic: u32) -> String {
    match magic {
        0xEF53 => "ext".to_owned(),
        0x5846_5342 => "xfs".to_owned(),
        0x9123_683E => "btrfs".to_owned(),
        0x2FC1_2FC1 => "zfs".to_owned(),
        other => format!("{other:#x}, not one known to lose data"),
    }
}

#[cfg(target_os = "linux")]
const IN_MEMORY: &str = "the log is in memory and gone when the machine stops";
#[cfg(target_os = "linux")]
const ON_NETWORK: &str =
    "SQLite's locks and shared memory do not work between machines, and an fsync may mean nothing";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_sqlite() {
        let is_fixed = |version| {
            let mut found = Preflight::default();
            check_sqlite(&mut found, version);
            found.is_durable()
        };
        for version in [3_044_006, 3_050_007, 3_051_003, 3_052_000, 3_054_001, 4_000_000] {
            assert!(is_fixed(version), "{version}");
        }
        for version in [3_007_000, 3_044_005, 3_045_003, 3_049_002, 3_050_006, 3_051_002] {
            assert!(!is_fixed(version), "{version}");
        }
    }

    #[test]
    fn weak_settings() {
        let durable = |journal, synchronous| preflight(Path::new("/"), journal, synchronous);
        let found = durable("delete", "2").shortfalls;
        assert!(found.iter().any(|s| s.found == "journal_mode: delete"), "{found:?}");
        let found = durable("wal", "1").shortfalls;
        assert!(found.iter().any(|s| s.found == "synchronous: 1"), "{found:?}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn file_systems() {
        let classified = |magic| {
            let mut found = Preflight::default();
            classify(&mut found, magic);
            (found.good.len(), found.shortfalls.len())
        };
        for local in [0xEF53, 0x5846_5342, 0x9123_683E, 0x794C_7630] {
            assert_eq!(classified(local), (1, 0), "{local:#x}");
        }
        for weak in [0x0102_1994, 0x6969, 0xFE53_4D42] {
            assert_eq!(classified(weak), (0, 1), "{weak:#x}");
        }
    }
}
