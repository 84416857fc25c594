//! Checking a proof, with nothing but it and a key.

use super::error::TreeError;
use super::leaf::{BadLeaf, Leaf};
use crate::tlog::{BadProof, Checkpoint, InclusionProof, VerifierKey};

/// What a proof proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The entry.
    pub leaf: Leaf,
    /// The signed checkpoint that it is in.
    pub checkpoint: Checkpoint,
}

/// Checks the text of a proof that `tipline audit prove` made, with nothing but the log's key: that
/// the key signed the checkpoint, and that the entry that the proof carries is in the tree, at its
/// place. The name of the key is the origin that is expected.
///
/// # Errors
/// It is not proven.
pub fn check_proof(text: &str, key: &VerifierKey) -> Result<Proven, TreeError> {
    let proof: InclusionProof = text.parse()?;
    let bytes = proof.extra.as_deref();
    let bytes = bytes.ok_or(BadProof::Malformed("it does not carry the entry"))?;
    let checkpoint = proof.check(bytes, key.name(), key)?;
    let leaf = Leaf::parse(bytes)?;
    if leaf.index.checked_sub(1) != Some(proof.index) {
        return Err(BadLeaf("its index is not that of its place in the tree").into());
    }
    Ok(Proven { leaf, checkpoint })
}
