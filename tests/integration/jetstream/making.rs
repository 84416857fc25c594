//! Who makes a log, and what is said of servers that will not do.

use std::sync::Arc;

use async_nats::jetstream::stream::Config;
use tipline_log::jetstream::{JetStreamLog, JetStreamOptions};
use tipline_log::{AppendError, Appender, LogError, Reader, Receipts, Shortfall, error_chain};
use tipline_proto::subject::{
    CONTRACT_VERSION_LATE_PROOFS, METADATA_CONTRACT, METADATA_PROOFS_FROM, events_stream,
    receipts_stream,
};
use tipline_proto::{ConsumerName, LogIdentity, Position};
use tipline_tests::{Cluster, Nats, NatsOptions, SyncInterval, eventually};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::{
    WITHIN, Writer, claim, identity, name, next, options, raw, receipt, seal, sized, started,
};

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
    let opened = JetStreamLog::open(&options(&old)).await.unwrap_err();
    let made = JetStreamLog::create(&options(&old), &identity(1), 1).await.unwrap_err();
    for error in [opened, made] {
        assert!(matches!(error, LogError::Unusable { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("2.11.9") && text.contains("2.12"), "{error}");
    }

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
    assert!(found.shortfalls.iter().all(|shortfall| shortfall.name() == "single-replica"));
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

#[tokio::test]
async fn three_replicas_are_as_durable_as_the_servers_that_are_known() {
    let mut cluster = Cluster::start(NatsOptions::default()).await;
    let mut options = options(&cluster.url());
    let log = JetStreamLog::create(&options, &identity(1), 3).await.unwrap();
    let monitors: Vec<_> = (0..3).map(|node| cluster.node(node).monitor_url()).collect();
    for known in 0..=3 {
        options.monitor = monitors[..known].to_vec();
        let found = JetStreamLog::open(&options).await.unwrap().preflight().await.unwrap();
        let names: Vec<_> = found.shortfalls.iter().map(Shortfall::name).collect();
        let unknown = ["sync-interval-unknown"];
        assert_eq!(names, if known < 3 { &unknown[..] } else { &[] }, "{known}: {found:?}");
    }
    drop(log);
}

/// One of three servers is stopped: how it syncs is not known then. Once the others have started
/// without it, no log of three replicas can be made, and whoever makes one waits for it.
#[tokio::test]
async fn a_server_that_is_away_is_named_and_waited_for() {
    let mut cluster = Cluster::start(NatsOptions::default()).await;
    let monitors: Vec<_> =
        (0..Cluster::SIZE).map(|node| cluster.node(node).monitor_url()).collect();
    let of = |log: &str, url: &str| {
        let mut options = JetStreamOptions::new(url, log.parse().unwrap());
        options.monitor = monitors.clone();
        options
    };
    let identity_of = |log: &str| LogIdentity { name: log.parse().unwrap(), ..identity(1) };
    let before = of("before", &cluster.url());
    let log = JetStreamLog::create(&before, &identity_of("before"), 3).await.unwrap();
    eventually("all of them are known", WITHIN, async || is_durable(&log).await).await;

    // Nobody is away, there are too few: that is not waited for.
    let five = of("five", &cluster.url());
    let few = JetStreamLog::create(&five, &identity_of("five"), 5).await.unwrap_err();
    assert!(matches!(few, LogError::Unusable { .. }), "{few:?}");

    let [away, others @ ..] = [0, 1, 2];
    let name = cluster.node(away).name().to_owned();
    cluster.node(away).stop().await;
    let found = eventually("the preflight", WITHIN, async || log.preflight().await).await;
    let short: Vec<&str> = found.shortfalls.iter().map(|s| s.found.as_str()).collect();
    let unknown =
        format!("sync_interval: read from 2 of 3 servers that hold the log, not from {name}");
    assert_eq!(short, [unknown], "{found:?}");

    for other in others {
        cluster.node(other).stop().await;
    }
    others.iter().for_each(|other| cluster.node(*other).relaunch());
    let urls: Vec<_> = others.iter().map(|other| cluster.node(*other).url()).collect();
    let said = eventually("no third replica", WITHIN, async || refusal(&urls).await).await;
    let is_known = said.contains("miscellaneous issue") || said.contains("offline");
    assert!(is_known, "{NO_PEERS}: {said}");
    let options = of("after", &urls.join(","));
    let starting = async {
        cluster.node(away).relaunch();
        cluster.wait_ready().await;
    };
    let identity = identity_of("after");
    let (made, ()) = tokio::join!(JetStreamLog::create(&options, &identity, 3), starting);
    assert_eq!(*made.unwrap().identity(), identity);
    eventually("all of them are known again", WITHIN, async || is_durable(&log).await).await;
}

/// All that a server says by which `log/src/jetstream/create.rs` distinguishes one that is away from
/// one that is not there. There is no code for it.
const NO_PEERS: &str =
    "a server says in new words that another one is away: `is_away` must know them";

/// What servers say that cannot place three replicas.
async fn refusal(urls: &[String]) -> Result<String, String> {
    let client = async_nats::connect(urls).await.map_err(|error| error.to_string())?;
    let stream = Config { name: "raw".into(), num_replicas: 3, ..Config::default() };
    let servers = async_nats::jetstream::new(client);
    match servers.create_stream(stream).await {
        Err(error) if error.to_string().contains("no suitable peers") => Ok(error.to_string()),
        Err(error) => Err(error.to_string()),
        // They have not noticed yet.
        Ok(_) => Err(match servers.delete_stream("raw").await {
            Ok(_) => "it was made".to_owned(),
            Err(error) => format!("it was made, and not deleted: {error}"),
        }),
    }
}

async fn is_durable(log: &JetStreamLog) -> Result<(), String> {
    match log.preflight().await {
        Ok(found) if found.is_durable() => Ok(()),
        Ok(found) => Err(format!("{found:?}")),
        Err(error) => Err(error_chain(&error)),
    }
}

#[tokio::test]
async fn a_log_that_was_made_again_under_a_handle_is_another_log() {
    let (mut server, empty) = started().await;
    let options = options(&server.url());
    let other = JetStreamLog::open(&options).await.unwrap();
    let nothing = empty.tail().await.unwrap();
    let consumer: ConsumerName = "replica-1".parse().unwrap();
    let mut following = other.subscribe(Some(&consumer), 0).await.unwrap();
    JetStreamLog::delete(&options, identity(1).lineage).await.unwrap();
    let new = JetStreamLog::create(&options, &identity(2), 1).await.unwrap();

    let is_another = |error: &LogError| {
        let LogError::WrongLog { expected, found, .. } = error else { return false };
        (*expected, *found) == (identity(1).lineage, identity(2).lineage)
    };
    // The new log is as empty as the old one was: the server would take what follows.
    let refused = empty.append(&nothing, &seal(&nothing, 1, [claim()])).await.unwrap_err();
    assert!(matches!(&refused, AppendError::Refused(why) if is_another(why)), "{refused:?}");
    let errors = [
        empty.tail().await.unwrap_err(),
        empty.extent().await.unwrap_err(),
        empty.entry(1).await.unwrap_err(),
        empty.board().await.unwrap_err(),
        empty.follow_board().await.err().unwrap(),
        empty.subscribe(None, 0).await.err().unwrap(),
    ];
    for error in errors {
        assert!(is_another(&error), "{error:?}");
    }
    // Whoever follows finds its consumer gone, and is told when it subscribes again.
    let gone = next(&mut following).await.unwrap_err();
    assert!(gone.is_retryable(), "{gone:?}");
    assert!(is_another(&other.subscribe(Some(&consumer), 0).await.err().unwrap()));

    // After the connection was lost, nothing is put and nothing appended unseen.
    server.restart().await;
    let put = eventually("the answer to a receipt", WITHIN, async || {
        match empty.put_receipt(&receipt("replica-1", 1)).await {
            Err(error) if error.is_retryable() => Err(error),
            answer => Ok(answer),
        }
    });
    assert!(is_another(&put.await.unwrap_err()));
    let mut writer = Writer::claim(Arc::new(new)).await;
    writer.write([sized(1)]).await;
    assert_eq!(writer.log.board().await.unwrap().receipts, []);
}

/// Whoever decides by what a log says of itself must not do so by what somebody made of it.
#[tokio::test]
async fn altered_metadata_is_noticed_by_who_has_the_log_and_by_who_opens_it() {
    let (server, log) = started().await;
    let (was, altered) = (log.tail().await.unwrap(), "proofs from block 7 on");
    let alter = async |stream: String| {
        let streams = raw(&server.url()).await;
        let mut config = streams.get_stream(&stream).await.unwrap().cached_info().config.clone();
        config.metadata.insert(METADATA_CONTRACT.into(), CONTRACT_VERSION_LATE_PROOFS.into());
        config.metadata.insert(METADATA_PROOFS_FROM.into(), "7".into());
        streams.update_stream(config).await.unwrap();
    };
    alter(events_stream(&name())).await;
    let opened = JetStreamLog::open(&options(&server.url())).await.unwrap_err();
    for error in [opened, log.tail().await.unwrap_err(), log.extent().await.unwrap_err()] {
        assert!(matches!(error, LogError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().contains(altered), "{error}");
    }
    let refused = log.append(&was, &seal(&was, 1, [claim()])).await.unwrap_err();
    assert!(matches!(&refused, AppendError::Refused(LogError::Unusable { .. })), "{refused:?}");
    // Both together are another log, whose digests begin elsewhere.
    alter(receipts_stream(&name())).await;
    let opened = JetStreamLog::open(&options(&server.url())).await.unwrap();
    assert_ne!(opened.tail().await.unwrap().position, was.position);
}

#[tokio::test]
async fn a_deleted_consumer_may_subscribe_again() {
    let (server, log) = started().await;
    let mut writer = Writer::claim(Arc::new(log)).await;
    let consumer: ConsumerName = "replica-1".parse().unwrap();
    let mut following = writer.log.subscribe(Some(&consumer), 1).await.unwrap();
    let other = JetStreamLog::open(&options(&server.url())).await.unwrap();
    other.forget(&consumer).await.unwrap();
    let gone = next(&mut following).await.unwrap_err();
    assert!(gone.is_retryable(), "nobody has taken its name: {gone:?}");
    let mut following = writer.log.subscribe(Some(&consumer), 1).await.unwrap();
    writer.write([sized(1)]).await;
    assert_eq!(next(&mut following).await.unwrap(), writer.written[1..]);
}
