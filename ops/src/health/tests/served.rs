//! Ports.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Scene;
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
