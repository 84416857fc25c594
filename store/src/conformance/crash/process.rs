//! Running the test once more, as a child.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;
use std::{env, thread};

use super::mark::Mark;

/// What the child is to do.
pub(super) const TASK: &str = "TIPLINE_CRASH_TASK";
/// The directory of its store.
pub(super) const DIRECTORY: &str = "TIPLINE_CRASH_DIRECTORY";

/// A child that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(60);

/// The test `test` of this program, to be run as a child.
pub(super) fn command(test: &str, task: &str, directory: &Path) -> Command {
    // The harness does not name the crate.
    let (_, name) = test.split_once("::").unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command.env(TASK, task).env(DIRECTORY, directory);
    command
}

/// A running child. It ends when this is dropped, and when this process ends.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
    lines: Receiver<String>,
    /// What it had said that is no mark.
    said: Vec<String>,
    errors: File,
}

impl Child {
    pub(super) fn start(mut command: Command) -> Self {
        let errors = tempfile::tempfile().unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors.try_clone().unwrap());
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (send, lines) = sync_channel(1000);
        thread::spawn(move || {
            // A line cut off by the child's end is none.
            output.lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        Self { process, lines, said: vec![], errors }
    }

    /// Its next mark; `None` when it has ended.
    pub(super) fn mark(&mut self) -> Option<Mark> {
        loop {
            match self.lines.recv_timeout(SILENCE) {
                Ok(line) => match Mark::in_output(&line) {
                    Some(mark) => return Some(mark),
                    None => self.said.push(line),
                },
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.fail("hangs"),
            }
        }
    }

    /// Waits for its end; how it ended.
    pub(super) fn end(&mut self) -> ExitStatus {
        while self.mark().is_some() {}
        self.process.wait().unwrap()
    }

    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
    }

    /// Shows what the child has said, and panics.
    pub(super) fn fail(&mut self, what: &str) -> ! {
        self.process.kill().ok();
        let status = self.process.wait().unwrap();
        self.errors.rewind().unwrap();
        let mut errors = Vec::new();
        self.errors.read_to_end(&mut errors).unwrap();
        let (said, errors) = (self.said.join("\n"), String::from_utf8_lossy(&errors));
        panic!("the child {what} ({status}).\n{said}\n{errors}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
