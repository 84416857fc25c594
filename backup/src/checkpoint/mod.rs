//! Checkpoints: copies of a store at one moment, each with a manifest that describes it and has the
//! hash of every file. [`Checkpoints`] documents the format.
//!
//! ```text
//! snapshot (between two batches) ──► space? ──► copy, fsync ──► open, compare the cursor ──► hash ──► manifest
//! ```
//! The store keeps applying meanwhile. The manifest is written last: what has none is not a
//! checkpoint, and the next one removes it.

mod collect;
mod create;
mod engine;
mod error;
mod expire;
mod fetch;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod heads;
mod id;
mod job;
mod known;
mod labels;
mod manifest;
mod objects;
mod packing;
mod send_packs;
mod sent;
mod set;
mod signed;
#[cfg(test)]
pub(crate) mod tests;
mod tree;
mod unpack;
mod upload;
mod verify;

pub use error::CheckpointError;
pub use expire::{CheckpointRetention, Keep, PinnedBy};
pub use heads::{KnownHeads, ListedHead};
pub use id::{CheckpointId, NotAnId};
pub use job::Job;
pub use known::KnownSets;
pub(crate) use manifest::Sizes;
#[cfg(test)]
pub(crate) use manifest::seal;
pub use manifest::{Manifest, ManifestFile, Pack, Packed};
pub use set::{Checkpoints, Listed};
