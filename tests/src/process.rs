//! A child process of a test.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::eventually;
use crate::leash::Leash;

/// How much of each output is printed with a failure.
const TAIL_LINES: usize = 60;

/// A running child whose output goes to files. Killed when dropped, and when
/// the test process ends in whatever way. If the test panics, the last
/// 60 lines of its output are printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    leash: Option<Leash>,
    status: Option<ExitStatus>,
    outputs: Vec<PathBuf>,
}

impl Process {
    /// Starts `command`, both of its outputs appended to the file `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(name: &str, command: Command, log: &Path) -> Process {
        Process::spawn_split(name, command, log, log)
    }

    /// Like [`spawn`](Process::spawn), with a file for each output.
    pub fn spawn_split(name: &str, mut command: Command, stdout: &Path, stderr: &Path) -> Process {
        command.stdin(Stdio::null()).stdout(append_to(stdout)).stderr(append_to(stderr));
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        let leash = Some(Leash::on(child.id()));
        let mut outputs = vec![stdout.to_owned(), stderr.to_owned()];
        outputs.dedup();
        Process { name: name.to_owned(), child, leash, status: None, outputs }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, or `None` while it runs.
    pub fn status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self
                .child
                .try_wait()
                .unwrap_or_else(|error| panic!("cannot ask how {} is: {error}", self.name));
            if self.status.is_some() {
                self.leash = None;
            }
        }
        self.status
    }

    /// SIGKILL; it is gone on return. Nothing to do if it has ended.
    pub fn kill(&mut self) {
        if self.status().is_some() {
            return;
        }
        let status = self.child.kill().and_then(|()| {
            self.leash = None;
            self.child.wait()
        });
        let status = status.unwrap_or_else(|error| panic!("cannot kill {}: {error}", self.name));
        self.status = Some(status);
    }

    /// SIGSTOP: it keeps its connections and its files, and does nothing more
    /// from the return on.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
        // The signal is on its way to every thread: a busy one may still go on
        // for a while. The parent is told when the last has stopped. An end is
        // left there to be seen by `status`.
        let child = WaitId::Pid(Pid::from_child(&self.child));
        let wanted = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        if let Err(error) = retry_on_intr(|| waitid(child.clone(), wanted)) {
            panic!("cannot wait until {} has stopped: {error}", self.name);
        }
    }

    /// SIGCONT: it goes on after [`pause`](Process::pause).
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM: it is asked to end.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// SIGINT, as Ctrl-C.
    pub fn interrupt(&mut self) {
        self.signal(Signal::INT);
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it still runs after `within`.
    pub async fn wait(&mut self, within: Duration) -> ExitStatus {
        let what = format!("{} (process {}) ends", self.name, self.id());
        eventually(&what, within, async || self.status().ok_or("it still runs")).await
    }

    fn signal(&mut self, signal: Signal) {
        if let Some(status) = self.status() {
            panic!("cannot send {signal:?} to {}: it has ended: {status}", self.name);
        }
        // Not reaped yet, so the number is still that of our child.
        if let Err(error) = kill_process(Pid::from_child(&self.child), signal) {
            panic!("cannot send {signal:?} to {}: {error}", self.name);
        }
    }

    /// Prints the end of what it wrote.
    pub fn print_outputs(&self) {
        for path in &self.outputs {
            let text = std::fs::read(path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            let file = path.file_name().unwrap_or_default().display();
            eprintln!(
                "---- {} {file}: last {} of {} lines ----\n{}\n----",
                self.name,
                tail.len(),
                lines.len(),
                tail.join("\n"),
            );
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            // No panic here: it may run while another one unwinds.
            let killed = self.child.kill();
            self.leash = None;
            if let Err(error) = killed.and_then(|()| self.child.wait()) {
                eprintln!("cannot kill {}: {error}", self.name);
            }
        }
        if std::thread::panicking() {
            self.print_outputs();
        }
    }
}

fn append_to(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()))
}
