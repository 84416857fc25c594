//! A verifiable log by the specifications of C2SP, as pure functions: no file, no network, no clock.
//!
//! ```text
//! entries ──► leaf hashes ──► Tree ──► tiles, immutable, 256 hashes each      c2sp.org/tlog-tiles
//!                               └────► root ──► Checkpoint ──► signed note    c2sp.org/tlog-checkpoint,
//! tiles + index ──► inclusion proof ┐                                         c2sp.org/signed-note
//! tiles + sizes ──► consistency     ┴──► checked with one public key          c2sp.org/tlog-proof
//! checkpoint ──► cosignatures of others ──► Policy ──► Certificate            c2sp.org/tlog-cosignature,
//!                                                                             c2sp.org/tlog-policy
//! AddCheckpoint: what a log asks of a witness                                 c2sp.org/tlog-witness
//! ```
//! The tree is that of RFC 6962 with SHA-256. A leaf is the canonical preimage of an entry's digest,
//! never a payload: leaf n is entry n + 1. A proof goes through the tree alone, never through the
//! digest chain.

mod certificate;
mod checkpoint;
mod cosignature;
mod hash;
mod note;
mod policy;
mod proof;
#[cfg(test)]
mod tests;
mod tile;
mod tree;
mod witness;

pub use certificate::{BadCertificate, Certificate};
pub use checkpoint::{BadCheckpoint, Checkpoint};
pub use cosignature::{Cosigned, CosignerKey, CosigningKey, MIRROR};
pub use hash::{TreeHash, leaf_hash};
pub(crate) use note::MAX_NOTE_BYTES;
pub use note::{BadNote, SigningKey, VerifierKey, unverified_text};
pub(crate) use policy::lines_by_any;
pub use policy::{Accepted, BadPolicy, NotAccepted, Policy, SeenBy};
pub(crate) use proof::root_within;
pub use proof::{
    BadProof, InclusionProof, prove_consistency, prove_inclusion, root, verify_consistency,
    verify_inclusion,
};
pub use tile::{TILE_HASHES, Tile};
pub use tree::{BadTile, Tree};
pub(crate) use witness::answered_size;
pub use witness::{AddCheckpoint, BadRequest, NotContinued, TLOG_SIZE, check_continues};
