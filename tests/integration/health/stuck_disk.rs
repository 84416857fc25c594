//! A disk that hangs: what is written to it is never durable, and the call never returns.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tipline_tests::eventually;

use super::fleet::{Fleet, WITHIN};

/// The variable that names the file.
pub(crate) const HUNG_DISK: &str = "HUNG_DISK";

/// Put before the system's own: it lets calls hang for as long as a file is there.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void hang(void) {
    const char *file = getenv("HUNG_DISK");
    while (file && access(file, F_OK) == 0) usleep(10000);
}
int fsync(int fd) {
    hang();
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
int fdatasync(int fd) {
    hang();
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"#;

/// The shim, in this directory.
pub(crate) fn compile(dir: &Path) -> PathBuf {
    let (source, shim) = (dir.join("hung_disk.c"), dir.join("hung_disk.so"));
    std::fs::write(&source, SHIM).unwrap();
    let flags = ["-shared", "-fPIC", "-O1", "-o"];
    let made = Command::new("cc").args(flags).arg(&shim).arg(&source).arg("-ldl").status();
    assert!(made.expect("a C compiler, as the build needs").success());
    shim
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_disk_hangs_leaves_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (shim, hung) = (compile(dir.path()), dir.path().join("hung"));
    let fleet = Fleet::start_with(1024, |number, tipline| match number {
        1 => tipline.env("LD_PRELOAD", &shim).env(HUNG_DISK, &hung),
        _ => tipline,
    })
    .await;
    let stuck_at = fleet.node.height();
    std::fs::write(&hung, "").unwrap();
    // While nothing is written nothing hangs.
    eventually("a block comes that hangs", WITHIN, async || {
        if fleet.node.height() > stuck_at { Ok(()) } else { Err("none yet") }
    })
    .await;
    let left = fleet.leaves(1, Instant::now()).await;
    fleet.says(1, "store_stuck").await;
    fleet.served_nobody(1, left).await;
    let since = Instant::now();
    std::fs::remove_file(&hung).unwrap();
    fleet.returns(1, since).await;
    fleet.check_reads();
}
