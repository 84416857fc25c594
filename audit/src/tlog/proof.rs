//! Proofs from tiles, and checking them.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ct_merkle::{
    ConsistencyProof, RootHash, indices_for_consistency_proof, indices_for_inclusion_proof,
};
use sha2::Sha256;
use sha2::digest::Output;

use super::checkpoint::{BadCheckpoint, Checkpoint, number};
use super::hash::{TreeHash, node_hash, perfect_root};
use super::note::{BadNote, VerifierKey};
use super::tile::{TILE_HASHES, TILE_LEVELS, Tile};
use super::tree::{BadTile, hashes_of};

/// The first line of a proof.
const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// What begins the line of what is beside a proof.
const EXTRA: &str = "extra ";
/// Room for a preimage, many times over.
const MAX_EXTRA: usize = 64 << 10;
/// A tree of 2^63 leaves needs no more hashes.
const MAX_HASHES: usize = 63;
/// Larger trees have no indexes here.
const MAX_SIZE: u64 = 1 << 62;

/// Something is not proven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadProof {
    /// A tile has not the length that it must have.
    #[error(transparent)]
    Tile(#[from] BadTile),
    /// The tree has no such leaf, or is not larger than the old one.
    #[error("a tree of {size} leaves has no such proof for {asked}")]
    Range {
        /// Size of the tree.
        size: u64,
        /// The leaf, or the size of the old tree.
        asked: u64,
    },
    /// The hashes do not lead to the root.
    #[error("the hashes do not lead from {what} to the root")]
    Wrong {
        /// What they should prove.
        what: String,
    },
    /// The text is no proof.
    #[error("it is no proof: {0}")]
    Malformed(&'static str),
    /// The checkpoint in it is not usable.
    #[error(transparent)]
    Checkpoint(#[from] BadCheckpoint),
    /// The checkpoint in it is not signed by who should have signed it.
    #[error(transparent)]
    Note(#[from] BadNote),
    /// The checkpoint is of another log.
    #[error("the checkpoint is of {}, not of {expected}", found.escape_debug())]
    WrongOrigin {
        /// The log that was asked for.
        expected: String,
        /// The log that it is of.
        found: String,
    },
}

/// That a leaf is in a tree, in the form of c2sp.org/tlog-proof: a text that is checked without
/// asking anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// What its maker put beside it. Nobody signed that.
    pub extra: Option<Vec<u8>>,
    /// Number of the leaf, from 0: that of the entry, less one.
    pub index: u64,
    /// From the leaf's sibling up to the root's child.
    pub hashes: Vec<TreeHash>,
    /// The signed checkpoint, as it was found.
    pub checkpoint: String,
}

impl InclusionProof {
    /// Checks that the leaf of these bytes is in the log of this origin, whose checkpoint `key` signed.
    /// Gives the checkpoint.
    ///
    /// # Errors
    /// It is not proven.
    pub fn check(
        &self,
        leaf: &[u8],
        origin: &str,
        key: &VerifierKey,
    ) -> Result<Checkpoint, BadProof> {
        let checkpoint: Checkpoint = key.open(&self.checkpoint)?.parse()?;
        if checkpoint.origin != origin {
            let (expected, found) = (origin.to_owned(), checkpoint.origin);
            return Err(BadProof::WrongOrigin { expected, found });
        }
        verify_inclusion(checkpoint.size, checkpoint.root, self.index, leaf, &self.hashes)?;
        Ok(checkpoint)
    }
}

impl fmt::Display for InclusionProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "{EXTRA}{}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", hash.to_base64()))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for InclusionProof {
    type Err = BadProof;

    /// Reads the text of a proof.
    fn from_str(text: &str) -> Result<Self, BadProof> {
        let malformed = |why| BadProof::Malformed(why);
        let (head, checkpoint) =
            text.split_once("\n\n").ok_or(malformed("it has no checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(FIRST_LINE) {
            return Err(malformed("its first line is not that of a proof"));
        }
        let extra = lines.next_if(|line| line.starts_with(EXTRA)).map(|line| {
            let text = line.strip_prefix(EXTRA).filter(|text| text.len() <= MAX_EXTRA)?;
            STANDARD.decode(text).ok()
        });
        let extra = match extra {
            Some(None) => return Err(malformed("its extra line is not base64, or too long")),
            read => read.flatten(),
        };
        let index = lines.next().and_then(|line| number(line.strip_prefix("index ")?));
        let index = index.ok_or(malformed("it has no index"))?;
        let hashes: Option<Vec<TreeHash>> =
            lines.take(MAX_HASHES + 1).map(TreeHash::from_base64).collect();
        let hashes = hashes.ok_or(malformed("a line of it is no hash"))?;
        if hashes.len() > MAX_HASHES {
            return Err(malformed("it has too many hashes"));
        }
        Ok(Self { extra, index, hashes, checkpoint: checkpoint.to_owned() })
    }
}

/// The root of a tree of this size, from its tiles.
///
/// # Errors
/// Those of `read`; a tile has not the length that it must have; [`BadProof::Range`] if no tree is as
/// large.
pub fn root<E: From<BadProof>>(
    size: u64,
    read: impl FnMut(&Tile) -> Result<Vec<u8>, E>,
) -> Result<TreeHash, E> {
    root_within(size, size, read)
}

/// The root over the first leaves of a tree of this size, from its tiles.
///
/// # Errors
/// Those of [`root`]; [`BadProof::Range`] if the tree does not have as many.
pub(crate) fn root_within<E: From<BadProof>>(
    first: u64,
    size: u64,
    read: impl FnMut(&Tile) -> Result<Vec<u8>, E>,
) -> Result<TreeHash, E> {
    match first {
        0 => Ok(TreeHash::empty()),
        _ if first > size || size > MAX_SIZE => Err(BadProof::Range { size, asked: first }.into()),
        _ => Subtrees { size, read }.root(0, first),
    }
}

/// The hashes that prove that a leaf is in a tree of this size, from its tiles: at most two for each
/// level of them.
///
/// Nothing is compared: whoever gives proofs away checks them before, by [`verify_inclusion`].
///
/// # Errors
/// Those of `read`; [`BadProof::Range`] if the tree has no such leaf.
pub fn prove_inclusion<E: From<BadProof>>(
    size: u64,
    index: u64,
    read: impl FnMut(&Tile) -> Result<Vec<u8>, E>,
) -> Result<Vec<TreeHash>, E> {
    if index >= size || size > MAX_SIZE {
        return Err(BadProof::Range { size, asked: index }.into());
    }
    Subtrees { size, read }.nodes(indices_for_inclusion_proof(size, index))
}

/// The hashes that prove that a tree of the size `new` begins with one of the size `old`.
///
/// # Errors
/// Those of `read`; [`BadProof::Range`] if the old one has no leaves, or is larger.
pub fn prove_consistency<E: From<BadProof>>(
    old: u64,
    new: u64,
    read: impl FnMut(&Tile) -> Result<Vec<u8>, E>,
) -> Result<Vec<TreeHash>, E> {
    if old == 0 || old > new || new > MAX_SIZE {
        return Err(BadProof::Range { size: new, asked: old }.into());
    }
    Subtrees { size: new, read }.nodes(indices_for_consistency_proof(old, new - old))
}

/// Checks that a leaf of these bytes has this index in the tree.
///
/// # Errors
/// [`BadProof::Wrong`], [`BadProof::Range`].
pub fn verify_inclusion(
    size: u64,
    root: TreeHash,
    index: u64,
    leaf: &[u8],
    hashes: &[TreeHash],
) -> Result<(), BadProof> {
    if index >= size || size > MAX_SIZE {
        return Err(BadProof::Range { size, asked: index });
    }
    let hashes: Vec<Output<Sha256>> = hashes.iter().map(output).collect();
    let proof = ct_merkle::InclusionProof::from_digests(hashes.iter());
    let wrong = |_| BadProof::Wrong { what: format!("leaf {index}") };
    at(size, root).verify_inclusion(&leaf, index, &proof).map_err(wrong)
}

/// Checks that the tree `new` begins with the tree `old`; both as size and root.
///
/// # Errors
/// [`BadProof::Wrong`], [`BadProof::Range`].
pub fn verify_consistency(
    old: (u64, TreeHash),
    new: (u64, TreeHash),
    hashes: &[TreeHash],
) -> Result<(), BadProof> {
    if old.0 == 0 || old.0 > new.0 || new.0 > MAX_SIZE {
        return Err(BadProof::Range { size: new.0, asked: old.0 });
    }
    let hashes: Vec<Output<Sha256>> = hashes.iter().map(output).collect();
    let proof = ConsistencyProof::from_digests(hashes.iter());
    let wrong = |_| BadProof::Wrong { what: format!("the tree of {} leaves", old.0) };
    at(new.0, new.1).verify_consistency(&at(old.0, old.1), &proof).map_err(wrong)
}

fn at(size: u64, root: TreeHash) -> RootHash<Sha256> {
    RootHash::new(output(&root), size)
}

fn output(hash: &TreeHash) -> Output<Sha256> {
    (*hash.as_bytes()).into()
}

/// Roots over ranges of leaves, from tiles.
struct Subtrees<R> {
    size: u64,
    read: R,
}

impl<E: From<BadProof>, R: FnMut(&Tile) -> Result<Vec<u8>, E>> Subtrees<R> {
    /// The hashes of nodes, by their numbers in an array-based tree (RFC 9420, appendix C).
    fn nodes(&mut self, numbers: Vec<u64>) -> Result<Vec<TreeHash>, E> {
        let mut hashes = Vec::with_capacity(numbers.len());
        for number in numbers {
            let level = number.trailing_ones();
            let first = (number >> (level + 1)) << level;
            hashes.push(self.root(first, self.size.min(first + (1 << level)))?);
        }
        Ok(hashes)
    }

    /// The root over the leaves from `first` to before `end`, which are a node of the tree.
    fn root(&mut self, first: u64, end: u64) -> Result<TreeHash, E> {
        let count = end - first;
        if count.is_power_of_two() {
            return self.perfect(first, count);
        }
        // As RFC 6962 splits it: the largest power of two that is smaller.
        let left = count.next_power_of_two() / 2;
        let (left, right) = (self.root(first, first + left)?, self.root(first + left, end)?);
        Ok(node_hash(&left, &right))
    }

    fn perfect(&mut self, first: u64, count: u64) -> Result<TreeHash, E> {
        let height = count.trailing_zeros();
        // Below 8, as sizes are below 2^63.
        let level = (height / TILE_LEVELS) as u8;
        let start = first >> (u32::from(level) * TILE_LEVELS);
        let width = 1_usize << (height % TILE_LEVELS);
        let tile = Tile::of_tree(level, start / TILE_HASHES, self.size);
        let tile = tile.ok_or(BadProof::Range { size: self.size, asked: first })?;
        let hashes = hashes_of(&tile, &(self.read)(&tile)?).map_err(BadProof::from)?;
        let from = (start % TILE_HASHES) as usize;
        match hashes.get(from..from + width) {
            Some(hashes) => Ok(perfect_root(hashes)),
            None => Err(BadProof::Range { size: self.size, asked: first }.into()),
        }
    }
}
