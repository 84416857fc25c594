//! Blocks many times as large as a message of the log.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};
use tipline_log::{Accepted, system_clock};
use tipline_producer::{OutboxTable, Producer, ProducerSettings, SqliteOutbox};
use tipline_proto::{Event, Hash, Label};
use tipline_tests::{
    Medium, Nats, NatsOptions, Rng, Running, Tipline, check_log, check_store, eventually, open_log,
    toy_chain, toy_history,
};

use crate::site::Site;

const WITHIN: Duration = Duration::from_secs(120);
const MIB: usize = 1 << 20;
/// The largest block that there may be.
const LARGEST: usize = 64 * MIB;
/// What a primary may have in memory at once, in MiB, with blocks of that size: the documented
/// bound of the producer, and the program itself.
const PRIMARY_MIB: u64 = 288;
/// Likewise of a replica: 256 in the loop, 64 that the log puts together from parts, and in the
/// stores of a composite 64 that SQLite binds and three times as much in RocksDB, in its batch, its
/// log and its memtable; and the program itself. On a busy disk all of them are full at once.
const REPLICA_MIB: u64 = 640;
/// More blocks than that would hold.
const MANY: u64 = 12;

/// The most memory that a process had at once, in MiB.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn replica(site: &Site, name: &str, store: &str) -> Running {
    let flags = ["replica", "--name", name, "--store", store];
    Tipline::new(flags.into_iter().chain(["--log", &site.address, "--accept-shortfalls"])).spawn()
}

/// Waits until the store has everything.
async fn wait_for(medium: Medium, directory: &Path, last: u64) {
    eventually(&format!("{medium} has entry {last}"), WITHIN, async || {
        let readers = medium.readers(directory).map_err(|e| e.to_string())?;
        let cursor = readers.last().unwrap().cursor().map_err(|e| e.to_string())?;
        match cursor.map(|cursor| cursor.position.index) {
            Some(at) if at == last => Ok(()),
            at => Err(format!("it is at {at:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_64_mib_go_through_a_log_of_1_mib_messages_in_bounded_memory() {
    let mut rng = Rng::from_env();
    let nats = Nats::start(NatsOptions::default()).await;
    let mut peaks = vec![];
    for blocks in [3, MANY] {
        let site = Site::new(&nats, &format!("large-{blocks}"), &mut rng).await;
        let flags = ["--blocks", &blocks.to_string(), "--payload", &LARGEST.to_string()];
        let mut node = site.primary("node.db", &[&flags[..], &["--commit", "only"]].concat());
        assert!(node.wait(WITHIN).await.success());
        let primary = site.primary("node.db", &["--commit", "no"]);
        site.wait_for_all("node.db").await;
        let entries = site.entries().await;
        check_log(&entries, &toy_history(&site.file("node.db")));
        let memory = peak(primary.id());
        println!("{blocks} blocks of 64 MiB: the primary had at most {memory} MiB");
        peaks.push(("primary".to_owned(), memory, PRIMARY_MIB));
        for medium in Medium::ALL {
            let directory = site.file(&medium.to_string());
            fs::create_dir(&directory).unwrap();
            let replica = replica(&site, &medium.to_string(), &medium.address(&directory));
            wait_for(medium, &directory, entries.len() as u64).await;
            let memory = peak(replica.process.id());
            println!("{blocks} blocks of 64 MiB: the replica in {medium} had at most {memory} MiB");
            peaks.push((medium.to_string(), memory, REPLICA_MIB));
            drop(replica);
            for reader in medium.readers(&directory).unwrap() {
                check_store(&*reader, &entries);
            }
            fs::remove_dir_all(directory).unwrap();
        }
    }
    for (who, memory, most) in &peaks {
        assert!(memory <= most, "{who}: {memory} MiB, at most {most} are documented");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_killed_while_it_publishes_large_blocks_leaves_no_part_of_one() {
    let mut rng = Rng::from_env();
    let nats = Nats::start(NatsOptions::default()).await;
    let site = Site::new(&nats, "large-killed", &mut rng).await;
    let payload = (12 * MIB).to_string();
    let flags = ["--blocks", "20", "--payload", &payload, "--commit", "only"];
    assert!(site.primary("node.db", &flags).wait(WITHIN).await.success());
    for _ in 0..12 {
        let mut primary = site.primary("node.db", &["--commit", "no"]);
        // Not to wait for anything: the random moment is the test.
        tokio::time::sleep(Duration::from_millis(rng.within(5..=250))).await;
        primary.kill();
        let entries = site.entries().await;
        let whole = |event: &Event| [0, 100, 200, 12 * MIB].contains(&event.payload().len());
        assert!(entries.iter().all(|entry| whole(&entry.event)), "a part of a block");
    }
    let _primary = site.primary("node.db", &["--commit", "no"]);
    site.wait_for_all("node.db").await;
    check_log(&site.entries().await, &toy_history(&site.file("node.db")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_block_of_1_3_mb_arrives_in_every_medium() {
    let mut rng = Rng::from_env();
    let nats = Nats::start(NatsOptions::default()).await;
    let site = Site::new(&nats, "real", &mut rng).await;
    let block = Bytes::from_static(bitcoin_test_data::blocks::mainnet_702861());
    // As Bitcoin has it: the hash of the header, which names the parent.
    let hash = Hash::new(Sha256::digest(Sha256::digest(&block[..80]))).unwrap();
    let parent_hash = Hash::new(block.slice(4..36)).unwrap();
    let event = Event::BlockCommitted {
        height: 702_861,
        hash: hash.clone(),
        parent_hash,
        payload: block.clone(),
    };

    let mut node = Connection::open(site.file("node.db")).unwrap();
    node.pragma_update(None, "journal_mode", "wal").unwrap();
    let table = OutboxTable::install(&node, &toy_chain().genesis, system_clock()).unwrap();
    let transaction = node.transaction().unwrap();
    let sequence = table.enqueue(&transaction, &event).unwrap();
    transaction.commit().unwrap();
    let mut settings = ProducerSettings::new(Label::new("node").unwrap());
    settings.accept_shortfalls = Accepted::Everything;
    let outbox = Box::new(SqliteOutbox::open(&site.file("node.db")).unwrap());
    let address = site.address.clone();
    let connect = move || {
        let address = address.clone();
        async move { open_log(&address).await }
    };
    let producer = Producer::start(connect, outbox, settings, system_clock()).unwrap();
    producer.committed(sequence).logged().await.unwrap();

    for medium in Medium::ALL {
        let directory = site.file(&medium.to_string());
        fs::create_dir(&directory).unwrap();
        let _replica = replica(&site, &medium.to_string(), &medium.address(&directory));
        wait_for(medium, &directory, 2).await;
        for reader in medium.readers(&directory).unwrap() {
            let stored = reader.block_by_hash(&hash).unwrap().unwrap();
            assert_eq!(stored.height, 702_861);
            assert!(stored.payload == block, "the block is the real one in {medium}");
        }
    }
}
