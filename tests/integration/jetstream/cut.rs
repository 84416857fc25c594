//! A server that comes back from a power cut without the end of what it acknowledged.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::sync::Arc;

use tipline_log::jetstream::JetStreamLog;
use tipline_log::{Appender, Extent, Reader, Receipts, Tail};
use tipline_proto::subject::events_stream;
use tipline_proto::{ConsumerName, Event};
use tipline_tests::{Nats, NatsOptions, Rng, SyncInterval, eventually};

use crate::deployment::{Deployment, stop};

use super::{WITHIN, Writer, identity, name, next, options, read_all, sized};

/// How many logs are cut off at once.
const LOGS: usize = 6;

/// A server that acknowledges before it fsyncs, and a log on it.
async fn lazy() -> (Nats, Writer) {
    let options_of = NatsOptions { sync: SyncInterval::ServerDefault, ..NatsOptions::default() };
    let server = Nats::start(options_of).await;
    let log = JetStreamLog::create(&options(&server.url()), &identity(1), 1).await.unwrap();
    (server, Writer::claim(Arc::new(log)).await)
}

/// The newest file of the log's messages.
fn newest_block(server: &Nats) -> PathBuf {
    let messages = server.streams_dir().join(events_stream(&name())).join("msgs");
    let files = std::fs::read_dir(messages).unwrap().map(|file| file.unwrap().path());
    let blocks = files.filter(|file| file.extension().is_some_and(|end| end == "blk"));
    let number = |file: &PathBuf| file.file_stem().unwrap().to_str().unwrap().parse::<u64>();
    blocks.max_by_key(|file| number(file).unwrap()).unwrap()
}

/// Takes the end of the newest file away, as a power cut does with what was not fsynced.
/// `keep` gives how many of its bytes stay.
async fn cut(server: &mut Nats, keep: impl FnOnce(u64) -> u64) {
    server.kill();
    let block = newest_block(server);
    let file = OpenOptions::new().write(true).open(&block).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(keep(length)).unwrap();
    std::fs::remove_file(block.with_file_name("index.db")).ok();
    server.restart().await;
}

/// The tail, once it is certain that nothing more comes. Until then the log says why not.
async fn tail_after_cut(log: &JetStreamLog) -> Tail {
    eventually("the tail after the cut", WITHIN, async || match log.tail().await {
        Err(error) => {
            assert!(error.is_retryable(), "{error:?}");
            Err(error)
        }
        tail => tail,
    })
    .await
}

/// What was written up to the tail is there, and the log goes on after it.
async fn goes_on(writer: &mut Writer, server: &Nats) {
    let other = JetStreamLog::open(&options(&server.url())).await.unwrap();
    let tail = tail_after_cut(&other).await;
    let last = tail.position.index;
    assert!((1..=writer.written.len() as u64).contains(&last), "{tail:?}");
    assert_eq!(tail.position, writer.written[last as usize - 1].position());
    assert_eq!(other.extent().await.unwrap(), Extent { first: 1, last });
    writer.written.truncate(last as usize);
    assert!(read_all(&other, last).await == writer.written);
    assert!(other.entry(last).await.unwrap() == writer.written[last as usize - 1]);

    let consumer: ConsumerName = "replica-1".parse().unwrap();
    let mut waiting = other.subscribe(Some(&consumer), last).await.unwrap();
    let found = tail_after_cut(&writer.log).await;
    assert_eq!(found, tail);
    (writer.tail, writer.epoch) = (found, writer.epoch);
    writer.write([sized(3 << 20)]).await;
    writer.write((0..20).map(|_| sized(100))).await;
    let mut pushed = Vec::new();
    while pushed.len() < 21 {
        pushed.extend(next(&mut waiting).await.unwrap());
    }
    assert!(pushed == writer.written[last as usize..]);
    assert_eq!(other.tail().await.unwrap(), writer.tail);
    assert!(read_all(&other, last + 21).await == writer.written);
    for entry in &writer.written {
        assert!(&other.entry(entry.index).await.unwrap() == entry, "entry {}", entry.index);
    }
}

#[tokio::test]
async fn a_log_that_was_cut_off_anywhere_goes_on_after_its_last_whole_entry() {
    let mut rng = Rng::from_env();
    let mut logs = Vec::new();
    for shape in 0..LOGS {
        let shares = [rng.within(1..=999), rng.within(1..=999)];
        logs.push(async move {
            let (mut server, mut writer) = lazy().await;
            writer.write([sized(1000)]).await;
            // The second cut is into a log that has void parts already.
            for share in shares {
                let before = newest_block(&server).metadata().unwrap().len();
                match shape % 3 {
                    0 => writer.write((0..30).map(|_| sized(1000))).await,
                    1 => writer.write([sized(4 << 20)]).await,
                    _ => writer.write([10, 2 << 20, 10, 2 << 20].map(sized)).await,
                }
                cut(&mut server, |now| {
                    let before = if now > before { before } else { 0 };
                    before + (now - before) * share / 1000
                })
                .await;
                goes_on(&mut writer, &server).await;
            }
        });
    }
    futures_util::future::join_all(logs).await;
}

/// Where the lost event would have ended, the event after it ends, which has its index.
#[tokio::test]
async fn a_part_that_was_left_is_not_taken_for_one_of_the_next_event() {
    let (mut server, mut writer) = lazy().await;
    writer.write([sized(1000)]).await;
    // The second time the search for the entry comes across it.
    for _ in 0..2 {
        let before = newest_block(&server).metadata().unwrap().len();
        // Five parts, of which one stays.
        writer.write([sized(4 << 20)]).await;
        cut(&mut server, |now| {
            let before = if now > before { before } else { 0 };
            before + (now - before) * 3 / 10
        })
        .await;
        goes_on(&mut writer, &server).await;
    }
}

#[tokio::test]
async fn a_log_that_ends_within_a_unit_says_so_until_that_is_certain() {
    let (mut server, mut writer) = lazy().await;
    let before = newest_block(&server).metadata().unwrap().len();
    writer.write([sized(4 << 20)]).await;
    cut(&mut server, |now| before + (now - before) / 2).await;
    let log = JetStreamLog::open(&options(&server.url())).await.unwrap();
    // A slow machine may need so long until here that it is certain.
    if let Err(error) = log.extent().await {
        assert!(error.is_retryable(), "{error:?}");
        assert!(error.to_string().contains("in the middle of a unit"), "{error}");
    }
    assert_eq!(tail_after_cut(&log).await.position, writer.written[0].position());
    assert_eq!(log.extent().await.unwrap(), Extent { first: 1, last: 1 });
}

/// Waits until so many rows of the outbox are in the log.
async fn has_rows(log: &JetStreamLog, rows: u64) -> Tail {
    eventually("all of it is in the log", 4 * WITHIN, async || {
        let tail = log.tail().await.map_err(|error| error.to_string())?;
        if tail.outbox_sequence == rows { Ok(tail) } else { Err(format!("{tail:?}")) }
    })
    .await
}

/// The publisher believes a tail after 15 s, and a shorter one after 15 s more.
#[tokio::test]
async fn a_primary_publishes_again_what_a_log_lost_that_was_cut_off_within_a_batch() {
    const BLOCKS: u64 = 30;
    let site = Deployment::new();
    let lazy = NatsOptions { sync: SyncInterval::ServerDefault, ..NatsOptions::default() };
    let mut server = Nats::start(lazy).await;
    let log = format!("--log {}/{} --accept-shortfalls", server.url(), name());
    let init = site.run(&format!("init {log} --replicas 1 --chain test --genesis 00")).await;
    assert_eq!(init.status.code(), Some(0), "{}", init.stderr);
    (1..=BLOCKS).for_each(|height| site.block("node", height, &[height as u8; 1000]));
    let mut primary = site.tipline(&format!("primary {log} --source dir:node")).spawn();
    let log = JetStreamLog::open(&options(&server.url())).await.unwrap();
    has_rows(&log, BLOCKS).await;
    cut(&mut server, |length| length * 6 / 10).await;
    // Something to publish shows it what is there.
    site.block("node", BLOCKS + 1, b"one more");
    primary.line_with("publishing them again", 4 * WITHIN).await;
    let last = has_rows(&log, BLOCKS + 1).await.position.index;
    let heights: Vec<u64> = read_all(&log, last)
        .await
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::BlockCommitted { height, .. } => Some(*height),
            _ => None,
        })
        .collect();
    assert_eq!(heights, (1..=BLOCKS + 1).collect::<Vec<_>>());
    stop(&mut primary).await;
}

/// Another primary was told of an epoch whose claim is gone. No other claim gets it, and a log that
/// leaves a number out is one that a primary starts on.
#[tokio::test]
async fn a_claim_that_was_lost_after_it_was_announced_keeps_no_primary_from_starting() {
    const BLOCKS: u64 = 20;
    let site = Deployment::new();
    let lazy = NatsOptions { sync: SyncInterval::ServerDefault, ..NatsOptions::default() };
    let mut server = Nats::start(lazy).await;
    let log = format!("--log {}/{} --accept-shortfalls", server.url(), name());
    let init = site.run(&format!("init {log} --replicas 1 --chain test --genesis 00")).await;
    assert_eq!(init.status.code(), Some(0), "{}", init.stderr);
    (1..=BLOCKS).for_each(|height| site.block("node", height, &[height as u8; 1000]));
    let primary = format!("primary {log} --source dir:node");
    let log = JetStreamLog::open(&options(&server.url())).await.unwrap();
    let mut first = site.tipline(&primary).spawn();
    has_rows(&log, BLOCKS).await;
    stop(&mut first).await;

    let before = newest_block(&server).metadata().unwrap().len();
    let mut lost = site.tipline(&primary).spawn();
    eventually("the second epoch is announced", WITHIN, async || {
        let said = log.board().await.map_err(|error| error.to_string())?.primary;
        said.filter(|said| said.epoch == 2).ok_or_else(|| "not yet".to_owned())
    })
    .await;
    lost.process.kill();
    // So that the announcement is in its file: it is the claim that gets lost.
    server.stop().await;
    cut(&mut server, |_| before).await;
    assert_eq!(tail_after_cut(&log).await.epoch, 1);

    for (run, epoch) in [(1, 3), (2, 4)] {
        site.block("node", BLOCKS + run, b"one more");
        let mut primary = site.tipline(&primary).spawn();
        assert_eq!(has_rows(&log, BLOCKS + run).await.epoch, epoch);
        stop(&mut primary).await;
    }
    let extent = log.extent().await.unwrap();
    for index in extent.first..=extent.last {
        assert_eq!(log.entry(index).await.unwrap().index, index);
    }
}
