//! What a process answers: over HTTP, over gRPC, and to HAProxy's agent check.

use serde_json::Value;
use tipline_tests::{HttpReply, Port, Running, eventually, http_get};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::deployment::{Deployment, WITHIN};

const GENESIS: &str = "00ff";

/// A process that answers.
struct Answering {
    running: Running,
    health: Port,
    agent: Port,
}

impl Answering {
    fn start(site: &Deployment, words: &str) -> Answering {
        let (health, agent) = (Port::reserve(), Port::reserve());
        let words = format!("{words} --health {health} --health-agent {agent}");
        Answering { running: site.tipline(&words).spawn(), health, agent }
    }

    async fn http(&self, path: &str) -> std::io::Result<HttpReply> {
        http_get(&format!("http://{}/{path}", self.health)).await
    }

    async fn readiness(&self) -> Result<(u16, Value), String> {
        let reply = self.http("readyz").await.map_err(|error| error.to_string())?;
        let said = serde_json::from_str(&reply.body).map_err(|error| error.to_string())?;
        Ok((reply.status, said))
    }

    async fn agent(&self) -> std::io::Result<String> {
        let mut line = String::new();
        TcpStream::connect(self.agent.to_string()).await?.read_to_string(&mut line).await?;
        Ok(line)
    }

    async fn grpc(&self) -> HealthClient<Channel> {
        let server = Channel::from_shared(format!("http://{}", self.health)).unwrap();
        HealthClient::new(server.connect().await.unwrap())
    }

    async fn grpc_says(&self, service: &str) -> ServingStatus {
        let request = HealthCheckRequest { service: service.to_owned() };
        self.grpc().await.check(request).await.unwrap().into_inner().status()
    }

    /// Ready, by all three. It is so before it has every block, and then with a lower weight.
    async fn is_ready(&self) -> Value {
        let is_well = |status, said: &Value| status == 200 && said["degraded"] == false;
        let said = self.until("it is ready", is_well).await;
        assert_eq!(said["ready"], true, "{said}");
        eventually("the agent says so", WITHIN, async || match self.agent().await.unwrap() {
            line if line == "ready up 100%\n" => Ok(()),
            line => Err(line),
        })
        .await;
        eventually("gRPC says so", WITHIN, async || match self.grpc_says("").await {
            ServingStatus::Serving => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        said
    }

    async fn until(&self, what: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
        eventually(what, WITHIN, async || match self.readiness().await {
            Ok((status, said)) if wanted(status, &said) => Ok(said),
            Ok((status, said)) => Err(format!("{status}: {said}")),
            Err(error) => Err(error),
        })
        .await
    }

    /// Not ready for one of these reasons, by all three; and it still works.
    async fn is_not_ready(&self, kinds: &[&str]) {
        let is_one = |said: &Value| kinds.iter().any(|kind| said["reasons"][0]["kind"] == *kind);
        let is_so = |status, said: &Value| status == 503 && is_one(said);
        self.until(&format!("it says one of {kinds:?}"), is_so).await;
        assert_eq!(self.agent().await.unwrap(), "drain\n");
        eventually("gRPC says so", WITHIN, async || match self.grpc_says("").await {
            ServingStatus::NotServing => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        assert_eq!(self.grpc_says("alive").await, ServingStatus::Serving);
        assert_eq!(self.http("healthz").await.unwrap().status, 200);
    }
}

fn write_blocks(site: &Deployment, heights: std::ops::RangeInclusive<u64>) {
    for height in heights {
        site.block("node", height, format!("block {height}").as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_runs_for_long_answers() {
    let site = Deployment::with_log(GENESIS).await;
    write_blocks(&site, 1..=5);
    let primary = Answering::start(&site, "primary --source dir:node");
    let replica = Answering::start(&site, "replica --name r --store sqlite:r.db");
    let backup = Answering::start(&site, "backup --name b --store files:b");
    let archive = Answering::start(&site, "archive --to dir:archive");
    for (one, role, name) in [
        (&primary, "primary", None),
        (&replica, "replica", Some("r")),
        (&backup, "backup", Some("b")),
        (&archive, "archive", Some("archive")),
    ] {
        let said = one.is_ready().await;
        assert_eq!(said["role"], role);
        assert!(name.is_none_or(|name| said["name"] == name), "{said}");
        assert_eq!(one.http("healthz").await.unwrap().status, 200);
        one.until("it has the newest block", |_, said| said["block"] == 5).await;
    }
    write_blocks(&site, 6..=6);
    let has_next = |_, said: &Value| said["block"] == 6 && said["tip"] == 6;
    let said = replica.until("it has the next", has_next).await;
    assert_eq!(said["lag_blocks"], 0, "{said}");
    // The primary says that it is gone only by its silence.
    drop(primary);
    let said = replica.until("it is degraded", |_, said| said["degraded"] == true).await;
    assert_eq!(
        (&said["ready"], &said["reasons"][0]["kind"]),
        (&true.into(), &"primary_silent".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_is_said_by_all_and_pushed_to_whoever_watches() {
    let site = Deployment::with_log(GENESIS).await;
    write_blocks(&site, 1..=3);
    let _primary = Answering::start(&site, "primary --source dir:node");
    let replica = Answering::start(&site, "replica --name r --store sqlite:r.db");
    replica.is_ready().await;
    let request = HealthCheckRequest { service: String::new() };
    let mut watched = replica.grpc().await.watch(request).await.unwrap().into_inner();
    let mut next = async || {
        let pushed = tokio::time::timeout(WITHIN, watched.message()).await.expect("it is pushed");
        pushed.unwrap().unwrap().status()
    };
    assert_eq!(next().await, ServingStatus::Serving);

    // Another process writes to it, and does not end.
    let other = rusqlite::Connection::open(site.path("r.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    write_blocks(&site, 4..=4);
    assert_eq!(next().await, ServingStatus::NotServing);
    replica.is_not_ready(&["store_stuck", "store_failed"]).await;
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    assert_eq!(next().await, ServingStatus::Serving);
    replica.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_for_its_log_or_is_told_to_stop_is_not_ready() {
    let site = Deployment::new();
    // No server is there, and it waits for one.
    let nobody = Port::reserve();
    let words = format!("replica --name r --store sqlite:r.db --log nats://{nobody}/mainnet");
    let mut replica = Answering::start(&site, &words);
    replica.is_not_ready(&["starting"]).await;
    replica.running.process.terminate();
    replica.running.process.wait(WITHIN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_an_error_before_anything_starts() {
    let site = Deployment::with_log(GENESIS).await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    for (words, store) in [
        (format!("replica --name r --store sqlite:r.db --health {address}"), "r.db"),
        (format!("backup --name b --store sqlite:b.db --health-agent {address}"), "b.db"),
        (format!("archive --to dir:archive --health {address}"), "archive"),
        (format!("primary --source dir:. --health {address}"), ".tipline-outbox.sqlite"),
    ] {
        let ended = site.run(&words).await;
        assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
        assert!(
            ended.stderr.contains(&format!("cannot be served at {address}")),
            "{}",
            ended.stderr
        );
        assert!(!site.path(store).exists(), "{words} began");
    }
    // Nothing listens unless it is asked for.
    let settings = format!("[replica]\nhealth = \"{address}\"\n");
    std::fs::write(site.path("tipline.toml"), settings).unwrap();
    let ended = site.run("replica --name r --store sqlite:r.db").await;
    assert!(ended.stderr.contains("cannot be served"), "{}", ended.stderr);
    let command = site.tipline("archive --to dir:archive");
    let ended = command.env("TIPLINE_HEALTH", address.to_string()).finish(WITHIN).await;
    assert!(ended.stderr.contains("cannot be served"), "{}", ended.stderr);
}
