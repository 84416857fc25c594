//! Real `nats-server` processes.

mod binary;
mod cluster;
mod config;
mod monitor;
mod server;

pub use cluster::{Cluster, SharedCluster};
pub use config::{NatsOptions, SyncInterval};
pub use server::Nats;
