//! Subscriptions, and who has a name.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt;
use futures_util::future::select_all;
use serde_json::json;
use tipline_log::jetstream::JetStreamLog;
use tipline_log::{LogError, Reader, Receipts};
use tipline_proto::ConsumerName;
use tipline_proto::subject::events_stream;
use tipline_tests::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{WITHIN, Writer, name, next, options, raw, sized, started};

/// How a request for messages begins.
const REQUEST: &[u8] = b"$JS.API.CONSUMER.MSG.NEXT.";

/// A way to a server on which nobody answers the first requests for messages, as in a cluster that
/// does not know a new consumer everywhere yet. How many requests there were is in `requests`.
async fn unknown_at_first(server: String, unanswered: u32, requests: Arc<AtomicU32>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(server.trim_start_matches("nats://")).await.unwrap();
            let ((mut commands, mut to_client), (mut answers, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut answers, &mut to_client).await });
            let requests = requests.clone();
            tokio::spawn(async move {
                let (mut held, mut chunk) = (Vec::new(), [0; 4096]);
                while let Ok(length @ 1..) = commands.read(&mut chunk).await {
                    held.extend_from_slice(&chunk[..length]);
                    let at = |held: &[u8]| held.windows(REQUEST.len()).position(|w| w == REQUEST);
                    let mut from = 0;
                    while let Some(found) = at(&held[from..]) {
                        if requests.fetch_add(1, Ordering::Relaxed) < unanswered {
                            // A subject as long that nobody listens to.
                            held[from + found + 1] = b'X';
                        }
                        from += found + REQUEST.len();
                    }
                    // The beginning of a request waits for the rest of it.
                    let begun = (1..REQUEST.len()).rev().find(|n| held.ends_with(&REQUEST[..*n]));
                    let rest = held.split_off(held.len() - begun.unwrap_or(0));
                    if to_server.write_all(&held).await.is_err() {
                        break;
                    }
                    held = rest;
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_new_consumer_that_is_not_known_everywhere_is_asked_again() {
    let (server, log) = started().await;
    let mut writer = Writer::claim(Arc::new(log)).await;
    let requests = Arc::new(AtomicU32::new(0));
    let url = unknown_at_first(server.url(), 3, requests.clone()).await;
    let other = JetStreamLog::open(&options(&url)).await.unwrap();
    let consumer: ConsumerName = "replica-1".parse().unwrap();
    let mut subscription = other.subscribe(Some(&consumer), 0).await.unwrap();
    assert_eq!(next(&mut subscription).await.unwrap(), writer.written);
    assert_eq!(requests.load(Ordering::Relaxed), 4);
    writer.write([sized(5)]).await;
    assert_eq!(next(&mut subscription).await.unwrap(), writer.written[1..]);

    // One that is gone is not waited for.
    requests.store(0, Ordering::Relaxed);
    let mut subscription = other.subscribe(Some(&consumer), 2).await.unwrap();
    writer.log.forget(&consumer).await.unwrap();
    let gone = next(&mut subscription).await.unwrap_err();
    assert!(gone.to_string().contains("the consumer was deleted"), "{gone}");
}

#[tokio::test]
async fn a_subscription_says_that_it_lost_the_server() {
    let (mut server, log) = started().await;
    let mut writer = Writer::claim(Arc::new(log)).await;
    let consumer: ConsumerName = "replica-1".parse().unwrap();
    let mut subscription = writer.log.subscribe(Some(&consumer), 0).await.unwrap();
    assert_eq!(next(&mut subscription).await.unwrap(), writer.written);
    subscription.acknowledge(1).await.unwrap();
    server.kill();
    // At once, not when heartbeats stay away for 10 s.
    let lost = tokio::time::timeout(Duration::from_secs(5), subscription.next()).await;
    let lost = lost.expect("the loss is noticed").unwrap_err();
    assert!(lost.is_retryable(), "{lost:?}");
    assert!(next(&mut subscription).await.is_err());
    server.restart().await;

    let log = writer.log.clone();
    let mut subscription =
        eventually("subscribed again", WITHIN, async || log.subscribe(Some(&consumer), 1).await)
            .await;
    writer.insist([sized(5)]).await;
    assert_eq!(next(&mut subscription).await.unwrap(), writer.written[1..]);
}

#[tokio::test]
async fn the_newer_subscription_of_a_name_wins() {
    let (server, log) = started().await;
    let mut writer = Writer::claim(Arc::new(log)).await;
    let consumer: ConsumerName = "replica-1".parse().unwrap();
    let mut old = writer.log.subscribe(Some(&consumer), 1).await.unwrap();
    let other = JetStreamLog::open(&options(&server.url())).await.unwrap();
    let mut new = other.subscribe(Some(&consumer), 0).await.unwrap();
    let ended = next(&mut old).await.unwrap_err();
    assert!(matches!(ended, LogError::Unusable { .. }), "{ended:?}");
    assert!(ended.to_string().contains("replica-1"), "{ended}");
    writer.write([sized(1)]).await;
    let mut read = next(&mut new).await.unwrap();
    while read.len() < 2 {
        read.extend(next(&mut new).await.unwrap());
    }
    assert_eq!(read, writer.written);
}

/// Whoever may make consumers of the stream may make one that looks like the last possible of a name.
#[tokio::test]
async fn a_planted_consumer_keeps_no_name_from_following() {
    let (server, log) = started().await;
    let mut writer = Writer::claim(Arc::new(log)).await;
    let context = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let planted = format!("replica-1_{}_x", u64::MAX);
    let config = pull::Config { durable_name: Some(planted), ..pull::Config::default() };
    context.create_consumer_on_stream(config, events_stream(&name())).await.unwrap();
    let consumer: ConsumerName = "replica-1".parse().unwrap();
    for _ in 0..2 {
        let mut following = writer.log.subscribe(Some(&consumer), 0).await.unwrap();
        writer.write([sized(1)]).await;
        let mut read = Vec::new();
        while read.len() < writer.written.len() {
            read.extend(next(&mut following).await.unwrap());
        }
        assert_eq!(read, writer.written);
    }
}

#[tokio::test]
async fn of_subscriptions_made_at_once_one_stays() {
    let (server, log) = started().await;
    let writer = Writer::claim(Arc::new(log)).await;
    let consumer: ConsumerName = "replica-1".parse().unwrap();
    let mut following = Vec::new();
    for _ in 0..8 {
        let (options, consumer) = (options(&server.url()), consumer.clone());
        following.push(tokio::spawn(async move {
            let log = JetStreamLog::open(&options).await.unwrap();
            let mut subscription = log.subscribe(Some(&consumer), 0).await?;
            let mut read = Vec::new();
            // Or until it is told that another one has taken the name.
            while read.len() < 2 {
                read.extend(subscription.next().await?);
            }
            Ok::<_, LogError>(read)
        }));
    }
    let mut ended = 0;
    while ended < 7 {
        let (outcome, _, rest) =
            tokio::time::timeout(WITHIN, select_all(following)).await.expect("all but one end");
        let error = outcome.unwrap().unwrap_err();
        assert!(matches!(error, LogError::Unusable { .. }), "{error:?}");
        following = rest;
        ended += 1;
    }
    let mut writer = writer;
    writer.write([sized(1)]).await;
    let last = tokio::time::timeout(WITHIN, following.remove(0)).await;
    assert_eq!(last.expect("one stays").unwrap().unwrap(), writer.written);
}

#[tokio::test]
async fn acknowledgements_show_on_the_server() {
    let (server, log) = started().await;
    let mut writer = Writer::claim(Arc::new(log)).await;
    writer.write([sized(3 << 20)]).await;
    writer.write([sized(1)]).await;
    let consumer: ConsumerName = "replica-1".parse().unwrap();
    let mut subscription = writer.log.subscribe(Some(&consumer), 0).await.unwrap();
    let mut read = Vec::new();
    while read.len() < 3 {
        read.extend(next(&mut subscription).await.unwrap());
    }
    subscription.acknowledge(3).await.unwrap();
    let js = raw(&server.url()).await;
    let stream = js.get_stream(events_stream(&name())).await.unwrap();
    let fence = writer.tail.fence;
    eventually("the floor is at the tail", WITHIN, async || {
        let mut consumers = stream.consumers();
        let info = consumers.next().await.ok_or("no consumer")?.map_err(|e| e.to_string())?;
        assert!(info.name.starts_with("replica-1_"), "{}", info.name);
        let floor = info.ack_floor.stream_sequence;
        if floor == fence { Ok(()) } else { Err(format!("the floor is {floor}, not {fence}")) }
    })
    .await;
    // Nothing is left of a consumer that is forgotten.
    writer.log.forget(&consumer).await.unwrap();
    assert!(stream.consumers().next().await.is_none());
}

/// Takes one message away from the only consumer, as a broken connection would.
async fn steal(stream: &Stream) -> Pin<Box<dyn Future<Output = ()>>> {
    let info = stream.consumers().next().await.unwrap().unwrap();
    let consumer: PullConsumer = stream.get_consumer(&info.name).await.unwrap();
    let mut stolen = consumer.batch().max_messages(1).expires(WITHIN).messages().await.unwrap();
    // It is asked for when the server says that two wait for messages.
    eventually("the thief waits", WITHIN, async || {
        let waiting = consumer.get_info().await.map_err(|e| e.to_string())?.num_waiting;
        if waiting == 2 { Ok(()) } else { Err(format!("{waiting} wait")) }
    })
    .await;
    Box::pin(async move { drop(stolen.next().await.unwrap().unwrap()) })
}

#[tokio::test]
async fn lost_messages_are_noticed() {
    let (server, log) = started().await;
    let mut writer = Writer::claim(Arc::new(log)).await;
    let stream = raw(&server.url()).await.get_stream(events_stream(&name())).await.unwrap();
    let consumer: ConsumerName = "replica-1".parse().unwrap();

    // By the next one that comes.
    let mut subscription = writer.log.subscribe(Some(&consumer), 0).await.unwrap();
    assert_eq!(next(&mut subscription).await.unwrap(), writer.written);
    let theft = steal(&stream).await;
    for _ in 0..4 {
        writer.write([sized(1)]).await;
    }
    theft.await;
    let mut read = 1;
    let lost = loop {
        match next(&mut subscription).await {
            Ok(batch) => {
                for entry in batch {
                    assert_eq!(entry, writer.written[read]);
                    read += 1;
                }
            }
            Err(error) => break error,
        }
    };
    assert!(lost.is_retryable(), "{lost:?}");
    assert!(lost.to_string().contains("came after"), "{lost}");

    // By asking, where none comes. The server serves those who wait in turn: the
    // subscription first, the thief then.
    let mut subscription = writer.log.subscribe(Some(&consumer), 5).await.unwrap();
    let waiting = tokio::spawn(async move {
        let first = next(&mut subscription).await;
        (first, next(&mut subscription).await)
    });
    let theft = steal(&stream).await;
    writer.write([sized(1)]).await;
    writer.write([sized(1)]).await;
    theft.await;
    let (first, lost) = waiting.await.unwrap();
    assert_eq!(first.unwrap(), writer.written[5..6]);
    let lost = lost.unwrap_err();
    assert!(lost.is_retryable(), "{lost:?}");
    assert!(lost.to_string().contains("lost on the way"), "{lost}");
}

/// Whoever may make passing consumers, as an auditor, can change those of others. One that wants
/// other subjects has nothing to send, and says so.
#[tokio::test]
async fn a_consumer_that_somebody_changed_is_noticed() {
    let (server, log) = started().await;
    let mut writer = Writer::claim(Arc::new(log)).await;
    let consumer: ConsumerName = "replica-1".parse().unwrap();
    let mut following = writer.log.subscribe(Some(&consumer), 1).await.unwrap();
    writer.write([sized(1)]).await;
    assert_eq!(next(&mut following).await.unwrap(), writer.written[1..]);

    let (js, stream) = (raw(&server.url()).await, events_stream(&name()));
    let names: serde_json::Value =
        js.request(format!("CONSUMER.NAMES.{stream}"), &()).await.unwrap();
    let info = format!("CONSUMER.INFO.{stream}.{}", names["consumers"][0].as_str().unwrap());
    let info: serde_json::Value = js.request(info, &json!({})).await.unwrap();
    assert!(info["config"].is_object(), "{info}");
    let mut config = info["config"].clone();
    config["name"] = names["consumers"][0].clone();
    config["filter_subject"] = "tipline.test.nothing".into();
    // With it the request would be refused by its subject.
    config.as_object_mut().unwrap().remove("durable_name");
    let changed = json!({ "stream_name": stream, "config": config });
    let create = format!("CONSUMER.CREATE.{stream}");
    let answer: serde_json::Value = js.request(create, &changed).await.unwrap();
    assert_eq!(answer["name"], names["consumers"][0], "{answer}");
    assert_eq!(answer["config"]["filter_subject"], "tipline.test.nothing", "{answer}");
    writer.write([sized(1)]).await;

    // One may be on its way already.
    let held_back = loop {
        if let Err(error) = next(&mut following).await {
            break error;
        }
    };
    assert!(held_back.is_retryable(), "{held_back:?}");
    assert!(held_back.to_string().contains("somebody changed the consumer"), "{held_back}");
    writer.write([sized(1)]).await;
    let mut following = writer.log.subscribe(Some(&consumer), 3).await.unwrap();
    assert_eq!(next(&mut following).await.unwrap(), writer.written[3..]);
}

/// A server may hold messages back and send heartbeats all the while, as in issue 4736 of
/// nats-server. So does one whose consumer is paused.
#[tokio::test]
async fn a_server_with_heartbeats_and_no_messages_is_noticed() {
    let (server, log) = started().await;
    let mut writer = Writer::claim(Arc::new(log)).await;
    let consumer: ConsumerName = "replica-1".parse().unwrap();
    let mut following = writer.log.subscribe(Some(&consumer), 1).await.unwrap();
    writer.write([sized(1)]).await;
    assert_eq!(next(&mut following).await.unwrap(), writer.written[1..]);

    let (js, stream) = (raw(&server.url()).await, events_stream(&name()));
    let names = format!("CONSUMER.NAMES.{stream}");
    let names: serde_json::Value = js.request(names, &()).await.unwrap();
    let paused = names["consumers"][0].as_str().unwrap();
    let pause = format!("CONSUMER.PAUSE.{stream}.{paused}");
    let until = json!({ "pause_until": "2100-01-01T00:00:00Z" });
    let answer: serde_json::Value = js.request(pause, &until).await.unwrap();
    assert_eq!(answer["paused"], true, "{answer}");
    writer.write([sized(1)]).await;

    let held_back = next(&mut following).await.unwrap_err();
    assert!(held_back.is_retryable(), "{held_back:?}");
    assert!(held_back.to_string().contains("does not send them"), "{held_back}");
    let mut following = writer.log.subscribe(Some(&consumer), 2).await.unwrap();
    assert_eq!(next(&mut following).await.unwrap(), writer.written[2..]);
}
