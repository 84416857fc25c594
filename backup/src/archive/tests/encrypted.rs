//! Archives that are encrypted.

use std::fs;
use std::path::{Path, PathBuf};

use tipline_proto::{Event, LogIdentity};
use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;

use super::{apply, destination, everything, open, runtime};
use crate::keys::make_identity;
use crate::{Archive, ArchiveError, ArchiveStore, KeyError, Keys};
use tipline_store::Sink;

/// A new identity in a file, and its recipient.
fn identity(directory: &Path) -> (PathBuf, String) {
    let file = directory.join("key.txt");
    let recipient = make_identity(&file);
    (file, recipient)
}

async fn create(directory: &Path, keys: Keys, log: &LogIdentity) -> Result<Archive, ArchiveError> {
    Archive::create(destination(directory), log, keys).await
}

#[test]
fn an_archiver_needs_no_key_and_a_reader_does() {
    let (runtime, within) = (runtime(), tempfile::tempdir().unwrap());
    let (file, recipient) = identity(within.path());
    let directory = within.path().join("archive");
    let history = History::random(1, 200);
    let public = Keys::default().recipient(&recipient).unwrap();
    let mut model = Model::new(&log());
    for count in [100, 200] {
        let mut store = {
            let _within = runtime.enter();
            // The second run does not name recipients: the archive names it.
            let keys = if count == 100 { public.clone() } else { Keys::default() };
            ArchiveStore::new(destination(&directory), keys, 0)
        };
        store.identity().unwrap();
        store.create(&log()).unwrap();
        apply(&mut store, &mut model, &history.entries[..count], 9, 1);
        // A late proof names a block that only the segments know.
        let view = store.view().unwrap();
        let height = view.heights().unwrap().unwrap().0;
        assert_eq!(view.block_hash(height).unwrap(), model.block_hash(height));
    }
    runtime.block_on(async {
        let without = open(&directory).await;
        let name = without.segments().await.unwrap().remove(3);
        for error in
            [without.entries(&name).await.unwrap_err(), without.index(&name).await.unwrap_err()]
        {
            assert!(matches!(error, ArchiveError::NeedsKey { .. }), "{error:?}");
        }
        let keys = Keys::default().identity_file(&file).unwrap();
        let with = Archive::open(destination(&directory), keys).await.unwrap();
        assert_eq!(everything(&with).await.unwrap(), history.entries);
    });
    // Of what is in the clear, nothing is of a payload, or of a name but those of blocks. What is
    // not is an age file.
    let mut secret = Vec::new();
    for entry in &history.entries {
        let label: &[u8] = match &entry.event {
            Event::TransactionValidated { id, .. } => id.as_ref(),
            Event::StateRecorded { key, .. } => key.as_ref(),
            Event::Marked { name, .. } => name.as_str().as_bytes(),
            _ => continue,
        };
        secret.extend([label, &entry.event.payload()[..]].map(<[u8]>::to_vec));
    }
    secret.retain(|part| part.len() >= 4);
    assert!(secret.len() > 20, "{}", secret.len());
    for found in fs::read_dir(directory.join("segments")).unwrap() {
        let bytes = fs::read(found.unwrap().path()).unwrap();
        for part in &secret {
            assert!(!bytes.windows(part.len()).any(|window| window == part), "{part:x?}");
        }
    }
}

#[test]
fn one_flipped_byte_is_found_without_a_key_too() {
    let (runtime, within) = (runtime(), tempfile::tempdir().unwrap());
    let (file, recipient) = identity(within.path());
    let directory = within.path().join("archive");
    let keys = Keys::default().recipient(&recipient).unwrap();
    let history = History::random(3, 20);
    let mut store = {
        let _within = runtime.enter();
        ArchiveStore::new(destination(&directory), keys, 0)
    };
    store.identity().unwrap();
    store.create(&log()).unwrap();
    apply(&mut store, &mut Model::new(&log()), &history.entries, 100, 1);
    let segment = fs::read_dir(directory.join("segments")).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&segment).unwrap();
    let keys = Keys::default().identity_file(&file).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        assert!(crate::archive::format::check(&damaged).is_err(), "byte {at}");
        let decoded = crate::archive::format::decode(&damaged.into(), &keys);
        assert!(decoded.is_err(), "byte {at}");
    }
}

#[test]
fn a_wrong_key_is_not_taken_for_damage() {
    let (runtime, within) = (runtime(), tempfile::tempdir().unwrap());
    let (_, recipient) = identity(within.path());
    let directory = within.path().join("archive");
    let public = Keys::default().recipient(&recipient).unwrap();
    let (other, other_recipient) = identity(within.path());
    runtime.block_on(async {
        let archive = create(&directory, public, &log()).await.unwrap();
        let entries = History::random(3, 20).entries;
        let mut model = Model::new(&log());
        let index = crate::SegmentIndex {
            log: (&log()).into(),
            before: model.cursor.position,
            after: model.batch(&entries).cursor,
            links: Default::default(),
            latest_before: Default::default(),
            rows: entries.iter().map(crate::Row::from).collect(),
        };
        let name = archive.write(&index, &entries).await.unwrap();
        // The same again is there already, and is compared without a key.
        assert_eq!(archive.write(&index, &entries).await.unwrap().to_string(), name.to_string());
        let keys = Keys::default().identity_file(&other).unwrap();
        let wrong = Archive::open(destination(&directory), keys).await.unwrap();
        let error = wrong.entries(&name).await.unwrap_err();
        assert!(matches!(error, ArchiveError::NeedsKey { .. }), "{error:?}");
        let keys = Keys::default().recipient(&other_recipient).unwrap();
        let error = create(&directory, keys, &log()).await.unwrap_err();
        assert!(matches!(error, ArchiveError::WrongRecipients { .. }), "{error:?}");
    });
}

#[test]
fn a_key_that_lies_with_the_data_is_refused() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    let (file, recipient) = identity(directory.path());
    let keys = Keys::default().recipient(&recipient).unwrap().identity_file(&file).unwrap();
    let error = runtime.block_on(create(directory.path(), keys, &log())).unwrap_err();
    assert!(matches!(error, ArchiveError::Key(KeyError::WithData { .. })), "{error:?}");
    assert!(!directory.path().join("archive.json").exists(), "nothing was written");
}

/// This many blocks make more than 1 MiB.
const BLOCKS: u64 = 60;
const BYTES: usize = 20_000;

/// An archiver that opens nothing, the directory it writes to, and what reads it.
struct Closed {
    runtime: tokio::runtime::Runtime,
    _within: tempfile::TempDir,
    directory: PathBuf,
    recipient: String,
    keys: Keys,
    history: History,
    model: Model,
}

impl Closed {
    fn new() -> Self {
        let (runtime, within) = (runtime(), tempfile::tempdir().unwrap());
        let (file, recipient) = identity(within.path());
        let keys = Keys::default().identity_file(&file).unwrap();
        let directory = within.path().join("archive");
        let (history, model) = (History::blocks(0, 0), Model::new(&log()));
        Self { runtime, _within: within, directory, recipient, keys, history, model }
    }

    /// Archives so many more blocks, in segments of one or two entries.
    fn archive(&mut self, blocks: u64) {
        (0..blocks).for_each(|_| self.history.block_of(BYTES));
        let mut store = {
            let _within = self.runtime.enter();
            let public = Keys::default().recipient(&self.recipient).unwrap();
            ArchiveStore::new(destination(&self.directory), public, 0)
        };
        store.identity().unwrap();
        store.create(&log()).unwrap();
        apply(&mut store, &mut self.model, &self.history.entries, 2, 1);
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Without a key.
    async fn closed(&self) -> Archive {
        open(&self.directory).await
    }

    async fn with_key(&self) -> Archive {
        Archive::open(destination(&self.directory), self.keys.clone()).await.unwrap()
    }

    async fn check(&self) {
        let archive = self.with_key().await;
        assert_eq!(everything(&archive).await.unwrap(), self.history.entries);
        assert_eq!(archive.cursor().await.unwrap(), self.model.cursor);
    }
}

#[test]
fn what_the_archiver_cannot_open_is_joined() {
    let mut site = Closed::new();
    let mut before = 0;
    for round in 1..=3 {
        site.archive(BLOCKS);
        site.block_on(async {
            let archive = site.closed().await;
            let small = archive.segments().await.unwrap();
            let merged = archive.merge(false).await.unwrap();
            assert_eq!((merged.written.len(), merged.removed), (1, 0), "{merged:?}");
            assert!(merged.from >= small.len() - before - 1, "{merged:?}, {}", small.len());
            let error = archive.index(&merged.written[0]).await.unwrap_err();
            assert!(matches!(error, ArchiveError::NeedsKey { .. }), "{error:?}");
            site.check().await;
            assert_eq!(archive.merge(false).await.unwrap().written, [], "nothing more to do");
            let removed = archive.merge(true).await.unwrap().removed;
            assert_eq!(removed, small.len() - before - 1, "round {round}");
            before = archive.segments().await.unwrap().len() - 1;
            site.check().await;
            // With the key it is a segment as any other.
            let index = site.with_key().await.index(&merged.written[0]).await.unwrap();
            assert_eq!(
                (index.first(), index.last()),
                (merged.written[0].first, merged.written[0].last)
            );
        });
    }
}

#[test]
fn whatever_is_changed_in_a_joined_segment_is_found() {
    let mut site = Closed::new();
    site.archive(BLOCKS);
    site.block_on(async {
        let archive = site.closed().await;
        let joined = archive.merge(false).await.unwrap().written.remove(0);
        let path = super::file(&site.directory, &joined);
        let bytes = fs::read(&path).unwrap();
        let tail = bytes.len() - 12_000;
        for at in (0..tail).step_by(9_973).chain((tail..bytes.len()).step_by(7)) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert!(crate::archive::format::check(&damaged).is_err(), "byte {at}");
            let decoded = crate::archive::format::decode(&damaged.into(), &site.keys);
            assert!(decoded.is_err(), "byte {at}");
        }
        // Then nothing is removed for it.
        let mut damaged = bytes.clone();
        damaged[5_000] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let before = archive.segments().await.unwrap();
        let error = archive.merge(true).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Corrupt { .. }), "{error:?}");
        assert_eq!(archive.segments().await.unwrap(), before);
    });
}

/// Two archivers encrypt the same entries to other bytes. Nobody without a key can tell that they are
/// the same.
#[test]
fn what_is_not_a_part_of_it_byte_for_byte_stays() {
    let mut site = Closed::new();
    site.archive(BLOCKS);
    site.block_on(async {
        let archive = site.closed().await;
        let small = archive.segments().await.unwrap();
        archive.merge(false).await.unwrap();
        let with_key = site.with_key().await;
        let (index, entries) = with_key.entries(&small[7]).await.unwrap();
        fs::remove_file(super::file(&site.directory, &small[7])).unwrap();
        let other = with_key.write(&index, &entries).await.unwrap();
        assert_eq!(archive.merge(true).await.unwrap().removed, small.len() - 2);
        assert!(archive.segments().await.unwrap().contains(&other));
        site.check().await;
    });
}
