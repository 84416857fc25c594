//! The integration tests, one file for each feature of the product.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

mod archive;
mod bad_input;
mod checking;
mod checkpoints;
mod cli;
mod demo;
mod deployment;
mod destination;
mod forgotten;
mod full_disk;
mod identity;
mod jetstream;
mod large;
mod media;
mod node_lost;
mod object_storage;
mod publishing;
mod real_blocks;
mod replicating;
mod restoring;
mod servers;
mod site;
mod status;
mod tidy;
