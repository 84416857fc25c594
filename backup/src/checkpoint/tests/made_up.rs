//! Checkpoints of a store of small files that is only made up, uploaded to a place that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use object_store::memory::InMemory;
use rand::RngExt;
use rand::rngs::StdRng;
use tempfile::TempDir;
use tipline_proto::{Cursor, Digest, Position, Timestamp};
use tipline_store::StoreIdentity;
use tipline_store::conformance::history::log;

use super::at;
use super::upload::inodes;
use crate::checkpoint::packing::PackLimits;
use crate::destination::tests::{Call, answering};
use crate::keys::make_identity;
use crate::throttle::Throttle;
use crate::{CheckpointError, Checkpoints, Destination, Keys, Listed, Manifest, ManifestFile};

/// So that a history of hundreds of bytes has many packs.
pub(super) const TINY: PackLimits = PackLimits { small: 100, pack: 800 };
/// As it was before there were packs.
pub(super) const NONE: PackLimits = PackLimits { small: 0, pack: 0 };

/// Files of a store by their paths in it.
pub(super) type Content = BTreeMap<String, Vec<u8>>;

/// A set of checkpoints of a store that is only made up, and a place that they are uploaded to.
pub(super) struct Place {
    pub(super) directory: TempDir,
    pub(super) there: Arc<InMemory>,
    pub(super) keys: Option<Keys>,
    pub(super) limits: PackLimits,
    /// What was made, by its name.
    pub(super) made: BTreeMap<String, Content>,
}

impl Place {
    pub(super) fn new(is_sealed: bool, limits: PackLimits) -> Self {
        // Flushing thousands of files is not what is tried here.
        let memory = Path::new("/dev/shm");
        let directory =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let directory = directory.unwrap();
        let keys = is_sealed.then(|| keys(directory.path()));
        let (there, made) = (Arc::default(), BTreeMap::new());
        Self { directory, there, keys, limits, made }
    }

    fn here(&self) -> Checkpoints {
        super::set(self.directory.path())
    }

    pub(super) fn at(&self, destination: Destination) -> Checkpoints {
        let keys = self.keys.clone().unwrap_or_default();
        Checkpoints::at(destination).packing(self.limits).with_keys(keys)
    }

    pub(super) fn to(&self) -> Checkpoints {
        self.at(answering(&self.there, |_, _| None))
    }

    /// With how often objects that are shared are written and read.
    pub(super) fn counted(&self) -> (Checkpoints, Arc<Counts>) {
        let counts: Arc<Counts> = Arc::default();
        let counting = Arc::clone(&counts);
        let to = self.at(answering(&self.there, move |call, path| {
            match call {
                _ if !path.as_ref().starts_with("objects/") => {}
                Call::Put => drop(counting.puts.fetch_add(1, SeqCst)),
                Call::Get => drop(counting.gets.fetch_add(1, SeqCst)),
                Call::List | Call::Delete => {}
            }
            None
        }));
        (to, counts)
    }

    /// A checkpoint of these files.
    pub(super) fn make(&mut self, content: &Content) -> Manifest {
        let number = self.made.len() as u64 + 1;
        let id = format!("{number:020}-{:016}", at(number).as_micros());
        let root = self.directory.path().join("set").join(&id);
        for (path, bytes) in content {
            let path = root.join("part-0").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let file = |(path, bytes): (&String, &Vec<u8>)| ManifestFile {
            path: format!("part-0/{path}"),
            bytes: bytes.len() as u64,
            blake3: blake3::hash(bytes),
            plain_bytes: None,
            shared: None,
            packed: None,
        };
        let manifest = Manifest {
            id: id.parse().unwrap(),
            created: at(number),
            parts: vec!["files".to_owned()],
            log: StoreIdentity::from(&log()),
            cursor: cursor(number),
            versions: BTreeMap::new(),
            files: content.iter().map(file).collect(),
            packs: vec![],
        };
        fs::write(root.join("manifest.json"), manifest.to_text().unwrap()).unwrap();
        self.made.insert(id, content.clone());
        manifest
    }

    pub(super) async fn upload(
        &self,
        manifest: &Manifest,
        to: &Checkpoints,
    ) -> Result<(), CheckpointError> {
        self.here().upload(manifest, to, &Throttle::none()).await
    }

    /// Every checkpoint that is listed there is exactly what was made; gives them, the newest first.
    pub(super) async fn check(&self, context: &str) -> Vec<Manifest> {
        let mut whole = Vec::new();
        for listed in self.to().list().await.unwrap() {
            let Listed::Whole(manifest) = listed else { panic!("{context}: {listed:?}") };
            let verified = self.to().verify(&manifest, &Throttle::none()).await;
            verified.unwrap_or_else(|error| panic!("{context}: {error}"));
            self.check_fetched(&manifest, context).await;
            whole.push(manifest);
        }
        whole
    }

    pub(super) async fn check_fetched(&self, manifest: &Manifest, context: &str) {
        let into = self.directory.path().join("fetched");
        let fetched = self.to().fetch(manifest, &into, &Throttle::none()).await;
        fetched.unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(content(&into.join("part-0")) == self.made[manifest.id.as_str()], "{context}");
    }

    /// Some hours after what was written last.
    pub(super) async fn later(&self, hours: u64) -> Timestamp {
        let listed = self.to().destination().list("", None).await.unwrap();
        let newest = listed.iter().map(|object| object.modified.as_micros()).max().unwrap_or(0);
        Timestamp::from_micros(newest + 1 + hours * 3_600_000_000)
    }

    pub(super) async fn objects(&self) -> BTreeSet<String> {
        let listed = self.to().destination().list("objects", None).await.unwrap();
        listed.into_iter().map(|object| object.name).collect()
    }

    pub(super) async fn newest(&self) -> Manifest {
        let Listed::Whole(manifest) = self.to().list().await.unwrap().remove(0) else { panic!() };
        manifest
    }
}

pub(super) fn keys(directory: &Path) -> Keys {
    let file = directory.join("key");
    let recipient = make_identity(&file);
    Keys::default().recipient(&recipient).unwrap().identity_file(&file).unwrap()
}

pub(super) fn content(root: &Path) -> Content {
    let path = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    inodes(root).into_keys().map(|file| (path(&file), fs::read(&file).unwrap())).collect()
}

/// So many files of so many bytes, in folders as a node has them.
pub(super) fn blocks(numbers: std::ops::Range<u32>, bytes: usize) -> Content {
    let block = |number: u32| {
        let content = number.to_le_bytes().repeat(bytes / 4);
        (format!("blocks/{:x}/block_{number:08x}.dat", number / 1000), content)
    };
    numbers.map(block).collect()
}

pub(super) fn random(rng: &mut StdRng, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| rng.random()).collect()
}

/// How often it was written and read.
#[derive(Default)]
pub(super) struct Counts {
    puts: AtomicU64,
    gets: AtomicU64,
}

impl Counts {
    /// Since it was asked last.
    pub(super) fn take(&self) -> (u64, u64) {
        (self.puts.swap(0, SeqCst), self.gets.swap(0, SeqCst))
    }
}

fn cursor(index: u64) -> Cursor {
    let digest = Digest::from_bytes([7; 32]);
    Cursor { position: Position { index, digest }, epoch: 1, block_tip: None, proof_tip: None }
}
