//! Small files of uploads, which are sent together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use futures_util::FutureExt;
use object_store::ObjectStoreExt;

use super::at;
use super::made_up::{NONE, Place, TINY, blocks, content, keys};
use super::upload::{inodes, location};
use crate::checkpoint::packing::PackLimits;
use crate::destination::tests::{Call, answering, refused};
use crate::throttle::Throttle;
use crate::{CheckpointError, Checkpoints, Keep, KnownHeads, Listed};

/// How often objects are written and read: by the first upload, by one with 1% more, by a restore.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_many_small_files_is_a_few_objects() {
    let packed = PackLimits::default();
    // 20 MB each: two packs that are full, and one that is sent with the new ones again.
    for (limits, is_sealed, files, expected) in [
        (NONE, false, 2_000, [(2_000, 2_000), (20, 20), (0, 2_020)]),
        (packed, false, 20_000, [(3, 3), (1, 1), (0, 3)]),
        (packed, true, 2_000, [(3, 3), (1, 1), (0, 3)]),
    ] {
        let bytes = 20_000_000 / files;
        let (old, new) = (blocks(0..files as u32, bytes), files as u32 * 101 / 100);
        let mut place = Place::new(is_sealed, limits);
        let (to, counts) = place.counted();
        let first = place.make(&old);
        place.upload(&first, &to).await.unwrap();
        let of_first = counts.take();
        let second = place.make(&blocks(0..new, bytes));
        place.upload(&second, &to).await.unwrap();
        let of_second = counts.take();
        let newest = place.newest().await;
        let into = place.directory.path().join("fetched");
        to.fetch(&newest, &into, &Throttle::none()).await.unwrap();
        assert_eq!([of_first, of_second, counts.take()], expected, "{files} {is_sealed}");
        assert!(content(&into.join("part-0")) == place.made[newest.id.as_str()]);
        to.verify(&newest, &Throttle::none()).await.unwrap();
        assert_eq!(counts.take(), (0, expected[2].1));
        if !is_sealed {
            to.fetch(&newest, &into, &Throttle::none()).await.unwrap();
            assert_eq!(counts.take(), (0, 0), "all of it is there");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_that_were_sent_are_not_sent_again_when_an_upload_goes_on() {
    for is_sealed in [false, true] {
        let mut place = Place::new(is_sealed, TINY);
        let manifest = place.make(&blocks(0..100, 80));
        // It is ended when the sixth pack is sent.
        let puts = AtomicU64::new(0);
        let ended = place.at(answering(&place.there, move |call, path| {
            let is_pack = call == Call::Put && path.as_ref().starts_with("objects/");
            (is_pack && puts.fetch_add(1, SeqCst) >= 5).then(refused)
        }));
        let error = place.upload(&manifest, &ended).await.unwrap_err();
        assert!(matches!(error, CheckpointError::Destination(_)), "{error:?}");
        assert_eq!(place.objects().await.len(), 5);
        let (to, counts) = place.counted();
        place.upload(&manifest, &to).await.unwrap();
        // All of them are read back.
        assert_eq!(counts.take(), (5, 10));
        place.check("continued").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_that_are_damaged_in_a_pack_are_named() {
    for is_sealed in [false, true] {
        let mut place = Place::new(is_sealed, PackLimits::default());
        let made = place.make(&blocks(0..60, 4_000));
        place.upload(&made, &place.to()).await.unwrap();
        let (to, manifest) = (place.to(), place.newest().await);
        let [pack] = &manifest.packs[..] else { panic!("{manifest:?}") };
        assert_eq!(manifest.sizes().kept, pack.bytes);
        assert_eq!((manifest.bytes(), manifest.is_sealed()), (240_000, is_sealed));
        let written = to.destination().read(&pack.object).await.unwrap();
        let file = &manifest.files[30];
        let mut flipped = written.to_vec();
        let header = if is_sealed { written.len() - 240_032 - 4 * 16 } else { 0 };
        flipped[header + file.packed.unwrap().offset as usize + 7] ^= 1;
        to.destination().replace(&pack.object, flipped.into()).await.unwrap();
        let into = place.directory.path().join("damaged");
        let (verified, fetched) = (
            to.verify(&manifest, &Throttle::none()).await,
            to.fetch(&manifest, &into, &Throttle::none()).await,
        );
        for error in [verified.unwrap_err(), fetched.unwrap_err()] {
            let CheckpointError::Corrupt { what, .. } = &error else { panic!("{error:?}") };
            assert!(what.contains("is not what was written") || is_sealed, "{what}");
            if is_sealed {
                // What can be decrypted ends with the 64 KiB before.
                let first = &manifest.files[16].path;
                assert!(
                    what.starts_with(first)
                        && what.contains(&format!(" and 34 more in {} are not", pack.object)),
                    "{what}"
                );
            } else {
                assert!(
                    what.starts_with(&format!("{} in {} is", file.path, pack.object)),
                    "{what}"
                );
            }
        }
        // Nobody who has no key knows which.
        let without = Checkpoints::at(answering(&place.there, |_, _| None));
        let error = without.verify(&manifest, &Throttle::none()).await.unwrap_err().to_string();
        let named = if is_sealed { "block_00000000.dat, " } else { "block_0000001e.dat in " };
        assert!(error.contains(named), "{error}");
        // What is whole of it is there.
        assert_eq!(inodes(&into).len(), if is_sealed { 16 } else { 59 });
        to.destination().replace(&pack.object, written.clone()).await.unwrap();
        to.verify(&manifest, &Throttle::none()).await.unwrap();
        without.verify(&manifest, &Throttle::none()).await.unwrap();
        let before = inodes(&into);
        to.fetch(&manifest, &into, &Throttle::none()).await.unwrap();
        let after = inodes(&into);
        let stays = |(file, inode)| after.get(file) == Some(inode);
        assert!(is_sealed || before.iter().all(stays));
        assert_eq!(content(&into.join("part-0")), place.made[manifest.id.as_str()]);
        // Bytes that no file of it uses do not harm a restore, and are said to be damaged.
        let longer = [&written[..], b"x"].concat();
        to.destination().replace(&pack.object, longer.into()).await.unwrap();
        let error = to.verify(&manifest, &Throttle::none()).await.unwrap_err().to_string();
        assert!(error.contains(&pack.object), "{error}");
        to.destination().remove(&pack.object).await.unwrap();
        let error = to.verify(&manifest, &Throttle::none()).await.unwrap_err().to_string();
        let missing = format!("block_00000009.dat and 50 more in {} are missing", pack.object);
        assert!(error.contains(&missing), "{error}");
    }
}

/// What was uploaded before there were packs is shared with, and goes when nothing refers to it.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_objects_of_their_own_there_stay_so() {
    for is_sealed in [false, true] {
        let mut place = Place::new(is_sealed, NONE);
        let first = place.make(&blocks(0..50, 80));
        place.upload(&first, &place.to()).await.unwrap();
        let before = place.objects().await;
        assert_eq!((before.len(), place.newest().await.packs.len()), (50, 0));
        place.limits = TINY;
        let second = place.make(&blocks(10..65, 80));
        place.upload(&second, &place.to()).await.unwrap();
        let newest = place.newest().await;
        let alone = newest.files.iter().filter(|file| file.shared.is_some()).count();
        assert_eq!((alone, newest.packs.len()), (40, 2));
        assert_eq!(place.objects().await.difference(&before).count(), 2);
        place.check("both").await;
        let keep = Keep { last: 1, within: None };
        place.to().expire(&keep, at(0), Some(&newest.id), &Throttle::none()).await.unwrap();
        for day in 1..4 {
            place.to().collect(place.later(25 * day).await).await.unwrap();
        }
        assert_eq!(place.objects().await.len(), 42);
        assert_eq!(place.check("one").await, [newest]);
    }
}

/// An upload looks once more before it writes its manifest.
#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_about_to_go_by_the_end_of_an_upload_is_not_referred_to() {
    for is_sealed in [false, true] {
        let mut place = Place::new(is_sealed, TINY);
        let first = place.make(&blocks(0..50, 80));
        place.upload(&first, &place.to()).await.unwrap();
        let pack = place.newest().await.packs[0].object.clone();
        let second = place.make(&blocks(0..60, 80));
        let (there, name) = (Arc::clone(&place.there), pack.clone());
        let to = place.at(answering(&place.there, move |call, path| {
            if call == Call::Put && path.as_ref().starts_with("objects/") {
                // Whoever collects meanwhile has found that nothing refers to it.
                let sweep = object_store::path::Path::from("sweeps/00000000000000000001-0");
                there.put(&sweep, name.clone().into()).now_or_never().unwrap().unwrap();
            }
            None
        }));
        let error = place.upload(&second, &to).await.unwrap_err().to_string();
        assert!(error.contains(&pack) && error.contains("try again"), "{error}");
        assert_eq!(place.to().list().await.unwrap().len(), 1);
        place.upload(&second, &place.to()).await.unwrap();
        let newest = place.newest().await;
        assert!(newest.id == second.id && newest.packs.iter().all(|other| other.object != pack));
        place.check("both").await;
    }
}

/// A manifest never changes: what was listed is not read again, only asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_known_is_not_read_again() {
    let mut place = Place::new(false, TINY);
    let mut known = KnownHeads::default();
    assert!(place.to().is_empty().await.unwrap());
    for number in 1..3 {
        let made = place.make(&blocks(0..number * 20, 80));
        place.upload(&made, &place.to()).await.unwrap();
        let heads = place.to().list_heads(&mut known).await.unwrap();
        assert_eq!(heads.len(), number as usize);
        let Listed::Whole(head) = &heads[0].listed else { panic!("{heads:?}") };
        assert_eq!((&head.id, head.files.len(), heads[0].bytes), (&made.id, 0, made.bytes()));
        // Whoever reads it again finds that it is corrupt.
        let name = format!("{}/manifest.json", made.id);
        place.to().destination().replace(&name, "x".into()).await.unwrap();
        assert_eq!(place.to().list_heads(&mut known).await.unwrap(), heads);
        assert!(!place.to().is_empty().await.unwrap());
    }
    let read = place.to().list_heads(&mut KnownHeads::default()).await.unwrap();
    assert!(read.iter().all(|one| matches!(one.listed, Listed::Corrupt { .. })), "{read:?}");
    let first = read[1].listed.id();
    place.to().destination().remove(&format!("{first}/manifest.json")).await.unwrap();
    assert_eq!(place.to().list_heads(&mut known).await.unwrap().len(), 1);
}

/// Who knows a file, and has no key, does not learn that it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_does_not_tell_which_files_are_encrypted() {
    let mut place = Place::new(true, TINY);
    let made = place.make(&blocks(0..20, 80));
    place.upload(&made, &place.to()).await.unwrap();
    let text = place.newest().await.to_text().unwrap();
    assert!(made.files.iter().all(|file| !text.contains(&file.blake3.to_string())), "{text}");
    // Nor that it is the same as before in another pack.
    let before: Vec<String> =
        place.newest().await.files.iter().map(|file| file.blake3.to_string()).collect();
    let again = place.make(&blocks(0..20, 80));
    place.keys = Some(keys(place.directory.path()));
    place.upload(&again, &place.to()).await.unwrap();
    let text = place.newest().await.to_text().unwrap();
    assert!(before.iter().all(|label| !text.contains(label)), "{text}");
}

/// Whoever cannot open what is there gets packs of his own.
#[tokio::test(flavor = "multi_thread")]
async fn packs_are_shared_only_with_those_who_can_open_them() {
    let mut place = Place::new(true, TINY);
    for number in 0..4 {
        let before = place.objects().await;
        match number {
            1 => place.keys = Some(keys(place.directory.path())),
            2 => place.keys = None,
            _ => {}
        }
        let manifest = place.make(&blocks(0..50 + number, 80));
        place.upload(&manifest, &place.to()).await.unwrap();
        place.check_fetched(&place.newest().await, "its own").await;
        let new = place.objects().await.difference(&before).count();
        assert_eq!(new, if number == 3 { 1 } else { 5 + usize::from(number > 0) }, "{number}");
    }
}

/// A set that was uploaded to a directory is uploaded from there.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_packs_here_is_packed_there() {
    let mut place = Place::new(false, TINY);
    let manifest = place.make(&blocks(0..50, 80));
    let (path, between) = location(place.directory.path());
    let between = between.packing(PackLimits { small: 100, pack: 500 });
    place.upload(&manifest, &between).await.unwrap();
    let manifest = between.get(&manifest.id).await.unwrap();
    assert!(inodes(&path).len() < 12 && manifest.packs.len() > 5);
    // By hand, as docs/formats.md says.
    let file = &manifest.files[17];
    let object = path.join("checkpoints").join(manifest.object(file));
    let from = file.packed.unwrap().offset + 1;
    let cut = format!("tail -c +{from} {} | head -c {}", object.display(), file.bytes);
    let cut = std::process::Command::new("sh").args(["-c", &cut]).output().unwrap();
    assert_eq!(cut.stdout, blocks(17..18, 80).into_values().next().unwrap());
    between.upload(&manifest, &place.to(), &Throttle::none()).await.unwrap();
    place.check("uploaded twice").await;
    let newest = place.newest().await;
    assert_eq!(newest.packs.len(), 5);
    between.upload(&manifest, &place.to(), &Throttle::none()).await.unwrap();
}
