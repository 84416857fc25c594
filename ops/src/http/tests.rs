//! Clients that say nothing, or say it slowly.

use std::collections::VecDeque;
use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::client::Heard;
use super::{Client, accept, answer};

const SILENCE: Duration = Duration::from_secs(30);
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(3_600);

fn router() -> Router {
    let all = post(async |body: Bytes| body.len().to_string());
    Router::new().route("/", all.get(async || "well")).route("/never", get(pending::<()>))
}

/// A port for so many clients, which may be silent for ever.
async fn open(most: usize) -> (SocketAddr, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let ending = stop.clone();
    let answering =
        accept(listener, most, LONG, move |client| answer(client, router(), LONG, ending.clone()));
    tokio::spawn(stop.clone().run_until_cancelled_owned(answering));
    (address, stop.drop_guard())
}

async fn ask(client: &mut TcpStream) {
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"well") {
        assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "it is open");
    }
}

async fn is_closed(client: &mut TcpStream) {
    let read = timeout(LONG, client.read(&mut [0])).await.expect("it is closed");
    assert!(read.is_err() || read.is_ok_and(|bytes| bytes == 0));
}

#[tokio::test]
async fn who_is_silent_makes_room_for_who_asks() {
    let (address, _stop) = open(3).await;
    let mut asking = TcpStream::connect(address).await.unwrap();
    let mut silent = VecDeque::new();
    for number in 0..10 {
        // Once it is answered it is in, and says nothing any more.
        let mut one = TcpStream::connect(address).await.unwrap();
        ask(&mut one).await;
        silent.push_back(one);
        if number >= 2 {
            is_closed(&mut silent.pop_front().unwrap()).await;
        }
        ask(&mut asking).await;
    }
}

/// How long this client is answered, if it says this, then a byte every 10 s.
async fn trickled(said: &str) -> Duration {
    let (mut client, server): (DuplexStream, _) = duplex(1 << 10);
    let server = Client::new(server, SILENCE, Heard::default());
    let begun = Instant::now();
    let answered = answer(server, router(), SILENCE, CancellationToken::new());
    let saying = async {
        client.write_all(said.as_bytes()).await.unwrap();
        while client.write_all(b"P").await.is_ok() {
            sleep(SILENCE / 3).await;
        }
        pending::<()>().await;
    };
    tokio::select! {
        () = answered => begun.elapsed(),
        () = saying => unreachable!(),
        () = sleep(LONG) => LONG,
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_said_slowly_is_not_waited_for() {
    let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    for said in ["", "P", "POST / HTTP/1.1\r\nHost: a\r\nX: ", body] {
        let time = trickled(said).await;
        assert!(time <= 2 * SILENCE, "{said:?}: {time:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_within_a_request_ends_it_and_between_two_it_does_not_if_it_is_short() {
    let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
    for said in ["", "POST /", body, "GET /never HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let (mut client, server) = duplex(1 << 10);
        let server = Client::new(server, SILENCE, Heard::default());
        client.write_all(said.as_bytes()).await.unwrap();
        let begun = Instant::now();
        let answered = answer(server, router(), SILENCE, CancellationToken::new());
        timeout(LONG, answered).await.expect(said);
        assert!(begun.elapsed() <= 2 * SILENCE, "{said:?}: {:?}", begun.elapsed());
    }
    let (mut client, server) = duplex(1 << 10);
    let server = Client::new(server, SILENCE, Heard::default());
    tokio::spawn(answer(server, router(), SILENCE, CancellationToken::new()));
    for _ in 0..10 {
        client.write_all(format!("{body}abc").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n3") {
            assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0);
        }
        sleep(SILENCE / 3 * 2).await;
    }
}
