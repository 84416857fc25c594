//! A key goes on where another key of the same log has ended.

use std::sync::Arc;

use tipline_backup::Sources;
use tokio_util::sync::CancellationToken;

use super::error::TreeError;
use super::key_file::KeyFile;
use super::leaves::Leaves;
use super::place::{CHECKPOINT, PENDING, TreePlace};
use super::sign::blocking;
use crate::error::AuditError;
use crate::tlog::{Checkpoint, Tile, Tree, VerifierKey};

/// What is signed at a place, and waits for the new key.
struct Found {
    /// Where it is.
    name: &'static str,
    note: String,
    checkpoint: Checkpoint,
    /// Whether the new key has signed it, too.
    is_done: bool,
}

/// Has a key go on after another one of the same log, which is lost, or is not to be used any more: what
/// that one signed last gets a second signature, and what the new key remembers begins with it. From
/// then on [`sign`](super::sign()) goes on with the new key. If it did so before, nothing happens.
///
/// First all entries up to there are read from the archive and verified, from the log's origin on, by
/// `sources`, which must name it and nothing else. They must give every tile, and the roots that were
/// signed. What the old key signed elsewhere, nobody can know here: end its use before. The checkpoint
/// with both signatures is kept under the old key's ID. Cancelling it, or a crash, leaves what the next
/// call goes on from.
///
/// # Errors
/// [`AuditError::Tree`], also if the old key did not sign what is there; those of a replay. Then nothing
/// is signed.
pub async fn succeed(
    sources: &Arc<Sources>,
    place: &TreePlace,
    key: &Arc<KeyFile>,
    old: &VerifierKey,
    stop: &CancellationToken,
) -> Result<(), AuditError> {
    let new = key.verifier();
    place.check_key(new.name())?;
    if new.name() != old.name() || new == *old {
        let (name, old) = (new.name().to_owned(), old.name().to_owned());
        return Err(TreeError::OtherName { name, old }.into());
    }
    let mut found = Vec::new();
    for name in [CHECKPOINT, PENDING] {
        found.extend(find(place, name, &new, old).await?);
    }
    found.sort_by_key(|found: &Found| found.checkpoint.size);
    if found.is_empty() {
        return Err(TreeError::NotFound { place: place.place().to_owned() }.into());
    }
    if found.iter().all(|found| found.is_done) {
        return Ok(());
    }
    let mut signed: Vec<_> = found.iter().map(|found| found.checkpoint.clone()).collect();
    // After a crash it is one of these; if it is more, nothing is signed.
    signed.push(blocking(key, KeyFile::signed).await?);
    check(sources, place, &signed, stop).await?;
    for Found { name, note, checkpoint, .. } in found.into_iter().filter(|found| !found.is_done) {
        let known = blocking(key, KeyFile::signed).await?;
        let by_new = blocking(key, move |key| key.sign(&known, &checkpoint)).await?;
        let line = new.line(&by_new).map(|(_, line)| line);
        let line =
            line.map_err(|source| TreeError::Note { place: place.place().to_owned(), source })?;
        place.put_succeeded(name, old, note + &line).await?;
    }
    Ok(())
}

/// What is there, which one of the two must have signed.
async fn find(
    place: &TreePlace,
    name: &'static str,
    new: &VerifierKey,
    old: &VerifierKey,
) -> Result<Option<Found>, TreeError> {
    let (signed, is_done) = match place.signed(name, new).await {
        Err(TreeError::Note { .. }) => (place.signed(name, old).await?, false),
        signed => (signed?, true),
    };
    Ok(signed.map(|(note, checkpoint)| Found { name, note, checkpoint, is_done }))
}

/// All that was signed is what the archive has, and so is every tile.
async fn check(
    sources: &Arc<Sources>,
    place: &TreePlace,
    signed: &[Checkpoint],
    stop: &CancellationToken,
) -> Result<(), AuditError> {
    let size = signed.iter().map(|signed| signed.size).max().unwrap_or(0);
    let held = sources.held_after(0).await?;
    let archive = || place.archive().to_owned();
    if held.first > 1 {
        return Err(TreeError::NotHeld { place: archive(), first: held.first, needed: 1 }.into());
    }
    if held.last < size {
        let (last, by) = (held.last, place.place().to_owned());
        return Err(TreeError::Shorter { place: archive(), last, size, by }.into());
    }
    let mut leaves = Leaves::new(sources, place.log(), (1, size), stop).await?;
    let mut tree = Tree::new();
    while let Some(next) = leaves.next().await? {
        let mut full = Vec::new();
        for leaf in next {
            tree.append(leaf.hash, |tile, hashes| full.push((tile, hashes)));
            let (index, root) = (tree.size(), tree.root());
            if signed.iter().any(|signed| signed.size == index && signed.root != root) {
                let by = place.place().to_owned();
                return Err(TreeError::Forked { place: archive(), index, by }.into());
            }
        }
        compare(place, full).await?;
    }
    leaves.finish()?;
    Ok(compare(place, tree.partial()).await?)
}

async fn compare(place: &TreePlace, tiles: Vec<(Tile, Vec<u8>)>) -> Result<(), TreeError> {
    for (tile, ours) in tiles {
        if place.tile(&tile).await? != ours {
            let (place, tile) = (place.place().to_owned(), tile.path());
            return Err(TreeError::TileDiffers { place, tile });
        }
    }
    Ok(())
}
