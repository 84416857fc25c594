//! Finding an entry of an archive by what it says.

use std::fmt;

use tipline_backup::{Archive, Row};
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

impl Wanted {
    /// Whether an entry that says this is it.
    pub(super) fn is(&self, index: u64, kind: Kind, height: Option<u64>, label: &[u8]) -> bool {
        let is_block = kind == Kind::BlockCommitted;
        match self {
            Wanted::Index(wanted) => index == *wanted,
            Wanted::Height(wanted) => is_block && height == Some(*wanted),
            // Explorers print those of Bitcoin reversed.
            Wanted::Hash(hash) => {
                is_block && (label == hash.as_ref() || label == hash.reversed().as_ref())
            }
        }
    }
}

/// The index of an entry that is signed. Blocks are looked for in the indexes of the segments, from the
/// newest back: what these say is not proven.
///
/// # Errors
/// [`TreeError::NotFound`], [`TreeError::Unknown`]; those of the archive.
pub(super) async fn find_entry(
    archive: &Archive,
    place: &TreePlace,
    wanted: &Wanted,
) -> Result<u64, AuditError> {
    let not_found = || TreeError::NotFound { place: place.place().to_owned() };
    let (_, signed) = place.note().await?.ok_or_else(not_found)?;
    if let Wanted::Index(index) = wanted {
        return Ok(*index);
    }
    let (mut segments, mut up_to) = (archive.back(), signed.size);
    while let Some(segment) = segments.up_to(up_to).await? {
        let index = archive.index(&segment).await?;
        let is_it = |row: &&Row| {
            row.index <= signed.size && wanted.is(row.index, row.kind, row.height, &row.label)
        };
        if let Some(row) = index.rows.iter().rev().find(is_it) {
            return Ok(row.index);
        }
        up_to = segment.first.saturating_sub(1);
    }
    let (place, what) = (place.place().to_owned(), wanted.to_string());
    Err(TreeError::Unknown { place, what }.into())
}
