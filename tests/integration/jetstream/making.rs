//! Who makes a log, and what is said of servers that will not do.

use tipline_log::jetstream::{JetStreamLog, JetStreamOptions};
use tipline_log::{Appender, LogError, Reader, Receipts};
use tipline_proto::Position;
use tipline_proto::subject::{events_stream, receipts_stream};
use tipline_tests::{Nats, NatsOptions, SyncInterval};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::{identity, name, options, raw, started};

#[tokio::test]
async fn only_init_makes_a_log() {
    let server = Nats::start(NatsOptions::default()).await;
    let options = options(&server.url());
    let missing = JetStreamLog::open(&options).await.unwrap_err();
    assert!(matches!(missing, LogError::NotFound { .. }), "{missing:?}");
    assert!(missing.to_string().contains("tipline init"), "{missing}");

    let made = JetStreamLog::create(&options, &identity(1), 1).await.unwrap();
    assert_eq!(made.tail().await.unwrap().position, Position::origin(&identity(1)));
    for lineage in [1, 2] {
        let again = JetStreamLog::create(&options, &identity(lineage), 1).await.unwrap_err();
        assert!(matches!(again, LogError::AlreadyExists { .. }), "{again:?}");
    }
    let opened = JetStreamLog::open(&options).await.unwrap();
    assert_eq!(opened.identity(), &identity(1));
}

#[tokio::test]
async fn init_completes_what_was_cut_short() {
    let (server, log) = started().await;
    let options = options(&server.url());
    raw(&server.url()).await.delete_stream(receipts_stream(&name())).await.unwrap();
    let incomplete = JetStreamLog::open(&options).await.unwrap_err();
    assert!(matches!(incomplete, LogError::NotFound { .. }), "{incomplete:?}");

    let mut foreign = identity(2);
    foreign.chain.name = "another".parse().unwrap();
    let refused = JetStreamLog::create(&options, &foreign, 1).await.unwrap_err();
    assert!(matches!(refused, LogError::AlreadyExists { .. }), "{refused:?}");
    let completed = JetStreamLog::create(&options, &identity(2), 1).await.unwrap();
    assert_eq!(completed.identity(), log.identity(), "the lineage that was begun");
    assert_eq!(completed.board().await.unwrap().receipts, []);
}

#[tokio::test]
async fn a_lost_log_is_not_replaced_by_an_empty_one() {
    let (server, _log) = started().await;
    raw(&server.url()).await.delete_stream(events_stream(&name())).await.unwrap();
    let options = options(&server.url());
    let lost = JetStreamLog::open(&options).await.unwrap_err();
    assert!(matches!(lost, LogError::NotFound { .. }), "{lost:?}");
    let refused = JetStreamLog::create(&options, &identity(2), 1).await.unwrap_err();
    assert!(matches!(refused, LogError::AlreadyExists { .. }), "{refused:?}");
    assert!(refused.to_string().contains("events are gone"), "{refused}");
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_named() {
    let options = JetStreamOptions::new("nats://user:secret@127.0.0.1:9", name());
    let error = JetStreamLog::open(&options).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("127.0.0.1:9/store") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_single_server_keeps_no_three_replicas() {
    let server = Nats::start(NatsOptions::default()).await;
    let error = JetStreamLog::create(&options(&server.url()), &identity(1), 3).await.unwrap_err();
    assert!(matches!(error, LogError::Unusable { .. }), "{error:?}");
    let missing = JetStreamLog::open(&options(&server.url())).await.unwrap_err();
    assert!(matches!(missing, LogError::NotFound { .. }), "{missing:?}");
}

/// A server of another kind: it says what it is, answers pings, and `reply` to a login.
async fn pretend(version: &str, reply: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let info = format!(
        "INFO {{\"server_id\":\"x\",\"version\":{version:?},\"max_payload\":1048576,\"proto\":1,\
         \"headers\":true}}\r\n"
    );
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (read, mut write) = stream.into_split();
            write.write_all(info.as_bytes()).await.unwrap();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with("PING") && write.write_all(reply.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    });
    url
}

#[tokio::test]
async fn a_server_that_will_not_do_is_named() {
    let old = pretend("2.11.9", "PONG\r\n").await;
    let error = JetStreamLog::open(&options(&old)).await.unwrap_err();
    assert!(matches!(error, LogError::Unusable { .. }), "{error:?}");
    assert!(error.to_string().contains("2.11.9") && error.to_string().contains("2.12"), "{error}");

    let closed = pretend("2.15.1", "-ERR 'Authorization Violation'\r\n").await;
    let error = JetStreamLog::open(&options(&closed)).await.unwrap_err();
    assert!(matches!(error, LogError::Unusable { .. }), "{error:?}");
    assert!(error.to_string().contains("refuses the login"), "{error}");
}

#[tokio::test]
async fn preflight_tells_what_falls_short() {
    let mut server_options = NatsOptions::default();
    let server = Nats::start(server_options.clone()).await;
    let mut with_monitor = options(&server.url());
    with_monitor.monitor = vec![server.monitor_url()];
    let log = JetStreamLog::create(&with_monitor, &identity(1), 1).await.unwrap();
    let found = log.preflight().await.unwrap();
    let short: Vec<&str> = found.shortfalls.iter().map(|s| s.found.as_str()).collect();
    let one_copy = ["tipline-store-events: replicas: 1", "tipline-store-receipts: replicas: 1"];
    assert_eq!(short, one_copy, "{found:?}");
    assert!(found.good.iter().any(|line| line == "sync_interval: always on nats"), "{found:?}");

    let without = JetStreamLog::open(&options(&server.url())).await.unwrap();
    let found = without.preflight().await.unwrap();
    assert!(found.shortfalls.iter().any(|s| s.found.starts_with("sync_interval: read from 0")));

    server_options.sync = SyncInterval::ServerDefault;
    let lazy = Nats::start(server_options).await;
    let mut with_monitor = options(&lazy.url());
    with_monitor.monitor = vec![lazy.monitor_url()];
    let log = JetStreamLog::create(&with_monitor, &identity(1), 1).await.unwrap();
    let found = log.preflight().await.unwrap();
    assert!(
        found.shortfalls.iter().any(|s| s.found == "sync_interval: 120 s on nats"),
        "{found:?}"
    );
}
