//! The replicate loop and its receipts: killed replicas, repeated entries, restarts.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tipline_consumer::{Consumer, ConsumerSettings};
use tipline_log::{
    Accepted, AppendError, Appender, Board, BoardFeed, Extent, Log, LogError, Preflight, Reader,
    Receipts, Subscription, Tail, Trimmer, system_clock,
};
use tipline_producer::{Producer, ProducerSettings};
use tipline_proto::{
    Agreement, Announcement, ConsumerName, Digest, Entry, InstanceId, Label, LogIdentity, Receipt,
    Role,
};
use tipline_store::{ChainView, SqliteReader, SqliteStore, content_digest};
use tipline_tests::{
    Nats, NatsOptions, Rng, Running, Tipline, ToyNode, check_log, check_store, eventually,
    open_log, toy_history,
};

use crate::site::Site;

/// A real replica of this site, as a process.
fn replica(site: &Site, store: &str) -> Running {
    replica_with(site, store, &[])
}

fn replica_with(site: &Site, store: &str, more: &[&str]) -> Running {
    let store = format!("sqlite:{}", site.file(store).display());
    let log = ["--log", &site.address, "--accept-shortfalls"];
    let flags = ["replica", "--name", "replica-1", "--store", &store];
    Tipline::new(flags.into_iter().chain(log).chain(more.iter().copied())).spawn()
}

/// How far the store is; 0 before it is there.
fn cursor(site: &Site, store: &str) -> u64 {
    let reader = SqliteReader::open(site.file(store)).ok();
    let cursor = reader.and_then(|reader| reader.cursor().ok().flatten());
    cursor.map_or(0, |cursor| cursor.position.index)
}

async fn wait_for_store(site: &Site, store: &str, index: u64) {
    let what = format!("{store} has entry {index}");
    eventually(&what, Duration::from_secs(60), async || {
        let at = cursor(site, store);
        if at >= index { Ok(()) } else { Err(format!("it is at {at}")) }
    })
    .await;
}

/// Kills a replica `kills` times while a primary is under load, then lets it catch up.
async fn kill_and_compare(site: &Site, rng: &mut Rng, kills: u32) {
    let mut primary = site.primary("node.db", &["--payload", "4000"]);
    site.wait_for_entries(100).await;
    // How long one takes to start, here and now: most moments are after that.
    let begun = Instant::now();
    let first = replica(site, "replica.db");
    wait_for_store(site, "replica.db", 1).await;
    drop(first);
    let latest = 4 * begun.elapsed().as_millis() as u64 + 200;
    let mut applied_in = 0;
    let mut before = cursor(site, "replica.db");
    for _ in 0..kills {
        let mut replica = replica(site, "replica.db");
        // Not to wait for anything: the random moment is the test.
        tokio::time::sleep(Duration::from_millis(rng.within(20..=latest))).await;
        assert_eq!(replica.process.status(), None, "it was still at work");
        replica.process.kill();
        let now = cursor(site, "replica.db");
        assert!(now >= before, "a durable cursor never goes back: {before}, then {now}");
        applied_in += u32::from(now > before);
        before = now;
    }
    primary.kill();
    let mut last = site.primary("node.db", &["--blocks", "1"]);
    assert!(last.wait(Duration::from_secs(60)).await.success());
    let _replica = replica(site, "replica.db");
    let entries = site.entries().await;
    wait_for_store(site, "replica.db", entries.len() as u64).await;

    check_log(&entries, &toy_history(&site.file("node.db")));
    check_store(&SqliteReader::open(site.file("replica.db")).unwrap(), &entries);
    println!("{} entries; {applied_in} of {kills} kills while it applied", entries.len());
    assert!(applied_in * 2 > kills, "most were killed at work: {applied_in} of {kills}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_100_times_while_applying_equals_the_log() {
    let mut rng = Rng::from_env();
    let nats = Nats::start(NatsOptions::default()).await;
    let site = Site::new(&nats, "replicas", &mut rng).await;
    kill_and_compare(&site, &mut rng, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_an_embedded_log_killed_20_times_equals_the_log() {
    let mut rng = Rng::from_env();
    let site = Site::embedded(&mut rng).await;
    kill_and_compare(&site, &mut rng, 20).await;
}

/// How entries are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Plain,
    /// Every entry twice, and then the whole batch once more.
    Twice,
    /// At most so many, and then no more.
    Once(usize),
}

/// A log that changes what it delivers, or writes down what is asked of it.
#[derive(Debug)]
struct Altered {
    log: Arc<dyn Log>,
    delivery: Delivery,
    /// Whether the board had been read when the first append came.
    board_read: AtomicBool,
    appended: AtomicBool,
}

impl Altered {
    fn new(log: Arc<dyn Log>, delivery: Delivery) -> Arc<Altered> {
        let (board_read, appended) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Altered { log, delivery, board_read, appended })
    }
}

struct AlteredSubscription {
    inner: Box<dyn Subscription>,
    delivery: Delivery,
    before: Vec<Entry>,
}

#[async_trait]
impl Subscription for AlteredSubscription {
    async fn next(&mut self) -> Result<Vec<Entry>, LogError> {
        if matches!(self.delivery, Delivery::Once(0)) {
            std::future::pending::<()>().await;
        }
        let mut entries = self.inner.next().await?;
        match &mut self.delivery {
            Delivery::Plain => Ok(entries),
            Delivery::Once(most) => {
                entries.truncate(*most);
                *most = 0;
                Ok(entries)
            }
            Delivery::Twice => {
                let overlap = std::mem::replace(&mut self.before, entries.clone());
                let doubled = entries.into_iter().flat_map(|entry| [entry.clone(), entry]);
                Ok(overlap.into_iter().chain(doubled).collect())
            }
        }
    }

    async fn acknowledge(&mut self, index: u64) -> Result<(), LogError> {
        self.inner.acknowledge(index).await
    }
}

#[async_trait]
impl Appender for Altered {
    async fn tail(&self) -> Result<Tail, LogError> {
        self.log.tail().await
    }

    async fn append(&self, after: &Tail, unit: &[Entry]) -> Result<Tail, AppendError> {
        assert!(self.board_read.load(Ordering::SeqCst), "the board is read before any append");
        self.appended.store(true, Ordering::SeqCst);
        self.log.append(after, unit).await
    }

    fn unit_len(&self, entries: &[Entry]) -> usize {
        self.log.unit_len(entries)
    }

    async fn preflight(&self) -> Result<Preflight, LogError> {
        self.log.preflight().await
    }
}

#[async_trait]
impl Reader for Altered {
    fn identity(&self) -> &LogIdentity {
        Reader::identity(&*self.log)
    }

    async fn extent(&self) -> Result<Extent, LogError> {
        self.log.extent().await
    }

    async fn entry(&self, index: u64) -> Result<Entry, LogError> {
        self.log.entry(index).await
    }

    async fn subscribe(
        &self,
        name: Option<&ConsumerName>,
        after: u64,
    ) -> Result<Box<dyn Subscription>, LogError> {
        let inner = self.log.subscribe(name, after).await?;
        let delivery = self.delivery;
        Ok(Box::new(AlteredSubscription { inner, delivery, before: vec![] }))
    }
}

#[async_trait]
impl Trimmer for Altered {
    async fn trim(&self, first: u64) -> Result<Extent, LogError> {
        self.log.trim(first).await
    }
}

#[async_trait]
impl Receipts for Altered {
    async fn put_receipt(&self, receipt: &Receipt) -> Result<(), LogError> {
        self.log.put_receipt(receipt).await
    }

    async fn announce(&self, announcement: &Announcement) -> Result<(), LogError> {
        self.log.announce(announcement).await
    }

    async fn forget(&self, consumer: &ConsumerName) -> Result<(), LogError> {
        self.log.forget(consumer).await
    }

    async fn board(&self) -> Result<Board, LogError> {
        let board = self.log.board().await;
        self.board_read.store(true, Ordering::SeqCst);
        board
    }

    async fn follow_board(&self) -> Result<Box<dyn BoardFeed>, LogError> {
        self.log.follow_board().await
    }
}

/// A consumer in this process.
fn consume(log: Arc<dyn Log>, site: &Site, name: &str) -> Consumer {
    let store = SqliteStore::open(site.file(&format!("{name}.db"))).unwrap();
    let settings = ConsumerSettings::new(name.parse().unwrap(), Role::Backup);
    let instance = InstanceId::from_bytes([5; 16]);
    Consumer::start(log, Box::new(store), settings, instance, system_clock())
}

async fn wait_for_index(consumer: &Consumer, index: u64) {
    let mut progress = consumer.progress();
    let there = progress.wait_for(|progress| {
        assert!(!progress.phase.is_ended(), "it ended: {:?}", progress.phase);
        progress.cursor.as_ref().is_some_and(|cursor| cursor.position.index >= index)
    });
    let there = tokio::time::timeout(Duration::from_secs(60), there).await;
    drop(there.unwrap().unwrap());
}

fn content(site: &Site, name: &str) -> Digest {
    let reader = SqliteReader::open(site.file(&format!("{name}.db"))).unwrap();
    content_digest(&reader).unwrap()
}

/// A log with the history of a node, and nobody who publishes any more.
async fn finished_log(nats: &Nats, rng: &mut Rng, name: &str, blocks: &str) -> (Site, u64) {
    let site = Site::new(nats, name, rng).await;
    let mut primary = site.primary("node.db", &["--blocks", blocks]);
    assert!(primary.wait(Duration::from_secs(60)).await.success());
    let last = site.log().await.extent().await.unwrap().last;
    (site, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_come_twice_and_restarts_after_every_batch_change_nothing() {
    let mut rng = Rng::from_env();
    let nats = Nats::start(NatsOptions::default()).await;
    let (site, last) = finished_log(&nats, &mut rng, "twice", "1500").await;

    let undisturbed = consume(site.log().await, &site, "undisturbed");
    wait_for_index(&undisturbed, last).await;
    undisturbed.shutdown().await.unwrap();

    let twice = consume(Altered::new(site.log().await, Delivery::Twice), &site, "twice");
    wait_for_index(&twice, last).await;
    assert!(twice.progress().borrow().duplicates >= last, "every entry did come twice");
    twice.shutdown().await.unwrap();

    let (mut restarts, mut at) = (0, 0);
    while at < last {
        let most = rng.within(1..=100);
        let batch = Altered::new(site.log().await, Delivery::Once(most as usize));
        let restarted = consume(batch, &site, "restarted");
        wait_for_index(&restarted, at + 1).await;
        restarted.shutdown().await.unwrap();
        at = cursor(&site, "restarted.db");
        restarts += 1;
    }
    println!("{restarts} restarts over {last} entries");
    assert!(restarts > 20, "it was restarted behind every batch: {restarts}");
    assert_eq!(content(&site, "twice"), content(&site, "undisturbed"));
    assert_eq!(content(&site, "restarted"), content(&site, "undisturbed"));
    let reader = SqliteReader::open(site.file("restarted.db")).unwrap();
    check_store(&reader, &site.entries().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_primary_knows_every_backup_before_it_publishes() {
    let mut rng = Rng::from_env();
    let nats = Nats::start(NatsOptions::default()).await;
    let (site, last) = finished_log(&nats, &mut rng, "known", "200").await;
    for name in ["backup-1", "backup-2"] {
        let consumer = consume(site.log().await, &site, name);
        wait_for_index(&consumer, last).await;
        consumer.shutdown().await.unwrap();
    }

    // No consumer runs any more, so nobody could answer a question.
    let mut node = ToyNode::open(&site.file("node.db")).unwrap();
    let sequence = node.commit_next(100, &mut None).unwrap();
    let altered = Altered::new(open_log(&site.address).await.unwrap(), Delivery::Plain);
    let shared: Arc<dyn Log> = Arc::clone(&altered) as Arc<dyn Log>;
    let connect = move || {
        let log = Arc::clone(&shared);
        async move { Ok(log) }
    };
    let mut settings = ProducerSettings::new(Label::new("restarted").unwrap());
    settings.accept_shortfalls = Accepted::Everything;
    let outbox = Box::new(node.outbox().unwrap());
    let producer = Producer::start(connect, outbox, settings, system_clock()).unwrap();
    let mut status = producer.backup_status();
    let known = status.wait_for(|status| status.known).await.unwrap().clone();
    for name in ["backup-1", "backup-2"] {
        let consumer = known.consumer(name).unwrap();
        assert_eq!(consumer.agreement, Agreement::Agrees);
        let policy = format!("any 1 of {name} at durable").parse().unwrap();
        assert_eq!(known.backed_up(&policy), last, "{name} has everything up to here");
    }
    producer.committed(sequence).logged().await.unwrap();
    assert!(altered.appended.load(Ordering::SeqCst), "and then it published");

    // What it published now is backed up only when a backup says so.
    let policy = "any 2 of backup-* at durable".parse().unwrap();
    let ticket = producer.committed(sequence);
    let one = consume(site.log().await, &site, "backup-1");
    wait_for_index(&one, last + 2).await;
    let has_one = "any 1 of backup-* at durable".parse().unwrap();
    ticket.backed_up(&has_one).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(300), ticket.backed_up(&policy));
    assert!(waiting.await.is_err(), "one backup is not two");
    let two = consume(site.log().await, &site, "backup-2");
    ticket.backed_up(&policy).await.unwrap();
    drop((one, two));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_of_one_name_the_older_one_ends_and_says_why() {
    let mut rng = Rng::from_env();
    let nats = Nats::start(NatsOptions::default()).await;
    let (site, last) = finished_log(&nats, &mut rng, "names", "50").await;
    let older = replica(&site, "older.db");
    wait_for_store(&site, "older.db", last).await;
    let newer = replica_with(&site, "newer.db", &["--new"]);
    wait_for_store(&site, "newer.db", last).await;
    let ended = older.finish(Duration::from_secs(30)).await;
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("replica-1"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    // The name is the newer one's now: the older one does not report its end under it.
    let log = site.log().await;
    eventually("the newer one has sent a receipt", Duration::from_secs(30), async || {
        let receipts = log.board().await.map_err(|e| e.to_string())?.receipts;
        match &receipts[..] {
            [one] if one.store.ends_with("newer.db") && one.failure.is_none() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    drop(newer);
}
