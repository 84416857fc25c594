//! Reading: the row from the index, the payload from its file.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tipline_proto::{Cursor, Hash, Key as RecordKey, Label, TransactionId};

use super::layout::{INDEX, Key, Layout, Part, Staged};
use super::reference::{Mismatch, Reference};
use crate::disk::failed;
use crate::error::StoreError;
use crate::page::Page;
use crate::reader::{ChainView, StoreReader};
use crate::sqlite::{Role, SqliteReader};
use crate::stored::{
    StoreIdentity, StoredBlock, StoredLinks, StoredMark, StoredProof, StoredRecord,
    StoredTransaction,
};

/// What the index is among the files of its schema.
pub(super) const ROLE: Role = Role::FilesIndex;
/// How often in a row a payload may be replaced in the instant in which its file is opened.
/// Each time is a whole batch, fsynced.
const ATTEMPTS: usize = 100;

/// A handle for reading a store of block files, in this process or another, while it is
/// written or not: see [`crate::files::FileStore`].
#[derive(Debug)]
pub struct FileReader {
    place: String,
    layout: Layout,
    index: SqliteReader,
}

impl FileReader {
    /// Opens the store in `directory` for reading.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if there is no store in it, or one of another version.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, StoreError> {
        let directory = directory.as_ref();
        let place = place(directory);
        check_for_reading(directory, &place)?;
        Self::connect(Layout::new(directory.to_owned()), place)
    }

    pub(super) fn connect(layout: Layout, place: String) -> Result<Self, StoreError> {
        let index = SqliteReader::open_as(&layout.index(), place.clone(), ROLE)?;
        Ok(Self { place, layout, index })
    }

    /// Opens a copy that nobody writes to, without changing or adding any file.
    pub(crate) fn open_copy(copy: &Path) -> Result<Self, StoreError> {
        let (place, layout) = (place(copy), Layout::new(copy.to_owned()));
        check_for_reading(copy, &place)?;
        let index = SqliteReader::open_copy(&layout.index(), place.clone(), ROLE)?;
        Ok(Self { place, layout, index })
    }

    /// What the store was created for; `None` if it is new and empty.
    ///
    /// # Errors
    /// Those of every read.
    pub fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        self.index.identity()
    }

    /// Index of the entry that a payload came with; `None` if there is none by the index.
    pub(super) fn index_of(&self, key: Key) -> Result<Option<u64>, StoreError> {
        match key.part {
            Part::Block => Ok(self.index.block(key.height)?.map(|block| block.index)),
            Part::Proof => Ok(self.index.proof(key.height)?.map(|proof| proof.index)),
        }
    }

    /// The row that `look` finds in the index, with its payload.
    ///
    /// A row and its file are not read at one instant. The writer commits the row first and
    /// renames the file afterwards: so it is looked for under both names, the final one first.
    /// If it has neither, it was renamed between the two looks, or the row was replaced.
    fn whole<R: Row>(
        &self,
        look: impl Fn(&SqliteReader) -> Result<Option<R>, StoreError>,
    ) -> Result<Option<R>, StoreError> {
        // Which row's file was not found, how often, and why.
        let mut missed: Option<(u64, usize, Mismatch)> = None;
        for _ in 0..ATTEMPTS {
            let Some(mut row) = look(&self.index)? else { return Ok(None) };
            let times = match missed.take() {
                // In the second look the file had been renamed already, and since then the row
                // has not been replaced.
                Some((index, 2, why)) if index == row.index() => {
                    return Err(self.damaged(row.key(), why));
                }
                Some((index, times, _)) if index == row.index() => times,
                _ => 0,
            };
            match self.payload(&row)? {
                Ok(payload) => {
                    *row.payload() = payload;
                    return Ok(Some(row));
                }
                Err(why) => missed = Some((row.index(), times + 1, why)),
            }
        }
        Err(StoreError::Failed {
            place: self.place.clone(),
            what: format!("reading what was replaced {ATTEMPTS} times meanwhile: read it again"),
            source: None,
        })
    }

    /// The rows of a page of the index, with their payloads, as far as they are of one state.
    fn whole_page<R: Row>(
        &self,
        rows: Vec<R>,
        look: impl Fn(&SqliteReader, u64) -> Result<Option<R>, StoreError>,
    ) -> Result<Vec<R>, StoreError> {
        let mut page = Page::default();
        for mut row in rows {
            let of = row.index();
            row = match self.payload(&row)? {
                Ok(payload) => {
                    *row.payload() = payload;
                    row
                }
                Err(_) => match self.whole(|index| look(index, row.key().height))? {
                    Some(row) if row.index() == of => row,
                    // It was replaced meanwhile. An empty page would say that there is none.
                    Some(row) if page.len() == 0 => return Ok(vec![row]),
                    _ => break,
                },
            };
            let bytes = row.payload().len();
            if page.push(row, bytes).is_break() {
                break;
            }
        }
        Ok(page.into_rows())
    }

    fn payload<R: Row>(&self, row: &R) -> Result<Result<Bytes, Mismatch>, StoreError> {
        let key = row.key();
        let reference = Reference::decode(row.reference()).map_err(|why| self.damaged(key, why))?;
        let why = match self.file(&self.layout.file(key), &reference)? {
            Ok(payload) => return Ok(Ok(payload)),
            Err(why) => why,
        };
        let staged = self.layout.staged(&Staged::Payload { key, index: row.index() });
        // If it is nowhere, then the final file is what is wrong.
        Ok(self.file(&staged, &reference)?.map_err(|_| why))
    }

    fn file(
        &self,
        path: &PathBuf,
        reference: &Reference,
    ) -> Result<Result<Bytes, Mismatch>, StoreError> {
        let read = || {
            // A pipe would be waited for.
            let opened = fs::metadata(path).and_then(|found| match found.is_file() {
                true => File::open(path).map(Some),
                false => Ok(None),
            });
            let mut file = match opened {
                Ok(Some(file)) => file,
                Ok(None) => return Ok(Err(Mismatch::NotAFile)),
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Err(Mismatch::Missing)),
                Err(e) => return Err(e),
            };
            let length = file.metadata()?.len();
            if let Err(why) = reference.check_length(length) {
                return Ok(Err(why));
            }
            let mut payload = Vec::new();
            // Not more than there is room for, should it grow.
            payload.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX))?;
            Read::by_ref(&mut file).take(length).read_to_end(&mut payload)?;
            Ok(reference.check(&payload).map(|()| payload.into()))
        };
        read()
            .map_err(|e| failed(&self.place, format!("reading {}", self.layout.relative(path)), e))
    }

    /// Whether the files of these heights are there, and as long as the index says. Nothing of them
    /// is read. For the one who writes, between two batches.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] names the one that is not; [`StoreError::Unavailable`] if the medium
    /// does not answer.
    pub(super) fn check_files(&self, heights: RangeInclusive<u64>) -> Result<(), StoreError> {
        for height in heights {
            if let Some(block) = self.index.block(height)? {
                self.check_file(&block)?;
            }
            if let Some(proof) = self.index.proof(height)? {
                self.check_file(&proof)?;
            }
        }
        Ok(())
    }

    fn check_file<R: Row>(&self, row: &R) -> Result<(), StoreError> {
        let key = row.key();
        let reference = Reference::decode(row.reference()).map_err(|why| self.damaged(key, why))?;
        let check = |path: &Path| match fs::metadata(path) {
            Ok(found) if !found.is_file() => Ok(Err(Mismatch::NotAFile)),
            Ok(found) => Ok(reference.check_length(found.len())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Err(Mismatch::Missing)),
            Err(e) => {
                let (place, source) = (self.place.clone(), Some(Box::new(e) as Box<_>));
                Err(StoreError::Unavailable { place, source })
            }
        };
        let Err(why) = check(&self.layout.file(key))? else { return Ok(()) };
        // If there was no space to put it into its place, it is still on its way.
        let staged = self.layout.staged(&Staged::Payload { key, index: row.index() });
        check(&staged)?.map_err(|_| self.damaged(key, why))
    }

    fn damaged(&self, key: Key, why: impl std::error::Error + Send + Sync + 'static) -> StoreError {
        let path = self.layout.file(key);
        let at = self.layout.relative(&path).to_string();
        StoreError::Corrupt { place: self.place.clone(), at, source: Some(Box::new(why)) }
    }
}

/// A row of the index with a reference in the place of its payload.
trait Row {
    fn key(&self) -> Key;
    fn index(&self) -> u64;
    fn reference(&self) -> &[u8];
    fn payload(&mut self) -> &mut Bytes;
}

impl Row for StoredBlock {
    fn key(&self) -> Key {
        Key::block(self.height)
    }

    fn index(&self) -> u64 {
        self.index
    }

    fn reference(&self) -> &[u8] {
        &self.payload
    }

    fn payload(&mut self) -> &mut Bytes {
        &mut self.payload
    }
}

impl Row for StoredProof {
    fn key(&self) -> Key {
        Key::proof(self.height)
    }

    fn index(&self) -> u64 {
        self.index
    }

    fn reference(&self) -> &[u8] {
        &self.payload
    }

    fn payload(&mut self) -> &mut Bytes {
        &mut self.payload
    }
}

impl ChainView for FileReader {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        self.index.cursor()
    }

    fn links(&self) -> Result<StoredLinks, StoreError> {
        self.index.links()
    }

    fn block_hash(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        self.index.block_hash(height)
    }

    fn block(&self, height: u64) -> Result<Option<StoredBlock>, StoreError> {
        self.whole(|index| index.block(height))
    }

    fn heights(&self) -> Result<Option<(u64, u64)>, StoreError> {
        self.index.heights()
    }
}

impl StoreReader for FileReader {
    fn block_by_hash(&self, hash: &Hash) -> Result<Option<StoredBlock>, StoreError> {
        self.whole(|index| index.block_by_hash(hash))
    }

    fn proof(&self, height: u64) -> Result<Option<StoredProof>, StoreError> {
        self.whole(|index| index.proof(height))
    }

    fn block_page(&self, heights: RangeInclusive<u64>) -> Result<Vec<StoredBlock>, StoreError> {
        self.whole_page(self.index.block_page(heights)?, |index, height| index.block(height))
    }

    fn proof_page(&self, heights: RangeInclusive<u64>) -> Result<Vec<StoredProof>, StoreError> {
        self.whole_page(self.index.proof_page(heights)?, |index, height| index.proof(height))
    }

    fn transaction(&self, id: &TransactionId) -> Result<Option<StoredTransaction>, StoreError> {
        self.index.transaction(id)
    }

    fn record(&self, key: &RecordKey) -> Result<Option<StoredRecord>, StoreError> {
        self.index.record(key)
    }

    fn keys(&self, after: Option<&RecordKey>, limit: usize) -> Result<Vec<RecordKey>, StoreError> {
        self.index.keys(after, limit)
    }

    fn transaction_ids(
        &self,
        after: Option<&TransactionId>,
        limit: usize,
    ) -> Result<Vec<TransactionId>, StoreError> {
        self.index.transaction_ids(after, limit)
    }

    fn marks(&self, after: Option<&Label>, limit: usize) -> Result<Vec<Label>, StoreError> {
        self.index.marks(after, limit)
    }

    fn mark(&self, name: &Label) -> Result<Option<StoredMark>, StoreError> {
        self.index.mark(name)
    }
}

/// The store, human-readable.
pub(super) fn place(directory: &Path) -> String {
    format!("files:{}", directory.display())
}

/// Looks whether there can be a store to read.
fn check_for_reading(directory: &Path, place: &str) -> Result<(), StoreError> {
    if directory.is_file() {
        return Err(StoreError::unusable(place, "it is a file: give a directory", None));
    }
    if !directory.is_dir() {
        return Err(StoreError::unusable(
            place,
            "there is no such directory: check the path",
            None,
        ));
    }
    if !directory.join(INDEX).is_file() {
        let why = "it has no index.db, so it is not a store of block files: check the path";
        return Err(StoreError::unusable(place, why, None));
    }
    Ok(())
}
