//! The embedded log keeps the promises, and says what is wrong when it cannot.

mod conformance;
mod create;
mod damage;
mod durable;
mod failure;
mod killed;
mod open;
mod spoiled;
mod wake;
mod wal;

use std::path::Path;

use tipline_proto::{
    Chain, Entry, Event, Hash, Lineage, LogIdentity, Position, Timestamp, TransactionId,
};

use super::EmbeddedLog;
use crate::spec::{Appender, Tail};

fn identity() -> LogIdentity {
    LogIdentity {
        name: "testnet".parse().unwrap(),
        chain: Chain::new("Test".parse().unwrap(), Hash::new([1; 32]).unwrap()),
        lineage: Lineage::from_bytes([7; 16]),
    }
}

/// Entries with payloads of this many bytes, one after the other.
fn unit(after: &Tail, lengths: &[usize]) -> Vec<Entry> {
    let seal = |position: &mut Position, length: &usize| {
        let id = TransactionId::new(position.index.to_be_bytes()).unwrap();
        let payload = vec![0x5A; *length].into();
        let event = Event::TransactionValidated { id, payload };
        let entry = Entry::seal(position, 1, Timestamp::from_micros(1), position.index + 1, event);
        *position = entry.position();
        Some(entry)
    };
    lengths.iter().scan(after.position, seal).collect()
}

/// A log with 10 small entries.
async fn small_log(path: &Path) -> EmbeddedLog {
    let log = EmbeddedLog::create(path, &identity()).await.unwrap();
    let tail = log.tail().await.unwrap();
    log.append(&tail, &unit(&tail, &[100; 10])).await.unwrap();
    log
}

/// Another program that has the file open.
fn other_program(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}

/// An error with its causes, as people see it.
fn text(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(|error| error.to_string())
        .collect::<Vec<_>>()
        .join(": ")
}
