//! What is replaced and removed while the store is snapshot.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{created, files, place};
use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::files::FileStore;
use crate::snapshot::{Copied, Snapshot, Throttle};
use crate::spec::{Sink, Store};

struct Any;

impl Throttle for Any {
    fn moved(&self, _: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

fn snapshot(store: &FileStore) -> Box<dyn Snapshot> {
    store.snapshot().unwrap().pop().unwrap()
}

fn copy(snapshot: &mut dyn Snapshot, into: &Path) -> Result<Copied, StoreError> {
    fs::create_dir(into).unwrap();
    snapshot.copy(into, &Any)
}

fn staged(root: &Path) -> Vec<String> {
    files(root).into_keys().filter(|name| name.starts_with("staging")).collect()
}

/// However often blocks and proofs are replaced and rolled back under several snapshots, each copy is
/// the store as of the snapshot, and nothing is left of what was kept for it.
#[test]
fn a_copy_is_what_was_pinned_whatever_happens_meanwhile() {
    for seed in 0..20 {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let (directory, root) = place();
        let mut store = created(&root);
        let history = History::random_of(rng.random(), 400, 500);
        let (mut model, mut rest, mut held) = (Model::new(&log()), &history.entries[..], vec![]);
        let pins = BTreeSet::from_iter((0..3).map(|_| rng.random_range(1..300)));
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rng.random_range(1..=20).min(rest.len()));
            store.apply(&model.batch(now)).unwrap();
            rest = later;
            let at = history.entries.len() - rest.len();
            if held.len() < pins.range(..=at).count() {
                held.push((snapshot(&store), at));
            }
        }
        while !held.is_empty() {
            let (mut snapshot, at) = held.swap_remove(rng.random_range(0..held.len()));
            let into = directory.path().join(format!("copy-{at}"));
            assert_eq!(copy(&mut *snapshot, &into).unwrap(), Copied::Whole);
            let reader = snapshot.open(&into).unwrap();
            Model::of(&log(), &history.entries[..at]).assert_is(&*reader, "the copy");
        }
        model.assert_is(&*store.reader().unwrap(), "the store");
        assert_eq!(staged(&root), [""; 0]);
    }
}

/// Another handle does not know of the pins of the one before: it clears away what was kept. The
/// copy says so, and what is left of the store is what it should be.
#[test]
fn a_store_that_is_opened_again_overtakes_its_snapshots() {
    let (directory, root) = place();
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    let mut history = History::blocks(10, 300);
    store.apply(&model.batch(&history.entries)).unwrap();
    let mut held = snapshot(&store);
    let applied = history.entries.len();
    history.replace_tip();
    store.apply(&model.batch(&history.entries[applied..])).unwrap();
    assert_eq!(staged(&root).len(), 1);
    drop(store);
    let mut store = FileStore::open(&root).unwrap();
    assert_eq!(staged(&root), [""; 0]);
    let copied = copy(&mut *held, &directory.path().join("copy")).unwrap();
    assert!(matches!(copied, Copied::Overtaken { .. }), "{copied:?}");

    // Nor does the old pin take away what is kept for a new one.
    let mut newer = snapshot(&store);
    let applied = history.entries.len();
    history.replace_tip();
    store.apply(&model.batch(&history.entries[applied..])).unwrap();
    drop(held);
    assert_eq!(staged(&root).len(), 1);
    let copied = copy(&mut *newer, &directory.path().join("newer")).unwrap();
    assert_eq!(copied, Copied::Whole);
    drop(newer);
    assert_eq!(staged(&root), [""; 0]);
    model.assert_is(&*store.reader().unwrap(), "the store");
}

/// A file that is not what the index says was not replaced: it is damaged, and named.
#[test]
fn a_damaged_file_is_not_taken_for_a_replaced_one() {
    let (directory, root) = place();
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    store.apply(&model.batch(&History::blocks(10, 300).entries)).unwrap();
    let names = files(&root);
    let (damaged, content) = names.iter().next_back().unwrap();
    let mut content = content.clone();
    content[0] ^= 1;
    fs::write(root.join(damaged), content).unwrap();
    let error = copy(&mut *snapshot(&store), &directory.path().join("copy")).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { at, .. } if at == damaged), "{error:?}");
}
