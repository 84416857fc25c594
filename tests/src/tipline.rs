//! The `tipline` program as a child.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Process, eventually};

/// A run of `tipline` that is being put together. Variables `TIPLINE_*` of the
/// tests' own environment are not handed on: they would be settings.
#[derive(Debug)]
pub struct Tipline {
    command: Command,
}

impl Tipline {
    /// `tipline ARGS…`, in the current directory.
    ///
    /// # Panics
    /// When the program is not built.
    pub fn new<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Tipline {
        Tipline::of(Tipline::program(), args)
    }

    /// Another program, such as a shell that calls it.
    pub fn of<A: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = A>,
    ) -> Tipline {
        let mut command = Command::new(program);
        command.args(args);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TIPLINE_") {
                command.env_remove(name);
            }
        }
        Tipline { command }
    }

    /// Where the program is.
    ///
    /// # Panics
    /// When it is not built.
    pub fn program() -> PathBuf {
        program()
    }

    /// Sets an environment variable for it.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Tipline {
        self.command.env(name, value);
        self
    }

    /// Runs it in this directory.
    pub fn current_dir(mut self, dir: &Path) -> Tipline {
        self.command.current_dir(dir);
        self
    }

    /// Runs it through another program: `PROGRAM ARGS… tipline …`. Apply it last.
    pub fn through<A: AsRef<OsStr>>(
        self,
        program: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Tipline {
        let mut command = Command::new(program);
        command.args(args).arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(dir) = self.command.get_current_dir() {
            command.current_dir(dir);
        }
        Tipline { command }
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(self) -> Running {
        let dir = TempDir::new().unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        let (stdout, stderr) = (dir.path().join("stdout"), dir.path().join("stderr"));
        let process = Process::spawn_split("tipline", self.command, &stdout, &stderr);
        Running { process, stdout, stderr, _dir: dir }
    }

    /// Starts it and waits until it ends.
    ///
    /// # Panics
    /// When it still runs after `within`.
    pub async fn finish(self, within: Duration) -> Finished {
        self.spawn().finish(within).await
    }
}

/// A `tipline` that was started. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    /// To kill, pause, interrupt, terminate it, and to ask how it ended.
    // Before the directory: its output, which lies there, is printed on drop.
    pub process: Process,
    stdout: PathBuf,
    stderr: PathBuf,
    _dir: TempDir,
}

impl Running {
    /// What it has printed on standard output until now.
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// What it has printed on standard error until now.
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Waits until a whole line on either output contains `part`, and returns
    /// the line.
    ///
    /// # Panics
    /// When there is none within `within`, or when it ends without one.
    pub async fn line_with(&mut self, part: &str, within: Duration) -> String {
        let what = format!("tipline prints a line with {part:?}");
        let found = eventually(&what, within, async || {
            // The order matters: what it printed last is there once it has ended.
            let ended = self.process.status();
            let printed = [self.stdout(), self.stderr()];
            match (printed.iter().find_map(|text| whole_line(text, part)), ended) {
                (Some(line), _) => Ok(Ok(line)),
                (None, Some(status)) => Ok(Err(status)),
                (None, None) => Err("not yet"),
            }
        });
        found.await.unwrap_or_else(|status| panic!("{what}: it ended without: {status}"))
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it still runs after `within`.
    pub async fn finish(mut self, within: Duration) -> Finished {
        let status = self.process.wait(within).await;
        Finished { status, stdout: self.stdout(), stderr: self.stderr() }
    }
}

/// A `tipline` that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

/// `TIPLINE_BIN`, else the one that the same build made.
fn program() -> PathBuf {
    let named = std::env::var_os("TIPLINE_BIN").map(PathBuf::from);
    let built = || {
        // This program lies at TARGET/PROFILE/deps/NAME.
        let own = std::env::current_exe().ok()?;
        Some(own.ancestors().nth(2)?.join("tipline"))
    };
    named.or_else(built).filter(|program| program.is_file()).unwrap_or_else(|| {
        panic!(
            "no tipline program. Run ./tests/run, or first `cargo build`, \
             or name one by TIPLINE_BIN=/path/to/tipline."
        )
    })
}

fn text(file: &Path) -> String {
    let bytes = std::fs::read(file)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn whole_line(text: &str, part: &str) -> Option<String> {
    let (whole, _unfinished) = text.rsplit_once('\n')?;
    whole.lines().find(|line| line.contains(part)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;
    use std::time::Duration;

    use super::{Tipline, whole_line};

    const WITHIN: Duration = Duration::from_secs(20);

    /// A shell in the place of the program.
    fn shell(script: &str) -> Tipline {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Tipline { command }
    }

    #[test]
    fn a_line_that_is_still_being_written_does_not_count() {
        assert_eq!(whole_line("up at 127.0.0.1:80", "up"), None);
        let line = whole_line("one\nup at 127.0.0.1:8080\ntw", "up").unwrap();
        assert_eq!(line, "up at 127.0.0.1:8080");
        assert_eq!(whole_line("one\n", "two"), None);
    }

    #[tokio::test]
    async fn both_outputs_are_kept_apart_and_the_status_is_told() {
        let script = "echo data; echo trouble >&2; exit 7";
        let finished = shell(script).finish(WITHIN).await;
        assert_eq!(finished.status.code(), Some(7));
        assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("data\n", "trouble\n"));
    }

    #[tokio::test]
    async fn it_can_be_awaited_asked_to_end_and_killed() {
        let script = "trap 'echo bye; exit 3' TERM; echo up >&2; while :; do sleep 0.01; done";
        let mut asked = shell(script).spawn();
        assert_eq!(asked.line_with("up", WITHIN).await, "up");
        asked.process.terminate();
        assert_eq!(asked.line_with("bye", WITHIN).await, "bye");
        assert_eq!(asked.finish(WITHIN).await.status.code(), Some(3));

        let mut killed = shell(script).spawn();
        killed.line_with("up", WITHIN).await;
        killed.process.pause();
        killed.process.kill();
        assert_eq!(killed.process.status().unwrap().signal(), Some(9));
    }

    #[tokio::test]
    #[should_panic = "prints a line with \"up\": it ended without: exit status: 1"]
    async fn waiting_for_a_line_of_one_that_failed_does_not_wait_for_long() {
        shell("exit 1").spawn().line_with("up", WITHIN).await;
    }
}
