//! Real `nats-server` processes.

mod binary;
mod cluster;
mod config;
mod monitor;
mod server;
mod stored;

pub use cluster::{Cluster, SharedCluster};
pub use config::{NatsOptions, SyncInterval};
pub use server::Nats;
pub use stored::{Stored, StoredBatch, cut_within_batch, stored};
