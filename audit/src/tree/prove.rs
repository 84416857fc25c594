//! Proving that an entry is in the tree.

use std::sync::Arc;

use tipline_backup::{Archive, Sources};
use tokio_util::sync::CancellationToken;

use super::error::TreeError;
use super::find::{Wanted, find_entry};
use super::leaf::Leaf;
use super::leaves::Leaves;
use super::place::TreePlace;
use crate::error::AuditError;
use crate::tlog::{InclusionProof, prove_inclusion, verify_inclusion};

/// The proof that an entry of an archive is in the newest checkpoint there, and the entry as it is
/// proven. The proof carries the entry's preimage as its extra data.
///
/// A block is looked for in the indexes of the archive's segments, from the newest back. The entry that
/// is proven is compared with what was asked for. That no newer one is at the same height is only what
/// the indexes say.
///
/// The entry before is needed too: its digest is in the preimage. That hashes and entry lead to the
/// checkpoint's root is checked; who signed it is for the receiver to check.
///
/// # Errors
/// [`AuditError::Tree`]; those of a replay.
pub async fn prove_entry(
    archive: &Archive,
    place: &TreePlace,
    wanted: &Wanted,
    stop: &CancellationToken,
) -> Result<(InclusionProof, Leaf), AuditError> {
    let index = find_entry(archive, place, wanted).await?;
    let not_found = || TreeError::NotFound { place: place.place().to_owned() };
    let (checkpoint, tree) = place.note().await?.ok_or_else(not_found)?;
    let Some(number) = index.checked_sub(1).filter(|number| *number < tree.size) else {
        let (place, size) = (place.place().to_owned(), tree.size);
        return Err(TreeError::NotYet { place, index, size }.into());
    };
    let sources = Arc::new(Sources { archives: vec![archive.clone()], ..Sources::default() });
    let mut leaves = Leaves::new(&sources, place.log(), (index, index), stop).await?;
    let leaf = loop {
        match leaves.next().await? {
            None => break None,
            Some(found) if found.is_empty() => {}
            Some(found) => break found.into_iter().next(),
        }
    };
    let Some(leaf) = leaf else {
        leaves.finish()?;
        let what = format!("entry {index} was not given by {}", place.archive());
        return Err(AuditError::Internal { what });
    };
    let size = tree.size;
    let hashes = place.with_tiles(move |read| prove_inclusion(size, number, read)).await?;
    if verify_inclusion(size, tree.root, number, &leaf.preimage, &hashes).is_err() {
        let (place, by) = (place.archive().to_owned(), place.place().to_owned());
        return Err(TreeError::Forked { place, index, by }.into());
    }
    let entry = Leaf::parse(&leaf.preimage).map_err(TreeError::from)?;
    if !wanted.is(entry.index, entry.kind, Some(entry.height), &entry.label) {
        let (place, what) = (place.archive().to_owned(), wanted.to_string());
        return Err(TreeError::OtherEntry { place, index, what }.into());
    }
    let extra = Some(leaf.preimage);
    Ok((InclusionProof { extra, index: number, hashes, checkpoint }, entry))
}
