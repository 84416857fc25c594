//! A store in plain files, as simple as one can be that is right, and wrong in any way asked for.
//!
//! A batch is a file of its entries, `cursor` is a file that says how far they count. All that
//! the store holds is made anew of the entries when it is opened.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Buf, Bytes};
use tipline_proto::{Cursor, Entry, Hash, Key, Label, LogIdentity, TransactionId};

use crate::batch::Batch;
use crate::conformance::history::log;
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::reader::{ChainView, StoreReader};
use crate::snapshot::{Copied, Snapshot, Throttle};
use crate::spec::{Sink, Store};
use crate::stored::{
    StoreIdentity, StoredBlock, StoredLinks, StoredMark, StoredProof, StoredRecord,
    StoredTransaction,
};

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    Nothing,
    RenamesBeforeFsync,
    FsyncsWithTheNextBatch,
    CursorBeforeData,
    NeverFsyncsTheDirectory,
    TrustsWhatItFinds,
    WritesInPlace,
    SwallowsFailedFsyncs,
    GoesOnAfterErrors,
    CopiesWithoutFsync,
    CopiesALaterMoment,
}

#[derive(Debug)]
pub(super) struct PlainStore {
    directory: PathBuf,
    wrong: Wrong,
    /// What is durable, for the readers too.
    model: Arc<Mutex<Option<Model>>>,
    /// To be fsynced later.
    later: Vec<PathBuf>,
    failed: bool,
}

impl PlainStore {
    pub(super) fn open(directory: &Path, wrong: Wrong) -> Result<Self, StoreError> {
        let (directory, later) = (directory.to_owned(), vec![]);
        let mut store = Self { directory, wrong, model: Arc::default(), later, failed: false };
        let model = store.read().map_err(|e| store.error(e))?;
        store.model = Arc::new(Mutex::new(model));
        Ok(store)
    }

    fn read(&self) -> io::Result<Option<Model>> {
        // What a killed process left may not be durable yet.
        if self.wrong != Wrong::TrustsWhatItFinds {
            self.sync_directory()?;
        }
        let cursor = match fs::read(self.directory.join("cursor")) {
            Ok(bytes) => bytes.as_slice().try_get_u64().map_err(io::Error::other)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut model = Model::new(&log());
        while model.cursor.position.index < cursor {
            let next = model.cursor.position.index + 1;
            let mut bytes = Bytes::from(fs::read(self.directory.join(format!("batch-{next}")))?);
            while model.cursor.position.index < next || !bytes.is_empty() {
                let length = bytes.try_get_u64().map_err(io::Error::other)? as usize;
                if length == 0 || length > bytes.len() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let entry = Entry::decode(bytes.split_to(length)).map_err(io::Error::other)?;
                model.apply(&entry);
            }
        }
        Ok(Some(model))
    }

    fn error(&self, source: io::Error) -> StoreError {
        let (place, what) = (self.place(), "a file".to_owned());
        StoreError::Failed { place, what, source: Some(source.into()) }
    }

    fn sync_directory(&self) -> io::Result<()> {
        match self.wrong {
            Wrong::NeverFsyncsTheDirectory => Ok(()),
            _ => self.allow(File::open(&self.directory)?.sync_all()),
        }
    }

    fn allow(&self, synced: io::Result<()>) -> io::Result<()> {
        if self.wrong == Wrong::SwallowsFailedFsyncs { Ok(()) } else { synced }
    }

    /// Puts a file in the place of what may be there, durably.
    fn put(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let path = self.directory.join(name);
        let new = match self.wrong {
            Wrong::WritesInPlace => path.clone(),
            _ => self.directory.join("new"),
        };
        let mut file = File::create(&new)?;
        file.write_all(content)?;
        match self.wrong {
            Wrong::RenamesBeforeFsync => {}
            Wrong::FsyncsWithTheNextBatch => self.later.push(path.clone()),
            _ => self.allow(file.sync_all())?,
        }
        if new != path {
            fs::rename(new, path)?;
        }
        self.sync_directory()
    }

    fn put_batch(&mut self, batch: &Batch) -> io::Result<()> {
        for path in self.later.drain(..) {
            File::open(path)?.sync_all()?;
        }
        let cursor = batch.cursor.position.index.to_be_bytes();
        if self.wrong == Wrong::CursorBeforeData {
            self.put("cursor", &cursor)?;
        }
        let mut content = Vec::new();
        for entry in &batch.entries {
            let entry = entry.encode();
            content.extend((entry.len() as u64).to_be_bytes());
            content.extend(entry);
        }
        self.put(&format!("batch-{}", batch.entries[0].index), &content)?;
        self.put("cursor", &cursor)
    }

    fn check(&self) -> Result<(), StoreError> {
        let stopped = || io::Error::other("it stopped earlier");
        if self.failed { Err(self.error(stopped())) } else { Ok(()) }
    }
}

impl Sink for PlainStore {
    fn place(&self) -> String {
        format!("plain:{}", self.directory.display())
    }

    fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        Ok(self.model.lock().unwrap().as_ref().map(|_| (&log()).into()))
    }

    fn create(&mut self, log: &LogIdentity) -> Result<(), StoreError> {
        self.check()?;
        if self.identity()?.is_none() {
            if let Err(error) = self.put("cursor", &0_u64.to_be_bytes()) {
                self.failed = self.wrong != Wrong::GoesOnAfterErrors;
                return Err(self.error(error));
            }
            *self.model.lock().unwrap() = Some(Model::new(log));
        }
        Ok(())
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.check()?;
        if let Err(error) = self.put_batch(batch) {
            self.failed = self.wrong != Wrong::GoesOnAfterErrors;
            return Err(self.error(error));
        }
        let mut model = self.model.lock().unwrap();
        batch.entries.iter().for_each(|entry| model.as_mut().unwrap().apply(entry));
        Ok(())
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        self.check()?;
        fs::metadata(&self.directory).map(drop).map_err(|e| self.error(e))
    }
    fn view(&self) -> Result<Box<dyn ChainView>, StoreError> {
        Ok(self.reader()?)
    }

    fn snapshot(&self) -> Result<Vec<Box<dyn Snapshot>>, StoreError> {
        let cursor = self.reader()?.cursor()?;
        let why = "it was not created for a log";
        let cursor = cursor.ok_or_else(|| StoreError::unusable(&self.place(), why, None))?;
        let (directory, wrong) = (self.directory.clone(), self.wrong);
        Ok(vec![Box::new(PlainSnapshot { directory, wrong, identity: (&log()).into(), cursor })])
    }
}

impl Store for PlainStore {
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(PlainReader(self.model.clone())))
    }
}

/// A batch that counts is never written again: there is nothing to hold.
#[derive(Debug)]
struct PlainSnapshot {
    directory: PathBuf,
    wrong: Wrong,
    identity: StoreIdentity,
    cursor: Cursor,
}

impl PlainSnapshot {
    fn files(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let cursor = self.cursor.position.index.to_be_bytes().to_vec();
        let mut files = vec![("cursor".to_owned(), cursor)];
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name().into_string().unwrap_or_default();
            let is_counted = match name.strip_prefix("batch-") {
                Some(first) => {
                    first.parse().is_ok_and(|first: u64| first <= self.cursor.position.index)
                }
                None => false,
            };
            if is_counted || self.wrong == Wrong::CopiesALaterMoment {
                let content = fs::read(self.directory.join(&name))?;
                files.push((name, content));
            }
        }
        Ok(files)
    }

    fn put_all(&self, into: &Path) -> io::Result<()> {
        for (name, content) in self.files()? {
            let mut file = File::create(into.join(name))?;
            file.write_all(&content)?;
            if self.wrong != Wrong::CopiesWithoutFsync {
                file.sync_all()?;
            }
        }
        Ok(())
    }
}

impl Snapshot for PlainSnapshot {
    fn kind(&self) -> &'static str {
        "plain"
    }
    fn identity(&self) -> &StoreIdentity {
        &self.identity
    }
    fn cursor(&self) -> &Cursor {
        &self.cursor
    }
    fn bytes(&self, _into: &Path) -> Result<u64, StoreError> {
        Ok(0)
    }
    fn copy(&mut self, into: &Path, _pace: &dyn Throttle) -> Result<Copied, StoreError> {
        let failed = |error: io::Error| StoreError::Failed {
            place: into.display().to_string(),
            what: "copying".to_owned(),
            source: Some(error.into()),
        };
        self.put_all(into).map(|()| Copied::Whole).map_err(failed)
    }
    fn open(&self, copy: &Path) -> Result<Box<dyn StoreReader>, StoreError> {
        PlainStore::open(copy, Wrong::Nothing)?.reader()
    }
}

#[derive(Debug)]
struct PlainReader(Arc<Mutex<Option<Model>>>);

impl PlainReader {
    fn model(&self) -> MutexGuard<'_, Option<Model>> {
        self.0.lock().unwrap()
    }

    fn get<T>(&self, get: impl FnOnce(&Model) -> Option<T>) -> Result<Option<T>, StoreError> {
        Ok(self.model().as_ref().and_then(get))
    }

    fn list<T>(&self, list: impl FnOnce(&Model) -> Vec<T>) -> Result<Vec<T>, StoreError> {
        Ok(self.model().as_ref().map_or(vec![], list))
    }
}

/// The keys behind one, in order.
fn behind<K: Ord + Clone, V>(
    map: &std::collections::BTreeMap<K, V>,
    after: Option<&K>,
    limit: usize,
) -> Vec<K> {
    map.keys().filter(|key| after.is_none_or(|after| *key > after)).take(limit).cloned().collect()
}

impl ChainView for PlainReader {
    fn place(&self) -> String {
        "plain".to_owned()
    }
    fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        self.get(|model| Some(model.cursor.clone()))
    }
    fn links(&self) -> Result<StoredLinks, StoreError> {
        let links = self.get(|model| {
            let tip = model.cursor.proof_tip;
            let above = model.proofs.keys().filter(|height| tip.is_none_or(|tip| **height > tip));
            Some(StoredLinks { base: model.base.clone(), proven_above: above.copied().collect() })
        });
        Ok(links?.unwrap_or_default())
    }
    fn block_hash(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        self.get(|model| model.block_hash(height))
    }
    fn block(&self, height: u64) -> Result<Option<StoredBlock>, StoreError> {
        self.get(|model| model.blocks.get(&height).cloned())
    }
    fn heights(&self) -> Result<Option<(u64, u64)>, StoreError> {
        self.get(|model| {
            let mut heights = model.blocks.keys().copied();
            let lowest = heights.next()?;
            Some((lowest, heights.next_back().unwrap_or(lowest)))
        })
    }
}

impl StoreReader for PlainReader {
    fn block_by_hash(&self, hash: &Hash) -> Result<Option<StoredBlock>, StoreError> {
        self.get(|model| model.blocks.values().find(|block| block.hash == *hash).cloned())
    }
    fn proof(&self, height: u64) -> Result<Option<StoredProof>, StoreError> {
        self.get(|model| model.proofs.get(&height).cloned())
    }
    fn transaction(&self, id: &TransactionId) -> Result<Option<StoredTransaction>, StoreError> {
        self.get(|model| model.transactions.get(id).cloned())
    }
    fn record(&self, key: &Key) -> Result<Option<StoredRecord>, StoreError> {
        self.get(|model| model.records.get(key).cloned())
    }
    fn keys(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.list(|model| behind(&model.records, after, limit))
    }
    fn transaction_ids(
        &self,
        after: Option<&TransactionId>,
        limit: usize,
    ) -> Result<Vec<TransactionId>, StoreError> {
        self.list(|model| behind(&model.transactions, after, limit))
    }
    fn marks(&self, after: Option<&Label>, limit: usize) -> Result<Vec<Label>, StoreError> {
        self.list(|model| behind(&model.marks, after, limit))
    }
    fn mark(&self, name: &Label) -> Result<Option<StoredMark>, StoreError> {
        self.get(|model| model.marks.get(name).cloned())
    }
}
