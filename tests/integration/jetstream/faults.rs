//! Servers that are killed, stand still, or hand over.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tipline_log::jetstream::JetStreamLog;
use tipline_log::{AppendError, Appender, LogError, Reader, Receipts};
use tipline_proto::subject::events_stream;
use tipline_proto::{ConsumerName, Entry};
use tipline_tests::{Cluster, Nats, NatsOptions, Rng, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{
    WITHIN, Writer, identity, name, next, options, raw, read_all, receipt, seal, sized, started,
};

#[tokio::test]
async fn killed_servers_leave_doubts_that_the_tail_decides() {
    let (mut server, log) = started().await;
    let mut rng = Rng::from_env();
    let mut writer = Writer::claim(Arc::new(log)).await;
    let (mut round, mut doubts) = (0, 0);
    while doubts < 12 {
        assert!(round < 100, "{doubts} of {round} kills were noticed");
        let shape = round % 3;
        let pause = Duration::from_micros(rng.within(0..=30_000));
        let is_back = Cell::new(false);
        let writing = async {
            // Until the kill was noticed once, or fell between two writes.
            loop {
                let was_back = is_back.get();
                let doubts = match shape {
                    0 => writer.insist([sized(1000)]).await,
                    1 => writer.insist((0..500).map(|_| sized(1000))).await,
                    _ => writer.insist([sized(6 << 20)]).await,
                };
                if doubts > 0 || was_back {
                    break doubts;
                }
            }
        };
        let killing = async {
            tokio::time::sleep(pause).await;
            server.kill();
            server.restart().await;
            is_back.set(true);
        };
        let (found, ()) = tokio::join!(writing, killing);
        doubts += found;
        round += 1;
    }
    let last = writer.tail.position.index;
    assert_eq!(writer.log.tail().await.unwrap(), writer.tail);
    assert!(read_all(&writer.log, last).await == writer.written);
}

#[tokio::test]
async fn a_log_is_made_while_a_cluster_elects() {
    let mut cluster = Cluster::start(NatsOptions::default()).await;
    let leader = cluster.leader().await;
    let others = (0..Cluster::SIZE).filter(|node| *node != leader);
    let others: Vec<_> = others.map(|node| cluster.node(node).url()).collect();
    // The request goes to a leader that will not answer, and to no other after it.
    cluster.node(leader).pause();
    let options = options(&others.join(","));
    let log = JetStreamLog::create(&options, &identity(1), 1).await.unwrap();
    assert_eq!(*log.identity(), identity(1));
    // A second one is told apart from a second attempt of the first.
    let again = JetStreamLog::create(&options, &identity(2), 1).await.unwrap_err();
    assert!(matches!(again, LogError::AlreadyExists { .. }), "{again:?}");
    cluster.node(leader).resume();
}

/// Copies what a client sends no faster than `per_second` bytes.
async fn slow_link(server: String, per_second: usize) -> String {
    const CHUNK: usize = 32 << 10;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(server.trim_start_matches("nats://")).await.unwrap();
            let ((mut requests, mut to_client), (mut answers, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut answers, &mut to_client).await });
            tokio::spawn(async move {
                let mut chunk = vec![0; CHUNK];
                while let Ok(length @ 1..) = requests.read(&mut chunk).await {
                    if to_server.write_all(&chunk[..length]).await.is_err() {
                        break;
                    }
                    // The link itself, and nothing that is waited for.
                    let takes = Duration::from_secs_f64(length as f64 / per_second as f64);
                    tokio::time::sleep(takes).await;
                }
            });
        }
    });
    url
}

/// An append is given the time that its bytes take, in one message and in a batch.
#[tokio::test]
async fn a_slow_link_is_waited_for() {
    let server = NatsOptions { max_payload: 8 << 20, ..NatsOptions::default() };
    let server = Nats::start(server).await;
    JetStreamLog::create(&options(&server.url()), &identity(1), 1).await.unwrap();
    let url = slow_link(server.url(), 3 << 19).await;
    let log = JetStreamLog::open(&options(&url)).await.unwrap();
    let mut writer = Writer::claim(Arc::new(log)).await;
    // 4 s and more, over 2 s of silence.
    for unit in [vec![sized(6 << 20)], vec![sized(3 << 20); 2]] {
        writer.write(unit).await;
    }
}

#[tokio::test]
async fn a_cluster_changes_its_leader() {
    let mut cluster = Cluster::start(NatsOptions::default()).await;
    let options = options(&cluster.url());
    let log = JetStreamLog::create(&options, &identity(1), 3).await.unwrap();
    let mut writer = Writer::claim(Arc::new(log)).await;
    let stream = events_stream(&name());
    let js = raw(&cluster.url()).await;
    for round in 0..6 {
        let leader = cluster.stream_leader(&stream).await;
        let mut doubts = 0;
        match round % 3 {
            0 => {
                let subject = format!("STREAM.LEADER.STEPDOWN.{stream}");
                let _: serde_json::Value = js.request(subject, &()).await.unwrap();
            }
            1 => cluster.node(leader).kill(),
            _ => cluster.node(leader).pause(),
        }
        for _ in 0..20 {
            doubts += writer.insist([sized(1000)]).await;
            doubts += writer.insist((0..100).map(|_| sized(1000))).await;
        }
        doubts += writer.insist([sized(4 << 20)]).await;
        println!("round {round}: {doubts} doubts");
        match round % 3 {
            0 => {}
            1 => cluster.node(leader).restart().await,
            _ => cluster.node(leader).resume(),
        }
        cluster.wait_ready().await;
    }
    let last = writer.tail.position.index;
    assert_eq!(writer.log.tail().await.unwrap(), writer.tail);
    assert!(read_all(&writer.log, last).await == writer.written);
}

#[tokio::test]
async fn followers_get_over_what_happens_to_a_cluster() {
    let mut cluster = Cluster::start(NatsOptions::default()).await;
    let options = options(&cluster.url());
    let log = JetStreamLog::create(&options, &identity(1), 3).await.unwrap();
    let named = JetStreamLog::open(&options).await.unwrap();
    let passing = JetStreamLog::open(&options).await.unwrap();
    let board = JetStreamLog::open(&options).await.unwrap();
    let mut writer = Writer::claim(Arc::new(log)).await;
    let rounds = Cluster::SIZE as u64;
    let last = 1 + rounds * 151;
    let consumer: ConsumerName = "replica-1".parse().unwrap();
    let writing = async {
        for node in 0..Cluster::SIZE {
            cluster.node(node).kill();
            for _ in 0..50 {
                writer.insist([sized(1000)]).await;
            }
            writer.insist((0..100).map(|_| sized(1000))).await;
            writer.insist([sized(3 << 20)]).await;
            let log = writer.log.clone();
            let receipt = receipt("replica-1", node as u64 + 1);
            eventually("a receipt is put", WITHIN, async || log.put_receipt(&receipt).await).await;
            cluster.node(node).restart().await;
            cluster.wait_ready().await;
        }
        writer.written
    };
    let (written, named, passing, ()) = tokio::join!(
        writing,
        follow(&named, Some(&consumer), last),
        follow(&passing, None, last),
        follow_board(&board, rounds),
    );
    assert_eq!(written.len() as u64, last);
    assert!(named == written);
    assert!(passing == written);
}

/// Follows up to `last` as a consumer does, subscribing again wherever it has to.
async fn follow(log: &JetStreamLog, name: Option<&ConsumerName>, last: u64) -> Vec<Entry> {
    let (mut read, mut again) = (Vec::new(), 0);
    while (read.len() as u64) < last {
        let after = read.len() as u64;
        let subscribe = async || log.subscribe(name, after).await;
        let mut subscription = eventually("subscribed", WITHIN, subscribe).await;
        while (read.len() as u64) < last {
            match next(&mut subscription).await {
                Ok(batch) => {
                    for entry in batch {
                        assert_eq!(entry.index, read.len() as u64 + 1);
                        subscription.acknowledge(entry.index).await.unwrap();
                        read.push(entry);
                    }
                }
                Err(error) => {
                    assert!(error.is_retryable(), "{error:?}");
                    again += 1;
                    break;
                }
            }
        }
    }
    println!("{name:?}: subscribed again {again} times");
    read
}

/// Follows the board until the receipt of `replica-1` is at `last`.
async fn follow_board(log: &JetStreamLog, last: u64) {
    loop {
        let follow = async || log.follow_board().await;
        let mut feed = eventually("followed", WITHIN, follow).await;
        loop {
            let next = tokio::time::timeout(WITHIN, feed.next()).await.expect("a board in time");
            match next {
                Ok(board) if board.receipts == [receipt("replica-1", last)] => return,
                Ok(_) => {}
                Err(error) => {
                    assert!(error.is_retryable(), "{error:?}");
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_stands_still_is_noticed() {
    let (mut server, log) = started().await;
    let mut writer = Writer::claim(Arc::new(log)).await;
    let mut subscription = writer.log.subscribe(None, 1).await.unwrap();
    server.pause();
    // A dead connection is noticed by its heartbeats, and nothing waits for ever before.
    let unit = seal(&writer.tail, writer.epoch, [sized(1)]);
    let doubt = writer.log.append(&writer.tail, &unit).await.unwrap_err();
    assert!(matches!(doubt, AppendError::Doubt(_)), "{doubt:?}");
    assert!(writer.log.tail().await.unwrap_err().is_retryable());
    assert!(writer.log.put_receipt(&receipt("replica-1", 1)).await.unwrap_err().is_retryable());
    assert!(next(&mut subscription).await.unwrap_err().is_retryable());
    server.resume();
    // The append that was in doubt may have arrived: the tail decides, once it stands still.
    writer.insist([sized(1)]).await;
    writer.insist([sized(2)]).await;
    assert!(read_all(&writer.log, 3).await == writer.written);
}
