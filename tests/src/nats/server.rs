//! One server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::config::Membership;
use super::{NatsOptions, binary, config, monitor};
use crate::{Port, Process, eventually};

/// Time for a server to start or to end by itself. It takes some 20 ms; the
/// rest is for a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running `nats-server` with JetStream, on the loopback only, with a
/// directory and ports of its own. Killed and removed when dropped.
#[derive(Debug)]
pub struct Nats {
    // Before the directory: its output, which lies there, is printed on drop.
    process: Process,
    name: String,
    client: Port,
    monitor: Port,
    _route: Option<Port>,
    program: PathBuf,
    dir: TempDir,
}

impl Nats {
    /// Prints the end of the server's log.
    pub(super) fn print_log(&self) {
        self.process.print_outputs();
    }

    /// Where the program is.
    ///
    /// # Panics
    /// When there is none.
    pub fn program() -> PathBuf {
        binary::find()
    }

    /// The program of an older server, of [`TOO_OLD`](Self::TOO_OLD) or [`OLDEST`](Self::OLDEST).
    ///
    /// # Panics
    /// When `tests/run` has not installed it.
    pub fn program_of(version: &str) -> PathBuf {
        binary::of(version)
    }

    /// The newest version that is refused.
    pub const TOO_OLD: &str = binary::TOO_OLD;
    /// The oldest that is not.
    pub const OLDEST: &str = binary::OLDEST;

    /// Starts a server and waits until it serves JetStream.
    ///
    /// # Panics
    /// When there is no `nats-server` or it does not start.
    pub async fn start(options: NatsOptions) -> Nats {
        let server = Nats::launch("nats", &options, None);
        server.wait_healthy().await;
        server
    }

    /// Starts a server and does not wait. `member` says where it belongs:
    /// the cluster's name, its own port for routes, and everybody's.
    pub(super) fn launch(
        name: &str,
        options: &NatsOptions,
        member: Option<(&str, Port, &[String])>,
    ) -> Nats {
        let dir = TempDir::new().unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        let (client, monitor) = (Port::reserve(), Port::reserve());
        let membership =
            member.as_ref().map(|(cluster, listen, routes)| Membership { cluster, listen, routes });
        let store = dir.path().join("store");
        let text = config::render(name, options, &client, &monitor, &store, membership.as_ref());
        std::fs::write(dir.path().join("nats.conf"), text)
            .unwrap_or_else(|error| panic!("cannot write nats.conf: {error}"));
        let program = options.program.clone().unwrap_or_else(binary::find);
        let process = spawn(&program, name, &dir);
        let (name, _route) = (name.to_owned(), member.map(|m| m.1));
        Nats { process, name, client, monitor, _route, program, dir }
    }

    /// Where clients connect, as `nats://127.0.0.1:PORT`. It stays the same
    /// over [`restart`](Nats::restart).
    pub fn url(&self) -> String {
        format!("nats://{}", self.client)
    }

    /// Where it tells of itself, as `http://127.0.0.1:PORT`.
    pub fn monitor_url(&self) -> String {
        format!("http://{}", self.monitor)
    }

    /// Where it keeps the streams of the default account, one directory each.
    pub fn streams_dir(&self) -> PathBuf {
        self.dir.path().join("store/jetstream/$G/streams")
    }

    /// The name it has in its cluster; `nats` if it is alone.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where JetStream keeps its files.
    pub fn store_dir(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// SIGKILL: gone on return, without having written anything more.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP: connections stay open and, from the return on, nobody answers,
    /// as behind a dead network.
    pub fn pause(&mut self) {
        self.process.pause();
    }

    /// SIGCONT, after [`pause`](Nats::pause).
    pub fn resume(&mut self) {
        self.process.resume();
    }

    /// SIGTERM, and waits until it has ended.
    pub async fn stop(&mut self) {
        self.process.terminate();
        self.process.wait(PATIENCE).await;
    }

    /// Starts it again with the same files and at the same address, killing it
    /// first if it runs, and waits until it has recovered its streams. In a
    /// cluster that needs a majority, and means that it has caught up; see
    /// [`relaunch`](Nats::relaunch).
    pub async fn restart(&mut self) {
        self.relaunch();
        self.wait_healthy().await;
    }

    /// Like [`restart`](Nats::restart), with these lines in the place of `more` in its options.
    pub async fn restart_with(&mut self, more: &str) {
        let path = self.dir.path().join("nats.conf");
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("cannot read nats.conf: {error}"));
        // `more` comes last.
        let end =
            text.find("\njetstream ").and_then(|at| Some(at + 1 + text[at + 1..].find('\n')?));
        let end = end.unwrap_or_else(|| panic!("nats.conf has no jetstream: {text}"));
        std::fs::write(&path, format!("{}\n{more}\n", &text[..end]))
            .unwrap_or_else(|error| panic!("cannot write nats.conf: {error}"));
        self.restart().await;
    }

    /// Like [`restart`](Nats::restart), without waiting.
    pub fn relaunch(&mut self) {
        self.process.kill();
        self.process = spawn(&self.program, &self.name, &self.dir);
    }

    /// Waits until it serves and all its streams are recovered and current.
    ///
    /// # Panics
    /// When it is not so within 20 s.
    pub async fn wait_healthy(&self) {
        let url = self.monitor_url();
        let what = format!("{} is healthy at {url}", self.name);
        eventually(&what, PATIENCE, async || monitor::healthy(&url).await).await;
    }

    /// No file that it writes grows beyond so many bytes from now on: a write there fails, as on a disk
    /// that is full. `None` takes that back.
    ///
    /// # Panics
    /// When the system refuses.
    #[cfg(target_os = "linux")]
    pub fn limit_files(&self, bytes: Option<u64>) {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let limit = Rlimit { current: bytes, maximum: None };
        if let Err(error) = prlimit(pid, Resource::Fsize, limit) {
            panic!("cannot limit the files of {}: {error}", self.name);
        }
    }

    /// Waits until it has logged a line with this text.
    ///
    /// # Panics
    /// When it has not within 20 s.
    pub async fn wait_for_line(&self, text: &str) {
        let log = self.dir.path().join("nats.log");
        eventually(&format!("{} logs {text:?}", self.name), PATIENCE, async || {
            let logged = std::fs::read(&log).map_err(|error| error.to_string())?;
            let is_there = String::from_utf8_lossy(&logged).contains(text);
            if is_there { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
    }

    /// Whether it runs, paused or not.
    pub fn is_running(&mut self) -> bool {
        self.process.status().is_none()
    }
}

fn spawn(program: &Path, name: &str, dir: &TempDir) -> Process {
    let mut command = Command::new(program);
    command.arg("-c").arg(dir.path().join("nats.conf"));
    Process::spawn(name, command, &dir.path().join("nats.log"))
}
