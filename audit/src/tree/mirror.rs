//! What a mirror holds: before it cosigns, it reads back from its own archive what it says it holds.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tipline_backup::{Destination, Held, RestoreError, Sources};
use tokio_util::sync::CancellationToken;

use super::error::TreeError;
use super::leaves::Leaves;
use super::place::{Read, TreePlace};
use super::read_back::ReadBack;
use crate::error::AuditError;
use crate::tlog::{Checkpoint, Tree, prove_inclusion, verify_inclusion};

/// An archive of one's own, of the same log, at another location than the archive whose tree is witnessed.
///
/// What was read back, and where, is kept beside what the key has cosigned. At another location all of it
/// is read.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// The archive, and nothing else.
    pub sources: Arc<Sources>,
    /// Where it is.
    pub destination: Destination,
    /// Once the last reading of all of it began so long ago, in whole seconds, all of it is read again
    /// before it is cosigned. Until then only what is new is read, and whether the rest is there is seen by
    /// the names of its segments. So at the time of a cosignature every entry had been read back, none
    /// longer ago than this and the time that reading took.
    pub read_back_every: Duration,
}

impl Mirror {
    /// Makes sure that the archive holds all entries of a checkpoint, which are the signed ones. What was
    /// read back here before, `last`, is not read again until its time has come. Gives what was read back
    /// by now. `seconds` is the time.
    pub(super) async fn check(
        &self,
        tree: &TreePlace,
        last: Option<&ReadBack>,
        to: &Checkpoint,
        seconds: u64,
        stop: &CancellationToken,
    ) -> Result<ReadBack, AuditError> {
        let place = self.destination.place().to_owned();
        let at = location(&self.destination).await?;
        if at == location(tree.destination()).await? {
            return Err(TreeError::MirrorIsArchive { place }.into());
        }
        // All of it, by the names of its segments: what was read before may have gone since.
        let size = to.size;
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
        let last = last.filter(|last| {
            let age = seconds.checked_sub(last.whole);
            let is_recent = age.is_some_and(|age| age < self.read_back_every.as_secs());
            let is_before = last.upto.size > 0 && last.upto.size < size;
            is_recent && last.at == at && (is_before || last.upto == *to)
        });
        if let Some(last) = last.filter(|last| last.upto == *to) {
            return Ok(last.clone());
        }
        let mut grown = match last {
            Some(last) => tree.resume(&last.upto).await?,
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
            true => {
                let whole = last.map_or(seconds, |last| last.whole);
                Ok(ReadBack { at, whole, upto: to.clone() })
            }
            false => Err(self.forked(size, tree)),
        }
    }

    fn forked(&self, index: u64, tree: &TreePlace) -> AuditError {
        let (place, by) = (self.destination.place().to_owned(), tree.place().to_owned());
        TreeError::Forked { place, index, by }.into()
    }
}

/// One line for each location: a directory is the same by whatever name.
async fn location(destination: &Destination) -> Result<String, AuditError> {
    let Some(directory) = destination.directory() else {
        return Ok(format!("{:?}", destination.place()));
    };
    match tokio::task::spawn_blocking(move || fs::canonicalize(&directory).unwrap_or(directory))
        .await
    {
        Ok(directory) => Ok(format!("dir:{directory:?}")),
        Err(_) => Err(AuditError::Internal { what: "finding a directory panicked".to_owned() }),
    }
}
