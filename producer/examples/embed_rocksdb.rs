//! Adding Tipline to a node: its own RocksDB, one event more in its own write batch.
//!
//! `cargo run -p tipline-producer --features rocksdb --example embed_rocksdb`
//!
//! The log is a file here, so that the example runs by itself. In production it is
//! `tipline_log::jetstream::JetStreamLog`, and `tipline init` has created it.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use rocksdb::{DB, Options, WriteBatch};
use tipline_log::embedded::EmbeddedLog;
use tipline_log::{Log, system_clock};
use tipline_producer::{OutboxFamily, Producer, ProducerSettings};
use tipline_proto::{Chain, Event, Hash, Label, Lineage, LogIdentity};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let (log_path, node_path) = (dir.path().join("log.db"), dir.path().join("node"));
    let genesis = Hash::new([0; 32])?;
    let chain = Chain::new("example".parse()?, genesis.clone());
    let lineage = Lineage::from_bytes([7; 16]); // `tipline init` makes a random one
    EmbeddedLog::create(&log_path, &LogIdentity { name: "example".parse()?, chain, lineage })
        .await?;

    // 1. When the node opens its database: the outbox's column family beside its own.
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let families = [("block", Options::default()), (OutboxFamily::NAME, OutboxFamily::options())];
    let db = Arc::new(DB::open_cf_with_opts(&options, &node_path, families)?);
    let outbox = OutboxFamily::open(Arc::clone(&db), &genesis, system_clock())?;

    // 2. When the node starts: the producer. It returns at once, and tries until the log is there.
    let connect = move || {
        let path = log_path.clone();
        async move { Ok(Arc::new(EmbeddedLog::open(path).await?) as Arc<dyn Log>) }
    };
    let settings = ProducerSettings::new(Label::new("node-1")?);
    let publisher_side = Box::new(outbox.publisher());
    let producer = Producer::start(connect, publisher_side, settings, system_clock())?;

    // 3. Whenever the node commits a block: the event, in the same write batch.
    let mut parent_hash = genesis;
    for height in 1..=3_u8 {
        let body = format!("block {height}").into_bytes();
        let hash = Hash::new([height; 32])?;
        let mut batch = WriteBatch::default();
        batch.put_cf(db.cf_handle("block").ok_or("no blocks")?, [height], &body);
        let event = Event::BlockCommitted {
            height: height.into(),
            hash: hash.clone(),
            parent_hash,
            payload: body.into(),
        };
        // The block is in the batch already: the event refers to it instead of a second copy.
        let mut unit = outbox.begin()?;
        let sequence = unit.enqueue_reference(&mut batch, &event, "block", &[height])?;
        unit.commit(batch)?; // synced; `commit_opt` takes the node's own options
        parent_hash = hash;

        // 4. After the commit: wake the publisher. Nothing here waits for the network.
        let ticket = producer.committed(sequence);

        // 5. Only where the answer to a caller is to mean "it is in the log"; and for "it is backed
        //    up": ticket.backed_up(&"any 2 of backup-* at durable".parse()?).await?
        let index = ticket.logged().await?;
        println!("block {height} is entry {index} of the log");
    }

    // 6. When the node stops.
    let left = producer.shutdown(Duration::from_secs(10)).await?;
    println!("{left} events left for the next start");
    Ok(())
}
