//! The highest block that several copies agree on.

use tipline_proto::{Hash, Tip};
use tipline_store::{ChainView, StoreError};

/// The highest height at which all copies have the same block, and its hash; `None` if there is
/// none. Copies that differ at a height differ at every higher one, because each block names its
/// parent: so it is searched by halves. An archive is a copy too, by the view of its
/// [`crate::ArchiveStore`].
///
/// # Errors
/// Those of the stores.
pub fn common_point(copies: &[Box<dyn ChainView>]) -> Result<Option<Tip>, StoreError> {
    let mut range: Option<(u64, u64)> = None;
    for copy in copies {
        let Some((lowest, highest)) = copy.heights()? else { return Ok(None) };
        let (low, high) = range.unwrap_or((lowest, highest));
        range = Some((low.max(lowest), high.min(highest)));
    }
    let Some((mut low, mut high)) = range.filter(|(low, high)| low <= high) else {
        return Ok(None);
    };
    let mut found = None;
    while low <= high {
        let middle = low + (high - low) / 2;
        match agreed(copies, middle)? {
            Some(hash) => {
                found = Some(Tip { height: middle, hash });
                match middle.checked_add(1) {
                    Some(above) => low = above,
                    None => break,
                }
            }
            None => match middle.checked_sub(1) {
                Some(below) => high = below,
                None => break,
            },
        }
    }
    Ok(found)
}

/// The hash at a height, if all have the same.
fn agreed(copies: &[Box<dyn ChainView>], height: u64) -> Result<Option<Hash>, StoreError> {
    let mut agreed = None;
    for copy in copies {
        let hash = copy.block_hash(height)?;
        if hash.is_none() || agreed.as_ref().is_some_and(|agreed| Some(agreed) != hash.as_ref()) {
            return Ok(None);
        }
        agreed = hash;
    }
    Ok(agreed)
}
