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
        Err(error) => unknown(found, &error.to_string()),
    }
}

/// Elsewhere a file system has no number. Nothing is said of what is not checked.
#[cfg(not(target_os = "linux"))]
fn check_file_system(_found: &mut Preflight, _path: &Path) {}

/// File systems that keep what was fsynced, by their number as statfs gives it. The numbers are in
/// statfs(2) and in the kernel's `linux/magic.h`.
#[cfg(target_os = "linux")]
const KEEPING: [(u32, &str); 11] = [
    (0xEF53, "ext"), // 2, 3 and 4
    (0x5846_5342, "xfs"),
    (0x9123_683E, "btrfs"),
    (0x2FC1_2FC1, "zfs"),
    (0xF2F5_2010, "f2fs"),
    (0xCA45_1A4E, "bcachefs"),
    // Keeps it where its upper layer does.
    (0x794C_7630, "overlayfs"),
    (0x3153_464A, "jfs"),
    (0x3434, "nilfs"),
    (0x2405_1905, "ubifs"),
    (0x5265_4973, "reiserfs"),
];

/// File systems under which a log is not safe, and why.
#[cfg(target_os = "linux")]
const LOSING: [(u32, &str, &str); 13] = [
    (0x0102_1994, "tmpfs", IN_MEMORY),
    (0x8584_58F6, "ramfs", IN_MEMORY),
    (0x6969, "nfs", ON_NETWORK),
    (0x517B, "smb", ON_NETWORK),
    (0xFF53_4D42, "cifs", ON_NETWORK),
    (0xFE53_4D42, "smb2", ON_NETWORK),
    (0x0102_1997, "9p", ON_NETWORK),
    (0x00C3_6400, "ceph", ON_NETWORK),
    (0x5346_414F, "afs", ON_NETWORK),
    (0x7375_7245, "coda", ON_NETWORK),
    (0x7461_636F, "ocfs2", ON_NETWORK),
    (0x0116_1970, "gfs2", ON_NETWORK),
    (0x0BD0_0BD0, "lustre", ON_NETWORK),
];

/// Classifies a file system by its number.
#[cfg(target_os = "linux")]
fn classify(found: &mut Preflight, magic: u32) {
    if let Some((_, name)) = KEEPING.iter().find(|(number, _)| *number == magic) {
        return found.good("file-system", format!("file system: {name}"));
    }
    let Some((_, name, risk)) = LOSING.iter().find(|(number, ..)| *number == magic) else {
        return unknown(found, &format!("number {magic:#x}"));
    };
    let remedy = "put the log on a local disk";
    found.shortfall("file-system", format!("file system: {name}"), *risk, remedy);
}

#[cfg(target_os = "linux")]
fn unknown(found: &mut Preflight, what: &str) {
    found.shortfall(
        "file-system-unknown",
        format!("file system: unknown ({what})"),
        "it may not keep what was fsynced, or be on another machine",
        "put the log on a file system that is known, such as ext4, xfs, btrfs or zfs, or accept this \
         one if you know that it does",
    );
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
            let good = found.passed().to_vec();
            let short: Vec<_> = found.shortfalls.iter().map(|short| short.name()).collect();
            (good, short)
        };
        for local in [0xEF53, 0x5846_5342, 0x9123_683E, 0x2FC1_2FC1, 0xF2F5_2010, 0x794C_7630] {
            assert_eq!(classified(local), (vec!["file-system"], vec![]), "{local:#x}");
        }
        for weak in [0x0102_1994, 0x6969, 0xFE53_4D42] {
            assert_eq!(classified(weak), (vec![], vec!["file-system"]), "{weak:#x}");
        }
        // FUSE: whatever is behind it. Then vfat, and one that does not exist.
        for unknown in [0x6573_5546, 0x4D44, 0x1234_5678] {
            let (good, short) = classified(unknown);
            assert_eq!((good, short), (vec![], vec!["file-system-unknown"]), "{unknown:#x}");
        }
        let mut found = Preflight::default();
        check_file_system(&mut found, Path::new("/nowhere"));
        assert_eq!(found.shortfalls[0].name(), "file-system-unknown", "{found:?}");
    }
}
