//! Where a node and its log are, for the tests of publishing and replicating.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tipline_log::Log;
use tipline_log::embedded::EmbeddedLog;
use tipline_log::jetstream::{JetStreamLog, JetStreamOptions};
use tipline_proto::Entry;
use tipline_tests::{
    Cluster, Nats, Process, Rng, eventually, open_log, read_log, toy_history, toy_log,
};

/// A node's database, and the address of its log.
pub(crate) struct Site {
    dir: TempDir,
    pub(crate) address: String,
}

impl Site {
    /// A fresh log on this server.
    pub(crate) async fn new(nats: &Nats, name: &str, rng: &mut Rng) -> Site {
        Site::on(&nats.url(), 1, name, rng).await
    }

    /// A fresh log on all of these servers.
    pub(crate) async fn on_cluster(cluster: &Cluster, name: &str, rng: &mut Rng) -> Site {
        // As the program takes addresses.
        let url = cluster.url().replace(",nats://", ",");
        Site::on(&url, Cluster::SIZE, name, rng).await
    }

    async fn on(url: &str, replicas: usize, name: &str, rng: &mut Rng) -> Site {
        let identity = toy_log(name, rng);
        let options = JetStreamOptions::new(url, identity.name.clone());
        JetStreamLog::create(&options, &identity, replicas).await.unwrap();
        Site { dir: TempDir::new().unwrap(), address: format!("{url}/{name}") }
    }

    /// A fresh log in a file.
    pub(crate) async fn embedded(rng: &mut Rng) -> Site {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("log.db");
        EmbeddedLog::create(&path, &toy_log("embedded", rng)).await.unwrap();
        Site { address: format!("embedded:{}", path.display()), dir }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a toy primary on a database of this site.
    pub(crate) fn primary(&self, db: &str, args: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_toy-primary"));
        command.args(["--log", &self.address]).arg("--db").arg(self.file(db)).args(args);
        Process::spawn(db, command, &self.file(&format!("{db}.log")))
    }

    pub(crate) async fn log(&self) -> Arc<dyn Log> {
        open_log(&self.address).await.unwrap()
    }

    pub(crate) async fn entries(&self) -> Vec<Entry> {
        read_log(&*self.log().await).await
    }

    /// Waits until the log has everything that the node has committed.
    pub(crate) async fn wait_for_all(&self, db: &str) {
        let log = self.log().await;
        let committed = toy_history(&self.file(db)).len() as u64;
        eventually("the log has all that is committed", Duration::from_secs(60), async || {
            let logged = log.tail().await.map_err(|e| e.to_string())?.outbox_sequence;
            if logged == committed { Ok(()) } else { Err(format!("{logged} of {committed}")) }
        })
        .await;
    }

    /// Waits until the log has so many entries.
    pub(crate) async fn wait_for_entries(&self, count: u64) {
        let log = self.log().await;
        let what = format!("the log has {count} entries");
        eventually(&what, Duration::from_secs(60), async || {
            let last = log.extent().await.map_err(|e| e.to_string())?.last;
            if last >= count { Ok(()) } else { Err(format!("it has {last}")) }
        })
        .await;
    }
}
