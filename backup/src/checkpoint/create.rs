//! Making a checkpoint.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tipline_consumer::StoreHandle;
use tipline_proto::Timestamp;
use tipline_store::{Copied, Snapshot};

use super::error::CheckpointError;
use super::id::CheckpointId;
use super::job::Job;
use super::manifest::Manifest;
use super::set::{Checkpoints, blocking};
use super::{engine, tree};
use crate::disk::{self, Lock};

/// How often it starts again when the store overtakes it.
const ATTEMPTS: u32 = 5;
/// Bytes that are left free for the store, which grows while a snapshot is held.
const RESERVE: u64 = 16 << 20;

impl Checkpoints {
    /// Makes a checkpoint of a store, while it is applied to. The set is a directory of this
    /// machine, made if it is not there. On return it is whole, durable and listed.
    ///
    /// One at a time in a set. Remains of one that was killed are removed first. If it fails or
    /// is cancelled, nothing of it is left; if even removing it fails, the next one does that.
    ///
    /// # Errors
    /// See [`CheckpointError`]; [`CheckpointError::Store`] if no snapshot can be taken or copied.
    pub async fn create(
        &self,
        store: &StoreHandle,
        created: Timestamp,
        job: &Arc<Job>,
    ) -> Result<Manifest, CheckpointError> {
        let directory = self.directory()?;
        let set = directory.clone();
        blocking(move || tree::prepare(&set)).await?;
        let lock = self.lock().await?;
        let (set, held) = (directory.clone(), Arc::clone(&lock));
        blocking(move || {
            let _held = held;
            tree::clear(&set).and_then(|()| engine::collect(&set))
        })
        .await?;
        let mut what = String::new();
        for _ in 0..ATTEMPTS {
            let snapshot = store.snapshot().await?;
            let making = Making {
                set: directory.clone(),
                of: self.clone(),
                place: self.place().to_owned(),
                shares: self.shares(),
                created,
                job: Arc::clone(job),
                _lock: Arc::clone(&lock),
            };
            match blocking(move || making.run(snapshot)).await? {
                Outcome::Whole(manifest) => return Ok(*manifest),
                Outcome::Overtaken(by) => what = by,
            }
        }
        Err(CheckpointError::Overtaken { store: store.place().to_owned(), times: ATTEMPTS, what })
    }
}

/// How an attempt ended.
enum Outcome {
    Whole(Box<Manifest>),
    Overtaken(String),
}

/// An attempt.
struct Making {
    of: Checkpoints,
    set: PathBuf,
    place: String,
    /// Whether files are shared with other checkpoints of the set.
    shares: bool,
    created: Timestamp,
    job: Arc<Job>,
    /// Of the set: an attempt goes on to its end when nobody waits for it any more.
    _lock: Arc<Lock>,
}

impl Making {
    fn run(&self, mut snapshot: Vec<Box<dyn Snapshot>>) -> Result<Outcome, CheckpointError> {
        self.check_cancel()?;
        let total = self.needed(&snapshot)?;
        let mut id = CheckpointId::from_snapshot(&snapshot, self.created);
        // The clock may stand still, or go back.
        while self
            .set
            .join(id.as_str())
            .try_exists()
            .map_err(CheckpointError::file("looking for its name"))?
        {
            id = id.next();
        }
        self.job.begin("copying", total);
        let outcome = self.fill(&id, &mut snapshot);
        if !matches!(outcome, Ok(Outcome::Whole(_))) {
            // What cannot be removed now, the next one removes.
            if let Err(error) = tree::remove(&self.set, &id) {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(checkpoint = %id, error, "remains of the checkpoint could not be removed; the next one removes them");
            }
        }
        outcome
    }

    fn check_cancel(&self) -> Result<(), CheckpointError> {
        if self.job.throttle().is_cancelled() { Err(CheckpointError::Cancelled) } else { Ok(()) }
    }

    /// What a copy takes, if there is room for it.
    fn needed(&self, snapshot: &[Box<dyn Snapshot>]) -> Result<u64, CheckpointError> {
        let set = &self.set;
        let bytes = snapshot.iter().enumerate().map(|(number, part)| {
            if self.shares {
                part.bytes_to_share(&set.join(engine::engine(number)), set)
            } else {
                part.bytes(set)
            }
        });
        let bytes = bytes.sum::<Result<u64, _>>()?;
        let needed = bytes.saturating_add(RESERVE);
        match disk::free(set) {
            Some(free) if free < needed => {
                Err(CheckpointError::NoSpace { place: self.place.clone(), needed, free })
            }
            _ => Ok(bytes),
        }
    }

    fn fill(
        &self,
        id: &CheckpointId,
        snapshot: &mut [Box<dyn Snapshot>],
    ) -> Result<Outcome, CheckpointError> {
        let (set, throttle) = (&self.set, self.job.throttle());
        let root = set.join(id.as_str());
        tree::make_directory(&root)?;
        let (mut files, mut in_common) = (vec![], vec![]);
        for (number, part) in snapshot.iter_mut().enumerate() {
            let name = format!("part-{number}");
            let into = root.join(&name);
            tree::make_directory(&into)?;
            let engine = engine::engine(number);
            let shared =
                if self.shares { part.share(&set.join(&engine), &into, throttle)? } else { None };
            let (copied, shared) = match shared {
                Some(shared) => (shared.copied.clone(), Some(shared)),
                None => (part.copy(&into, throttle)?, None),
            };
            match copied {
                Copied::Whole => {}
                Copied::Cancelled => return Err(CheckpointError::Cancelled),
                Copied::Overtaken { what } => return Ok(Outcome::Overtaken(what)),
            }
            check(&**part, &into)?;
            if let Some(shared) = shared {
                engine::note(&root, number, shared.copy)?;
                for file in shared.files {
                    // It was there to be opened with the others.
                    let link = into.join(&file.name);
                    let removed = std::fs::remove_file(&link);
                    removed
                        .map_err(CheckpointError::file(format!("removing {}", link.display())))?;
                    in_common.push((
                        format!("{name}/{}", file.name),
                        format!("{engine}/{}", file.object),
                    ));
                }
            }
            tree::flush(&into)?;
            files.extend(tree::list(&into, &name)?);
        }
        self.job.begin("hashing", files.iter().map(|(_, bytes)| bytes).sum());
        let mut files = tree::hash(&root, files, throttle)?;
        if self.shares {
            if in_common.is_empty() {
                return Err(CheckpointError::NotShared { store: place_of(snapshot) });
            }
            engine::flush(set)?;
            files.extend(engine::hash(set, in_common, throttle)?);
            files.sort_by(|a, b| a.path.cmp(&b.path));
        }
        tree::flush(&root)?;
        tree::flush(set)?;
        let manifest = Manifest::new(id.clone(), self.created, snapshot, files)?;
        let text = manifest.to_text()?;
        self.check_cancel()?;
        if let Some(signature) = self.of.sign(&manifest, &text) {
            tree::write(&root, &Manifest::signature_name(&text), &signature)?;
        }
        tree::finish(&root, &text)?;
        Ok(Outcome::Whole(Box::new(manifest)))
    }
}

fn place_of(snapshot: &[Box<dyn Snapshot>]) -> String {
    snapshot.iter().map(|part| part.kind()).collect::<Vec<_>>().join("+")
}

/// A copy stands where its snapshot does.
fn check(part: &dyn Snapshot, copy: &Path) -> Result<(), CheckpointError> {
    let found = part.open(copy)?.cursor()?;
    if found.as_ref() == Some(part.cursor()) {
        return Ok(());
    }
    let at = found.map_or("nowhere".to_owned(), |found| format!("at {}", found.position));
    Err(CheckpointError::Store(tipline_store::StoreError::Failed {
        place: copy.display().to_string(),
        what: format!("the copy of a store at {} is {at}", part.cursor().position),
        source: None,
    }))
}
