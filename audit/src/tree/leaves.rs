//! Leaves of the tree, from verified entries.

use std::sync::Arc;

use tipline_backup::{Entries, RestoreError, Sources};
use tipline_proto::limits::MAX_UNIT_MESSAGES;
use tipline_proto::{Digest, Entry, LogIdentity};
use tokio_util::sync::CancellationToken;

use crate::error::AuditError;
use crate::replay::{Range, Replay, replay};
use crate::tlog::{TreeHash, leaf_hash};

/// A leaf, before it is in the tree.
pub(super) struct NewLeaf {
    pub(super) preimage: Vec<u8>,
    pub(super) hash: TreeHash,
}

/// The leaves of a range of entries, in their order.
pub(super) struct Leaves {
    replay: Replay,
    previous: Digest,
}

impl Leaves {
    /// Of the entries from `first` to `last`. The one before `first` must be held: its digest is in the
    /// first leaf.
    pub(super) async fn new(
        sources: &Arc<Sources>,
        log: &LogIdentity,
        (first, last): (u64, u64),
        stop: &CancellationToken,
    ) -> Result<Self, AuditError> {
        let range = Range { from: Some(first), to: Some(last) };
        let replay = replay(Arc::clone(sources), log, range, stop.clone()).await?;
        let previous = match replay.trusted() {
            None => Digest::origin(log),
            Some(trusted) if trusted.index + 1 == first => trusted.digest,
            // The first entry itself was taken on trust: nothing says what it follows.
            Some(_) => {
                let (held, place) = (replay.held(), replay.place().to_owned());
                let (from, to, first, last) = (first, last, held.first, held.last);
                let hint = ", and not the entry before, whose digest is needed".to_owned();
                return Err(AuditError::Range { place, from, to, first, last, hint });
            }
        };
        Ok(Self { replay, previous })
    }

    /// The next of them; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<NewLeaf>>, AuditError> {
        let Some(entries) = self.replay.next().await? else { return Ok(None) };
        let previous = self.previous;
        let hashed = tokio::task::spawn_blocking(move || hash(previous, &entries)).await;
        let (leaves, previous) = hashed
            .map_err(|_| AuditError::Internal { what: "hashing entries panicked".to_owned() })?;
        self.previous = previous;
        Ok(Some(leaves))
    }

    /// Whether somebody vouches for all of them so far, or nobody needs to.
    pub(super) fn are_vouched(&self) -> bool {
        self.replay.is_vouched()
    }

    /// What was not good.
    pub(super) fn finish(self) -> Result<(), AuditError> {
        self.replay.into_result().map(drop)
    }
}

/// Index of the newest entry up to `last` that has a signature, and so may be signed as the end of a
/// history; `last` itself where nobody must vouch for it, or if more follows that entry than waits for
/// who vouches for it: verifying it names the first then. `after` if there is none after that.
pub(super) async fn newest_vouched(
    sources: &Arc<Sources>,
    after: u64,
    last: u64,
    stop: &CancellationToken,
) -> Result<u64, AuditError> {
    let unit = MAX_UNIT_MESSAGES as u64;
    if !sources.trust.requires_history() || last <= after {
        return Ok(last);
    }
    let from = last.saturating_sub(unit).max(after);
    let mut newest = None;
    let mut entries = sources.entries(from, last).await?;
    let next = async |entries: &mut Entries| stop.run_until_cancelled(entries.next()).await;
    while let Some(some) = next(&mut entries).await.ok_or(AuditError::Cancelled { at: from })? {
        let signed = some.iter().filter(|entry| entry.signature.is_some());
        newest = newest.max(signed.map(|entry| entry.index).max());
    }
    match entries.finish().await {
        // Verifying them says which it is.
        Err(RestoreError::Corrupt { .. }) => return Ok(last),
        read => read?,
    };
    Ok(newest.unwrap_or(if from == after { after } else { last }))
}

fn hash(mut previous: Digest, entries: &[Entry]) -> (Vec<NewLeaf>, Digest) {
    let mut leaves = Vec::with_capacity(entries.len());
    for entry in entries {
        let preimage = entry.preimage(&previous);
        let hash = leaf_hash(&preimage);
        leaves.push(NewLeaf { preimage, hash });
        previous = entry.digest;
    }
    (leaves, previous)
}
