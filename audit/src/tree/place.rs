//! Where the tree is kept: reading it, and writing to it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tipline_backup::{Destination, DestinationError};
use tipline_proto::LogIdentity;

use super::error::TreeError;
use crate::tlog::{
    BadNote, BadProof, Checkpoint, CosignerKey, MAX_NOTE_BYTES, Policy, Tile, Tree, TreeHash,
    VerifierKey, prove_consistency, root, root_within, unverified_text, verify_consistency,
};

const FOLDER: &str = "tlog";
pub(super) const CHECKPOINT: &str = "checkpoint";
pub(super) const PENDING: &str = "pending";
const COSIGNED: &str = "cosigned";
/// A fleet has fewer who cosign.
const MAX_COSIGNED: usize = 256;

/// What the origin of a log is called: `PREFIX/LOG/LINEAGE`, and so is its key. A new lineage of a log
/// is a new origin.
pub fn origin(prefix: &str, log: &LogIdentity) -> String {
    format!("{prefix}/{}", tail(log))
}

fn tail(log: &LogIdentity) -> String {
    format!("{}/{}", log.name.as_str(), log.lineage)
}

/// The folder of the tree beside an archive. Cheap to clone. Calls need a Tokio runtime.
#[derive(Debug, Clone)]
pub struct TreePlace {
    archive: Destination,
    folder: Destination,
    log: LogIdentity,
}

/// Reads tiles for a pure function.
pub(super) type Read<'a> = &'a mut dyn FnMut(&Tile) -> Result<Vec<u8>, BadProof>;

/// The newest checkpoint that a key signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Newest {
    /// As it is there, perhaps with cosignatures.
    pub(super) note: String,
    pub(super) checkpoint: Checkpoint,
    /// Whether it is published, and does not wait for cosignatures.
    pub(super) is_published: bool,
}

/// What was signed, and lies there.
pub(super) struct Notes {
    pub(super) notes: Vec<(String, Checkpoint)>,
    /// What was not read, in words.
    pub(super) not_read: Option<String>,
}

/// That one checkpoint continues another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consistency {
    /// The earlier one.
    pub old: Checkpoint,
    /// The later one.
    pub new: Checkpoint,
    /// What proves it, by RFC 6962; none if they have the same size, or the earlier one has no leaves.
    pub hashes: Vec<TreeHash>,
}

impl TreePlace {
    /// Beside the archive of this log at a destination. Nothing is contacted.
    pub fn new(archive: &Destination, log: &LogIdentity) -> Self {
        Self { archive: archive.clone(), folder: archive.folder(FOLDER), log: log.clone() }
    }

    /// The folder's address, human-readable.
    pub fn place(&self) -> &str {
        self.folder.place()
    }

    /// The archive's address.
    pub(super) fn archive(&self) -> &str {
        self.archive.place()
    }

    /// Where the archive is.
    pub(super) fn destination(&self) -> &Destination {
        &self.archive
    }

    pub(super) fn log(&self) -> &LogIdentity {
        &self.log
    }

    /// Before anything is kept there, the destination shows that it gives no name twice. A directory
    /// does.
    pub(super) async fn try_out(&self) -> Result<(), TreeError> {
        match self.archive.directory() {
            Some(_) => Ok(()),
            None => Ok(self.archive.probe().await.map(drop)?),
        }
    }

    /// The newest signed checkpoint as it is there, and what it says. Who signed it is not looked at,
    /// but it must be of this log. `None` if nothing is signed.
    ///
    /// # Errors
    /// It cannot be read, or is no checkpoint of this log.
    pub async fn note(&self) -> Result<Option<(String, Checkpoint)>, TreeError> {
        self.read_note(CHECKPOINT).await
    }

    async fn read_note(&self, name: &str) -> Result<Option<(String, Checkpoint)>, TreeError> {
        let place = || self.place().to_owned();
        let bytes = match self.folder.read_at_most(name, MAX_NOTE_BYTES as u64).await {
            Err(DestinationError::NotFound { .. }) => return Ok(None),
            Err(DestinationError::TooLong { .. }) => {
                let source = BadNote::Malformed("it is too long");
                return Err(TreeError::Note { place: place(), source });
            }
            read => read?,
        };
        let note = String::from_utf8(bytes.into()).map_err(|_| {
            let source = BadNote::Malformed("it is not UTF-8");
            TreeError::Note { place: place(), source }
        })?;
        let text = unverified_text(&note);
        let text = text.map_err(|source| TreeError::Note { place: place(), source })?;
        let checkpoint: Checkpoint =
            text.parse().map_err(|source| TreeError::Checkpoint { place: place(), source })?;
        let tail = tail(&self.log);
        if !is_of(&checkpoint.origin, &tail) {
            let (expected, found) = (format!("…/{tail}"), checkpoint.origin);
            return Err(TreeError::WrongOrigin { place: place(), expected, found });
        }
        Ok(Some((note, checkpoint)))
    }

    /// The newest checkpoint that this key signed, published or not.
    pub(super) async fn newest(&self, key: &VerifierKey) -> Result<Option<Newest>, TreeError> {
        let pending = self.signed(PENDING, key).await?;
        let published = self.signed(CHECKPOINT, key).await?;
        let (note, checkpoint, is_published) = match (pending, published) {
            (None, None) => return Ok(None),
            (Some((_, one)), Some((_, other))) if one.size == other.size && one != other => {
                let size = one.size;
                let what =
                    format!("two checkpoints of {size} entries are signed at {}", self.place());
                return Err(TreeError::NotConsistent(what));
            }
            (Some((note, pending)), published)
                if published
                    .as_ref()
                    .is_none_or(|(_, published)| published.size < pending.size) =>
            {
                (note, pending, false)
            }
            (_, Some((note, published))) => (note, published, true),
            (Some((note, pending)), None) => (note, pending, false),
        };
        Ok(Some(Newest { note, checkpoint, is_published }))
    }

    /// The newest checkpoint, which this key must have signed. `None` if nothing is signed.
    ///
    /// # Errors
    /// It cannot be read, or is not of this log and key.
    pub async fn checkpoint(&self, key: &VerifierKey) -> Result<Option<Checkpoint>, TreeError> {
        Ok(self.signed(CHECKPOINT, key).await?.map(|(_, checkpoint)| checkpoint))
    }

    pub(super) async fn signed(
        &self,
        name: &str,
        key: &VerifierKey,
    ) -> Result<Option<(String, Checkpoint)>, TreeError> {
        let Some((note, checkpoint)) = self.read_note(name).await? else { return Ok(None) };
        let place = self.place().to_owned();
        if checkpoint.origin != key.name() {
            let (expected, found) = (key.name().to_owned(), checkpoint.origin);
            return Err(TreeError::WrongOrigin { place, expected, found });
        }
        key.open(&note).map_err(|source| TreeError::Note { place, source })?;
        Ok(Some((note, checkpoint)))
    }

    /// Refuses a key of another log or lineage, by its name.
    pub(super) fn check_key(&self, name: &str) -> Result<(), TreeError> {
        let log = tail(&self.log);
        match is_of(name, &log) {
            true => Ok(()),
            false => Err(TreeError::WrongKey { name: name.to_owned(), log }),
        }
    }

    /// Continues the tree of a checkpoint from the tiles at its right edge.
    pub(super) async fn resume(&self, checkpoint: &Checkpoint) -> Result<Tree, TreeError> {
        let size = checkpoint.size;
        let tree = self.with_tiles(|read| Tree::resume(size, read)).await?;
        match tree.root() == checkpoint.root {
            true => Ok(tree),
            false => Err(self.wrong_root(size)),
        }
    }

    pub(super) fn wrong_root(&self, size: u64) -> TreeError {
        TreeError::WrongRoot { place: self.place().to_owned(), size }
    }

    /// Proves from the tiles that one checkpoint continues another. Who signed them is for the caller
    /// to check.
    ///
    /// # Errors
    /// [`TreeError::NotConsistent`] if it does not; [`TreeError::WrongKey`] if they are of another log
    /// than the archive; [`TreeError::WrongRoot`] if the tiles are not those of the later one, all that
    /// are needed, so that nothing is known.
    pub async fn consistency(
        &self,
        old: Checkpoint,
        new: Checkpoint,
    ) -> Result<Consistency, TreeError> {
        let wrong = |what: String| Err(TreeError::NotConsistent(what));
        if old.origin != new.origin {
            let [old, new] = [&old, &new].map(|of| of.origin.escape_debug());
            return wrong(format!("one is of {old}, the other of {new}"));
        }
        // The tiles of another log contradict every checkpoint, and are no evidence.
        self.check_key(&new.origin)?;
        if old.size > new.size {
            return wrong(format!(
                "the earlier one has {} entries, the later one only {}",
                old.size, new.size
            ));
        }
        let root_of = |size| self.with_tiles(move |read| root(size, read));
        if old.size == new.size {
            return match old.root == new.root {
                true => Ok(Consistency { old, new, hashes: Vec::new() }),
                false => wrong(format!("both have {} entries, with different roots", old.size)),
            };
        }
        if root_of(new.size).await? != new.root {
            return Err(self.wrong_root(new.size));
        }
        if old.size == 0 {
            return match old.root == TreeHash::empty() {
                true => Ok(Consistency { old, new, hashes: Vec::new() }),
                false => wrong("the earlier one has no entries, and a root".to_owned()),
            };
        }
        let (from, to) = (old.size, new.size);
        let proof = move |read: Read<'_>| {
            Ok((root_within(from, to, &mut *read)?, prove_consistency(from, to, read)?))
        };
        let (found, hashes) = self.with_tiles(proof).await?;
        // Nothing but the signed root says that the tiles below it are right. If they do not lead to it,
        // they are damaged, and say nothing of the log.
        if verify_consistency((from, found), (to, new.root), &hashes).is_err() {
            return Err(self.wrong_root(to));
        }
        match found == old.root {
            true => Ok(Consistency { old, new, hashes }),
            false => wrong(format!(
                "the first {from} of the {to} entries are not those that were signed before"
            )),
        }
    }

    /// Runs a pure function over tiles: once to learn which it reads, and again with these.
    pub(super) async fn with_tiles<T>(
        &self,
        compute: impl Fn(Read<'_>) -> Result<T, BadProof>,
    ) -> Result<T, TreeError> {
        let mut needed = BTreeSet::new();
        // Which ones they are does not depend on what is in them.
        compute(&mut |tile| {
            needed.insert(*tile);
            Ok(vec![0; bytes_of(tile)])
        })?;
        let mut tiles = BTreeMap::new();
        for tile in needed {
            tiles.insert(tile, self.tile(&tile).await?);
        }
        Ok(compute(&mut |tile| {
            let missing = BadProof::Malformed("another tile is needed than before");
            tiles.get(tile).cloned().ok_or(missing)
        })?)
    }

    /// Reads a tile. Where a partial one is gone, the full one has its hashes.
    pub(super) async fn tile(&self, tile: &Tile) -> Result<Vec<u8>, TreeError> {
        let wrong = |what| {
            let (place, tile) = (self.place().to_owned(), tile.path());
            TreeError::Tile { place, tile, what }
        };
        let most = bytes_of(&tile.full()) as u64;
        let found = match self.folder.read_at_most(&tile.path(), most).await {
            Err(DestinationError::NotFound { .. }) if !tile.is_full() => {
                match self.folder.read_at_most(&tile.full().path(), most).await {
                    Err(DestinationError::NotFound { .. }) => return Err(wrong("is not there")),
                    Err(DestinationError::TooLong { .. }) => {
                        return Err(wrong("is gone, and the full one has another length"));
                    }
                    read => {
                        let full = read?;
                        if full.len() != bytes_of(&tile.full()) {
                            return Err(wrong("is gone, and the full one has another length"));
                        }
                        full.slice(..bytes_of(tile))
                    }
                }
            }
            Err(DestinationError::NotFound { .. }) => return Err(wrong("is not there")),
            Err(DestinationError::TooLong { .. }) => {
                return Err(wrong("has not the length that it must have"));
            }
            read => read?,
        };
        match found.len() == bytes_of(tile) {
            true => Ok(found.into()),
            false => Err(wrong("has not the length that it must have")),
        }
    }

    /// Writes a tile that nobody wrote before, or makes sure that it is there as it should be. Durable
    /// on return.
    pub(super) async fn write_tile(&self, tile: &Tile, hashes: Vec<u8>) -> Result<(), TreeError> {
        let (path, hashes) = (tile.path(), Bytes::from(hashes));
        match self.folder.create(&path, hashes.clone()).await {
            Ok(()) => return Ok(()),
            Err(DestinationError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match self.folder.read_at_most(&path, hashes.len() as u64).await {
            Ok(found) if found == hashes => Ok(self.folder.sync_existing(&path).await?),
            Ok(_) | Err(DestinationError::TooLong { .. }) => {
                let place = self.place().to_owned();
                Err(TreeError::TileDiffers { place, tile: path })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Publishes a signed checkpoint, whose tiles are all there. Durable on return.
    pub(super) async fn publish(&self, note: String) -> Result<(), TreeError> {
        Ok(self.folder.replace(CHECKPOINT, note.into()).await?)
    }

    /// Shows a signed checkpoint, whose tiles are all there, to those who are to cosign it.
    pub(super) async fn put_pending(&self, note: String) -> Result<(), TreeError> {
        Ok(self.folder.replace(PENDING, note.into()).await?)
    }

    /// Puts what this key has cosigned where whoever signs collects it. Nobody else writes there, but
    /// whoever signs, for a witness that it asks.
    pub(super) async fn put_cosigned(
        &self,
        key: &CosignerKey,
        note: String,
    ) -> Result<(), TreeError> {
        let name = cosigned_name(key);
        if self.read_note(&name).await.is_ok_and(|found| found.is_some_and(|(old, _)| old == note))
        {
            return Ok(());
        }
        Ok(self.folder.replace(&name, note.into()).await?)
    }

    /// Puts what another key signs as well in its place. That it did is kept under the other one's ID,
    /// before, when the next checkpoint has only one signature.
    pub(super) async fn put_succeeded(
        &self,
        name: &str,
        old: &VerifierKey,
        note: String,
    ) -> Result<(), TreeError> {
        let kept = format!("{COSIGNED}/{}", old.id_text());
        self.folder.replace(&kept, note.clone().into()).await?;
        Ok(self.folder.replace(name, note.into()).await?)
    }

    /// Every checkpoint that is there and readable: the published one, the one that waits, and those
    /// that were cosigned, as far as they are not too many. Who signed them is for the caller to check.
    pub(super) async fn notes(&self) -> Result<Notes, TreeError> {
        let cosigned = self.folder.list(COSIGNED, None).await?;
        let not_read = (cosigned.len() > MAX_COSIGNED).then(|| {
            let (found, place) = (cosigned.len(), self.place());
            format!(
                "what else was cosigned: only the first {MAX_COSIGNED} of {found} objects in \
                 {COSIGNED}/ at {place} were read. Nobody needs as many: somebody may hide one that \
                 contradicts the others"
            )
        });
        let names = cosigned.into_iter().take(MAX_COSIGNED).map(|object| object.name);
        Ok(Notes { notes: self.read_notes(names).await?, not_read })
    }

    /// The same, of what was cosigned only what is where the witnesses of a policy put it: whatever else
    /// is written there must not be in the way.
    pub(super) async fn notes_by(
        &self,
        policy: &Policy,
    ) -> Result<Vec<(String, Checkpoint)>, TreeError> {
        self.read_notes(policy.witnesses().map(cosigned_name)).await
    }

    async fn read_notes(
        &self,
        cosigned: impl Iterator<Item = String>,
    ) -> Result<Vec<(String, Checkpoint)>, TreeError> {
        let mut notes = Vec::new();
        for name in [CHECKPOINT, PENDING].map(str::to_owned).into_iter().chain(cosigned) {
            match self.read_note(&name).await {
                Ok(found) => notes.extend(found),
                Err(error @ TreeError::Destination(_)) => return Err(error),
                // Whoever may write there may write anything.
                Err(error) => tracing::warn!("{name} at {} is passed over: {error}", self.place()),
            }
        }
        Ok(notes)
    }
}

/// Where a witness puts what it cosigned.
fn cosigned_name(key: &CosignerKey) -> String {
    format!("{COSIGNED}/{}", key.id_text())
}

/// Whether an origin has a prefix before the log's own part.
fn is_of(origin: &str, tail: &str) -> bool {
    let prefix = origin.strip_suffix(tail).and_then(|rest| rest.strip_suffix('/'));
    prefix.is_some_and(|prefix| !prefix.is_empty())
}

fn bytes_of(tile: &Tile) -> usize {
    usize::from(tile.width) * TreeHash::LEN
}
