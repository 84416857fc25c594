//! Checking a proof, with nothing but it and a key.

use super::error::TreeError;
use super::leaf::{BadLeaf, Leaf};
use crate::tlog::{
    Accepted, BadProof, Checkpoint, InclusionProof, NotAccepted, Policy, VerifierKey,
    verify_inclusion,
};

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
    let bytes = carried(&proof)?;
    let checkpoint = proof.check(bytes, key.name(), key)?;
    let leaf = leaf_at(bytes, proof.index)?;
    Ok(Proven { leaf, checkpoint })
}

/// The same, by a policy: one of its logs signed the checkpoint, and its quorum cosigned it. Gives also
/// who did.
///
/// # Errors
/// It is not proven, or the policy does not accept the checkpoint.
pub fn check_proof_by(text: &str, policy: &Policy) -> Result<(Proven, Accepted), TreeError> {
    let proof: InclusionProof = text.parse()?;
    let bytes = carried(&proof)?;
    let refused = |source: NotAccepted| {
        let place = "the end of the proof".to_owned();
        TreeError::NotAccepted { place, source }
    };
    let accepted = policy.check(&proof.checkpoint).map_err(refused)?;
    let checkpoint = accepted.checkpoint.clone();
    verify_inclusion(checkpoint.size, checkpoint.root, proof.index, bytes, &proof.hashes)?;
    let leaf = leaf_at(bytes, proof.index)?;
    Ok((Proven { leaf, checkpoint }, accepted))
}

fn carried(proof: &InclusionProof) -> Result<&[u8], TreeError> {
    let bytes = proof.extra.as_deref();
    Ok(bytes.ok_or(BadProof::Malformed("it does not carry the entry"))?)
}

fn leaf_at(bytes: &[u8], index: u64) -> Result<Leaf, TreeError> {
    let leaf = Leaf::parse(bytes)?;
    match leaf.index.checked_sub(1) == Some(index) {
        true => Ok(leaf),
        false => Err(BadLeaf("its index is not that of its place in the tree").into()),
    }
}
