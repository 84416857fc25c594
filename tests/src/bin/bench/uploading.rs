//! Uploading a checkpoint of a RocksDB store of which a hundredth is new.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tipline_backup::{Checkpoints, Destination, Job, Manifest, Throttle};
use tipline_consumer::{StoreHandle, StoreThread, Verifier};
use tipline_proto::{Cursor, Entry, Event, Label, LogIdentity, OutboxId, Position, Timestamp};
use tipline_store::{RocksDbStore, Sink, StoredLinks};
use tokio_util::sync::CancellationToken;

use crate::{Outcome, load};

/// Of a block.
const BYTES: usize = 64 << 10;
const BLOCKS_PER_GIB: u64 = (1 << 30) / BYTES as u64;
/// How many blocks are applied at once.
const AT_ONCE: u64 = 256;

/// Of so many GiB.
pub(crate) async fn measure(gib: u64) -> Outcome<()> {
    println!("\nA RocksDB of {gib} GiB, blocks of 64 KiB, uploaded to a directory, twice.\n");
    println!("| checkpoint | MiB | sent | of it | seconds | durable when the clock stops |");
    println!("|---|---:|---:|---:|---:|---|");
    let kept = tempfile::tempdir()?;
    let mut node = Node::new(&kept.path().join("store"))?;
    let local = Checkpoints::at(destination(&kept.path().join("local"))?);
    let there = kept.path().join("there");
    fs::create_dir(&there)?;
    let to = Checkpoints::at(destination(&there)?);
    for (what, blocks) in
        [("the first", gib * BLOCKS_PER_GIB), ("1% later", gib * BLOCKS_PER_GIB / 100)]
    {
        node.apply(blocks).await?;
        let manifest = node.checkpoint(&local).await?;
        // What applying left to write is not for the upload to pay.
        rustix::fs::sync();
        let (before, start) = (length(&there)?, Instant::now());
        local.upload(&manifest, &to, &Throttle::none()).await?;
        print(what, &manifest, length(&there)? - before, start.elapsed());
    }
    Ok(())
}

fn destination(path: &Path) -> Outcome<Destination> {
    Ok(Destination::open(&format!("dir:{}", path.display()))?)
}

fn print(what: &str, manifest: &Manifest, sent: u64, took: Duration) {
    let (whole, seconds) = (manifest.bytes(), took.as_secs_f64());
    let share = 100.0 * sent as f64 / whole as f64;
    let (whole, sent) = (whole >> 20, sent >> 20);
    let durable = "every file, read back";
    println!("| {what} | {whole} | {sent} | {share:.1} % | {seconds:.1} | {durable} |");
}

/// Bytes of all files below a directory.
fn length(directory: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        bytes += match entry.file_type()?.is_dir() {
            true => length(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(bytes)
}

/// A store that is applied to and checkpointed; its entries are made as they are needed.
struct Node {
    thread: StoreThread,
    handle: StoreHandle,
    verifier: Verifier,
    position: Position,
    height: u64,
}

impl Node {
    fn new(path: &Path) -> Outcome<Self> {
        let log: LogIdentity = load::identity("bench");
        let mut store = RocksDbStore::open(path)?;
        store.create(&log)?;
        let thread = StoreThread::start(Box::new(store))?;
        let handle = StoreHandle::unattached(thread.place().to_owned());
        handle.attach(&thread);
        let (chain, origin) = (&log.chain, Cursor::origin(&log));
        let verifier = Verifier::new(chain, &origin, StoredLinks::default());
        Ok(Self { thread, handle, verifier, position: origin.position, height: 0 })
    }

    async fn apply(&mut self, blocks: u64) -> Outcome<()> {
        let to = self.height + blocks;
        while self.height < to {
            let mut entries = vec![];
            if self.position.index == 0 {
                let outbox = OutboxId::from_bytes([1; 16]);
                let primary = Label::new("bench")?;
                entries.push(self.seal(Event::EpochStarted { primary, outbox }));
            }
            for _ in 0..AT_ONCE.min(to - self.height) {
                self.height += 1;
                entries.push(self.seal(load::block(self.height, BYTES)));
            }
            for entry in &entries {
                self.verifier.classify(entry, &|_| Ok(None))?;
            }
            let batch = self.verifier.batch(entries);
            let index = batch.cursor.position.index;
            self.thread.call(move |store| store.apply(&batch)).get().await??;
            self.verifier.applied(index);
        }
        Ok(())
    }

    fn seal(&mut self, event: Event) -> Entry {
        let (sequence, time) = (self.position.index, 1_700_000_000_000_000 + self.position.index);
        let time = Timestamp::from_micros(time);
        let entry = Entry::seal(&self.position, 1, time, sequence, event);
        self.position = entry.position();
        entry
    }

    async fn checkpoint(&self, set: &Checkpoints) -> Outcome<Manifest> {
        let job = Arc::new(Job::new(CancellationToken::new(), None));
        let created = Timestamp::from_micros(1_800_000_000_000_000);
        Ok(set.create(&self.handle, created, &job).await?)
    }
}
