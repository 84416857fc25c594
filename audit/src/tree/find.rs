//! Finding an entry of an archive by what it says.

use std::fmt;

use tipline_backup::Archive;
use tipline_proto::{Hash, Kind};

use super::error::TreeError;
use super::place::TreePlace;
use crate::error::AuditError;

/// Which entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The one of this index.
    Index(u64),
    /// The newest commit of a block at this height.
    Height(u64),
    /// The newest commit of the block with this hash, in either order of its bytes.
    Hash(Hash),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Index(index) => write!(f, "entry {index}"),
            Wanted::Height(height) => write!(f, "block {height}"),
            Wanted::Hash(hash) => write!(f, "a block with the hash {hash}"),
        }
    }
}

/// The index of an entry that is signed. Blocks are looked for in the indexes of the segments, from the
/// newest back.
///
/// # Errors
/// [`TreeError::NotFound`], [`TreeError::Unknown`]; those of the archive.
pub async fn find_entry(
    archive: &Archive,
    place: &TreePlace,
    wanted: &Wanted,
) -> Result<u64, AuditError> {
    let not_found = || TreeError::NotFound { place: place.place().to_owned() };
    let (_, signed) = place.note().await?.ok_or_else(not_found)?;
    if let Wanted::Index(index) = wanted {
        return Ok(*index);
    }
    // As explorers print those of Bitcoin.
    let reversed = match wanted {
        Wanted::Hash(hash) => Some(hash.reversed()),
        _ => None,
    };
    let (mut segments, mut up_to) = (archive.back(), signed.size);
    while let Some(segment) = segments.up_to(up_to).await? {
        let index = archive.index(&segment).await?;
        let is_it = |row: &&tipline_backup::Row| {
            row.index <= signed.size
                && row.kind == Kind::BlockCommitted
                && match wanted {
                    Wanted::Height(height) => row.height == Some(*height),
                    Wanted::Hash(hash) => {
                        let mut either = [Some(hash), reversed.as_ref()].into_iter().flatten();
                        either.any(|hash| row.label == hash.as_ref())
                    }
                    Wanted::Index(_) => false,
                }
        };
        if let Some(row) = index.rows.iter().rev().find(is_it) {
            return Ok(row.index);
        }
        up_to = segment.first.saturating_sub(1);
    }
    let (place, what) = (place.place().to_owned(), wanted.to_string());
    Err(TreeError::Unknown { place, what }.into())
}
