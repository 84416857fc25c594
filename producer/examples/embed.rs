//! Adding Tipline to a node: its own SQLite, one row more in its own transaction.
//!
//! `cargo run -p tipline-producer --features sqlite,bundled --example embed`
//!
//! The log is a file here, so that the example runs by itself. In production it is
//! `tipline_log::jetstream::JetStreamLog`, and `tipline init` has created it.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tipline_log::embedded::EmbeddedLog;
use tipline_log::{Log, system_clock};
use tipline_producer::{OutboxTable, Producer, ProducerSettings, SqliteOutbox};
use tipline_proto::{Chain, Event, Hash, Label, Lineage, LogIdentity};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let (log_path, node_path) = (dir.path().join("log.db"), dir.path().join("node.db"));
    let genesis = Hash::new([0; 32])?;
    let chain = Chain::new("example".parse()?, genesis.clone());
    let lineage = Lineage::from_bytes([7; 16]); // `tipline init` makes a random one
    EmbeddedLog::create(&log_path, &LogIdentity { name: "example".parse()?, chain, lineage })
        .await?;

    // 1. When the node opens its database: the outbox's tables beside its own.
    let mut db = Connection::open(&node_path)?;
    db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE block (height INTEGER, body BLOB)")?;
    let outbox = OutboxTable::install(&db, &genesis, system_clock())?;

    // 2. When the node starts: the producer. It returns at once, and tries until the log is there.
    let connect = move || {
        let path = log_path.clone();
        async move { Ok(Arc::new(EmbeddedLog::open(path).await?) as Arc<dyn Log>) }
    };
    let settings = ProducerSettings::new(Label::new("node-1")?);
    let publisher_side = Box::new(SqliteOutbox::open(&node_path)?);
    let producer = Producer::start(connect, publisher_side, settings, system_clock())?;

    // 3. Whenever the node commits a block: the event, in the same transaction.
    let mut parent_hash = genesis;
    for height in 1..=3_u8 {
        let body = format!("block {height}").into_bytes();
        let hash = Hash::new([height; 32])?;
        let tx = db.transaction()?;
        tx.execute("INSERT INTO block VALUES (?, ?)", (height, &body))?;
        let event = Event::BlockCommitted {
            height: height.into(),
            hash: hash.clone(),
            parent_hash,
            payload: body.into(),
        };
        let sequence = outbox.enqueue(&tx, &event)?;
        tx.commit()?;
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
