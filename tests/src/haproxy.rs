//! HAProxy as a child, with the configuration of `deploy/`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::tool::haproxy;
use crate::{Port, Process, eventually};

/// The configuration that operators are given.
const CONFIG: &str = include_str!("../../deploy/haproxy/haproxy.cfg");

/// A replica behind the balancer: its server of reads, and its own two ports.
#[derive(Debug, Clone)]
pub struct Behind {
    /// Where reads are served: `127.0.0.1:PORT`.
    pub reads: String,
    /// Port of `--health`.
    pub health: u16,
    /// Port of `--health-agent`.
    pub agent: u16,
}

/// A running `haproxy`, with the configuration of `deploy/haproxy/haproxy.cfg` in which nothing is
/// changed but the addresses. Killed when dropped.
#[derive(Debug)]
pub struct HaProxy {
    // Before the directory: its output, which lies there, is printed on drop.
    _process: Process,
    port: Port,
    dir: TempDir,
}

impl HaProxy {
    /// Starts it before three replicas, and waits until it listens.
    ///
    /// # Panics
    /// When there is no `haproxy`, or it does not start.
    pub async fn start(replicas: &[Behind; 3]) -> HaProxy {
        let dir = TempDir::new().unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        let port = Port::reserve();
        let file = dir.path().join("haproxy.cfg");
        std::fs::write(&file, config(replicas, &port, dir.path()))
            .unwrap_or_else(|error| panic!("cannot write haproxy.cfg: {error}"));
        let mut command = Command::new(haproxy());
        command.arg("-f").arg(&file);
        let process = Process::spawn("haproxy", command, &dir.path().join("haproxy.log"));
        let proxy = HaProxy { _process: process, port, dir };
        eventually("haproxy listens", Duration::from_secs(20), async || {
            proxy.servers("replicas").await
        })
        .await;
        proxy
    }

    /// Where reads are asked for: `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.port.to_string()
    }

    /// Which servers of a backend get traffic now: by its own statistics.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn servers(&self, backend: &str) -> std::io::Result<Vec<String>> {
        let rows = self.statistics().await?;
        let is_used = |row: &&Vec<String>| {
            row[0] == backend
                && row[1].starts_with("replica-")
                && row[17].starts_with("UP")
                && row[18] != "0"
        };
        Ok(rows.iter().filter(is_used).map(|row| row[1].clone()).collect())
    }

    /// Its statistics, as it gives them: a row for each server.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn statistics(&self) -> std::io::Result<Vec<Vec<String>>> {
        let text = self.ask("show stat\n").await?;
        let rows = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let rows = rows.map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
        Ok(rows.filter(|row| row.len() > 18).collect())
    }

    /// A command on its socket.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn ask(&self, command: &str) -> std::io::Result<String> {
        let mut socket = UnixStream::connect(self.dir.path().join("admin.sock")).await?;
        socket.write_all(command.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

fn config(replicas: &[Behind; 3], port: &Port, dir: &Path) -> String {
    let mut text = CONFIG.to_owned();
    let mut replace = |from: String, to: String| {
        assert!(text.contains(&from), "deploy/haproxy/haproxy.cfg does not say {from:?}");
        text = text.replace(&from, &to);
    };
    replace("bind 0.0.0.0:8545".to_owned(), format!("bind {port}"));
    let socket = dir.join("admin.sock").display().to_string();
    replace("stats socket /run/haproxy/admin.sock".to_owned(), format!("stats socket {socket}"));
    for (number, behind) in replicas.iter().enumerate() {
        let Behind { reads, health, agent } = behind;
        let from = format!("10.0.0.1{}:8545 port 9101", number + 1);
        replace(
            format!("{from} agent-port 9102"),
            format!("{reads} port {health} agent-port {agent}"),
        );
        replace(from, format!("{reads} port {health}"));
    }
    text
}
