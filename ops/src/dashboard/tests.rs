//! What a page is told, and what is remembered.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tipline_proto::{Role, Timestamp};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::history::{HISTORY_FINE, HISTORY_SPAN, History, MAX_CONSUMERS};
use super::kept::KeptView;
use super::picture::{About, Picture};
use super::server::{DashboardServer, HostRule};
use super::state::Dashboard;
use crate::verdict::testing::{NOW, at, expectation, receipt, seconds_ago, seen};
use crate::verdict::{Fleet, Seen, Verdict, assess, exposure};

fn picture(seen: &Seen, at_ms: u64) -> Picture {
    let time = Timestamp::from_micros(at_ms * 1_000);
    let fleet = assess(seen, NOW, &expectation());
    Picture::new(time, fleet, Some(exposure(seen, NOW)), KeptView::default())
}

fn unread(at_ms: u64) -> Picture {
    let time = Timestamp::from_micros(at_ms * 1_000);
    let fleet = Fleet { verdict: Verdict::Broken, ..Fleet::default() };
    Picture::new(time, fleet, None, KeptView::default())
}

#[test]
fn a_point_is_what_was_so_and_what_is_not_known_is_not_0() {
    let (mut history, mut seen) = (History::default(), seen());
    history.observe(&seen);
    history.add(&picture(&seen, 100_000));
    seen.tail.position = at(30);
    history.add(&picture(&seen, 105_000));
    history.add(&unread(110_000));
    let points: Vec<_> = history.after(0).collect();
    let rates: Vec<_> = points.iter().map(|point| point.rate).collect();
    assert_eq!(rates, [None, Some(2.0), None]);
    assert_eq!(points[0].lost, Some(0));
    assert_eq!(points[0].rpo_ms, Some(0));
    assert_eq!(points[0].consumers["backup-1"].lag_ms, Some(0));
    assert_eq!(points[0].consumers["replica-1"].lag_ms, Some(1_000));
    assert_eq!(points[1].lost, Some(10));
    // When its oldest event was committed is not known.
    assert_eq!(points[1].rpo_ms, None);
    let unknown = points[2];
    assert_eq!((unknown.lost, unknown.rpo_ms, unknown.last), (None, None, None));
    assert_eq!((unknown.verdict, unknown.consumers.len()), (Verdict::Broken, 0));
}

#[test]
fn latency_is_of_what_came_while_somebody_looked() {
    let (mut history, mut seen) = (History::default(), seen());
    seen.times.insert(19, seconds_ago(500));
    history.observe(&seen);
    history.add(&picture(&seen, 1_000));
    // Committed 4 s ago, received 1 s ago.
    seen.board.receipts[1] = receipt("replica-1", Role::Replica, 20, 1015);
    seen.times.insert(20, seconds_ago(4));
    history.observe(&seen);
    // The same receipt once more, or a newer one of the same place, takes no longer.
    seen.board.receipts[1].time = NOW;
    history.observe(&seen);
    history.add(&picture(&seen, 6_000));
    history.add(&picture(&seen, 11_000));
    let of_replica = history.after(0).map(|point| point.consumers["replica-1"].latency_ms);
    assert_eq!(of_replica.collect::<Vec<_>>(), [None, Some(3_000), None]);
}

#[test]
fn the_history_is_bounded_and_its_older_part_keeps_the_worst() {
    let (mut history, mut seen) = (History::default(), seen());
    let many = (0..100).map(|number| receipt(&format!("r-{number:03}"), Role::Replica, 19, 1014));
    seen.board.receipts = many.collect();
    let span = HISTORY_SPAN.as_millis() as u64;
    let every = History::EVERY.as_millis() as u64;
    let start = 1_000_000_000;
    // A day and a half, and one bad moment some hours before its end.
    let end = start + 3 * span;
    let bad_at = end - 4 * 3_600_000;
    let (mut usual, mut bad) = (picture(&seen, 0), unread(0));
    let mut time = start;
    while time <= end {
        let is_bad = (bad_at..bad_at + every).contains(&time);
        (usual.at_ms, bad.at_ms) = (time, time);
        history.add(if is_bad { &bad } else { &usual });
        time += every;
    }
    let points: Vec<_> = history.after(0).collect();
    let fine = HISTORY_FINE.as_secs() / History::EVERY.as_secs();
    let coarse = (HISTORY_SPAN - HISTORY_FINE).as_secs() / 60;
    let most = (fine + coarse) as usize + 3;
    assert!((most - 6..=most).contains(&points.len()), "{} of {most}", points.len());
    assert!(points.iter().all(|point| point.consumers.len() <= MAX_CONSUMERS));
    assert!(points[0].t >= end - span && points.is_sorted_by_key(|point| point.t));
    let broken: Vec<_> = points.iter().filter(|p| p.verdict == Verdict::Broken).collect();
    assert_eq!(broken.len(), 1);
    assert!(broken[0].t.abs_diff(bad_at) < 60_000, "{} {bad_at}", broken[0].t);
    // A clock that was put back takes away what it dated later.
    history.add(&picture(&seen, end - span / 2));
    assert!(history.after(0).all(|point| point.t <= end - span / 2));
    assert_eq!(history.after(history.added() - 1).count(), 1);
}

fn about() -> About {
    About {
        version: "1".into(),
        log: "nats://h/x".into(),
        limits: (&expectation()).into(),
        remedies: BTreeMap::new(),
    }
}

async fn serve(rule: HostRule) -> (Dashboard, DashboardServer) {
    let dashboard = Dashboard::new(about());
    let address = "127.0.0.1:0".parse().unwrap();
    let server = DashboardServer::bind(address, rule, &dashboard).await.unwrap();
    (dashboard, server)
}

async fn get(server: &DashboardServer, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The first line of the answer, also of one that never ends.
async fn first_line(server: &DashboardServer, method: &str, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await.unwrap();
    line
}

#[tokio::test]
async fn a_page_is_given_out_with_what_a_browser_may_do_and_under_its_own_names() {
    let (_dashboard, server) = serve(HostRule::Local).await;
    let port = server.address().port();
    for (path, kind) in [
        ("/", "text/html"),
        ("/style.css", "text/css"),
        ("/script.js", "text/javascript"),
        ("/chart.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let answer = get(&server, path, &format!("localhost:{port}")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(&format!("content-type: {kind}")), "{path}: {answer}");
        assert!(answer.contains("content-security-policy: default-src 'none';"), "{path}");
        assert!(answer.contains("x-content-type-options: nosniff"), "{path}");
        // Nothing in it is from elsewhere, and nothing is inline.
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        for foreign in ["https://", "//cdn", "<script>", "innerHTML", "style=\"", "onclick="] {
            assert!(!body.contains(foreign), "{path}: {foreign}");
        }
    }
    assert!(get(&server, "/other", "localhost").await.starts_with("HTTP/1.1 404"));
    // It can be looked at, and that is all.
    for path in ["/", "/events", "/script.js"] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let answer = first_line(&server, method, path, "localhost").await;
            assert!(answer.starts_with("HTTP/1.1 405"), "{method} {path}: {answer}");
        }
    }
    for (host, status) in [
        ("127.0.0.1", "200"),
        ("[::1]:80", "200"),
        ("10.0.0.9:9110", "200"),
        ("evil.example", "421"),
        ("evil.example:9110", "421"),
        ("localhost.evil.example", "421"),
        ("", "421"),
    ] {
        let answer = first_line(&server, "GET", "/events", host).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {answer}");
    }
    let (_dashboard, open) = serve(HostRule::Any).await;
    assert!(get(&open, "/", "proxy.example").await.starts_with("HTTP/1.1 200"));
}

/// Events of a client that listens.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn listen(server: &DashboardServer) -> Self {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let request = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        Self(BufReader::new(stream))
    }

    async fn next(&mut self) -> (String, Value) {
        let mut kind = String::new();
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(Duration::from_secs(30), self.0.read_line(&mut line));
            assert!(read.await.expect("something is pushed").unwrap() > 0, "it was closed");
            if let Some(name) = line.strip_prefix("event: ") {
                kind = name.trim().to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return (kind, serde_json::from_str(data).unwrap());
            }
        }
    }
}

#[tokio::test]
async fn all_is_pushed_at_first_then_what_changed_and_nothing_twice() {
    let (dashboard, server) = serve(HostRule::Local).await;
    let mut early = Events::listen(&server).await;
    let (kind, told) = early.next().await;
    assert_eq!(
        (kind.as_str(), &told["picture"], &told["about"]["log"]),
        ("snapshot", &Value::Null, &"nats://h/x".into())
    );

    let mut seen = seen();
    dashboard.show(picture(&seen, 1_000));
    let (kind, told) = early.next().await;
    assert_eq!((kind.as_str(), &told["picture"]["fleet"]["verdict"]), ("news", &"well".into()));
    assert_eq!(told["points"].as_array().unwrap().len(), 1);
    assert_eq!(told["picture"]["exposure"]["with_log"]["events"], 0);

    // Nothing but time has passed: it is not pushed. Then something has changed.
    dashboard.show(picture(&seen, 2_000));
    seen.board.receipts[1].failure = Some("gone".into());
    dashboard.show(picture(&seen, 3_000));
    let (_, told) = early.next().await;
    assert_eq!(
        (&told["picture"]["at_ms"], &told["picture"]["fleet"]["verdict"]),
        (&3_000.into(), &"degraded".into())
    );
    // A change of the verdict is a point by itself, and only that is sent.
    let times: Vec<_> = told["points"].as_array().unwrap().iter().map(|p| &p["t"]).collect();
    assert_eq!(times, [&Value::from(3_000)]);

    let mut late = Events::listen(&server).await;
    let (kind, told) = late.next().await;
    assert_eq!((kind.as_str(), told["points"].as_array().unwrap().len()), ("snapshot", 2));
    assert_eq!(told["picture"]["fleet"]["verdict"], "degraded");
}
