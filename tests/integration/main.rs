//! The integration tests, one file for each feature of the product.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

mod archive;
mod audit_export;
mod audit_receipts;
mod audit_witness;
mod auditing;
mod bad_input;
mod chain_hashes;
mod checked_places;
mod checking;
mod checkpoints;
mod cli;
mod cluster_power_cut;
mod dashboard;
mod dead_source;
mod demo;
mod deploying;
mod deployment;
mod destination;
mod forgotten;
mod freezing;
mod full_disk;
mod harmed;
mod health;
mod hostile_text;
mod identity;
mod jetstream;
mod large;
mod late_proofs;
mod log_level;
mod media;
mod node_database;
mod node_lost;
mod object_storage;
mod object_store_doubles;
mod old_servers;
#[cfg(target_os = "linux")]
mod outbox_power_cut;
mod power_cut;
mod publishing;
mod read_only;
mod real_blocks;
mod refilling;
mod replicating;
mod restoring;
mod roles;
mod round_trip;
mod screen;
mod servers;
mod signatures;
mod signed_history;
mod site;
mod status;
mod tampering;
mod telemetry;
mod tidy;
mod unwell;
#[cfg(target_os = "linux")]
mod write_error;
