//! What the integration tests of Tipline stand on: real servers and processes as children, real
//! blocks, and randomness that can be repeated. Linux and macOS only.
//!
//! Whatever goes wrong in here fails the test by a panic that says what and where. What a test starts
//! ends with it, also when the test process is killed. A panic prints what the children said last.
#![expect(
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a harness fails a test by panicking, and explains by printing"
)]

mod blocks;
mod browser;
mod collector;
mod eventually;
mod haproxy;
mod http;
mod invariants;
mod leash;
mod medium;
mod nats;
mod port;
mod private;
mod process;
mod relay;
mod s3;
mod schema;
mod seed;
mod tamper;
mod tipline;
mod tool;
mod toy;

pub use blocks::{BlkError, RawBlock, bitcoin_blocks, bitcoin_blocks_path, parse_blk};
pub use browser::{Browser, axe};
pub use collector::{CollectedSpan, Collector};
pub use eventually::eventually;
pub use haproxy::{Behind, HaProxy};
pub use http::{HttpReply, http_get, http_post};
pub use invariants::{check_log, check_store, read_log};
pub use medium::Medium;
pub use nats::{
    Cluster, Nats, NatsOptions, SharedCluster, Stored, StoredBatch, SyncInterval, cut_within_batch,
    stored,
};
pub use port::Port;
pub use private::write_private;
pub use process::Process;
pub use relay::{Relay, Way};
pub use s3::{Quirk, S3};
pub use schema::schema_errors;
pub use seed::Rng;
pub use tamper::{Delivered, Tampering, TamperingBroker};
pub use tipline::{Finished, Running, Tipline};
pub use tool::{haproxy, parquet_readers, promtool, systemd_analyze};
pub use toy::{
    LatencyFile, ToyNode, open_log, toy_chain, toy_hash, toy_history, toy_log, toy_payload,
};
