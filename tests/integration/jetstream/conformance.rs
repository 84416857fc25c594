//! JetStream keeps what the traits of a log promise: on one server, and on three.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use tipline_log::Log;
use tipline_log::conformance::Fixture;
use tipline_log::jetstream::{JetStreamLog, JetStreamOptions};
use tipline_proto::{LogIdentity, LogName};
use tipline_tests::{Cluster, Nats, NatsOptions, SharedCluster};
use tokio::sync::OnceCell;

use super::raw;

/// A log on servers that run.
struct OnServers<T> {
    _servers: T,
    url: String,
    replicas: usize,
    name: OnceLock<LogName>,
}

impl<T> OnServers<T> {
    fn new(servers: T, url: String, replicas: usize) -> Self {
        OnServers { _servers: servers, url, replicas, name: OnceLock::new() }
    }
}

#[async_trait]
impl<T: Send + Sync> Fixture for OnServers<T> {
    async fn create(&self, identity: &LogIdentity) -> Arc<dyn Log> {
        let name = self.name.get_or_init(|| identity.name.clone());
        let options = JetStreamOptions::new(&self.url, name.clone());
        Arc::new(JetStreamLog::create(&options, identity, self.replicas).await.unwrap())
    }

    async fn open(&self) -> Arc<dyn Log> {
        let name = self.name.get().expect("created first").clone();
        let options = JetStreamOptions::new(&self.url, name);
        Arc::new(JetStreamLog::open(&options).await.unwrap())
    }

    async fn garble_receipt(&self, name: &str, bytes: Bytes) {
        let log = self.name.get().expect("created first");
        let subject = format!("tipline.{log}.receipt.{name}");
        let js = raw(&self.url).await;
        js.publish(subject, bytes).await.unwrap().await.unwrap();
    }

    fn checks(&self) -> Vec<&'static [&'static str]> {
        let of_each_stream: [&'static [&'static str]; 4] = [
            &["memory-storage"],
            &["single-replica", "two-replicas"],
            &["compression"],
            &["async-persist"],
        ];
        let once: [&'static [&'static str]; 9] = [
            &["server-version"],
            &["retention"],
            &["max-msgs", "max-bytes", "max-age", "max-msgs-per-subject"],
            &["discard"],
            &["deny-delete"],
            &["atomic-publish"],
            &["max-msg-size"],
            &["receipts-kept"],
            &["max-payload"],
        ];
        let servers: [&'static [&'static str]; 1] = [&["sync-interval-unknown", "sync-interval"]];
        [&of_each_stream[..], &of_each_stream[..], &once[..], &servers[..]].concat()
    }

    fn max_message(&self) -> usize {
        1 << 20
    }
}

mod on_one_server {
    use super::*;

    async fn fixture() -> OnServers<Nats> {
        let server = Nats::start(NatsOptions::default()).await;
        let url = server.url();
        OnServers::new(server, url, 1)
    }

    tipline_log::log_conformance!(fixture().await);
}

mod on_three_servers {
    use super::*;

    /// All cases share it: each has a log of its own name.
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

    async fn fixture() -> OnServers<SharedCluster> {
        let cluster = Cluster::share(&CLUSTER).await;
        let url = cluster.url();
        OnServers::new(cluster, url, 3)
    }

    tipline_log::log_conformance!(fixture().await);
}
