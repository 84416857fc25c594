//! Uploads of checkpoints that have files in common.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use object_store::memory::InMemory;
use tipline_consumer::{StoreHandle, StoreThread};
use tipline_proto::Timestamp;
use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;

use super::{Open, at, check, files, job, set};
use crate::checkpoint::packing::PackLimits;
use crate::destination::tests::{answering, until};
use crate::keys::make_identity;
use crate::throttle::Throttle;
use crate::{CheckpointError, Checkpoints, Keep, Keys, Listed, Manifest};

const BLOCKS: u64 = 200;
const BYTES: usize = 10_000;

/// A store of block files, which is applied to and checkpointed.
struct Place {
    directory: tempfile::TempDir,
    history: History,
    model: Model,
    thread: StoreThread,
    handle: StoreHandle,
    there: Arc<InMemory>,
    /// Of each block.
    bytes: usize,
    limits: PackLimits,
}

impl Place {
    fn new() -> Self {
        Self::of(files, BLOCKS, BYTES)
    }

    fn of(open: Open, blocks: u64, bytes: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(directory.path());
        store.create(&log()).unwrap();
        let thread = StoreThread::start(store).unwrap();
        let handle = StoreHandle::unattached(thread.place().to_owned());
        handle.attach(&thread);
        let history = History::blocks(blocks, bytes);
        let (model, there) = (Model::new(&log()), Arc::default());
        // About twenty packs of block files.
        let limits = PackLimits { small: 1 << 20, pack: blocks * bytes as u64 / 20 };
        Self { directory, history, model, thread, handle, there, bytes, limits }
    }

    fn set(&self) -> Checkpoints {
        set(self.directory.path())
    }

    fn to(&self) -> Checkpoints {
        Checkpoints::at(answering(&self.there, |_, _| None)).packing(self.limits)
    }

    /// Which refuses the call with this number, and all after it: as if the program was killed before.
    fn until(&self, number: u64) -> Checkpoints {
        Checkpoints::at(until(&self.there, number)).packing(self.limits)
    }

    /// A checkpoint after what was written last, and this many blocks more.
    async fn checkpoint(&mut self, blocks: u64) -> Manifest {
        (0..blocks).for_each(|_| self.history.block_of(self.bytes));
        let applied = self.model.cursor.position.index as usize;
        let batch = self.model.batch(&self.history.entries[applied..]);
        self.thread.call(move |store| store.apply(&batch)).get().await.unwrap().unwrap();
        self.set().create(&self.handle, at(applied as u64), &job()).await.unwrap()
    }

    /// Names and lengths of what is there.
    async fn objects(&self) -> Vec<(String, u64)> {
        let listed = self.to().destination().list("objects", None).await.unwrap();
        listed.into_iter().map(|object| (object.name, object.bytes)).collect()
    }

    /// Some hours after what was written last.
    async fn later(&self, hours: u64) -> Timestamp {
        let listed = self.to().destination().list("", None).await.unwrap();
        let newest = listed.iter().map(|object| object.modified.as_micros()).max().unwrap_or(0);
        Timestamp::from_micros(newest + 1 + hours * 3_600_000_000)
    }

    /// Every checkpoint that is listed is whole.
    async fn check_listed(&self, context: &str) -> Vec<Manifest> {
        let mut whole = Vec::new();
        for listed in self.to().list().await.unwrap() {
            let Listed::Whole(manifest) = listed else { panic!("{context}: {listed:?}") };
            let verified = self.to().verify(&manifest, &Throttle::none()).await;
            verified.unwrap_or_else(|error| panic!("{context}: {error}"));
            whole.push(manifest);
        }
        whole
    }

    /// After some days there is what checkpoints refer to, and nothing else.
    async fn check_collected(&self, context: &str) {
        for day in 1..4 {
            self.to().collect(self.later(25 * day).await).await.unwrap();
        }
        let whole = self.check_listed(context).await;
        let used = whole
            .iter()
            .flat_map(|manifest| manifest.files.iter().map(move |f| manifest.object(f)));
        let manifests = whole.iter().map(|manifest| format!("{}/manifest.json", manifest.id));
        let used: BTreeSet<String> = used.chain(manifests).collect();
        let listed = self.to().destination().list("", None).await.unwrap();
        let there: BTreeSet<String> = listed.into_iter().map(|object| object.name).collect();
        assert_eq!(there, used, "{context}");
    }
}

fn keys(directory: &Path) -> Keys {
    let file = directory.join("key");
    let recipient = make_identity(&file);
    Keys::default().recipient(&recipient).unwrap().identity_file(&file).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_upload_sends_what_has_changed() {
    for is_sealed in [false, true] {
        let mut place = Place::new();
        let keys = keys(place.directory.path());
        let to = place.to();
        let to = if is_sealed { to.with_keys(keys) } else { to };
        let first = place.checkpoint(0).await;
        place.set().upload(&first, &to, &Throttle::none()).await.unwrap();
        let before = place.objects().await;
        assert!((20..30).contains(&before.len()), "{before:?}");
        let second = place.checkpoint(2).await;
        place.set().upload(&second, &to, &Throttle::none()).await.unwrap();
        let after = place.objects().await;
        assert!(before.iter().all(|object| after.contains(object)));
        let sent: u64 =
            after.iter().filter(|object| !before.contains(object)).map(|(_, bytes)| bytes).sum();
        // Two blocks, the index of all of them, which is a database, and what the last pack had.
        assert!(sent < second.bytes() / 10, "{sent} of {} bytes", second.bytes());
        // A third one knows what the second knew of the first.
        let third = place.checkpoint(2).await;
        place.set().upload(&third, &to, &Throttle::none()).await.unwrap();
        let again = place.objects().await.len() - after.len();
        assert!(again < 3, "{again} packs were sent again");
        for (number, manifest) in place.check_listed("whole").await.iter().enumerate() {
            assert_eq!(manifest.is_sealed(), is_sealed);
            let into = place.directory.path().join(format!("fetched-{number}"));
            to.fetch(manifest, &into, &Throttle::none()).await.unwrap();
            check(manifest, &into, &place.history.entries);
        }
    }
}

#[cfg(feature = "rocksdb")]
#[tokio::test(flavor = "multi_thread")]
async fn of_a_rocksdb_store_of_which_a_hundredth_is_new_about_that_is_sent() {
    let mut place = Place::of(super::rocksdb, 100, 50_000);
    let first = place.checkpoint(0).await;
    place.set().upload(&first, &place.to(), &Throttle::none()).await.unwrap();
    let before = place.objects().await;
    let second = place.checkpoint(1).await;
    place.set().upload(&second, &place.to(), &Throttle::none()).await.unwrap();
    let is_new = |object: &&(String, u64)| !before.contains(object);
    let sent: u64 = place.objects().await.iter().filter(is_new).map(|(_, bytes)| bytes).sum();
    assert!(sent < second.bytes() / 20, "{sent} of {} bytes", second.bytes());
}

/// What is encrypted to one cannot be opened by another.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_can_open_is_not_shared_with_them() {
    let mut place = Place::new();
    let one = place.to().with_keys(keys(place.directory.path()));
    let first = place.checkpoint(0).await;
    place.set().upload(&first, &one, &Throttle::none()).await.unwrap();
    let other = place.to().with_keys(keys(place.directory.path()));
    let second = place.checkpoint(1).await;
    place.set().upload(&second, &other, &Throttle::none()).await.unwrap();
    let uploaded = place.to().get(&second.id).await.unwrap();
    let into = place.directory.path().join("fetched");
    other.fetch(&uploaded, &into, &Throttle::none()).await.unwrap();
    check(&uploaded, &into, &place.history.entries);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_to_go_is_not_referred_to_anew() {
    let mut place = Place::new();
    let (set, none) = (place.set(), Throttle::none());
    let first = place.checkpoint(0).await;
    set.upload(&first, &place.to(), &none).await.unwrap();
    // It expires there, and nothing else refers to its files.
    place.to().abandon(&first.id).await.unwrap();
    place.to().destination().remove(&format!("{}/manifest.json", first.id)).await.unwrap();
    assert_eq!(place.to().collect(place.later(25).await).await.unwrap(), 0);
    let sweeps = place.to().destination().list("sweeps", None).await.unwrap();
    assert_eq!(sweeps.len(), 1);
    let swept = place.objects().await;
    let second = place.checkpoint(1).await;
    set.upload(&second, &place.to(), &none).await.unwrap();
    let uploaded = place.to().get(&second.id).await.unwrap();
    let is_swept = |pack: &crate::Pack| swept.contains(&(pack.object.clone(), pack.bytes));
    let relied = uploaded.packs.iter().filter(|pack| is_swept(pack)).count();
    assert!(relied == 0 && uploaded.packs.len() > 20, "{relied} packs are relied on that go");
    place.check_collected("after the sweep").await;
    // An upload that looked before the sweep was written looks once more before its manifest.
    let third = place.checkpoint(1).await;
    set.upload(&third, &place.to(), &none).await.unwrap();
    place.check_collected("at the end").await;
    assert_eq!(place.to().list().await.unwrap().len(), 2);
}

/// Whatever ends it, and between which two steps: what is listed is whole, the next attempt ends well,
/// and nothing is left.
#[tokio::test(flavor = "multi_thread")]
async fn it_may_be_killed_between_any_two_steps() {
    let mut place = Place::new();
    let (set, none) = (place.set(), Throttle::none());
    place.history = History::blocks(5, 300);
    place.limits = PackLimits { small: 1 << 20, pack: 800 };
    let first = place.checkpoint(0).await;
    set.upload(&first, &place.to(), &none).await.unwrap();
    let second = place.checkpoint(3).await;
    let mut number = 0;
    loop {
        let context = format!("upload, killed before step {number}");
        match set.upload(&second, &place.until(number), &none).await {
            Ok(()) => break,
            Err(CheckpointError::Destination(_)) => {}
            Err(error) => panic!("{context}: {error}"),
        }
        place.check_listed(&context).await;
        number += 1;
    }
    assert!(number > 10, "{number}");
    assert_eq!(place.check_listed("uploaded").await.len(), 2);
    // The first one goes, and what it alone had.
    let keep = Keep { last: 1, within: None };
    let mut steps = 0;
    for number in 0.. {
        let (at, context) = (place.until(number), format!("expiry, killed before step {number}"));
        let expired = at.expire(&keep, super::at(0), Some(&second.id), &none).await;
        place.check_listed(&context).await;
        if expired.is_ok() {
            break;
        }
        steps = number;
    }
    assert!(steps > 5, "{steps}: it is not ended between two removals");
    assert_eq!(place.to().list().await.unwrap().len(), 1);
    for day in [25, 50, 75] {
        let now = place.later(day).await;
        for number in 0.. {
            let collected = place.until(number).collect(now).await;
            place.check_listed(&format!("day {day}, killed before step {number}")).await;
            if collected.is_ok() {
                break;
            }
        }
    }
    place.check_collected("at the end").await;
    // And what an upload left that nobody has continued.
    let third = place.checkpoint(3).await;
    set.upload(&third, &place.until(number / 2), &none).await.unwrap_err();
    place.check_collected("an upload that nobody continued").await;
}
