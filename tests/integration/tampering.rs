//! A broker that tampers, at the socket: whatever it does with what a primary signed, the replica behind
//! it applies nothing of it and says which entry and why, and so does an audit through it.

use std::fs;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;
use tipline_log::Log;
use tipline_proto::{Entry, Timestamp};
use tipline_tests::{
    Delivered, Nats, NatsOptions, Port, TamperingBroker, eventually, http_get, open_log,
};

use crate::deployment::{Deployment, WITHIN, stop};

const TRUST: &str = "--trusted-keys trusted.keys --accept-shortfalls";
const BLOCKS: u64 = 12;
/// The entry that is tampered with: of block 7.
const AT: u64 = 8;

/// A log on a server, and a broker before it that tampers.
struct Site {
    site: Deployment,
    broker: TamperingBroker,
    honest: String,
    entries: Vec<Entry>,
}

impl Site {
    /// With a signed history, a block a unit.
    async fn new(nats: &Nats, name: &str) -> Self {
        let server = nats.url();
        let server = server.strip_prefix("nats://").unwrap();
        let (site, broker) = (Deployment::new(), TamperingBroker::start(server).await);
        let honest = format!("nats://{server}/{name}");
        let this = Self { site, broker, honest, entries: Vec::new() };
        let made = "init --accept-shortfalls --chain test --genesis 00 --replicas 1";
        this.exits(0, &format!("{made} --log {}", this.honest), "").await;
        let key = this.exits(0, "keys new --name node node.key", "").await;
        fs::write(this.site.path("trusted.keys"), format!("primary {key}")).unwrap();
        let words = format!(
            "primary --source dir:node/blocks --name node --signing-key node.key {TRUST} --log {}",
            this.honest
        );
        let mut primary = this.site.tipline(&words).spawn();
        let log = open_log(&this.honest).await.unwrap();
        for height in 1..=BLOCKS {
            this.site.block("node", height, &vec![u8::try_from(height).unwrap(); 500]);
            let what = format!("block {height} is in the log");
            eventually(&what, WITHIN, async || match log.tail().await.unwrap().position.index {
                index if index > height => Ok(()),
                index => Err(format!("{index}: {}", primary.stderr())),
            })
            .await;
        }
        stop(&mut primary).await;
        let entries = read_all(&log).await;
        Self { entries, ..this }
    }

    async fn exits(&self, code: i32, words: &str, says: &str) -> String {
        let done = self.site.run(words).await;
        let told = format!("{}{}", done.stdout, done.stderr);
        assert_eq!(done.status.code(), Some(code), "{words}: {told}");
        assert!(told.contains(says), "{words}: {told}");
        done.stdout
    }

    /// The log through the broker.
    fn tampered(&self) -> String {
        let (_, name) = self.honest.rsplit_once('/').unwrap();
        format!("nats://{}/{name}", self.broker.address())
    }

    /// The index that a store has everything up to.
    async fn applied(&self, store: &str) -> u64 {
        let Ok(database) = rusqlite::Connection::open_with_flags(
            self.site.path(store),
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
        ) else {
            return 0;
        };
        let newest = "SELECT max(log_index) FROM blocks";
        // Before the store has its tables it has nothing.
        let newest = database.query_row(newest, [], |row| row.get::<_, Option<i64>>(0));
        newest.ok().flatten().and_then(|index| index.try_into().ok()).unwrap_or(0)
    }

    /// Replica and audit refuse it by this entry and reason, and nothing of it is applied.
    async fn is_caught(&self, case: &str, replica: &str, audit: &str) {
        let (store, log) = (format!("{case}.db"), self.tampered());
        let words = format!("backup --name {case} --store sqlite:{store} {TRUST} --log {log}");
        self.exits(2, &words, replica).await;
        let applied = self.applied(&store).await;
        assert!(applied < AT, "{case}: everything up to entry {applied} is applied");
        let words = format!("audit verify {log} --trusted-keys trusted.keys");
        self.exits(13, &words, audit).await;
    }
}

async fn read_all(log: &Arc<dyn Log>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for index in 1..=log.tail().await.unwrap().position.index {
        entries.push(log.entry(index).await.unwrap());
    }
    entries
}

fn index(message: &Delivered) -> u64 {
    Entry::decode(Bytes::from(message.payload.clone())).map_or(0, |entry| entry.index)
}

/// Another entry in its place.
fn with(mut message: Delivered, entry: &Entry) -> Delivered {
    message.payload = entry.encode().to_vec();
    message
}

/// The entries with another time from one on, each sealed again; signatures stay.
fn resealed(entries: &[Entry], from: u64) -> Vec<Entry> {
    let mut forged = entries.to_vec();
    let mut before = forged[from as usize - 2].position();
    for entry in &mut forged[from as usize - 1..] {
        let time = Timestamp::from_micros(entry.time.as_micros() + 1);
        let (event, signature) = (entry.event.clone(), entry.signature.clone());
        let sealed = Entry::seal(&before, entry.epoch, time, entry.outbox_sequence, event);
        *entry = Entry { signature, ..sealed };
        before = entry.position();
    }
    forged
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_changes_is_refused_by_entry_and_reason() {
    let nats = Nats::start(NatsOptions::default()).await;
    let site = Site::new(&nats, "main").await;
    let other = Site::new(&nats, "other").await;

    // It may pass for honest.
    let log = site.tampered();
    site.exits(0, &format!("audit verify {log} --trusted-keys trusted.keys"), "verified").await;

    // Dropped, and the rest numbered so that nothing seems to be missing.
    site.broker.tamper(|message| if index(&message) == AT { vec![] } else { vec![message] });
    site.is_caught("dropped", "entry 8 is missing: entry 9 came in its place", "entry 8").await;

    // Two in the wrong order.
    let held = Mutex::new(None);
    site.broker.tamper(move |message| match index(&message) {
        AT => {
            *held.lock().unwrap() = Some(message);
            vec![]
        }
        next if next == AT + 1 => {
            [Some(message), held.lock().unwrap().take()].into_iter().flatten().collect()
        }
        _ => vec![message],
    });
    site.is_caught("reordered", "entry 8 is missing: entry 9 came in its place", "entry 8").await;

    // A byte of the block.
    site.broker.tamper(|mut message| {
        if index(&message) == AT {
            let at = message.payload.windows(100).position(|bytes| bytes == [7; 100]).unwrap();
            message.payload[at] ^= 1;
        }
        vec![message]
    });
    site.is_caught("edited", "entry 8 (", "entry 8 (").await;

    // All of it sealed again, so that every digest fits.
    let forged = resealed(&site.entries, AT);
    site.broker.tamper(move |message| match index(&message) {
        at if at >= AT => vec![with(message, &forged[at as usize - 1])],
        _ => vec![message],
    });
    site.is_caught("resealed", "the signature of entry 8 (", "the signature of entry 8 (").await;

    // The entry of another log, at the same place, which its primary signed.
    let theirs = other.entries.clone();
    site.broker.tamper(move |message| match index(&message) {
        AT => vec![with(message, &theirs[AT as usize - 1])],
        _ => vec![message],
    });
    site.is_caught("spliced", "entry 8 (", "entry 8 (").await;

    // Repeated: nothing is applied twice, and the audit says so.
    site.broker.tamper(|message| match index(&message) {
        AT => vec![message.clone(), message],
        _ => vec![message],
    });
    let words = format!("backup --name twice --store sqlite:twice.db {TRUST} --log {log}");
    let mut backup = site.site.tipline(&words).spawn();
    let honest = format!("--log {} --accept-shortfalls", site.honest);
    site.site
        .status(&honest, |status| {
            let all = status["consumers"].as_array().unwrap();
            all.iter().any(|one| one["name"] == "twice" && one["block"] == BLOCKS)
        })
        .await;
    stop(&mut backup).await;
    site.exits(0, &format!("audit diff sqlite:twice.db {}", site.honest), "the same: ").await;
    let audit = format!("audit verify {log} --trusted-keys trusted.keys");
    site.exits(13, &audit, "is there more than once").await;
}

/// Withheld: the replica that is fed by such a broker takes itself out, by what the primary announces.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_from_whom_entries_are_withheld_is_not_ready() {
    let nats = Nats::start(NatsOptions::default()).await;
    let site = Site::new(&nats, "main").await;
    let log = site.tampered();
    site.broker.tamper(|message| if index(&message) >= AT { vec![] } else { vec![message] });
    let health = Port::reserve();
    let words =
        format!("replica --name r --store sqlite:r.db --health {health} {TRUST} --log {log}");
    let mut replica = site.site.tipline(&words).spawn();
    let url = format!("http://{health}/readyz");
    eventually("it is not ready, and says why", WITHIN, async || {
        let reply = http_get(&url).await.map_err(|error| error.to_string())?;
        let said: Value = serde_json::from_str(&reply.body).map_err(|error| error.to_string())?;
        let reasons = said["reasons"].as_array().cloned().unwrap_or_default();
        let is_behind = |reason: &Value| {
            ["behind", "catching_up", "everyone_behind"].iter().any(|kind| reason["kind"] == *kind)
        };
        let is_known = said["lag_blocks"] == BLOCKS - (AT - 2) && reasons.iter().any(is_behind);
        match reply.status == 503 && is_known {
            true => Ok(()),
            false => Err(format!("{said}: {}", replica.stderr())),
        }
    })
    .await;
    assert!(site.applied("r.db").await < AT);
    // It is honest again: nothing was wrong with what had come.
    site.broker.tamper(|message| vec![message]);
    stop(&mut replica).await;
    let mut replica = site.site.tipline(&words).spawn();
    eventually("it has everything", WITHIN, async || match site.applied("r.db").await {
        index if index == BLOCKS + 1 => Ok(()),
        index => Err(index.to_string()),
    })
    .await;
    stop(&mut replica).await;
}
