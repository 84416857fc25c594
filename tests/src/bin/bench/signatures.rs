//! Signatures required against none: what signing and verifying cost.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tipline_consumer::{Consumer, ConsumerSettings};
use tipline_log::embedded::EmbeddedLog;
use tipline_log::{Log, SignedLog, Signing, system_clock};
use tipline_producer::SqliteOutbox;
use tipline_proto::{
    InstanceId, Level, Policy, Reached, Receipt, Role, SigningKey, Timestamp, Trust,
};
use tipline_store::SqliteStore;

use crate::latency::commit_to_receipt;
use crate::load::{self, Load};
use crate::table::{Contest, Times};
use crate::{Outcome, table};

const LOAD: Load = Load { bytes: 1 << 10, events: 30_000, at_once: 1000 };
const CONSUMER: &str = "backup";

/// In turns, each first in every other round.
pub(crate) async fn measure(rounds: usize) -> Outcome<()> {
    alone()?;
    table::rates();
    let (mut signed, mut plain) = (vec![], vec![]);
    let (mut times_signed, mut times_plain) = (Times::default(), Times::default());
    for round in 0..rounds {
        for turn in 0..2 {
            let signs = (round + turn) % 2 == 1;
            let rates = if signs { &mut signed } else { &mut plain };
            rates.push(LOAD.rate(outbox_to_receipt(signs).await?));
        }
    }
    let what = "1 KiB, embedded, signed and verified: outbox to `backed_up`";
    let durable = "the event in the log and the store, fsynced";
    Contest { what, against: "no signatures", durable, ours: &signed, bare: &plain }.print();

    table::times();
    for round in 0..rounds {
        for turn in 0..2 {
            let signs = (round + turn) % 2 == 1;
            let dir = tempfile::tempdir()?;
            let (primary, replica) = logs(&dir.path().join("embedded.log"), signs).await?;
            let times = commit_to_receipt(primary, replica).await?;
            if signs { &mut times_signed } else { &mut times_plain }.add(&times);
        }
    }
    let what = "1 KiB at 200/s, embedded, signed and verified: commit to `backed_up`";
    let durable = "the event in the node, the log and the store, fsynced";
    times_signed.print(&times_plain, what, "no signatures", durable);
    Ok(())
}

/// What one event costs that comes alone: the fastest of many, so that it is the work and not the
/// machine.
fn alone() -> Outcome<()> {
    let identity = load::identity("signatures");
    let (key, lineage) = (SigningKey::from_seed(&[1; 32]), identity.lineage);
    let trust = Trust::new(vec![key.public()], [(CONSUMER.parse()?, key.public())]);
    let mut entries = load::entries(&identity, Load { events: 1, ..LOAD })?;
    let entry = entries.first_mut().ok_or("no entry")?;
    let mut receipt = Receipt {
        lineage,
        consumer: CONSUMER.parse()?,
        role: Role::Backup,
        instance: InstanceId::from_bytes([2; 16]),
        reached: Reached::up_to(entry.position(), Level::Durable),
        block_tip: None,
        proof_tip: None,
        time: Timestamp::from_micros(1),
        failure: None,
        store: String::new(),
        applying: None,
        frozen: None,
        seal: None,
    };
    let fastest = |work: &mut dyn FnMut()| {
        let times = (0..2_000).map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        });
        times.min().unwrap_or_default()
    };
    let signs = fastest(&mut || key.sign_entry(lineage, entry));
    let verifies = fastest(&mut || drop(trust.check_entry(lineage, entry)));
    let seals = fastest(&mut || key.sign_receipt(&mut receipt));
    let opens = fastest(&mut || drop(trust.check_receipt(&receipt)));
    trust.check_entry(lineage, entry)?;
    trust.check_receipt(&receipt)?;
    println!("\nA unit: signed in {signs:?}, verified in {verifies:?}.");
    println!("A receipt: signed in {seals:?}, verified in {opens:?}.");
    println!(
        "A lone event, from its commit to `backed_up`: {:?}.",
        signs + verifies + seals + opens
    );
    Ok(())
}

/// The log as the primary and as the backup has it.
async fn logs(path: &Path, signs: bool) -> Outcome<(Arc<dyn Log>, Arc<dyn Log>)> {
    let primary = Arc::new(EmbeddedLog::create(path, &load::identity("signatures")).await?);
    let replica = Arc::new(EmbeddedLog::open(path).await?);
    if !signs {
        return Ok((primary, replica));
    }
    let key = |seed: u8| Arc::new(SigningKey::from_seed(&[seed; 32]));
    let (first, second) = (key(1), key(2));
    let trust = Trust::new(vec![first.public()], [(CONSUMER.parse()?, second.public())]);
    let signed = |log, key| -> Arc<dyn Log> {
        Arc::new(SignedLog::new(log, Signing { key: Some(key), trust: trust.clone() }))
    };
    Ok((signed(primary, first), signed(replica, second)))
}

/// A backlog, from the start of the producer until a backup has all of it.
async fn outbox_to_receipt(signs: bool) -> Outcome<Duration> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("node.db");
    load::fill_outbox(&path, LOAD)?;
    let (primary, replica) = logs(&dir.path().join("embedded.log"), signs).await?;
    let store = Box::new(SqliteStore::open(dir.path().join("store.db"))?);
    let settings = ConsumerSettings::new(CONSUMER.parse()?, Role::Backup);
    let instance = InstanceId::from_bytes([2; 16]);
    let policy: Policy = "any 1 of backup at durable".parse()?;
    let outbox = Box::new(SqliteOutbox::open(&path)?);
    let start = Instant::now();
    let consumer = Consumer::start(replica, store, settings, instance, system_clock());
    let producer = load::produce(primary, outbox)?;
    producer.committed(LOAD.events as u64).backed_up(&policy).await?;
    let took = start.elapsed();
    producer.shutdown(Duration::from_secs(10)).await?;
    consumer.shutdown().await?;
    Ok(took)
}
