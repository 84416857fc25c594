//! What a mirror holds: before it cosigns, it reads back from its own archive what it says it holds.

use std::sync::Arc;

use tipline_backup::{Held, RestoreError, Sources};
use tokio_util::sync::CancellationToken;

use super::error::TreeError;
use super::leaves::Leaves;
use super::place::{Read, TreePlace};
use crate::error::AuditError;
use crate::tlog::{Checkpoint, Tree, prove_inclusion, verify_inclusion};

/// An archive of one's own, of the same log.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// The archive, and nothing else.
    pub sources: Arc<Sources>,
    /// Its address.
    pub place: String,
}

impl Mirror {
    /// Makes sure that the archive holds all entries of a checkpoint, which are the signed ones. What was
    /// found before, up to `kept`, is not read again.
    pub(super) async fn check(
        &self,
        tree: &TreePlace,
        kept: Option<&Checkpoint>,
        to: &Checkpoint,
        stop: &CancellationToken,
    ) -> Result<(), AuditError> {
        // All of it, by the names of its segments: what was read before may have gone since.
        let (place, size) = (self.place.clone(), to.size);
        let held = match self.sources.held().await {
            Ok(held) if held.last >= size => held,
            Ok(Held { last, .. }) => {
                return Err(TreeError::MirrorBehind { place, last, size }.into());
            }
            Err(RestoreError::NotFound { .. }) => {
                return Err(TreeError::MirrorBehind { place, last: 0, size }.into());
            }
            Err(error) => return Err(error.into()),
        };
        if held.first > 1 {
            return Err(TreeError::NotHeld { place, first: held.first, needed: 1 }.into());
        }
        if let Some(&(first, last)) = held.gaps.iter().find(|(first, _)| *first <= size) {
            return Err(TreeError::MirrorGap { place, first, last }.into());
        }
        let mut grown = match kept.filter(|kept| kept.size > 0) {
            Some(kept) => tree.resume(kept).await?,
            None => Tree::new(),
        };
        let mut is_anchored = grown.size() == 0;
        let range = (grown.size().max(1), size);
        let mut leaves = Leaves::new(&self.sources, tree.log(), range, stop).await?;
        while let Some(next) = leaves.next().await? {
            for leaf in next {
                if is_anchored {
                    grown.append(leaf.hash, |_, _| {});
                    continue;
                }
                // The digest in it is that of all history before, so this compares all of it.
                let (size, root) = (grown.size(), grown.root());
                let proof = move |read: Read<'_>| prove_inclusion(size, size - 1, read);
                let hashes = tree.with_tiles(proof).await?;
                if verify_inclusion(size, root, size - 1, &leaf.preimage, &hashes).is_err() {
                    return Err(self.forked(size, tree));
                }
                is_anchored = true;
            }
        }
        leaves.finish()?;
        match grown.root() == to.root {
            true => Ok(()),
            false => Err(self.forked(size, tree)),
        }
    }

    fn forked(&self, index: u64, tree: &TreePlace) -> AuditError {
        let (place, by) = (self.place.clone(), tree.place().to_owned());
        TreeError::Forked { place, index, by }.into()
    }
}
