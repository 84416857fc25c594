//! Ports.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::Scene;
use crate::health::server::{CLIENTS, serve};
use crate::health::{Health, HealthLimits, HealthServer, agent_answer};

const ANY: &str = "127.0.0.1:0";

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn the_agent_says_ready_with_a_weight_or_drain() {
    let mut scene = Scene::new();
    assert_eq!(agent_answer(&scene.readiness()), "ready up 100%\n");
    scene.publish(101);
    assert_eq!(agent_answer(&scene.readiness()), "ready up 67%\n");
    scene.publish(110);
    scene.others_at(110);
    assert_eq!(agent_answer(&scene.readiness()), "drain\n");
}

#[tokio::test]
async fn one_that_stops_stays_unready_and_a_wrong_question_is_refused() {
    let health = Health::new("replica", "replica-1", HealthLimits::default());
    let any = Some(ANY.parse().unwrap());
    let server = HealthServer::bind(any, any, &health).await.unwrap();
    let address = server.address().unwrap();
    health.starting("it opens the log");
    let answer = get(address, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.0 503"), "{answer}");
    assert!(answer.contains(r#"{"kind":"starting","text":"it opens the log"}"#), "{answer}");
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.0 200"));
    health.stopping();
    health.starting("once more");
    assert!(get(address, "/readyz").await.contains(r#""kind":"stopping""#));

    for (path, status) in [
        ("/readyz?max_lag=many", 400),
        ("/readyz?max_lg=5", 400),
        ("/readyz?max_lag_time=soon", 400),
        ("/readyz?max_lag=5&max_lag_time=10s&max_silence=1min", 503),
        ("/ready", 404),
        ("/", 404),
        ("/grpc.health.v1.Health", 404),
    ] {
        let answer = get(address, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.0 {status}")), "{path}: {answer}");
    }

    let mut agent = TcpStream::connect(server.agent_address().unwrap()).await.unwrap();
    let mut line = String::new();
    agent.read_to_string(&mut line).await.unwrap();
    assert_eq!(line, "drain\n");

    // A port in use is an error, and opens nothing.
    let taken = server.agent_address();
    let error = HealthServer::bind(any, taken, &health).await.unwrap_err();
    assert!(error.to_string().contains(&taken.unwrap().to_string()), "{error}");
}

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// A port whose clients may be silent for so long. It is closed when the guard is dropped.
async fn open(silence: Duration) -> (SocketAddr, Health, DropGuard) {
    let limits = HealthLimits { max_silence: LONG, ..HealthLimits::default() };
    let health = Health::new("primary", "node-1", limits);
    let listener = TcpListener::bind(ANY).await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    tokio::spawn(serve(listener, health.clone(), silence, stop.clone()));
    (address, health, stop.drop_guard())
}

/// Until the server closes the connection.
async fn closed(mut client: TcpStream) {
    let closed = timeout(LONG, client.read_to_end(&mut Vec::new())).await;
    closed.expect("it is closed").ok();
}

#[tokio::test]
async fn a_client_that_falls_silent_is_closed() {
    let (address, _, _stop) = open(Duration::from_millis(50)).await;
    // Before it has said anything, where it may become either protocol, and after a request.
    for said in ["", "P", "GET /hea", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(said.as_bytes()).await.unwrap();
        closed(client).await;
    }
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.0 200"));
}

#[tokio::test]
async fn one_client_too_many_takes_the_place_of_the_most_silent_and_the_others_are_answered() {
    let (address, _, _stop) = open(LONG).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(TcpStream::connect(address).await.unwrap());
    }
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.0 200"));
    closed(clients.swap_remove(0)).await;
    let mut one = clients.pop().unwrap();
    one.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    one.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[tokio::test]
async fn whoever_watches_lives_on_and_is_told_of_the_end() {
    let (address, health, stop) = open(Duration::from_millis(900)).await;
    health.with_primary(|state| state.link.answered(std::time::Instant::now()));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    let request = HealthCheckRequest { service: String::new() };
    let mut watched = client.watch(request).await.unwrap().into_inner();
    let mut next = async || timeout(LONG, watched.message()).await.expect("it goes on");
    while next().await.unwrap().unwrap().status() != ServingStatus::Serving {}
    // For longer than a client may be silent.
    closed(TcpStream::connect(address).await.unwrap()).await;
    drop(stop);
    assert_eq!(next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(next().await.unwrap().is_none());
}
