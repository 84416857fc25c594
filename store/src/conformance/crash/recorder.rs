//! The recorder: a library that is loaded before the C library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The directory that is recorded.
pub(super) const ROOT: &str = "TIPLINE_CRASH_ROOT";
/// The file that is written.
pub(super) const TRACE: &str = "TIPLINE_CRASH_TRACE";
/// The status of a process that the recorder ended.
pub(super) const DIED: i32 = 77;

/// The recorder, compiled by the compiler that links Rust programs too.
#[derive(Debug)]
pub(super) struct Recorder {
    directory: TempDir,
}

impl Recorder {
    pub(super) fn build() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("record.c");
        fs::write(&source, include_str!("record.c")).unwrap();
        fs::write(directory.path().join("names.c"), include_str!("names.c")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-fvisibility=hidden", "-o"]);
        compiler.arg(directory.path().join("record.so")).arg(source).args(["-ldl", "-lpthread"]);
        let output = compiler.output().unwrap_or_else(|e| panic!("cc does not run: {e}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the recorder does not compile: {errors}");
        Self { directory }
    }

    /// Where the trace of a directory goes, and `.marks` after it what it is told.
    pub(super) fn trace(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Has the recorder record what the command does in `root`.
    pub(super) fn watch(&self, command: &mut Command, root: &Path, trace: &Path) {
        command.env("LD_PRELOAD", self.directory.path().join("record.so"));
        command.env(ROOT, root.canonicalize().unwrap()).env(TRACE, trace);
    }
}

/// What is told to the recorder goes there.
pub(super) fn marks(trace: &Path) -> PathBuf {
    let mut path = trace.as_os_str().to_owned();
    path.push(".marks");
    path.into()
}
