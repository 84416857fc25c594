//! Everything that a node commits, in every medium.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use rusqlite::Connection;
use tipline_consumer::{Consumer, ConsumerSettings};
use tipline_log::{Accepted, system_clock};
use tipline_producer::{OutboxTable, Producer, ProducerSettings, SqliteOutbox};
use tipline_proto::{Event, Hash, InstanceId, Key, Label, Role, TransactionId};
use tipline_store::content_digest;
use tipline_tests::{Medium, Rng, Tipline, open_log, toy_chain, toy_hash};

use crate::deployment::{Deployment, WITHIN, stop};
use crate::site::Site;

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn key(text: &'static str) -> Key {
    Key::new(bytes(text)).unwrap()
}

/// The hash of a block that takes the place of the toy's one.
fn other_hash(height: u64, try_: u8) -> Hash {
    Hash::new([&height.to_be_bytes()[..], &[try_; 24]].concat()).unwrap()
}

fn block(height: u64, hash: &Hash, parent_hash: &Hash, payload: &'static str) -> Event {
    let (hash, parent_hash) = (hash.clone(), parent_hash.clone());
    Event::BlockCommitted { height, hash, parent_hash, payload: bytes(payload) }
}

fn proof(height: u64, block_hash: &Hash, payload: &'static str) -> Event {
    Event::BlockProven { height, block_hash: block_hash.clone(), payload: bytes(payload) }
}

fn transaction(id: u8, payload: &'static str) -> Event {
    let id = TransactionId::new([id; 32]).unwrap();
    Event::TransactionValidated { id, payload: bytes(payload) }
}

fn record(name: &'static str, value: Option<&'static str>) -> Event {
    Event::StateRecorded { key: key(name), value: value.map(bytes) }
}

/// Five blocks, of which two are rolled back and the new tip is replaced twice; proofs late and
/// out of order; transactions, of which one is rolled back; records, of which one is erased.
fn history() -> Vec<Event> {
    let at = toy_hash;
    let (four, five) = (other_hash(4, 1), [other_hash(5, 1), other_hash(5, 2), other_hash(5, 3)]);
    let mut events = vec![record("allow-list", Some("alice"))];
    events.extend((1..=5).map(|height| block(height, &at(height), &at(height - 1), "first")));
    events.extend([
        proof(3, &at(3), "proof 3"),
        transaction(1, "stays"),
        proof(5, &at(5), "of a block that goes"),
        Event::RolledBack { to_height: 3, to_hash: at(3) },
        transaction(2, "at height 3"),
        block(4, &four, &at(3), "second"),
        transaction(3, "rolled back with the tip"),
        block(5, &five[0], &four, "signed"),
        record("allow-list", Some("alice, bob")),
        record("motd", Some("hello")),
    ]);
    for (hash, text) in five[1..].iter().zip(["signed again", "signed at last"]) {
        events.push(Event::RolledBack { to_height: 4, to_hash: four.clone() });
        events.push(block(5, hash, &four, text));
    }
    events.extend([
        proof(1, &at(1), ""),
        record("motd", None),
        Event::Marked { name: Label::new("before upgrade").unwrap() },
        proof(5, &five[2], "proof 5"),
        proof(2, &at(2), "proof 2"),
    ]);
    events
}

async fn published(site: &Site, events: &[Event]) {
    let mut node = Connection::open(site.file("node.db")).unwrap();
    node.pragma_update(None, "journal_mode", "wal").unwrap();
    let table = OutboxTable::install(&node, &toy_chain().genesis, system_clock()).unwrap();
    let mut last = 0;
    for event in events {
        let transaction = node.transaction().unwrap();
        last = table.enqueue(&transaction, event).unwrap();
        transaction.commit().unwrap();
    }
    let mut settings = ProducerSettings::new(Label::new("node").unwrap());
    settings.accept_shortfalls = Accepted::Everything;
    let outbox = Box::new(SqliteOutbox::open(&site.file("node.db")).unwrap());
    let address = site.address.clone();
    let connect = move || {
        let address = address.clone();
        async move { open_log(&address).await }
    };
    let producer = Producer::start(connect, outbox, settings, system_clock()).unwrap();
    producer.committed(last).logged().await.unwrap();
    producer.shutdown(WITHIN).await.unwrap();
}

/// Applies what the log has, and stops.
async fn applied(site: &Site, medium: Medium, directory: &Path, last: u64) {
    let settings = ConsumerSettings::new(medium.to_string().parse().unwrap(), Role::Replica);
    let (store, instance) = (medium.open(directory).unwrap(), InstanceId::from_bytes([1; 16]));
    let consumer = Consumer::start(site.log().await, store, settings, instance, system_clock());
    let mut progress = consumer.progress();
    let there = progress.wait_for(|progress| {
        assert!(!progress.phase.is_ended(), "it ended: {:?}", progress.phase);
        progress.cursor.as_ref().is_some_and(|cursor| cursor.position.index == last)
    });
    drop(tokio::time::timeout(WITHIN, there).await.unwrap().unwrap());
    consumer.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_node_commits_is_in_every_medium_and_can_be_read_there() {
    let site = Site::embedded(&mut Rng::from_env()).await;
    let events = history();
    published(&site, &events).await;
    let mut digests = vec![];
    for medium in Medium::ALL {
        let directory = site.file(&medium.to_string());
        fs::create_dir(&directory).unwrap();
        applied(&site, medium, &directory, 1 + events.len() as u64).await;
        for reader in medium.readers(&directory).unwrap() {
            digests.push(content_digest(&*reader).unwrap());
            let cursor = reader.cursor().unwrap().unwrap();
            assert_eq!(cursor.block_tip.as_ref().map(|tip| tip.height), Some(5));
            // The block at 4 was replaced and has no proof.
            assert_eq!((cursor.proof_tip, cursor.proof_debt()), (Some(3), 2));
            assert_eq!(reader.block(5).unwrap().unwrap().payload, bytes("signed at last"));
            assert_eq!(reader.block_by_hash(&toy_hash(5)).unwrap(), None, "rolled back");
            assert_eq!(
                reader.proof_by_hash(&other_hash(5, 3)).unwrap().unwrap().payload,
                "proof 5"
            );
            let heights = reader.blocks(2..=4).unwrap().map(|block| block.unwrap().height);
            assert_eq!(heights.collect::<Vec<_>>(), [2, 3, 4]);
            let stored = |id: u8| reader.transaction(&TransactionId::new([id; 32]).unwrap());
            assert_eq!(stored(1).unwrap(), None, "it was validated at height 5, which is gone");
            assert_eq!(stored(2).unwrap().unwrap().block_tip, Some(3));
            assert_eq!(stored(3).unwrap().unwrap().block_tip, Some(4), "4 stays when 5 goes");
            assert_eq!(reader.keys(None, 10).unwrap(), [key("allow-list")]);
            let list = reader.record(&key("allow-list")).unwrap().unwrap();
            assert_eq!(list.value, bytes("alice, bob"));
        }
        got_by_the_program(&medium.address(&directory)).await;
    }
    assert!(digests.windows(2).all(|two| two[0] == two[1]), "{digests:?}");
}

async fn got_by_the_program(store: &str) {
    let get = async |words: &[&str]| {
        let flags = ["get"].into_iter().chain(words.iter().copied()).chain(["--store", store]);
        Tipline::new(flags).finish(WITHIN).await
    };
    let last = other_hash(5, 3).to_string();
    for block in ["5", "tip", &last] {
        let got = get(&["block", block, "--output", "-"]).await;
        assert_eq!(
            (got.status.code(), got.stdout.as_str()),
            (Some(0), "signed at last"),
            "{}",
            got.stderr
        );
    }
    let got = get(&["proof", "1", "--json"]).await;
    let proof: serde_json::Value = serde_json::from_str(&got.stdout).unwrap();
    assert_eq!(
        (&proof["height"], &proof["bytes"]),
        (&1.into(), &0.into()),
        "an empty proof is one"
    );
    for (words, says) in [
        (&["record", "allow-list"][..], "alice, bob"),
        (&["transaction", &"02".repeat(32)][..], "block tip      3"),
        (&["mark", "before upgrade"][..], "block tip      5"),
        (&["cursor"][..], "proof debt     2"),
        (&["blocks", "2..4"][..], "not proven"),
    ] {
        let got = get(words).await;
        assert!(got.stdout.contains(says), "{words:?}: {}{}", got.stdout, got.stderr);
    }
    for (words, says) in [
        (&["block", "6"][..], "it has blocks 1 to 5"),
        (&["record", "motd"][..], "there are the records allow-list"),
        (&["proof", "4"][..], "up to 3 no proof is missing"),
    ] {
        let got = get(words).await;
        assert_eq!(got.status.code(), Some(2));
        assert!(got.stderr.contains(says), "{words:?}: {}", got.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_tip_that_is_replaced_in_the_nodes_directory_is_replaced_everywhere() {
    let site = Deployment::with_log("00").await;
    (1..=5).for_each(|height| site.block("node", height, &[height as u8; 500]));
    let mut primary = site.tipline("primary --source dir:node").spawn();
    let mut replicas: Vec<_> = Medium::ALL
        .into_iter()
        .map(|medium| {
            let directory = site.path(&medium.to_string());
            fs::create_dir(&directory).unwrap();
            let store = medium.address(&directory);
            site.tipline(&format!("replica --name {medium} --store {store}")).spawn()
        })
        .collect();
    let all_at = |index: u64| {
        move |status: &serde_json::Value| {
            let consumers = status["consumers"].as_array().unwrap();
            consumers.len() == 4 && consumers.iter().all(|one| one["index"] == index)
        }
    };
    site.status("", all_at(6)).await;
    site.block("node", 5, b"the replacement");
    site.status("", all_at(8)).await;
    for replica in &mut replicas {
        stop(replica).await;
    }
    stop(&mut primary).await;
    for medium in Medium::ALL {
        for reader in medium.readers(&site.path(&medium.to_string())).unwrap() {
            let tip = reader.cursor().unwrap().unwrap().block_tip.unwrap();
            let block = reader.block(5).unwrap().unwrap();
            assert_eq!((tip.height, &tip.hash), (5, &block.hash));
            assert_eq!(block.payload, bytes("the replacement"), "{medium}");
        }
    }
    // The log keeps both.
    let entries = tipline_tests::read_log(&*open_log(&site.address()).await.unwrap()).await;
    let is_tip = |event: &Event| matches!(event, Event::BlockCommitted { height: 5, .. });
    assert_eq!(entries.iter().filter(|entry| is_tip(&entry.event)).count(), 2);
}
