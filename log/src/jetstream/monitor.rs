//! What a server says at its monitoring address and nowhere else.
//!
//! One plain HTTP/1.0 request, which the server answers and closes. No HTTP library is worth
//! it.

use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::error::Source;

const PATIENCE: Duration = Duration::from_secs(5);
const MAX_ANSWER: u64 = 4 << 20;

/// A server, as far as a log's durability depends on it.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Server {
    #[serde(rename = "server_name")]
    pub(super) name: String,
    /// Empty if it does not say.
    #[serde(default)]
    pub(super) version: String,
    #[serde(default)]
    jetstream: JetStream,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
struct JetStream {
    #[serde(default)]
    config: Config,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
struct Config {
    #[serde(default)]
    sync_always: bool,
    /// Nanoseconds.
    #[serde(default)]
    sync_interval: u64,
}

impl Server {
    /// Asks a server at `http://host:port`.
    pub(super) async fn ask(address: &str) -> Result<Self, Source> {
        let asked = tokio::time::timeout(PATIENCE, get(address, "/varz"));
        let body = asked.await.map_err(|_| "no answer within 5 s")??;
        Ok(serde_json::from_slice(&body)?)
    }

    /// Whether it fsyncs before it acknowledges.
    pub(super) fn syncs_always(&self) -> bool {
        self.jetstream.config.sync_always
    }

    /// How long it may wait otherwise; zero if it does not say.
    pub(super) fn sync_interval(&self) -> Duration {
        Duration::from_nanos(self.jetstream.config.sync_interval)
    }
}

async fn get(address: &str, path: &str) -> Result<Vec<u8>, Source> {
    let rest =
        address.strip_prefix("http://").ok_or("a monitoring address reads http://host:8222")?;
    let (host, base) = rest.split_once('/').unwrap_or((rest, ""));
    let base = base.trim_end_matches('/');
    let slash = if base.is_empty() { "" } else { "/" };
    let mut stream = TcpStream::connect(host).await?;
    let request = format!("GET {slash}{base}{path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    body(answer)
}

fn body(mut answer: Vec<u8>) -> Result<Vec<u8>, Source> {
    const END: &[u8] = b"\r\n\r\n";
    let status = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let status = String::from_utf8_lossy(status).into_owned();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("the answer is {status:?}").into());
    }
    let head = answer.windows(END.len()).position(|window| window == END);
    let head = head.ok_or("the answer has no body")?;
    Ok(answer.split_off(head + END.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_server_says() {
        let answer = b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n{\"server_name\":\"n1\",\"jetstream\":\
            {\"config\":{\"sync_interval\":120000000000,\"sync_always\":true}},\"x\":1}";
        let server: Server = serde_json::from_slice(&body(answer.to_vec()).unwrap()).unwrap();
        assert_eq!((server.name.as_str(), server.syncs_always()), ("n1", true));
        assert_eq!(server.sync_interval(), Duration::from_secs(120));
    }

    #[test]
    fn other_answers_are_errors() {
        assert!(body(b"HTTP/1.0 404 Not Found\r\n\r\n".to_vec()).is_err());
        assert!(body(b"HTTP/1.0 200 OK\r\nA: b".to_vec()).is_err());
        assert!(body(b"".to_vec()).is_err());
    }
}
