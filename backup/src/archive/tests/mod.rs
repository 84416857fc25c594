mod cut_off;
mod encrypted;
mod following;
mod format;
mod full;
mod killed;
mod listed_in_part;
mod merging;
mod pieces;
mod places;
mod tidying;
mod year;

use std::path::Path;
use std::sync::LazyLock;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_proto::Entry;
use tipline_store::conformance::history::log;
use tipline_store::conformance::model::Model;
use tokio::runtime::Runtime;

use crate::{Archive, ArchiveError, ArchiveStore, Destination, Keys, SegmentName};
use tipline_store::Sink;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn destination(directory: &Path) -> Destination {
    Destination::open(&format!("dir:{}", directory.display())).unwrap()
}

tipline_store::sink_conformance!(|directory| {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(runtime);
    Ok(Box::new(store(&RUNTIME, &directory.join("archive"))))
});

fn store(runtime: &Runtime, directory: &Path) -> ArchiveStore {
    let _within = runtime.enter();
    ArchiveStore::new(destination(directory), Keys::default(), 0)
}

/// An archive in which these entries are, in segments of up to `most` entries, cut by chance.
fn filled(runtime: &Runtime, directory: &Path, entries: &[Entry], most: usize, seed: u64) {
    let mut store = store(runtime, directory);
    assert_eq!(store.identity().unwrap(), None);
    store.create(&log()).unwrap();
    apply(&mut store, &mut Model::new(&log()), entries, most, seed);
}

/// Applies the entries after what the model has.
fn apply(store: &mut ArchiveStore, model: &mut Model, entries: &[Entry], most: usize, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut rest = &entries[model.cursor.position.index as usize..];
    while !rest.is_empty() {
        let (batch, remaining) = rest.split_at(rng.random_range(1..=most).min(rest.len()));
        store.apply(&model.batch(batch)).unwrap();
        rest = remaining;
    }
}

async fn open(directory: &Path) -> Archive {
    Archive::open(destination(directory), Keys::default()).await.unwrap()
}

/// Everything in the archive, from segment to segment, each read as a whole; that nothing listed
/// is not whole.
async fn everything(archive: &Archive) -> Result<Vec<Entry>, ArchiveError> {
    let mut all: Vec<Entry> = Vec::new();
    for name in archive.segments().await? {
        let (index, entries) = archive.entries(&name).await?;
        assert_eq!(index, archive.index(&name).await?, "{name}");
        assert!(index.first() <= all.len() as u64 + 1, "a gap before {name}");
        let new = entries.into_iter().filter(|entry| entry.index > all.len() as u64);
        let new: Vec<Entry> = new.collect();
        all.extend(new);
    }
    Ok(all)
}

fn file(directory: &Path, name: &SegmentName) -> std::path::PathBuf {
    directory.join(name.to_string())
}
