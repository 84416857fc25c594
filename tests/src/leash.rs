//! Children that do not outlive the test process, however it ends.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Kills a process when this test process is gone without having said so: by
/// kill -9, an abort, a time limit, or because the leash is in a static.
///
/// A small shell waits for the end of its input, which the system closes with
/// this process, and then kills.
#[derive(Debug)]
pub(crate) struct Leash {
    watcher: Child,
}

impl Leash {
    /// Puts the process `id` on the leash.
    pub(crate) fn on(id: u32) -> Leash {
        let watcher = Command::new("sh")
            .args(["-c", "read -r _; kill -9 \"$0\"", &id.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C at the terminal must not end it before its work is done.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start sh, which guards process {id}: {error}"));
        Leash { watcher }
    }
}

/// Lets go without killing.
impl Drop for Leash {
    fn drop(&mut self) {
        if let Err(error) = self.watcher.kill().and_then(|()| self.watcher.wait()) {
            eprintln!("cannot end the guard of a child process: {error}");
        }
    }
}
