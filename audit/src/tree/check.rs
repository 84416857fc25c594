//! Comparing the tree beside an archive with the entries of the archive.

use tipline_proto::{Digest, Entry, Position};

use super::error::TreeError;
use super::place::{Notes, TreePlace};
use crate::tlog::{Checkpoint, TILE_HASHES, Tile, Tree, TreeHash, VerifierKey, leaf_hash};

/// What `audit verify` compares with the entries of an archive.
#[derive(Debug, Clone)]
pub struct SignedTree {
    /// The tree, if there is one.
    pub place: TreePlace,
    /// The key that must have signed it; otherwise there need be none, and who signed it is not
    /// verified.
    pub key: Option<VerifierKey>,
}

impl SignedTree {
    /// What is wrong if nothing is signed there.
    pub(crate) fn not_signed(&self) -> Option<String> {
        let Self { place, key } = self;
        let missing = |key: &VerifierKey| {
            format!(
                "nothing is signed at {}, but {} is to have signed it",
                place.place(),
                key.name()
            )
        };
        key.as_ref().map(missing)
    }
}

/// A tree that grows from entries as they are verified, and must be the one that was signed. Where the
/// oldest are not read it grows from what the tiles say of them: if its root is the signed one, that was so.
pub(crate) struct TreeCheck<'a> {
    place: &'a TreePlace,
    has_key: bool,
    signed: Checkpoint,
    /// Whatever else the key signed that is there: what waits to be published, what was cosigned.
    others: Vec<Checkpoint>,
    /// What may be there besides.
    not_read: Option<String>,
    /// How many entries are not read, and are what the tiles say.
    begun: u64,
    tree: Tree,
    previous: Digest,
    problem: Option<String>,
}

impl<'a> TreeCheck<'a> {
    /// Against the newest checkpoint; `None` if nothing is signed. It must be given every entry, from
    /// the first one on or from where it [begins](Self::begin_after).
    pub(crate) async fn start(tree: &'a SignedTree) -> Result<Option<Self>, TreeError> {
        let SignedTree { place, key } = tree;
        let signed = match key {
            Some(key) => place.checkpoint(key).await?,
            None => place.note().await?.map(|(_, checkpoint)| checkpoint),
        };
        let Some(signed) = signed else { return Ok(None) };
        let (others, not_read) = match key {
            // Without it anybody can have signed them.
            None => (Vec::new(), None),
            Some(key) => {
                let Notes { notes, not_read } = place.notes().await?;
                let is_ours = |note: &str, of: &Checkpoint| {
                    of.origin == key.name() && key.open(note).is_ok() && *of != signed
                };
                let ours = notes.into_iter().filter(|(note, of)| is_ours(note, of));
                (ours.map(|(_, of)| of).collect(), not_read)
            }
        };
        let (previous, has_key) = (Digest::origin(place.log()), key.is_some());
        let tree = Tree::new();
        let problem = None;
        let begun = 0;
        Ok(Some(Self { place, has_key, signed, others, not_read, begun, tree, previous, problem }))
    }

    /// Begins with the entry after this one, which is not read.
    pub(crate) async fn begin_after(&mut self, trusted: Position) -> Result<(), TreeError> {
        self.begun = trusted.index;
        let (size, of) = (self.begun, self.compared_to().size);
        if size >= of {
            return Ok(());
        }
        match self.place.with_tiles(|read| Tree::resume_earlier(size, of, read)).await {
            Ok(tree) => (self.tree, self.previous) = (tree, trusted.digest),
            Err(error @ TreeError::Tile { .. }) => self.problem = Some(error.to_string()),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What the tiles must lead to: the newest checkpoint, or if nothing is held of what that signed, the
    /// newest of the others.
    fn compared_to(&self) -> &Checkpoint {
        let newer = self.others.iter().filter(|_| self.begun >= self.signed.size);
        newer.fold(&self.signed, |newest, other| match other.size > newest.size {
            true => other,
            false => newest,
        })
    }

    /// Once all entries were added: compares the checkpoints of what was not read.
    pub(crate) async fn finish(&mut self) -> Result<(), TreeError> {
        if !self.is_compared() {
            return Ok(());
        }
        let to = self.compared_to().clone();
        let all = self.others.iter().chain([&self.signed]);
        let early: Vec<_> = all.filter(|other| other.size <= self.begun).cloned().collect();
        for other in early {
            match self.place.consistency(other, to.clone()).await {
                Ok(_) => {}
                Err(TreeError::NotConsistent(what)) => {
                    let (origin, place) = (&self.signed.origin, self.place.place());
                    self.problem = Some(format!(
                        "two checkpoints of {origin} at {place} contradict each other: {what}"
                    ));
                }
                Err(error @ (TreeError::Tile { .. } | TreeError::WrongRoot { .. })) => {
                    self.problem = Some(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// How many entries the newest of all has.
    fn newest(&self) -> u64 {
        self.others.iter().map(|other| other.size).fold(self.signed.size, u64::max)
    }

    /// Adds the next entry. One that does not follow the last of them is passed over: then not all of
    /// the history is read.
    pub(crate) async fn add(&mut self, entry: &Entry) -> Result<(), TreeError> {
        let is_next = entry.index == self.tree.size() + 1 && entry.index <= self.newest();
        if self.problem.is_some() || !is_next {
            return Ok(());
        }
        let leaf = leaf_hash(&entry.preimage(&self.previous));
        self.previous = entry.digest;
        let mut full = Vec::new();
        self.tree.append(leaf, |tile, hashes| full.push((tile, hashes)));
        self.compare(full).await?;
        if self.tree.size() == self.signed.size && self.problem.is_none() {
            self.compare(self.tree.partial()).await?;
            if self.problem.is_none() && self.tree.root() != self.signed.root {
                let error = self.place.wrong_root(self.signed.size);
                self.problem = Some(format!("{error}, although each of them is right"));
            }
        }
        let size = self.tree.size();
        let here = || self.others.iter().filter(|other| other.size == size);
        if self.problem.is_none() && here().any(|other| other.root != self.tree.root()) {
            let (origin, place) = (&self.signed.origin, self.place.place());
            self.problem = Some(format!(
                "two checkpoints of {origin} at {place} contradict each other: one is of {size} \
                 entries that are not these"
            ));
        }
        Ok(())
    }

    /// How many entries the named key signed, if they were found to be those of the archive.
    pub(crate) fn signed(&self) -> Option<u64> {
        (self.has_key && self.is_compared()).then_some(self.compared_to().size)
    }

    fn is_compared(&self) -> bool {
        let size = self.compared_to().size;
        self.problem.is_none() && self.begun < size && self.tree.size() >= size
    }

    /// What is wrong, after the last of the archive's entries that were read.
    pub(crate) fn problem(&self, held: u64) -> Option<String> {
        let (size, place) = (self.newest(), self.place.place());
        let lost =
            || format!("{size} entries are signed at {place}, but the archive ends with {held}");
        self.problem.clone().or_else(|| (held < size).then(lost))
    }

    /// What is wrong if all entries that are held were read, and are right.
    pub(crate) fn not_compared(&self) -> Option<String> {
        let (size, place) = (self.signed.size, self.place.place());
        let what =
            format!("entries 1 to {size} are signed at {place}, and none is held to compare");
        (self.has_key && self.problem.is_none() && !self.is_compared()).then_some(what)
    }

    /// What was not compared.
    pub(crate) fn not_verified(&self, held: u64) -> Vec<String> {
        let (size, seen, place) = (self.signed.size, self.tree.size(), self.place.place());
        let mut left_out: Vec<String> = self.not_read.iter().cloned().collect();
        if self.problem.is_none() && !self.is_compared() {
            left_out.push(format!(
                "the tree at {place}: it is compared if what is held of entries 1 to {size} is read, \
                 up to entry {size}, and right"
            ));
        }
        let others = self.others.iter().filter(|other| other.size > seen).count();
        if others > 0 && self.is_compared() {
            left_out.push(format!("checkpoints at {place} of more than {seen} entries: {others}"));
        }
        if !self.has_key {
            left_out.push(format!("who signed the tree at {place}: no key was given"));
        }
        if held > size {
            left_out.push(format!("entries {} to {held}: they are not signed yet", size + 1));
        }
        left_out
    }

    async fn compare(&mut self, tiles: Vec<(Tile, Vec<u8>)>) -> Result<(), TreeError> {
        for (tile, ours) in tiles {
            let found = match self.place.tile(&tile).await {
                Ok(found) => found,
                Err(error @ TreeError::Tile { .. }) => {
                    self.problem = Some(error.to_string());
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            if found != ours {
                self.problem = Some(self.differs(&tile, &ours, &found));
                return Ok(());
            }
        }
        Ok(())
    }

    fn differs(&self, tile: &Tile, ours: &[u8], found: &[u8]) -> String {
        let pairs = ours.chunks(TreeHash::LEN).zip(found.chunks(TreeHash::LEN));
        let at = pairs.take_while(|(ours, found)| ours == found).count() as u64;
        let (place, path) = (self.place.place(), tile.path());
        match tile.level {
            0 => {
                let index = tile.index * TILE_HASHES + at + 1;
                format!("{place}: {path} has another entry {index} than the archive")
            }
            _ => format!("{place}: hash {at} of {path} is not that of the tile below it"),
        }
    }
}
