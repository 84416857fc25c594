//! The log on JetStream, against real servers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::select_all;
use tipline_log::jetstream::{JetStreamLog, JetStreamOptions};
use tipline_log::{AppendError, Appender, LogError, Reader, Receipts, Subscription, Tail};
use tipline_proto::limits::{MAX_PAYLOAD_BYTES, MAX_UNIT_MESSAGES};
use tipline_proto::subject::{Subject, events_stream, receipts_stream};
use tipline_proto::{
    Chain, ConsumerName, Entry, Event, Hash, InstanceId, Key, Kind, Label, Level, Lineage,
    LogIdentity, LogName, OutboxId, Position, Reached, Receipt, Role, Timestamp,
};
use tipline_tests::{Cluster, Nats, NatsOptions, Rng, SyncInterval, eventually};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// For what takes a moment; an election takes 5 to 9 s.
const WITHIN: Duration = Duration::from_secs(60);

fn name() -> LogName {
    "store".parse().unwrap()
}

fn identity(lineage: u8) -> LogIdentity {
    LogIdentity {
        name: name(),
        chain: Chain {
            name: "test".parse().unwrap(),
            genesis: Hash::new(&b"genesis"[..]).unwrap(),
        },
        lineage: Lineage::from_bytes([lineage; 16]),
    }
}

fn options(url: &str) -> JetStreamOptions {
    JetStreamOptions::new(url, name()).purpose("test")
}

async fn started() -> (Nats, JetStreamLog) {
    let server = Nats::start(NatsOptions::default()).await;
    let log = JetStreamLog::create(&options(&server.url()), &identity(1), 1).await.unwrap();
    (server, log)
}

fn claim() -> Event {
    Event::EpochStarted {
        primary: Label::new("primary").unwrap(),
        outbox: OutboxId::from_bytes([7; 16]),
    }
}

fn record(payload: Bytes) -> Event {
    Event::StateRecorded { key: Key::new(&b"key"[..]).unwrap(), value: Some(payload) }
}

fn sized(bytes: usize) -> Event {
    let payload: Vec<u8> = (0..bytes).map(|i| (i / 251) as u8 ^ i as u8).collect();
    record(payload.into())
}

fn seal(after: &Tail, epoch: u64, events: impl IntoIterator<Item = Event>) -> Vec<Entry> {
    let (mut position, mut sequence) = (after.position, after.outbox_sequence);
    let entries = events.into_iter().map(|event| {
        sequence += u64::from(event.kind() != Kind::EpochStarted);
        let time = Timestamp::from_micros(1_000_000 + position.index);
        let entry = Entry::seal(&position, epoch, time, sequence, event);
        position = entry.position();
        entry
    });
    entries.collect()
}

/// A writer as a primary is one, without its outbox: the tail decides.
struct Writer {
    log: Arc<JetStreamLog>,
    tail: Tail,
    epoch: u64,
    written: Vec<Entry>,
}

impl Writer {
    async fn claim(log: Arc<JetStreamLog>) -> Writer {
        let tail = log.tail().await.unwrap();
        let epoch = tail.epoch + 1;
        let unit = seal(&tail, epoch, [claim()]);
        let tail = log.append(&tail, &unit).await.unwrap();
        Writer { log, tail, epoch, written: unit }
    }

    async fn write(&mut self, events: impl IntoIterator<Item = Event>) {
        let unit = seal(&self.tail, self.epoch, events);
        self.tail = self.log.append(&self.tail, &unit).await.unwrap();
        self.written.extend(unit);
    }

    /// Writes whatever happens. Gives how often it was in doubt.
    async fn insist(&mut self, events: impl IntoIterator<Item = Event>) -> usize {
        let unit = seal(&self.tail, self.epoch, events);
        let end = unit.last().unwrap().position();
        let mut doubts = 0;
        loop {
            match self.log.append(&self.tail, &unit).await {
                Ok(tail) => {
                    self.tail = tail;
                    break;
                }
                Err(AppendError::Refused(error)) => panic!("refused: {error}"),
                Err(AppendError::Conflict) => {}
                Err(AppendError::Doubt(error)) => {
                    assert!(error.is_retryable(), "{error:?}");
                    doubts += 1;
                }
                Err(error) => panic!("{error}"),
            }
            let log = self.log.clone();
            let tail = eventually("the tail", WITHIN, async || log.tail().await).await;
            if tail.position == end {
                self.tail = tail;
                break;
            }
            assert_eq!(tail.position, self.tail.position, "neither before nor behind the unit");
            assert_eq!(tail.fence, self.tail.fence);
        }
        self.written.extend(unit);
        doubts
    }
}

/// Reads up to `last` and checks that it chains from the origin on.
async fn read_all(log: &JetStreamLog, last: u64) -> Vec<Entry> {
    let mut read = Vec::new();
    while (read.len() as u64) < last {
        let mut subscription = match log.subscribe(None, read.len() as u64).await {
            Ok(subscription) => subscription,
            Err(error) if error.is_retryable() => continue,
            Err(error) => panic!("{error}"),
        };
        while (read.len() as u64) < last {
            match next(&mut subscription).await {
                Ok(batch) => read.extend(batch),
                Err(error) if error.is_retryable() => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    let mut position = Position::origin(log.identity());
    for entry in &read {
        assert!(entry.follows(&position), "entry {} behind {position}", entry.index);
        position = entry.position();
    }
    read
}

async fn next(subscription: &mut Box<dyn Subscription>) -> Result<Vec<Entry>, LogError> {
    let entries = tokio::time::timeout(WITHIN, subscription.next()).await;
    entries.expect("entries come in time")
}

async fn raw(url: &str) -> async_nats::jetstream::Context {
    let servers: Vec<String> = url.split(',').map(str::to_owned).collect();
    async_nats::jetstream::new(async_nats::connect(servers).await.unwrap())
}

#[tokio::test]
async fn events_of_every_size_come_back() {
    let (server, log) = started().await;
    let log = Arc::new(log);
    let mut writer = Writer::claim(log.clone()).await;
    writer.write([sized(0)]).await;
    writer.write([sized(1 << 20)]).await;
    writer.write((0..MAX_UNIT_MESSAGES).map(|_| sized(100))).await;
    writer.write([sized(10), sized(3 << 20), sized(10), sized(5 << 20)]).await;
    writer.write([sized(MAX_PAYLOAD_BYTES)]).await;
    writer.write([sized(7)]).await;

    assert_eq!(log.tail().await.unwrap(), writer.tail);
    let largest = &writer.written[writer.written.len() - 2];
    assert!(log.messages(largest) > 64, "{}", log.messages(largest));
    let read = read_all(&log, writer.tail.position.index).await;
    assert!(read == writer.written);
    for index in [1, 2, 3, 4, 500, 1003, 1004, 1005, 1006, 1007, 1008, 1009] {
        let entry = log.entry(index).await.unwrap();
        assert!(entry == writer.written[index as usize - 1], "entry {index}");
    }
    let beyond = log.entry(1010).await.unwrap_err();
    assert!(
        matches!(beyond, LogError::OutOfRange { asked: 1010, first: 1, last: 1009 }),
        "{beyond}"
    );
    // Another handle reads the same tail, a large event being the newest or not.
    let other = JetStreamLog::open(&options(&server.url())).await.unwrap();
    writer.write([sized(2 << 20)]).await;
    assert_eq!(other.tail().await.unwrap(), writer.tail);
}

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
async fn of_two_writers_one_loses_each_time() {
    let (server, log) = started().await;
    let log = Arc::new(log);
    let claimed = Writer::claim(log.clone()).await;
    let mut writers = Vec::new();
    for writer in 0..2u8 {
        let other = JetStreamLog::open(&options(&server.url())).await.unwrap();
        writers.push(tokio::spawn(race(other, writer, 60)));
    }
    let mut won = 0;
    for writer in writers {
        won += writer.await.unwrap();
    }
    let tail = log.tail().await.unwrap();
    assert_eq!(tail.position.index, claimed.tail.position.index + won);
    read_all(&log, tail.position.index).await;
}

/// Appends singles and batches until `times` of them are in.
async fn race(log: JetStreamLog, writer: u8, times: usize) -> u64 {
    let (mut entries, mut conflicts) = (0, 0);
    for turn in 0..times {
        loop {
            let tail = log.tail().await.unwrap();
            let events = (0..1 + turn % 3).map(|_| record(vec![writer; 300].into()));
            let unit = seal(&tail, tail.epoch, events);
            match log.append(&tail, &unit).await {
                Ok(_) => {
                    entries += unit.len() as u64;
                    break;
                }
                Err(AppendError::Conflict) => conflicts += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    println!("writer {writer}: {conflicts} conflicts");
    entries
}

#[tokio::test]
async fn a_stale_tail_is_a_conflict_and_writes_nothing() {
    let (_server, log) = started().await;
    let origin = log.tail().await.unwrap();
    let unit = seal(&origin, 1, [claim()]);
    let tail = log.append(&origin, &unit).await.unwrap();
    for events in [vec![claim()], vec![claim(), sized(3)], vec![sized(3 << 20)]] {
        let stale = seal(&origin, 1, events);
        let refused = log.append(&origin, &stale).await.unwrap_err();
        assert!(matches!(refused, AppendError::Conflict), "{refused:?}");
    }
    assert_eq!(log.tail().await.unwrap(), tail);
}

#[tokio::test]
async fn killed_servers_leave_doubts_that_the_tail_decides() {
    let (mut server, log) = started().await;
    let mut rng = Rng::from_env();
    let mut writer = Writer::claim(Arc::new(log)).await;
    let mut doubts = 0;
    for round in 0..12 {
        let shape = round % 3;
        let pause = Duration::from_micros(rng.within(0..=30_000));
        let writing = async {
            let mut doubts = 0;
            // Until the kill was noticed once.
            while doubts == 0 {
                doubts += match shape {
                    0 => writer.insist([sized(1000)]).await,
                    1 => writer.insist((0..500).map(|_| sized(1000))).await,
                    _ => writer.insist([sized(6 << 20)]).await,
                };
            }
            doubts
        };
        let killing = async {
            tokio::time::sleep(pause).await;
            server.kill();
            server.restart().await;
        };
        let (found, ()) = tokio::join!(writing, killing);
        doubts += found;
    }
    assert!(doubts >= 12);
    let last = writer.tail.position.index;
    assert_eq!(writer.log.tail().await.unwrap(), writer.tail);
    assert!(read_all(&writer.log, last).await == writer.written);
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

fn receipt(consumer: &str, index: u64) -> Receipt {
    let position = Position { index, ..Position::origin(&identity(1)) };
    Receipt {
        lineage: identity(1).lineage,
        consumer: consumer.parse().unwrap(),
        role: Role::Replica,
        instance: InstanceId::from_bytes([2; 16]),
        reached: Reached::up_to(position, Level::Durable),
        block_tip: None,
        proof_tip: None,
        time: Timestamp::from_micros(index),
        failure: None,
        store: "test".into(),
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
async fn a_subscription_says_that_it_lost_the_server() {
    let (mut server, log) = started().await;
    let mut writer = Writer::claim(Arc::new(log)).await;
    let consumer: ConsumerName = "replica-1".parse().unwrap();
    let mut subscription = writer.log.subscribe(Some(&consumer), 0).await.unwrap();
    assert_eq!(next(&mut subscription).await.unwrap(), writer.written);
    subscription.acknowledge(1).await.unwrap();
    server.kill();
    let lost = next(&mut subscription).await.unwrap_err();
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

#[tokio::test]
async fn a_trimmed_log_says_what_it_holds() {
    let (server, log) = started().await;
    let mut writer = Writer::claim(Arc::new(log)).await;
    for _ in 0..10 {
        writer.write([sized(10)]).await;
        writer.write([sized(2 << 20)]).await;
    }
    let js = raw(&server.url()).await;
    let stream = js.get_stream(events_stream(&name())).await.unwrap();
    // Entry 3 is of the messages 3 to 5: one of them is left, and is not an entry.
    stream.purge().sequence(5).await.unwrap();
    let extent = writer.log.extent().await.unwrap();
    assert_eq!((extent.first, extent.last), (4, 21));
    for index in 4..=21 {
        assert!(writer.log.entry(index).await.unwrap() == writer.written[index as usize - 1]);
    }
    for index in [0, 1, 3, 22] {
        let error = writer.log.entry(index).await.unwrap_err();
        assert!(matches!(error, LogError::OutOfRange { first: 4, last: 21, .. }), "{error:?}");
    }
    let error = writer.log.subscribe(None, 2).await.err().unwrap();
    assert!(matches!(error, LogError::OutOfRange { asked: 3, first: 4, .. }), "{error:?}");
    let mut subscription = writer.log.subscribe(None, 3).await.unwrap();
    assert_eq!(next(&mut subscription).await.unwrap()[0], writer.written[3]);
    let tail = writer.log.tail().await.unwrap();
    assert_eq!(tail, Tail { outbox: None, ..writer.tail.clone() });
}

#[tokio::test]
async fn a_void_entry_is_not_an_entry() {
    let (server, log) = started().await;
    let mut old = Writer::claim(Arc::new(log)).await;
    old.write([sized(1)]).await;
    // What an old primary without a fence could do: its entry lands behind the new claim.
    let void = seal(&old.tail, old.epoch, [sized(99)]);
    let mut new = Writer::claim(old.log.clone()).await;
    let js = raw(&server.url()).await;
    let subject = Subject::Event(name(), Kind::StateRecorded).to_string();
    js.publish(subject, void[0].encode()).await.unwrap().await.unwrap();

    let tail = new.log.tail().await.unwrap_err();
    assert!(matches!(tail, LogError::Damaged { .. }), "{tail:?}");
    // Nothing can be appended by who trusts the tail; the test itself goes on behind it.
    new.tail.fence += 1;
    for _ in 0..5 {
        new.write([sized(2)]).await;
    }
    let newest = Writer::claim(new.log.clone()).await;
    let valid: Vec<&Entry> =
        old.written.iter().chain(&new.written).chain(&newest.written).collect();
    for entry in valid {
        assert!(&new.log.entry(entry.index).await.unwrap() == entry, "entry {}", entry.index);
    }
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

#[tokio::test]
async fn a_single_server_keeps_no_three_replicas() {
    let server = Nats::start(NatsOptions::default()).await;
    let error = JetStreamLog::create(&options(&server.url()), &identity(1), 3).await.unwrap_err();
    assert!(matches!(error, LogError::Unusable { .. }), "{error:?}");
    let missing = JetStreamLog::open(&options(&server.url())).await.unwrap_err();
    assert!(matches!(missing, LogError::NotFound { .. }), "{missing:?}");
}
