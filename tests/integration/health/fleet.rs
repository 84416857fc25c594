//! A node that commits blocks, its primary, and three replicas that serve reads behind HAProxy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tipline_store::{ChainView as _, SqliteReader};
use tipline_tests::{
    Behind, HaProxy, Nats, NatsOptions, Port, Relay, Rng, Running, Tipline, ToyNode, Way,
    eventually, http_get,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::site::Site;

/// How long anything else may take.
pub(super) const WITHIN: Duration = Duration::from_secs(60);
/// Whoever is not fit leaves the pool within this, and is back within this once it is.
const POOL: Duration = Duration::from_secs(3);
/// The node's blocks come this far apart.
const BLOCK_TIME: Duration = Duration::from_secs(1);
/// No answer may be of a store that is further behind: what the chain makes until a replica has
/// left, and the block that is on its way to everyone.
const MOST_BEHIND: u64 = 4;
/// What four clients, each with 20 ms between two reads, ask one of three for until it has left: it
/// is lost with it, or with its store.
const MOST_FAILED: u64 = 4 * 3 * 50 / 3;

/// Blocks of a node, one after the other.
pub(super) struct Node {
    height: AtomicU64,
    halted: AtomicBool,
    ended: AtomicBool,
}

/// One answer to a read.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) server: String,
    pub(super) lag: u64,
    pub(super) at: Instant,
}

/// What clients were answered.
#[derive(Debug, Default)]
pub(super) struct Reads {
    pub(super) answers: Mutex<Vec<Read>>,
    pub(super) failed: AtomicU64,
}

pub(super) struct Replica {
    pub(super) name: String,
    pub(super) dir: PathBuf,
    pub(super) relay: Relay,
    pub(super) running: Running,
    health: Port,
    agent: Port,
    serves: Port,
    words: Vec<String>,
}

pub(super) struct Fleet {
    pub(super) proxy: HaProxy,
    pub(super) replicas: Vec<Replica>,
    pub(super) node: Arc<Node>,
    pub(super) reads: Arc<Reads>,
    _primary: Running,
    site: Site,
    _nats: Nats,
}

impl Fleet {
    /// Everyone is at the tip and in the pool, and clients read.
    pub(super) async fn start() -> Fleet {
        Fleet::start_with(1024, |_, tipline| tipline).await
    }

    /// With blocks of so many bytes, and replicas that are started in another way.
    pub(super) async fn start_with(
        payload: usize,
        change: impl Fn(usize, Tipline) -> Tipline,
    ) -> Fleet {
        let mut rng = Rng::from_env();
        let nats = Nats::start(NatsOptions::default()).await;
        let site = Site::new(&nats, "balanced", &mut rng).await;
        let node = Arc::new(Node {
            height: AtomicU64::new(0),
            halted: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let toy = ToyNode::open(&site.file("node.db")).unwrap();
        let committing = Arc::clone(&node);
        std::thread::spawn(move || committing.commit(toy, payload));
        let source = format!("sqlite:{}", site.file("node.db").display());
        let words = ["primary", "--source", &source, "--log", &site.address];
        let primary = Tipline::new(words.into_iter().chain(["--accept-shortfalls"])).spawn();
        let mut replicas = Vec::new();
        for number in 1..=3 {
            replicas.push(Replica::start(&site, &nats, number, &change).await);
        }
        let behind: Vec<Behind> = replicas.iter().map(Replica::behind).collect();
        for replica in &replicas {
            tokio::spawn(serve_reads(
                replica.serves.to_string(),
                replica.name.clone(),
                replica.store(),
            ));
        }
        let proxy = HaProxy::start(&behind.try_into().unwrap()).await;
        let reads = Arc::new(Reads::default());
        let fleet = Fleet { proxy, replicas, node, reads, _primary: primary, site, _nats: nats };
        for number in 1..=3 {
            fleet.until_well(number).await;
            fleet.until_in_pool(number, WITHIN).await;
        }
        for _ in 0..4 {
            let (address, reads) = (fleet.proxy.address(), Arc::clone(&fleet.reads));
            tokio::spawn(read_for_ever(address, Arc::clone(&fleet.node), reads));
        }
        fleet
    }

    /// A replica by its number, from 1.
    pub(super) fn replica(&mut self, number: usize) -> &mut Replica {
        &mut self.replicas[number - 1]
    }

    /// It leaves the pool in time, and says how long it took. Gives when that was seen.
    pub(super) async fn leaves(&self, number: usize, since: Instant) -> Instant {
        let name = &self.replicas[number - 1].name;
        let left = POOL.saturating_sub(since.elapsed());
        eventually(&format!("{name} leaves the pool"), left, async || match self.pool().await {
            Ok(pool) if !pool.contains(name) => Ok(()),
            other => Err(format!("{other:?}; it says {}", self.readiness(number).await)),
        })
        .await;
        println!("{name} left the pool after {:.1?}", since.elapsed());
        Instant::now()
    }

    /// Of the clients that asked since it left none was answered by it, and many were by others.
    pub(super) async fn served_nobody(&self, number: usize, left: Instant) {
        let name = &self.replicas[number - 1].name;
        eventually("others answer", WITHIN, async || {
            let answers = self.reads.answers.lock().unwrap();
            let later = answers.iter().filter(|read| read.at > left);
            let (own, others): (Vec<_>, Vec<_>) = later.partition(|read| read.server == *name);
            assert!(own.is_empty(), "{own:?}");
            if others.len() > 20 { Ok(()) } else { Err(others.len()) }
        })
        .await;
    }

    /// It comes back in time.
    pub(super) async fn returns(&self, number: usize, since: Instant) {
        self.until_in_pool(number, POOL.saturating_sub(since.elapsed())).await;
        println!("replica-{number} was back after {:.1?}", since.elapsed());
        // Not only by what the proxy says.
        let (name, back) = (&self.replicas[number - 1].name, Instant::now());
        eventually(&format!("{name} answers reads"), WITHIN, async || {
            let answers = self.reads.answers.lock().unwrap();
            let own = answers.iter().filter(|read| read.at > back && read.server == *name).count();
            if own > 0 { Ok(()) } else { Err(format!("{} answers in all", answers.len())) }
        })
        .await;
    }

    /// The proxy takes everyone for well before it has asked.
    async fn until_well(&self, number: usize) {
        eventually(&format!("replica-{number} has a block"), WITHIN, async || {
            let said = self.readiness(number).await;
            let is_well = said["ready"] == true && said["degraded"] == false;
            if is_well && said["block"].is_u64() { Ok(()) } else { Err(said) }
        })
        .await;
    }

    async fn until_in_pool(&self, number: usize, within: Duration) {
        let name = &self.replicas[number - 1].name;
        eventually(&format!("{name} is in the pool"), within, async || match self.pool().await {
            Ok(pool) if pool.contains(name) => Ok(()),
            other => Err(format!("{other:?}; it says {}", self.readiness(number).await)),
        })
        .await;
    }

    pub(super) async fn pool(&self) -> std::io::Result<Vec<String>> {
        self.proxy.servers("replicas").await
    }

    /// What a replica says of itself, if it says anything.
    pub(super) async fn readiness(&self, number: usize) -> Value {
        let url = format!("http://{}/readyz", self.replicas[number - 1].health);
        let asked = tokio::time::timeout(Duration::from_millis(500), http_get(&url)).await;
        match asked {
            Ok(Ok(reply)) => serde_json::from_str(&reply.body).unwrap_or(Value::String(reply.body)),
            Ok(Err(error)) => Value::String(error.to_string()),
            Err(_) => Value::String("no answer".to_owned()),
        }
    }

    /// Waits until it says that it is not ready for this reason.
    pub(super) async fn says(&self, number: usize, kind: &str) {
        eventually(&format!("replica-{number} says {kind}"), WITHIN, async || {
            let said = self.readiness(number).await;
            match said["reasons"].as_array().is_some_and(|r| r.iter().any(|r| r["kind"] == kind)) {
                true => Ok(()),
                false => Err(said),
            }
        })
        .await;
    }

    /// How far the store of a replica is behind the node.
    pub(super) fn lag(&self, number: usize) -> u64 {
        let height = height(&self.replicas[number - 1].store()).unwrap_or(0);
        self.node.height().saturating_sub(height)
    }

    /// Until now every answer was of a store that was near the tip, and there were answers.
    pub(super) fn check_reads(&self) {
        let answers = self.reads.answers.lock().unwrap();
        let worst = answers.iter().max_by_key(|read| read.lag).expect("clients were answered");
        let failed = self.reads.failed.load(Ordering::SeqCst);
        let mut by = BTreeMap::<&str, u64>::new();
        answers.iter().for_each(|read| *by.entry(&read.server).or_default() += 1);
        println!("reads: {by:?}, {failed} failed, the oldest {} blocks behind", worst.lag);
        assert!(worst.lag <= MOST_BEHIND, "{worst:?}");
        assert!(failed <= MOST_FAILED, "{failed} reads failed");
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.site.file(name)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.node.ended.store(true, Ordering::SeqCst);
    }
}

impl Replica {
    async fn start(
        site: &Site,
        nats: &Nats,
        number: usize,
        change: &impl Fn(usize, Tipline) -> Tipline,
    ) -> Replica {
        let (health, agent, reads) = (Port::reserve(), Port::reserve(), Port::reserve());
        let server = nats.url();
        let relay = Relay::start(server.strip_prefix("nats://").unwrap()).await;
        let name = format!("replica-{number}");
        let dir = site.file(&name);
        std::fs::create_dir(&dir).unwrap();
        let log = format!("nats://{}/balanced", relay.address());
        let store = format!("sqlite:{}", dir.join("store.db").display());
        let (health_at, agent_at) = (health.to_string(), agent.to_string());
        let words = ["replica", "--name", &name, "--store", &store, "--log", &log];
        let ports = ["--accept-shortfalls", "--health", &health_at, "--health-agent", &agent_at];
        let words: Vec<String> = words.into_iter().chain(ports).map(str::to_owned).collect();
        let running = change(number, Tipline::new(&words)).spawn();
        Replica { name, dir, relay, running, health, agent, serves: reads, words }
    }

    /// Starts it again after it has ended.
    pub(super) fn start_again(&mut self) {
        self.running = Tipline::new(&self.words).spawn();
    }

    fn behind(&self) -> Behind {
        let (health, agent) = (self.health.number(), self.agent.number());
        Behind { reads: self.serves.to_string(), health, agent }
    }

    fn store(&self) -> PathBuf {
        self.dir.join("store.db")
    }

    /// How it hears the log.
    pub(super) fn hears(&self, way: Way) {
        self.relay.set(way);
    }
}

impl Node {
    fn commit(&self, mut toy: ToyNode, payload: usize) {
        let mut due = Instant::now();
        while !self.ended.load(Ordering::SeqCst) {
            if !self.halted.load(Ordering::SeqCst) {
                toy.commit_next(payload, &mut None).unwrap();
                self.height.store(toy.height(), Ordering::SeqCst);
            }
            due += BLOCK_TIME;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }

    pub(super) fn height(&self) -> u64 {
        self.height.load(Ordering::SeqCst)
    }

    /// No more blocks, or blocks again.
    pub(super) fn halt(&self, halted: bool) {
        self.halted.store(halted, Ordering::SeqCst);
    }
}

/// The height that a store has, as a server of reads beside the replica sees it.
fn height(store: &Path) -> Option<u64> {
    let reader = SqliteReader::open(store).ok()?;
    reader.cursor().ok()??.block_tip.map(|tip| tip.height)
}

/// A server of reads: a process of its own in earnest, which goes on whatever the replica does.
async fn serve_reads(address: String, name: String, store: PathBuf) {
    let listener = TcpListener::bind(&address).await.unwrap();
    while let Ok((client, _)) = listener.accept().await {
        let (name, store) = (name.clone(), store.clone());
        tokio::spawn(async move {
            let found = tokio::task::spawn_blocking(move || height(&store)).await.unwrap();
            let (status, body) = match found {
                Some(height) => ("200 OK", format!("{name} {height}")),
                None => ("500 Internal Server Error", name),
            };
            _ = answer(client, status, &body).await;
        });
    }
}

async fn answer(client: TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let mut line = String::new();
    while client.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    client.write_all(format!("{head}{body}").as_bytes()).await?;
    client.shutdown().await
}

/// A client that reads as fast as it is answered, with a short pause.
async fn read_for_ever(proxy: String, node: Arc<Node>, reads: Arc<Reads>) {
    let url = format!("http://{proxy}/");
    loop {
        let (before, at) = (node.height(), Instant::now());
        match http_get(&url).await {
            Ok(reply) if reply.status == 200 => {
                let (server, height) = reply.body.split_once(' ').unwrap();
                let lag = before.saturating_sub(height.parse().unwrap());
                let read = Read { server: server.to_owned(), lag, at };
                reads.answers.lock().unwrap().push(read);
            }
            _ => {
                reads.failed.fetch_add(1, Ordering::SeqCst);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
