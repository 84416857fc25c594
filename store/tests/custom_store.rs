//! A worked example: a store of one's own in some 120 lines, and the suite that finds out
//! what it forgot. It keeps its content in memory, and every batch as a file that is read again
//! when it is opened.
//!
//! `cargo test -p tipline-store --features conformance --test custom_store`

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tipline_proto::{Chain, Cursor, Entry, Hash, Lineage, LogIdentity, ProofsFrom};
use tipline_store::{
    Batch, ChainView, MemoryStore, Sink, Store, StoreError, StoreIdentity, StoreReader,
};

#[derive(Debug)]
struct BatchFiles {
    directory: PathBuf,
    memory: MemoryStore,
    failed: bool,
    lock: File,
}

impl Drop for BatchFiles {
    fn drop(&mut self) {
        // A process that is being started by another thread has a copy of the handle, and with it the
        // lock, until it runs its program. If unlocking fails, closing will do.
        self.lock.unlock().ok();
    }
}

impl BatchFiles {
    fn open(directory: &Path) -> Result<Self, StoreError> {
        let place = directory.display().to_string();
        let lock = File::create(directory.join("lock")).map_err(|e| failed(&place, e))?;
        lock.try_lock().map_err(|_| StoreError::InUse { place: place.clone() })?;
        let (directory, memory) = (directory.to_owned(), MemoryStore::new());
        let mut store = Self { directory, memory, failed: false, lock };
        store.read().map_err(|e| failed(&place, e)).map(|()| store)
    }

    /// Takes in all files, and makes them durable: each is named by the index of its first entry.
    fn read(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut next = 0;
        while self.file(next).try_exists()? {
            let (mut rest, mut parts) = (Bytes::from(fs::read(self.file(next))?), vec![]);
            while !rest.is_empty() {
                let length = u64::from_be_bytes(rest.split_to(8)[..].try_into()?);
                parts.push(rest.split_to(length as usize));
            }
            if next == 0 {
                let name = String::from_utf8(parts[0].to_vec())?;
                let (name, genesis) = (name.parse()?, Hash::new(parts[1].clone())?);
                let proofs_from = ProofsFrom::new(u64::from_be_bytes(parts[3][..].try_into()?))?;
                let chain = Chain { name, genesis, proofs_from };
                let lineage = Lineage::from_bytes(parts[2][..].try_into()?);
                self.memory.create(&LogIdentity { name: "any".parse()?, chain, lineage })?;
                next = 1;
                continue;
            }
            let cursor = Cursor::decode(parts[0].clone())?;
            let base = Cursor::decode(parts[1].clone())?.block_tip;
            let entries = parts.drain(2..).map(Entry::decode).collect::<Result<_, _>>()?;
            next = cursor.position.index + 1;
            self.memory.apply(&Batch { entries, cursor, base })?;
        }
        // What is shown counts as kept, and nobody knows whether its writer came to this fsync.
        Ok(File::open(&self.directory)?.sync_all()?)
    }

    fn file(&self, first: u64) -> PathBuf {
        self.directory.join(format!("{first}.batch"))
    }

    /// A whole file or none: temporary name, fsync, rename, fsync of the directory.
    fn write(&mut self, first: u64, parts: &[Bytes]) -> Result<(), StoreError> {
        let write = || {
            let temporary = self.directory.join("temporary");
            let mut file = File::create(&temporary)?;
            for part in parts {
                file.write_all(&(part.len() as u64).to_be_bytes())?;
                file.write_all(part)?;
            }
            file.sync_all()?;
            fs::rename(temporary, self.file(first))?;
            File::open(&self.directory)?.sync_all()
        };
        // After a failed fsync nobody knows what is durable. Only opening it again tells.
        let written = if self.failed { Err(io::ErrorKind::Other.into()) } else { write() };
        self.failed = written.is_err();
        written.map_err(|e| failed(&self.place(), e))
    }
}

fn failed(place: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    let (place, what) = (place.to_owned(), "reading or writing a file".to_owned());
    StoreError::Failed { place, what, source: Some(source.into()) }
}

impl Sink for BatchFiles {
    fn place(&self) -> String {
        self.directory.display().to_string()
    }
    fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        self.memory.identity()
    }
    fn create(&mut self, log: &LogIdentity) -> Result<(), StoreError> {
        if self.identity()?.is_none() {
            let lineage = Bytes::copy_from_slice(log.lineage.as_bytes());
            let name = Bytes::copy_from_slice(log.chain.name.as_str().as_bytes());
            let proofs_from = log.chain.proofs_from.height().to_be_bytes();
            let proofs_from = Bytes::copy_from_slice(&proofs_from);
            let genesis = Bytes::copy_from_slice(log.chain.genesis.as_ref());
            self.write(0, &[name, genesis, lineage, proofs_from])?;
        }
        self.memory.create(log)
    }
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        batch.check_follows(self.memory.reader()?.cursor()?.as_ref(), &self.place())?;
        let base = Cursor { block_tip: batch.base.clone(), ..batch.cursor.clone() };
        let entries = batch.entries.iter().map(Entry::encode);
        let parts: Vec<Bytes> =
            [batch.cursor.encode(), base.encode()].into_iter().chain(entries).collect();
        self.write(batch.entries[0].index, &parts)?;
        self.memory.apply(batch)
    }
    /// The directory is there, with its lock, and nothing has failed.
    fn probe(&mut self) -> Result<(), StoreError> {
        if self.failed {
            return Err(failed(&self.place(), io::Error::other("it stopped earlier")));
        }
        fs::metadata(self.directory.join("lock")).map(drop).map_err(|e| failed(&self.place(), e))
    }
    fn view(&self) -> Result<Box<dyn ChainView>, StoreError> {
        Ok(self.reader()?)
    }
}

impl Store for BatchFiles {
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        self.memory.reader()
    }
}

tipline_store::store_conformance!(|directory| Ok(Box::new(BatchFiles::open(directory)?)));
