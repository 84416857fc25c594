//! Three servers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use super::{Nats, NatsOptions, monitor};
use crate::{Port, eventually};

/// The first election takes one to a few seconds, one after a kill 5 to 10 s;
/// the rest is for a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(45);

/// A cluster has the machine to itself, as far as other clusters go. With two of them on two
/// cores both elect all the time, and a test of something else fails.
static TURN: Semaphore = Semaphore::const_new(1);

/// What a test has of a cluster that several tests share, for as long as it is its turn.
#[derive(Debug)]
pub struct SharedCluster {
    cluster: &'static Cluster,
    _turn: SemaphorePermit<'static>,
}

impl SharedCluster {
    /// All three addresses, with commas between, as clients take them.
    pub fn url(&self) -> String {
        self.cluster.url()
    }
}

/// The servers do not end with the test, so their logs would not be seen.
impl Drop for SharedCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.cluster.nodes.iter().for_each(Nats::print_log);
        }
    }
}

/// A cluster of three `nats-server` processes, for streams with three replicas.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Nats>,
    /// Declared last, so that the servers have ended when the turn passes on.
    _turn: Option<SemaphorePermit<'static>>,
}

impl Cluster {
    /// How many servers it has.
    pub const SIZE: usize = 3;

    /// Waits for the turn of this test, starts the servers, all with the same options, and waits
    /// until streams with three replicas can be made.
    ///
    /// # Panics
    /// When that takes longer than 45 s.
    pub async fn start(options: NatsOptions) -> Cluster {
        let turn = Cluster::turn().await;
        let mut cluster = Cluster::launch(options).await;
        cluster._turn = Some(turn);
        cluster
    }

    async fn turn() -> SemaphorePermit<'static> {
        TURN.acquire().await.unwrap_or_else(|_| panic!("nobody closes the semaphore"))
    }

    /// Waits for the turn of this test, then until the servers that several tests share are there
    /// as a whole. The first one starts them.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    pub async fn share(cluster: &'static OnceCell<Cluster>) -> SharedCluster {
        let turn = Cluster::turn().await;
        let cluster = cluster.get_or_init(|| Cluster::launch(NatsOptions::default())).await;
        let shared = SharedCluster { cluster, _turn: turn };
        cluster.wait_ready().await;
        shared
    }

    async fn launch(options: NatsOptions) -> Cluster {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{number}", std::process::id());
        let ports: Vec<Port> = (0..Cluster::SIZE).map(|_| Port::reserve()).collect();
        let routes: Vec<String> = ports.iter().map(|port| format!("nats://{port}")).collect();
        let nodes = ports.into_iter().zip(1..).map(|(port, i)| {
            Nats::launch(&format!("nats-{i}"), &options, Some((&name, port, &routes)))
        });
        let cluster = Cluster { nodes: nodes.collect(), _turn: None };
        cluster.wait_ready().await;
        cluster
    }

    /// All three addresses, with commas between, as clients take them.
    pub fn url(&self) -> String {
        self.nodes.iter().map(Nats::url).collect::<Vec<_>>().join(",")
    }

    /// One of the servers, counted from 0.
    pub fn node(&mut self, i: usize) -> &mut Nats {
        &mut self.nodes[i]
    }

    /// All three, in order.
    pub fn nodes(&mut self) -> &mut [Nats] {
        &mut self.nodes
    }

    /// Waits until all three servers are there, know one leader and are
    /// current. Call it after servers have been brought back.
    ///
    /// # Panics
    /// When that takes longer than 45 s.
    pub async fn wait_ready(&self) {
        eventually("all of the cluster is ready", PATIENCE, async || self.ready().await).await;
    }

    /// Which server leads the stream `stream` now; waits while it has none.
    /// Paused and killed servers are not asked.
    ///
    /// # Panics
    /// When no leader is known within 45 s.
    pub async fn stream_leader(&self, stream: &str) -> usize {
        let what = format!("stream {stream} has a leader");
        eventually(&what, PATIENCE, async || self.leader_of(stream).await).await
    }

    /// Which server leads the cluster itself, and so makes streams. All must be there.
    ///
    /// # Panics
    /// When no leader is known within 45 s.
    pub async fn leader(&self) -> usize {
        eventually("the cluster has a leader", PATIENCE, async || self.ready().await).await
    }

    /// Who leads, once all are there.
    async fn ready(&self) -> Result<usize, String> {
        let mut incomplete = String::from("nobody leads");
        let mut found = None;
        for (i, node) in self.nodes.iter().enumerate() {
            monitor::healthy(&node.monitor_url())
                .await
                .map_err(|e| format!("{}: {e}", node.name()))?;
            let jsz = monitor::jetstream(&node.monitor_url(), false).await?;
            match monitor::complete_meta_leader(&jsz, Cluster::SIZE) {
                Ok(leader) if leader == node.name() => found = Some(i),
                Ok(_) => {}
                Err(why) => incomplete = why,
            }
        }
        found.ok_or(incomplete)
    }

    /// A server is believed only about itself: others may tell of a leader
    /// that is gone.
    async fn leader_of(&self, stream: &str) -> Result<usize, String> {
        let mut newest = String::from("no server says that it leads it");
        for (i, node) in self.nodes.iter().enumerate() {
            let url = node.monitor_url();
            let asked = monitor::jetstream(&url, true);
            match tokio::time::timeout(Duration::from_secs(1), asked).await {
                Ok(Ok(jsz)) if monitor::stream_leader(&jsz, stream) == Some(node.name()) => {
                    return Ok(i);
                }
                Ok(Ok(_)) => {}
                Ok(Err(why)) => newest = format!("{}: {why}", node.name()),
                Err(_) => newest = format!("{} does not answer", node.name()),
            }
        }
        Err(newest)
    }
}
