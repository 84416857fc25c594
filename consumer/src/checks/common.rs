//! The highest block that several copies agree on.

use std::collections::BTreeMap;

use tipline_proto::{Hash, Kind, Tip};

use crate::restore::{RestoreError, Sources};
use crate::store::{StoreError, StoreReader};

/// A copy of a chain: a store, or what an archive says of its blocks.
#[derive(Debug)]
pub enum Copy {
    /// A store.
    Store(Box<dyn StoreReader>),
    /// The blocks of the chain as it stands at the end of an archive, by height.
    Blocks(BTreeMap<u64, Hash>),
}

impl Copy {
    /// Lowest and highest height that it has.
    ///
    /// # Errors
    /// Those of the store.
    pub fn heights(&self) -> Result<Option<(u64, u64)>, StoreError> {
        match self {
            Copy::Store(reader) => reader.heights(),
            Copy::Blocks(blocks) => {
                Ok(blocks.keys().next().copied().zip(blocks.keys().next_back().copied()))
            }
        }
    }

    fn hash(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        match self {
            Copy::Store(reader) => reader.block_hash(height),
            Copy::Blocks(blocks) => Ok(blocks.get(&height).cloned()),
        }
    }
}

/// The highest height at which all copies have the same block, and its hash; `None` if there is
/// none. Copies that differ at a height differ at every higher one, because each block names its
/// parent: so it is searched by halves.
///
/// # Errors
/// Those of the stores.
pub fn common_point(copies: &[Copy]) -> Result<Option<Tip>, StoreError> {
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
fn agreed(copies: &[Copy], height: u64) -> Result<Option<Hash>, StoreError> {
    let mut agreed = None;
    for copy in copies {
        let hash = copy.hash(height)?;
        if hash.is_none() || agreed.as_ref().is_some_and(|agreed| Some(agreed) != hash.as_ref()) {
            return Ok(None);
        }
        agreed = hash;
    }
    Ok(agreed)
}

impl Sources {
    /// The chain as it stands at the end of what these places keep, by height.
    ///
    /// # Errors
    /// A place does not answer; [`RestoreError::Gap`] and [`RestoreError::Corrupt`] where nobody
    /// knows what the chain is.
    pub async fn blocks(&self) -> Result<BTreeMap<u64, Hash>, RestoreError> {
        let mut blocks = BTreeMap::new();
        for row in self.all_rows().await? {
            match (row.kind, row.height, Hash::new(row.label)) {
                (Kind::BlockCommitted, Some(height), Ok(hash)) => {
                    blocks.insert(height, hash);
                }
                (Kind::RolledBack, Some(height), _) => {
                    blocks.split_off(&height.saturating_add(1));
                }
                _ => {}
            }
        }
        Ok(blocks)
    }
}
