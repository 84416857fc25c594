//! A node in another language, which writes the outbox itself: Python, a sidecar, a replica.

use std::path::Path;
use std::process::Command;

use rusqlite::Connection;
use serde_json::Value;
use tipline_store::{ChainView as _, SqliteReader, StoreReader as _};

use crate::deployment::{Deployment, WITHIN, stop};

const SOURCE: &str = "sqlite:node.db";

/// Lets the example commit so many blocks more.
fn python(site: &Deployment, blocks: u64) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../producer/examples/outbox.py");
    let mut command = Command::new("python3");
    command.arg(example).arg(site.path("node.db")).arg(blocks.to_string());
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// Waits until a replica has the blocks up to this one.
async fn replicated(site: &Deployment, height: u64) {
    let has = |status: &Value| {
        status["consumers"].as_array().unwrap().iter().any(|one| one["block"] == height)
    };
    site.status("", has).await;
}

#[tokio::test]
async fn a_node_in_python_is_published_and_replicated() {
    let site = Deployment::new();
    python(&site, 20);
    let made = site.run(&format!("init --chain toy --source {SOURCE}")).await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    let mut primary = site.tipline(&format!("primary --source {SOURCE}")).spawn();
    let mut replica = site.tipline("replica --name r --store sqlite:r.db").spawn();
    replicated(&site, 20).await;
    // While both run, and again after the primary was killed.
    python(&site, 15);
    replicated(&site, 35).await;
    primary.process.kill();
    python(&site, 5);
    let mut primary = site.tipline(&format!("primary --source {SOURCE}")).spawn();
    replicated(&site, 40).await;
    stop(&mut primary).await;
    stop(&mut replica).await;

    let node = Connection::open(site.path("node.db")).unwrap();
    let mut blocks = node.prepare("SELECT height, hash, body, proof FROM block").unwrap();
    let replica = SqliteReader::open(site.path("r.db")).unwrap();
    let mut seen = 0;
    let mut rows = blocks.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let height = row.get::<_, i64>(0).unwrap().cast_unsigned();
        let (hash, body): (Vec<u8>, Vec<u8>) = (row.get(1).unwrap(), row.get(2).unwrap());
        let proof: Option<Vec<u8>> = row.get(3).unwrap();
        let block = replica.block(height).unwrap().unwrap();
        assert_eq!((block.hash.as_ref(), &*block.payload), (&*hash, &*body), "block {height}");
        let proven = replica.proof(height).unwrap().map(|proof| proof.payload.to_vec());
        assert_eq!(proven, proof, "proof of block {height}");
        seen += 1;
    }
    assert_eq!(seen, 40);
    let again: i64 = node
        .query_row("SELECT count(*) FROM block WHERE body LIKE '%again'", [], |row| row.get(0))
        .unwrap();
    assert!(again > 3, "blocks were rolled back, too: {again}");
}

#[tokio::test]
async fn what_cannot_be_published_is_refused_with_what_to_do() {
    let site = Deployment::with_log("00").await;
    let refused = async |words: &str| {
        let finished = site.run(&format!("primary {words}")).await;
        assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
        finished.stderr
    };
    let missing = refused("--source sqlite:node.db").await;
    assert!(missing.contains("there is no such database"), "{missing}");
    let other = Connection::open(site.path("other.db")).unwrap();
    other.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    other.execute_batch("CREATE TABLE accounts (id INTEGER)").unwrap();
    let other = refused("--source sqlite:other.db").await;
    assert!(other.contains("it has no table tipline_outbox_state"), "{other}");
    python(&site, 1);
    let chain = refused("--source sqlite:node.db").await;
    assert!(chain.contains("the log to the one with 00"), "{chain}");
    let index = refused("--source sqlite:node.db --index elsewhere").await;
    assert!(index.contains("--index is for a source of files"), "{index}");

    // Another primary has it.
    let log = "embedded:toy.db";
    let made = site.run(&format!("init --log {log} --chain toy --source {SOURCE}")).await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    let primary = format!("--log {log} --source {SOURCE}");
    let mut first = site.tipline(&format!("primary {primary}")).spawn();
    site.status(&format!("--log {log}"), |status| status["tip"]["height"] == 1).await;
    let second = site.tipline(&format!("primary {primary}")).finish(WITHIN).await;
    assert_eq!(second.status.code(), Some(2), "{}", second.stderr);
    assert!(second.stderr.contains("another process publishes from it"), "{}", second.stderr);
    stop(&mut first).await;
}
