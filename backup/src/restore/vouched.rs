//! Who vouches for the entries that a restore is made of, where signatures are required.

use std::sync::Arc;

use tipline_consumer::Vouching;
use tipline_log::error_chain;
use tipline_proto::{Digest, Position};

use super::plan::{Plan, Start};
use crate::checkpoint::{CheckpointError, Manifest};
use crate::error::RestoreError;
use crate::sources::Sources;

impl Sources {
    /// Holds a plan to a digest that a trusted primary vouches for, if signatures are required: the
    /// signature of an entry vouches for all before it. So whoever can write where backups are cannot
    /// make a history of his own. A checkpoint is used if a trusted consumer vouches for it, and the
    /// entries after it lead to that digest: what is in one is not chained to a digest itself. Gives the
    /// digest that the restored store must have.
    ///
    /// # Errors
    /// [`RestoreError::Verification`] if nobody vouches for what was planned; those of
    /// [`Sources::hold`] and of the places.
    pub(super) async fn vouch(
        self: &Arc<Self>,
        plan: Plan,
    ) -> Result<(Plan, Option<Digest>), RestoreError> {
        if !self.trust.requires_history() || plan.index == 0 {
            return Ok((plan, None));
        }
        let digest = self.vouched(plan.index).await?;
        Ok((self.vouch_start(plan, digest).await?, Some(digest)))
    }

    /// The plan without the checkpoints before the first that a trusted consumer vouches for. Those
    /// after it are checked when they are used.
    async fn vouch_start(&self, plan: Plan, digest: Digest) -> Result<Plan, RestoreError> {
        let (mut starts, mut refusals) = (plan.starts.clone(), Vec::new());
        while let Some(Start::Checkpoint { set, manifest, .. }) = starts.first() {
            match self.signed_checkpoint(*set, manifest).await {
                Ok(_) => break,
                Err(error) if error.is_about_it() => refusals.push(error_chain(&error)),
                Err(error) => return Err(error.into()),
            }
            starts.remove(0);
        }
        if starts.is_empty() {
            return Err(refused(&format!(
                "the first entries are no longer kept, and {}",
                refusals.join("; ")
            )));
        }
        let mut plan = self.begin_with(plan, digest, starts).await?;
        plan.notes.extend(refusals);
        Ok(plan)
    }

    /// A checkpoint with its files, as it is now. Where signatures are required, a trusted consumer
    /// vouches for it.
    pub(super) async fn signed_checkpoint(
        &self,
        set: usize,
        head: &Manifest,
    ) -> Result<Manifest, CheckpointError> {
        let id = &head.id;
        let gone = || CheckpointError::NotFound { place: "its set".to_owned(), id: id.clone() };
        let set = self.checkpoints.get(set).ok_or_else(gone)?;
        let whole = set.get(id).await?;
        if whole.head() != *head {
            let (place, what) = (set.place().to_owned(), "it is not what it was".to_owned());
            return Err(CheckpointError::Corrupt { place, id: id.clone(), what });
        }
        set.check_signature(&whole, &self.trust).await?;
        Ok(whole)
    }

    /// The digest of an entry that a trusted primary has signed, or one that chains to one that was
    /// signed.
    async fn vouched(self: &Arc<Self>, index: u64) -> Result<Digest, RestoreError> {
        let held = self.held_after(index - 1).await?;
        let last = held.gaps.iter().map(|gap| gap.0 - 1).find(|last| *last >= index);
        let last = last.unwrap_or(held.last);
        let mut vouching = Vouching::patient(self.trust.clone(), held.identity.lineage);
        let (mut digest, mut before): (Option<Digest>, Option<Position>) = (None, None);
        let mut entries = self.entries(index - 1, last).await?;
        while let Some(read) = entries.next().await {
            for entry in read {
                if entry.index < index || before.is_some_and(|before| entry.index <= before.index) {
                    continue;
                }
                if before.is_some_and(|before| !entry.follows(&before)) {
                    let what = format!("entry {} does not continue the one before it", entry.index);
                    return Err(refused(&what));
                }
                before = Some(entry.position());
                let digest = *digest.get_or_insert(entry.digest);
                match vouching.admit(&entry) {
                    Ok(true) => return Ok(digest),
                    Ok(false) => {}
                    Err(refusal) => return Err(refused(&error_chain(&refusal))),
                }
            }
        }
        entries.finish().await?;
        Err(refused(&format!(
            "no entry from {index} to {last} is signed: choose an earlier point, or name another \
             place that has more"
        )))
    }
}

fn refused(why: &str) -> RestoreError {
    let what = format!("signatures are required, and no trusted primary vouches for it: {why}");
    RestoreError::Verification { what }
}
