//! Reading: each call sees one state of the database.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs, io};

use bytes::Bytes;
use rocksdb::{DB, ErrorKind};
use tipline_proto::{Cursor, Hash, Key, Label, TransactionId};

use super::families::{
    BLOCK_HASHES, BLOCK_PAYLOADS, BLOCKS, MARKS, META, PROOF_PAYLOADS, PROOFS, RECORDS,
    TRANSACTION_PAYLOADS, TRANSACTIONS,
};
use super::fault::{damaged, fault};
use super::open;
use super::rows::{self, BASE_KEY, CURSOR_KEY, IDENTITY_KEY, number};
use super::scratch::Scratch;
use super::shared::Shared;
use super::view::View;
use crate::store::{
    StoreError, StoreIdentity, StoreReader, StoredBlock, StoredLinks, StoredMark, StoredProof,
    StoredRecord, StoredTransaction,
};

/// A handle for reading a store in a RocksDB directory, in this process or another, while it is
/// written or not: see [`crate::RocksDbStore`].
pub struct RocksDbReader {
    place: String,
    source: Source,
}

enum Source {
    /// The writer's own database.
    Shared(Arc<Shared>),
    /// A second instance, which catches up with the writer's.
    Secondary(Secondary),
}

impl fmt::Debug for RocksDbReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RocksDbReader").field(&self.place).finish()
    }
}

impl RocksDbReader {
    /// Opens the store in the directory at `path` for reading.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if there is no store at this path, or one of another version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let place = open::place(path.as_ref());
        let (db, scratch) = open::for_reading(path.as_ref(), &place)?;
        let (path, seen) = (path.as_ref().to_owned(), RefCell::default());
        let source = Source::Secondary(Secondary { db, path, seen, _scratch: scratch });
        Ok(Self { place, source })
    }

    pub(super) fn shared(place: String, shared: Arc<Shared>) -> Self {
        Self { place, source: Source::Shared(shared) }
    }

    /// What the store was created for; `None` if it is new and empty.
    ///
    /// # Errors
    /// As for every read.
    pub fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        self.read(&|view| identity(view))
    }

    /// Reads from one state.
    fn read<T>(&self, read: &dyn Fn(&View<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match &self.source {
            Source::Shared(shared) => {
                shared.with(&self.place, |db| read(&View::now(db, &self.place)))
            }
            Source::Secondary(secondary) => {
                let read = || {
                    secondary.catch_up(&self.place)?;
                    read(&View::at_rest(&secondary.db, &self.place))
                };
                match read() {
                    // The writer may have deleted a file that this state was in.
                    Err(StoreError::Failed { .. }) => {
                        secondary.seen.take();
                        read()
                    }
                    read => read,
                }
            }
        }
    }
}

/// A second instance of the database.
struct Secondary {
    db: DB,
    path: PathBuf,
    /// The files that the writer appends to, with their lengths, when it caught up.
    seen: RefCell<BTreeSet<(OsString, u64)>>,
    _scratch: Scratch,
}

impl Secondary {
    /// Catches up with the writer if it has written: looking costs some microseconds, catching
    /// up some milliseconds.
    fn catch_up(&self, place: &str) -> Result<(), StoreError> {
        let now = self.appended_to().map_err(|e| StoreError::Failed {
            place: place.to_owned(),
            what: "looking at its directory".to_owned(),
            source: Some(Box::new(e)),
        })?;
        if *self.seen.borrow() == now {
            return Ok(());
        }
        self.db.try_catch_up_with_primary().map_err(|e| match e.kind() {
            ErrorKind::Corruption => fault(place, "its manifest or write-ahead log", e),
            _ => fault(place, "catching up with the writer", e),
        })?;
        *self.seen.borrow_mut() = now;
        Ok(())
    }

    /// Every batch makes one of these longer, before it is applied.
    fn appended_to(&self) -> io::Result<BTreeSet<(OsString, u64)>> {
        let mut files = BTreeSet::new();
        for file in fs::read_dir(&self.path)? {
            let file = file?;
            let name = file.file_name();
            let text = name.to_string_lossy();
            if text.ends_with(".log") || text.starts_with("MANIFEST") {
                match file.metadata() {
                    Ok(metadata) => drop(files.insert((name, metadata.len()))),
                    // Deleted meanwhile: the next look differs, too.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(files)
    }
}

/// What the store is for.
pub(super) fn identity(view: &View<'_>) -> Result<Option<StoreIdentity>, StoreError> {
    view.row(META, IDENTITY_KEY, &|| "its identity".to_owned(), rows::identity)
}

/// How far the store is.
pub(super) fn cursor(view: &View<'_>) -> Result<Option<Cursor>, StoreError> {
    view.row(META, CURSOR_KEY, &|| "the cursor".to_owned(), |row| Cursor::decode(row.rest()).ok())
}

/// The header of a block, and how long its payload is.
pub(super) fn header(
    view: &View<'_>,
    height: u64,
) -> Result<Option<(StoredBlock, u64)>, StoreError> {
    let at = || format!("block {height}");
    view.row(BLOCKS, &number(height), &at, |row| rows::block(height, row))
}

/// The header of a transaction, and how long its payload is.
pub(super) fn transaction_header(
    view: &View<'_>,
    id: &TransactionId,
) -> Result<Option<(StoredTransaction, u64)>, StoreError> {
    let at = || format!("transaction {id}");
    view.row(TRANSACTIONS, id.as_ref(), &at, |row| rows::transaction(id, row))
}

fn block(view: &View<'_>, height: u64) -> Result<Option<StoredBlock>, StoreError> {
    let Some((block, bytes)) = header(view, height)? else { return Ok(None) };
    let at = || format!("block {height}");
    let payload = view.payload(BLOCK_PAYLOADS, &number(height), bytes, &at)?;
    Ok(Some(StoredBlock { payload, ..block }))
}

fn links(view: &View<'_>, place: &str) -> Result<StoredLinks, StoreError> {
    let base = view.row(META, BASE_KEY, &|| "the base".to_owned(), rows::tip)?;
    let proof_tip = cursor(view)?.and_then(|cursor| cursor.proof_tip);
    let first = proof_tip.map_or(0, |tip| tip.saturating_add(1));
    let mut proven_above = BTreeSet::new();
    let mut walk = view.walk(PROOFS, |rows| rows.seek(number(first)))?;
    while let Some((key, _)) = walk.here()? {
        proven_above.insert(height(key, place)?);
        walk.forth();
    }
    Ok(StoredLinks { base, proven_above })
}

fn heights(view: &View<'_>, place: &str) -> Result<Option<(u64, u64)>, StoreError> {
    let end = |walk: super::view::Walk<'_>| match walk.here()? {
        Some((key, _)) => height(key, place).map(Some),
        None => Ok(None),
    };
    let lowest = end(view.walk(BLOCKS, |rows| rows.seek_to_first())?)?;
    let highest = end(view.walk(BLOCKS, |rows| rows.seek_to_last())?)?;
    Ok(lowest.zip(highest))
}

/// The height that a key is.
pub(super) fn height(key: &[u8], place: &str) -> Result<u64, StoreError> {
    let key = key.try_into().map_err(|_| damaged(place, "the key of a height"))?;
    Ok(u64::from_be_bytes(key))
}

/// The keys of a family behind one, in order.
fn keys<T>(
    view: &View<'_>,
    family: &str,
    after: Option<&[u8]>,
    limit: usize,
    read: impl Fn(Bytes) -> Option<T>,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    let mut walk = view.walk(family, |rows| rows.seek(after.unwrap_or_default()))?;
    while let Some((key, _)) = walk.here()?
        && found.len() < limit
    {
        if Some(key) != after {
            let at = || damaged(view.place(), &format!("a key of {family}"));
            found.push(read(Bytes::copy_from_slice(key)).ok_or_else(at)?);
        }
        walk.forth();
    }
    Ok(found)
}

impl StoreReader for RocksDbReader {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        self.read(&|view| cursor(view))
    }

    fn links(&self) -> Result<StoredLinks, StoreError> {
        self.read(&|view| links(view, &self.place))
    }

    fn block_hash(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        self.read(&|view| Ok(header(view, height)?.map(|(block, _)| block.hash)))
    }

    fn block(&self, height: u64) -> Result<Option<StoredBlock>, StoreError> {
        self.read(&|view| block(view, height))
    }

    fn block_by_hash(&self, hash: &Hash) -> Result<Option<StoredBlock>, StoreError> {
        let at = || format!("block {hash}");
        self.read(&|view| {
            let height = view.row(BLOCK_HASHES, hash.as_ref(), &at, |mut row| row.number())?;
            match height {
                Some(height) => block(view, height),
                None => Ok(None),
            }
        })
    }

    fn proof(&self, height: u64) -> Result<Option<StoredProof>, StoreError> {
        let (key, at) = (number(height), || format!("proof of block {height}"));
        self.read(&|view| {
            let found = view.row(PROOFS, &key, &at, |row| rows::proof(height, row))?;
            let Some((proof, bytes)) = found else { return Ok(None) };
            let payload = view.payload(PROOF_PAYLOADS, &key, bytes, &at)?;
            Ok(Some(StoredProof { payload, ..proof }))
        })
    }

    fn heights(&self) -> Result<Option<(u64, u64)>, StoreError> {
        self.read(&|view| heights(view, &self.place))
    }

    fn transaction(&self, id: &TransactionId) -> Result<Option<StoredTransaction>, StoreError> {
        self.read(&|view| {
            let Some((found, bytes)) = transaction_header(view, id)? else { return Ok(None) };
            let at = || format!("transaction {id}");
            let payload = view.payload(TRANSACTION_PAYLOADS, id.as_ref(), bytes, &at)?;
            Ok(Some(StoredTransaction { payload, ..found }))
        })
    }

    fn record(&self, key: &Key) -> Result<Option<StoredRecord>, StoreError> {
        let at = || format!("record {key}");
        self.read(&|view| view.row(RECORDS, key.as_ref(), &at, |row| rows::record(key, row)))
    }

    fn keys(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, StoreError> {
        let after = after.map(AsRef::as_ref);
        self.read(&|view| keys(view, RECORDS, after, limit, |key| Key::new(key).ok()))
    }

    fn transaction_ids(
        &self,
        after: Option<&TransactionId>,
        limit: usize,
    ) -> Result<Vec<TransactionId>, StoreError> {
        let after = after.map(AsRef::as_ref);
        self.read(&|view| keys(view, TRANSACTIONS, after, limit, |id| TransactionId::new(id).ok()))
    }

    fn marks(&self, after: Option<&Label>, limit: usize) -> Result<Vec<Label>, StoreError> {
        let after = after.map(|name| name.as_str().as_bytes());
        let read = |name: Bytes| Label::new(std::str::from_utf8(&name).ok()?).ok();
        self.read(&|view| keys(view, MARKS, after, limit, read))
    }

    fn mark(&self, name: &Label) -> Result<Option<StoredMark>, StoreError> {
        let (key, at) = (name.as_str().as_bytes(), || format!("mark {name}"));
        self.read(&|view| view.row(MARKS, key, &at, |row| rows::mark(name, row)))
    }
}
