//! Growing the tree of an archive, and signing it.

use std::sync::Arc;

use tipline_backup::{RestoreError, Sources};
use tipline_proto::Trust;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cosigned::publish_cosigned;
use super::error::TreeError;
use super::key_file::{KeyFile, KeyFileError};
use super::leaves::{Leaves, newest_vouched};
use super::place::{Newest, Read, TreePlace};
use crate::error::AuditError;
use crate::tlog::{
    Checkpoint, NotAccepted, Policy, Tile, Tree, TreeHash, prove_inclusion, verify_inclusion,
};
use crate::verify::VerifyProgress;

/// A tree that grows by more is signed in between, so that the next start goes on from there: a
/// minute or two of work.
const SIGN_AFTER: u64 = if cfg!(test) { 1 << 10 } else { 1 << 20 };

/// What is signed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The newest checkpoint.
    pub checkpoint: Checkpoint,
    /// It as it was signed.
    pub note: String,
    /// How many entries it has more than the one before.
    pub added: u64,
    /// Names of those who have not cosigned it. It is not published until the quorum of the policy
    /// has, and no other one is signed before.
    pub waits_for: Option<String>,
}

/// Adds to the tree beside an archive what the archive has more, and signs it: tiles, then what the key
/// remembers, then the checkpoint, each durable before the next. Cancelling it, or a crash, leaves what
/// the next call goes on from. `None` if the archive has no entries yet.
///
/// `sources` must name that archive and nothing else. Entries are verified as by [`replay`](crate::replay):
/// from the log's origin the first time, later from the entry that was signed last, which must be the
/// same still. Where the history must be signed, by the trust of `sources`, the tree ends with an entry that
/// a trusted key has signed: what is after it waits for the rest of its unit.
///
/// With a policy, what is signed is first shown to its witnesses, who put what they cosign beside it. It
/// is published, with their cosignatures, by the first call that finds the quorum reached. So whatever
/// is published can be checked by that policy. Without one it is published at once. Witnesses that the
/// policy has addresses of are asked by [`Witnesses::ask`](super::Witnesses::ask).
///
/// # Errors
/// [`AuditError::Tree`], with what contradicts what was signed; those of a replay. Nothing is signed
/// then.
pub async fn sign(
    sources: &Arc<Sources>,
    place: &TreePlace,
    key: &Arc<KeyFile>,
    policy: Option<&Policy>,
    progress: &watch::Sender<VerifyProgress>,
    stop: &CancellationToken,
) -> Result<Option<Signed>, AuditError> {
    let verifier = key.verifier();
    place.check_key(verifier.name())?;
    if policy.is_some_and(|policy| !policy.logs().contains(&verifier)) {
        // Nothing that it signs would ever be published.
        let source = NotAccepted::UnknownLog { origin: verifier.to_string() };
        return Err(TreeError::NotAccepted { place: place.place().to_owned(), source }.into());
    }
    let newest = place.newest(&verifier).await?;
    let published = newest.as_ref().map(|newest| newest.checkpoint.clone());
    let remembered = blocking(key, KeyFile::signed).await?;
    let tree = match &published {
        Some(checkpoint) => place.resume(checkpoint).await?,
        None => Tree::new(),
    };
    // What is before it was signed, and is not looked at again.
    let held = sources.held_after(tree.size().saturating_sub(2)).await;
    let (first, held) = match held {
        Ok(held) => (held.first, held.last),
        Err(RestoreError::NotFound { .. }) => (1, 0),
        Err(error) => return Err(error.into()),
    };
    let last = newest_vouched(sources, tree.size().max(remembered.size), held, stop).await?;
    let mut growing =
        Growing { sources, place, key, policy, progress, stop, first, last, held, remembered };
    growing.check_length(tree.size(), place.place())?;
    if growing.remembered.size > 0 {
        growing.check_remembered(&tree, published.as_ref()).await?;
    }
    if let Some(newer) = published.filter(|newer| newer.size > growing.remembered.size) {
        // The key was used elsewhere, or what it remembers was put back to an older state.
        growing.remember(newer).await?;
    }
    if last == 0 {
        return Ok(None);
    }
    let Some(newest) = newest else {
        place.try_out().await?;
        return Ok(Some(growing.grow(tree).await?));
    };
    if newest.checkpoint.size == last && !key.has_compared(place.archive(), last) {
        // Reading an entry of an archive costs: once for as long as the key is open.
        growing.check_last(&tree).await?;
    }
    let waits_for = publish_cosigned(place, policy, &newest).await?;
    if newest.checkpoint.size == last || waits_for.is_some() {
        let Newest { checkpoint, note, .. } = newest;
        return Ok(Some(Signed { checkpoint, note, added: 0, waits_for }));
    }
    Ok(Some(growing.grow(tree).await?))
}

/// The work of one call.
struct Growing<'a> {
    sources: &'a Arc<Sources>,
    place: &'a TreePlace,
    key: &'a Arc<KeyFile>,
    policy: Option<&'a Policy>,
    progress: &'a watch::Sender<VerifyProgress>,
    stop: &'a CancellationToken,
    /// Index of the archive's first entry.
    first: u64,
    /// Index of the last one that is signed now.
    last: u64,
    /// Index of the archive's last entry.
    held: u64,
    /// The newest checkpoint that the key remembers to have signed, or one of no entries. Less is never
    /// signed again: it would forget the rest.
    remembered: Checkpoint,
}

impl Growing<'_> {
    /// What is there, or will be, must continue what the key remembers.
    async fn check_remembered(
        &self,
        tree: &Tree,
        published: Option<&Checkpoint>,
    ) -> Result<(), AuditError> {
        let remembered = &self.remembered;
        match published {
            Some(published) if published.size >= remembered.size => {
                match self.place.consistency(remembered.clone(), published.clone()).await {
                    Ok(_) => Ok(()),
                    Err(TreeError::NotConsistent(_)) => Err(self.not_remembered()),
                    Err(error) => Err(error.into()),
                }
            }
            // The checkpoint was not published, or the place was put back to an older state. It is found
            // out before any tile is written. What is written is read again, and compared again.
            _ => {
                self.check_length(remembered.size, &self.by())?;
                let mut tree = tree.clone();
                let mut leaves = self.leaves(&tree, remembered.size).await?;
                while let Some(next) = leaves.next(&tree, self).await? {
                    self.append(&mut tree, next, |_, _| {})?;
                }
                leaves.leaves.finish()?;
                match tree.size() == remembered.size {
                    true => Ok(()),
                    false => Err(self.not_remembered()),
                }
            }
        }
    }

    /// Adds leaves. Once the tree has as many as the key remembers, it must be the one that was signed,
    /// whatever the archive said when it was read before.
    fn append(
        &self,
        tree: &mut Tree,
        leaves: Vec<TreeHash>,
        mut full: impl FnMut(Tile, Vec<u8>),
    ) -> Result<(), AuditError> {
        for leaf in leaves {
            tree.append(leaf, &mut full);
            let Checkpoint { size, root, .. } = self.remembered;
            if tree.size() == size && tree.root() != root {
                return Err(self.not_remembered());
            }
        }
        Ok(())
    }

    /// What remembers what the key has signed.
    fn by(&self) -> String {
        self.key.signed_path().display().to_string()
    }

    fn check_length(&self, size: u64, by: &str) -> Result<(), AuditError> {
        if self.held >= size {
            return Ok(());
        }
        let (place, last, by) = (self.place.archive().to_owned(), self.held, by.to_owned());
        Err(TreeError::Shorter { place, last, size, by }.into())
    }

    /// The archive does not have what the key remembers.
    fn not_remembered(&self) -> AuditError {
        self.forked(self.remembered.size, self.by())
    }

    fn forked(&self, index: u64, by: String) -> AuditError {
        TreeError::Forked { place: self.place.archive().to_owned(), index, by }.into()
    }

    /// The leaves after those of the tree, up to an entry.
    async fn leaves(&self, tree: &Tree, to: u64) -> Result<After, AuditError> {
        self.leaves_of(self.sources, tree, to).await
    }

    async fn leaves_of(
        &self,
        sources: &Arc<Sources>,
        tree: &Tree,
        to: u64,
    ) -> Result<After, AuditError> {
        let size = tree.size();
        // The last entry that was signed is compared with the archive's, and has the digest of the one
        // before it.
        let (first, needed) = (self.first, size.saturating_sub(1).max(1));
        if first > needed {
            let place = self.place.archive().to_owned();
            return Err(TreeError::NotHeld { place, first, needed }.into());
        }
        let range = (size.max(1), to);
        let leaves = Leaves::new(sources, self.place.log(), range, self.stop).await?;
        Ok(After { leaves, is_anchored: size == 0 })
    }

    /// The archive ends with the entry that was signed last.
    async fn check_last(&self, tree: &Tree) -> Result<(), AuditError> {
        // The tree vouches for it.
        let sources = Arc::new(Sources { trust: Trust::default(), ..(**self.sources).clone() });
        let mut leaves = self.leaves_of(&sources, tree, tree.size()).await?;
        while leaves.next(tree, self).await?.is_some() {}
        leaves.leaves.finish()?;
        self.key.set_compared(self.place.archive(), tree.size());
        Ok(())
    }

    async fn grow(mut self, mut tree: Tree) -> Result<Signed, AuditError> {
        let began = tree.size();
        let mut leaves = self.leaves(&tree, self.last).await?;
        let (mut full, mut signed) = (Vec::new(), began);
        let of = self.last - began;
        let newest = loop {
            let Some(next) = leaves.next(&tree, &self).await? else {
                leaves.leaves.finish()?;
                break self.publish(&tree).await?;
            };
            self.append(&mut tree, next, |tile, hashes| full.push((tile, hashes)))?;
            for (tile, hashes) in full.drain(..) {
                self.place.write_tile(&tile, hashes).await?;
            }
            let done = tree.size() - began;
            self.progress.send_replace(VerifyProgress { done, of, bytes: 0 });
            let is_due = tree.size() - signed >= SIGN_AFTER && tree.size() > self.remembered.size;
            if is_due && leaves.leaves.are_vouched() {
                let newest = self.publish(&tree).await?;
                signed = tree.size();
                // Nothing more is signed before it is cosigned.
                if self.policy.is_some() {
                    break newest;
                }
            }
        };
        self.key.set_compared(self.place.archive(), tree.size());
        // Nobody need cosign, perhaps.
        let waits_for = publish_cosigned(self.place, self.policy, &newest).await?;
        let Newest { checkpoint, note, .. } = newest;
        Ok(Signed { checkpoint, note, added: tree.size() - began, waits_for })
    }

    /// Signs, and publishes it, or shows it to those who are to cosign it.
    async fn publish(&mut self, tree: &Tree) -> Result<Newest, AuditError> {
        for (tile, hashes) in tree.partial() {
            self.place.write_tile(&tile, hashes).await?;
        }
        let origin = self.key.verifier().name().to_owned();
        let checkpoint = Checkpoint { origin, size: tree.size(), root: tree.root() };
        let note = self.remember(checkpoint.clone()).await?;
        let is_published = self.policy.is_none();
        match is_published {
            true => self.place.publish(note.clone()).await?,
            false => self.place.put_pending(note.clone()).await?,
        }
        Ok(Newest { note, checkpoint, is_published })
    }

    /// Signs what continues what the key remembers. It remembers that from now on.
    async fn remember(&mut self, checkpoint: Checkpoint) -> Result<String, AuditError> {
        let (known, new) = (self.remembered.clone(), checkpoint.clone());
        let note = blocking(self.key, move |key| key.sign(&known, &new)).await?;
        self.remembered = checkpoint;
        Ok(note)
    }
}

/// Leaves after those that are in a tree.
struct After {
    leaves: Leaves,
    /// Whether the tree's last leaf was found to be the archive's.
    is_anchored: bool,
}

impl After {
    async fn next(
        &mut self,
        tree: &Tree,
        growing: &Growing<'_>,
    ) -> Result<Option<Vec<TreeHash>>, AuditError> {
        let Some(next) = self.leaves.next().await? else { return Ok(None) };
        let mut next = next.into_iter();
        if !self.is_anchored
            && let Some(signed) = next.next()
        {
            // The digest in it is that of all history before, so this compares all of it.
            let (size, root) = (tree.size(), tree.root());
            let proof = move |read: Read<'_>| prove_inclusion(size, size - 1, read);
            let hashes = growing.place.with_tiles(proof).await?;
            if verify_inclusion(size, root, size - 1, &signed.preimage, &hashes).is_err() {
                return Err(growing.forked(size, growing.place.place().to_owned()));
            }
            self.is_anchored = true;
        }
        Ok(Some(next.map(|leaf| leaf.hash).collect()))
    }
}

/// Files block the thread.
pub(super) async fn blocking<T: Send + 'static>(
    key: &Arc<KeyFile>,
    work: impl FnOnce(&KeyFile) -> Result<T, KeyFileError> + Send + 'static,
) -> Result<T, AuditError> {
    let key = Arc::clone(key);
    match tokio::task::spawn_blocking(move || work(&key)).await {
        Ok(done) => Ok(done.map_err(TreeError::from)?),
        Err(_) => Err(AuditError::Internal { what: "using the key panicked".to_owned() }),
    }
}
