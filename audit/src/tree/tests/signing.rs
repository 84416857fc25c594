use std::fs;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_backup::Sources;
use tipline_proto::{Digest, Entry};
use tipline_store::conformance::history::{History, log, log_with_lineage};

use super::{Site, key, verifier};
use crate::tests::{ALL, Place, honest, of_log, seed};
use crate::tlog::{Checkpoint, Tree, leaf_hash, prove_inclusion, verify_inclusion};
use crate::tree::{KeyFile, SignedTree, TreeError};
use crate::{AuditError, Range, VerifyReport, verify_entries};

/// The tree of entries, as anybody can make it.
fn tree(entries: &[Entry]) -> Tree {
    let (mut tree, mut previous) = (Tree::new(), Digest::origin(&log()));
    for entry in entries {
        tree.append(leaf_hash(&entry.preimage(&previous)), |_, _| {});
        previous = entry.digest;
    }
    tree
}

pub(super) fn refused(error: AuditError) -> TreeError {
    match error {
        AuditError::Tree(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_archived_is_signed_and_every_start_goes_on_from_there() {
    let (seed, mut at) = (seed(), 0);
    let mut rng = StdRng::seed_from_u64(seed);
    let history = History::random(seed, 1_300);
    let site = Site::new(&history.entries, 0).await;
    assert_eq!(site.sign().await.unwrap(), None, "there is nothing to sign");
    let nothing = fs::read_to_string(site.signed_path()).unwrap();
    let says = format!("{}\n0\n", verifier().name());
    assert!(site.files().is_empty() && nothing.starts_with(&says), "{nothing}");
    let mut checkpoints: Vec<Checkpoint> = Vec::new();
    // Over the edge of a tile exactly, too.
    let mut ends = vec![1, 2, 255, 256, 257, 512, 1_300];
    ends.extend((0..5).map(|_| rng.random_range(300..1_299)));
    ends.sort_unstable();
    for end in ends {
        if end > at {
            site.archive_more(at, end).await;
        }
        let before = site.files();
        let signed = site.sign().await.unwrap().unwrap();
        assert_eq!((signed.checkpoint.size, signed.added), (end as u64, (end - at) as u64));
        assert_eq!(signed.checkpoint.root, tree(&history.entries[..end]).root(), "size {end}");
        assert_eq!(site.checkpoint().await.unwrap(), signed.checkpoint);
        let remembered = fs::read(site.signed_path()).unwrap();
        assert_eq!(remembered, fs::read(site.tree().join("checkpoint")).unwrap());
        // What was there is there, but for the checkpoint.
        for (path, bytes) in before.iter().filter(|(path, _)| !path.ends_with("checkpoint")) {
            assert_eq!(&fs::read(path).unwrap(), bytes, "{path:?}");
        }
        checkpoints.push(signed.checkpoint);
        at = end;
    }
    for new in 0..checkpoints.len() {
        for old in 0..=new {
            let (old, new) = (checkpoints[old].clone(), checkpoints[new].clone());
            site.place().consistency(old, new).await.unwrap();
        }
    }
    let partial =
        site.files().iter().filter(|(path, _)| path.to_string_lossy().contains(".p/")).count();
    assert!(partial > 8, "those of earlier checkpoints stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_was_made_at_once_is_the_same() {
    let history = History::random(seed(), 700);
    let (one, other) =
        (Site::new(&history.entries, 700).await, Site::new(&history.entries, 300).await);
    other.sign().await.unwrap();
    other.archive_more(300, 700).await;
    let (one, other) = (one.sign().await.unwrap().unwrap(), other.sign().await.unwrap().unwrap());
    assert_eq!(one.checkpoint, other.checkpoint);
    assert_eq!((one.added, other.added), (700, 400));
}

/// Killed after each single write, it goes on, and signs the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_after_any_write_goes_on() {
    let history = History::random(seed(), 700);
    let whole = Site::new(&history.entries, 700).await;
    whole.sign().await.unwrap();
    let root = whole.checkpoint().await.unwrap();
    let written = whole.files();
    for count in 0..=written.len() {
        // The checkpoint is written last, whatever the names.
        let mut files: Vec<_> = written.clone();
        files.sort_by_key(|(path, _)| path.ends_with("checkpoint"));
        for remembers in [false, true] {
            let site = Site::new(&history.entries, 700).await;
            for (path, bytes) in &files[..count] {
                let path = site.tree().join(path.strip_prefix(whole.tree()).unwrap());
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
            if remembers {
                fs::copy(whole.signed_path(), site.signed_path()).unwrap();
            }
            let signed = site.sign().await.unwrap().unwrap();
            assert_eq!(signed.checkpoint, root, "after {count} writes");
        }
    }
}

/// A tree that was lost is made again from the archive. Stopped meanwhile, the key has not forgotten how
/// much it has signed: it would sign something else after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_is_made_again_is_not_signed_before_it_is_as_large_as_it_was() {
    let history = History::random(seed(), 2_600);
    let site = Site::new(&history.entries, 2_600).await;
    let before = site.sign().await.unwrap().unwrap();
    let remembered = fs::read(site.signed_path()).unwrap();
    site.remove_tree();
    // No tile can be written there, after some were.
    let obstacle = site.tree().join("tile/0/008");
    fs::create_dir_all(&obstacle).unwrap();
    assert!(site.sign().await.is_err());
    assert!(site.tree().join("tile/0/007").exists() && site.checkpoint().await.is_none());
    assert_eq!(fs::read(site.signed_path()).unwrap(), remembered);
    fs::remove_dir_all(&obstacle).unwrap();
    assert_eq!(site.sign().await.unwrap().unwrap().checkpoint, before.checkpoint);
}

/// What is not signed yet is signed in between, so that a start goes on from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_is_signed_in_between() {
    let history = History::random(seed(), 2_600);
    let site = Site::new(&history.entries, 2_600).await;
    let obstacle = site.tree().join("tile/0/008");
    fs::create_dir_all(&obstacle).unwrap();
    assert!(site.sign().await.is_err());
    let between = site.checkpoint().await.unwrap();
    assert!((1_024..2_304).contains(&between.size), "{between:?}");
    fs::remove_dir_all(&obstacle).unwrap();
    let signed = site.sign().await.unwrap().unwrap();
    assert_eq!((signed.checkpoint.size, signed.added), (2_600, 2_600 - between.size));
    assert_eq!(signed.checkpoint.root, tree(&history.entries).root());
}

/// Whoever signs goes on while somebody verifies.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_after_it_was_looked_what_is_held_is_not_missing() {
    let history = History::random(seed(), 200);
    let site = Arc::new(Site::new(&history.entries, 60).await);
    site.sign().await.unwrap();
    let signing = Arc::clone(&site);
    let log = honest(&history.entries[..60]).await.meanwhile(move || {
        let site = Arc::clone(&signing);
        Box::pin(async move {
            let signed = site.checkpoint().await.unwrap().size as usize;
            site.archive_more(signed, signed + 10).await;
            site.sign().await.unwrap();
        })
    });
    let report = verify_sources(of_log(log), &site, ALL, true).await.unwrap();
    assert!(report.ok && report.verified == Some((1, 60)), "{report:?}");
    assert!(site.checkpoint().await.unwrap().size > 60, "more was signed meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_whose_tiles_do_not_give_the_signed_root_is_refused_by_name() {
    let history = History::random(seed(), 700);
    let site = Site::new(&history.entries, 600).await;
    site.sign().await.unwrap();
    site.archive_more(600, 700).await;
    let before = site.files();
    for name in ["tile/0/002.p/88", "tile/1/000.p/2"] {
        let path = site.tree().join(name);
        let whole = fs::read(&path).unwrap();
        for (bytes, wanted) in [
            (
                [&[whole[0] ^ 1], &whole[1..]].concat(),
                "do not give the root that was signed for 600",
            ),
            (whole[..whole.len() - 1].to_vec(), name),
        ] {
            fs::write(&path, bytes).unwrap();
            let error = refused(site.sign().await.unwrap_err()).to_string();
            assert!(error.contains(wanted) && error.contains("tlog"), "{name}: {error}");
        }
        fs::remove_file(&path).unwrap();
        let error = refused(site.sign().await.unwrap_err()).to_string();
        assert!(error.contains(name) && error.contains("not there"), "{error}");
        fs::write(&path, whole).unwrap();
    }
    // A checkpoint with any byte changed is not continued.
    let path = site.tree().join("checkpoint");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(site.sign().await.is_err(), "byte {at}");
    }
    fs::write(&path, whole).unwrap();
    assert_eq!(site.files(), before, "nothing was written");
    assert_eq!(site.sign().await.unwrap().unwrap().added, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tile_that_is_there_is_never_replaced() {
    let history = History::random(seed(), 600);
    for name in ["tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"] {
        let site = Site::new(&history.entries, 600).await;
        let path = site.tree().join(name);
        let remembered = fs::read(site.signed_path()).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"of somebody else").unwrap();
        let error = refused(site.sign().await.unwrap_err());
        assert!(matches!(&error, TreeError::TileDiffers { tile, .. } if tile == name), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), b"of somebody else");
        // It is not read, however long it is.
        fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        let error = refused(site.sign().await.unwrap_err());
        assert!(matches!(&error, TreeError::TileDiffers { tile, .. } if tile == name), "{error:?}");
        assert!(site.checkpoint().await.is_none());
        assert_eq!(fs::read(site.signed_path()).unwrap(), remembered);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_lost_what_was_signed_is_refused() {
    let history = History::random(seed(), 600);
    let site = Site::new(&history.entries, 600).await;
    site.sign().await.unwrap();
    let before = site.files();
    let newest = site.archive.archive.segments().await.unwrap().pop().unwrap();
    fs::remove_file(site.archive.path(&newest)).unwrap();
    let error = refused(site.sign().await.unwrap_err());
    assert!(matches!(error, TreeError::Shorter { last: 540, size: 600, .. }), "{error:?}");
    // Nor if the tree went back with it: the key remembers.
    fs::remove_dir_all(site.tree()).unwrap();
    let error = refused(site.sign().await.unwrap_err());
    let TreeError::Shorter { last: 540, size: 600, by, .. } = &error else { panic!("{error:?}") };
    assert!(by.ends_with("log.key.signed"), "{by}");
    assert!(site.files().is_empty());
    site.archive_more(540, 600).await;
    site.sign().await.unwrap();
    assert_eq!(site.files(), before);
}

/// Two histories of one log, the same up to an entry.
pub(super) fn two(seed: u64, common: usize, length: usize) -> (Vec<Entry>, Vec<Entry>) {
    let one = History::random(seed, length).entries;
    let mut other = one[..common].to_vec();
    for entry in &one[common..] {
        let before = other.last().map_or(Digest::origin(&log()), |entry| entry.digest);
        let position = tipline_proto::Position { index: entry.index - 1, digest: before };
        let time = tipline_proto::Timestamp::from_micros(entry.time.as_micros() + 1);
        let (epoch, sequence) = (entry.epoch, entry.outbox_sequence);
        other.push(Entry::seal(&position, epoch, time, sequence, entry.event.clone()));
    }
    (one, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_history_is_never_signed_by_the_same_key() {
    let (one, other) = two(seed(), 300, 600);
    let site = Site::new(&one, 500).await;
    site.sign().await.unwrap();
    let files = site.files();
    // Another archive comes to the same place. The tree is there still.
    let forked = Place::filled(&other, 60).await;
    let swap = |from: &Place| {
        let segments = site.archive.directory.path().join("segments");
        fs::remove_dir_all(&segments).unwrap();
        fs::create_dir(&segments).unwrap();
        for segment in fs::read_dir(from.directory.path().join("segments")).unwrap() {
            let path = segment.unwrap().path();
            fs::copy(&path, segments.join(path.file_name().unwrap())).unwrap();
        }
    };
    swap(&forked);
    let error = refused(site.sign().await.unwrap_err());
    assert!(matches!(error, TreeError::Forked { index: 500, .. }), "{error:?}");
    assert_eq!(site.files(), files);
    // It has as many entries as were signed, and none that are new.
    swap(&Place::filled(&other[..500], 60).await);
    let error = refused(site.sign().await.unwrap_err());
    assert!(matches!(error, TreeError::Forked { index: 500, .. }), "{error:?}");
    assert_eq!(site.files(), files);
    swap(&forked);
    // The tree was removed, or put back to before the fork.
    for size in [0, 250] {
        site.remove_tree();
        if size > 0 {
            let earlier = Site::new(&one, size).await;
            earlier.sign().await.unwrap();
            site.put_tree(&earlier);
        }
        let before = site.files();
        let error = refused(site.sign().await.unwrap_err());
        let TreeError::Forked { index: 500, by, .. } = &error else { panic!("{error:?}") };
        assert!(by.ends_with("log.key.signed"), "{by}");
        assert_eq!(site.files(), before, "size {size}");
    }
    // A longer tree of the other history, which the same key signed elsewhere.
    let elsewhere = Site::new(&other, 600).await;
    elsewhere.sign().await.unwrap();
    site.put_tree(&elsewhere);
    let error = refused(site.sign().await.unwrap_err());
    assert!(matches!(error, TreeError::Forked { index: 500, .. }), "{error:?}");
    // The right one again.
    site.remove_tree();
    swap(&Place::filled(&one, 60).await);
    assert_eq!(site.sign().await.unwrap().unwrap().checkpoint.size, 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_verified_is_not_signed() {
    let (history, other) = two(seed(), 280, 600);
    let site = Site::new(&history, 300).await;
    site.sign().await.unwrap();
    let before = site.files();
    // What comes next is of another history.
    let wrong = site.archive.segment(&other, 300, 400).await;
    site.sign().await.unwrap_err();
    fs::remove_file(site.archive.path(&wrong)).unwrap();
    // Or was damaged.
    site.archive_more(300, 400).await;
    let newest = site.archive.archive.segments().await.unwrap().pop().unwrap();
    let path = site.archive.path(&newest);
    let whole = fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[whole.len() / 3] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = site.sign().await.unwrap_err();
    assert!(matches!(error, AuditError::Found(_)), "{error:?}");
    assert_eq!(site.files(), before);
    fs::write(&path, whole).unwrap();
    assert_eq!(site.sign().await.unwrap().unwrap().added, 100);
}

/// Segments that end before an entry are removed, as an archive expires.
fn expire(site: &Site, index: u64) {
    let folder = site.archive.directory.path().join("from");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{index:020}")), b"").unwrap();
    for segment in fs::read_dir(site.archive.directory.path().join("segments")).unwrap() {
        let path = segment.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name[21..41].parse::<u64>().unwrap() < index {
            fs::remove_file(path).unwrap();
        }
    }
}

/// The minimum index stays 0: every proof that could be made of hashes can be made still.
#[tokio::test(flavor = "multi_thread")]
async fn tiles_stay_when_segments_go() {
    let history = History::random(seed(), 600);
    let site = Site::new(&history.entries, 300).await;
    let old = site.sign().await.unwrap().unwrap().checkpoint;
    let before = site.files();
    site.archive_more(300, 600).await;
    expire(&site, 241);
    let new = site.sign().await.unwrap().unwrap().checkpoint;
    assert_eq!(new.root, tree(&history.entries).root());
    expire(&site, 541);
    let is_kept = |(path, bytes): &(std::path::PathBuf, Vec<u8>)| {
        path.ends_with("checkpoint") || fs::read(path).is_ok_and(|found| found == *bytes)
    };
    assert!(before.iter().all(is_kept));
    let proven = site.place().consistency(old, new.clone()).await.unwrap();
    assert_eq!(proven.new, new);
    // An entry that is gone: its hash is there, and leads to the root.
    let hashes = site.place().with_tiles(|read| prove_inclusion(600, 6, read)).await.unwrap();
    let preimage = history.entries[6].preimage(&history.entries[5].digest);
    verify_inclusion(600, new.root, 6, &preimage, &hashes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_needed_must_be_held() {
    let history = History::random(seed(), 600);
    let site = Site::new(&history.entries, 300).await;
    site.sign().await.unwrap();
    site.archive_more(300, 600).await;
    // The archive expires: up to before the last signed entry, and beyond.
    expire(&site, 301);
    let error = refused(site.sign().await.unwrap_err());
    assert!(matches!(error, TreeError::NotHeld { first: 301, needed: 299, .. }), "{error:?}");
    // A tree begins with the first entry.
    let site = Site::new(&history.entries, 0).await;
    site.archive_more(100, 200).await;
    let error = refused(site.sign().await.unwrap_err());
    assert!(matches!(error, TreeError::NotHeld { first: 101, needed: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("sign an archive that has all of it"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_lineage_is_refused() {
    let history = History::random(seed(), 100);
    let site = Site::new(&history.entries, 100).await;
    let other = key(&log_with_lineage(9));
    let path = site.keys.path().join("other.key");
    KeyFile::create(&path, &other).unwrap();
    let error = refused(site.sign_with(&path).await.unwrap_err());
    assert!(matches!(error, TreeError::WrongKey { .. }), "{error:?}");
    // Another key of the same name does not go on from what this one signed.
    site.sign().await.unwrap();
    let path = site.keys.path().join("same.key");
    let same = crate::tlog::SigningKey::from_seed(verifier().name(), &[8; 32]).unwrap();
    KeyFile::create(&path, &same).unwrap();
    let error = refused(site.sign_with(&path).await.unwrap_err());
    assert!(matches!(error, TreeError::Note { .. }), "{error:?}");
}

pub(super) async fn verify(
    site: &Site,
    range: Range,
    with_key: bool,
) -> Result<VerifyReport, AuditError> {
    verify_sources(site.archive.sources(), site, range, with_key).await
}

async fn verify_sources(
    sources: Arc<Sources>,
    site: &Site,
    range: Range,
    with_key: bool,
) -> Result<VerifyReport, AuditError> {
    let key = with_key.then(verifier);
    let signed = SignedTree { place: site.place(), key };
    let (progress, stop) = (tokio::sync::watch::Sender::default(), Default::default());
    verify_entries(sources, &log(), range, None, Some(&signed), &progress, stop).await
}

#[tokio::test(flavor = "multi_thread")]
async fn verifying_an_archive_compares_its_tree() {
    let history = History::random(seed(), 700);
    let site = Site::new(&history.entries, 600).await;
    let report = verify(&site, ALL, false).await.unwrap();
    assert!(report.ok && report.signed.is_none(), "{report:?}");
    // Whoever names a key wants what it signed: removing all of that is no way round.
    let report = verify(&site, ALL, true).await.unwrap();
    assert!(!report.ok && report.problems[0].contains("nothing is signed at"), "{report:?}");
    site.sign().await.unwrap();
    site.archive_more(600, 700).await;
    let says = |report: &VerifyReport, what: &str| {
        report.not_verified.iter().any(|line| line.contains(what))
    };
    let report = verify(&site, ALL, true).await.unwrap();
    assert!(report.ok && report.signed == Some(600), "{report:?}");
    assert!(says(&report, "entries 601 to 700: they are not signed yet"), "{report:?}");
    assert!(!says(&report, "who signed") && !says(&report, "the tree at"), "{report:?}");
    assert!(says(&verify(&site, ALL, false).await.unwrap(), "who signed the tree"));
    let before = Range { from: None, to: Some(599) };
    assert!(says(&verify(&site, before, true).await.unwrap(), "it is compared if"));
    for name in ["tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"] {
        let path = site.tree().join(name);
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[40] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let report = verify(&site, ALL, true).await.unwrap();
        let told = report.problems.iter().any(|problem| problem.contains(name));
        assert!(!report.ok && told, "{name}: {report:?}");
        fs::remove_file(&path).unwrap();
        assert!(!verify(&site, ALL, true).await.unwrap().ok, "{name}");
        fs::write(&path, whole).unwrap();
    }
    let newest = site.archive.archive.segments().await.unwrap();
    for segment in newest.iter().filter(|segment| segment.last > 540) {
        fs::remove_file(site.archive.path(segment)).unwrap();
    }
    let report = verify(&site, ALL, true).await.unwrap();
    assert!(!report.ok && report.problems[0].contains("ends with 540"), "{report:?}");
}
