//! Any history of uploads whose small files are packed.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::at;
use super::made_up::{Content, Place, TINY, random};
use crate::destination::tests::until;
use crate::throttle::Throttle;
use crate::{Keep, Listed, Manifest, ManifestFile, Pack};

/// Files are added, replaced, rolled back and come back; uploads are ended and continued, or not;
/// checkpoints expire, and what none refers to goes.
#[tokio::test(flavor = "multi_thread")]
async fn of_any_history_every_checkpoint_is_what_it_was_in_few_objects_and_little_is_sent() {
    let seed: u64 =
        std::env::var("TIPLINE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("TIPLINE_SEED={seed}");
    for number in 0..4_u64 {
        let rng = StdRng::seed_from_u64(seed ^ number);
        history(rng, number % 2 == 1, &format!("seed {seed}, history {number}")).await;
    }
}

async fn history(mut rng: StdRng, is_sealed: bool, context: &str) {
    let mut place = Place::new(is_sealed, TINY);
    let (mut now, mut next, mut gone) = (Content::new(), 0_u64, Content::new());
    let (mut sent_in_all, mut new_in_all, mut uploads) = (0, 0, 0);
    for step in 0..25 {
        let context = format!("{context}, step {step}");
        // Sometimes a rollback, of which some comes back.
        if rng.random_bool(0.3) {
            for _ in 0..rng.random_range(0..now.len().max(1)) {
                gone.extend(now.pop_last());
            }
        }
        if rng.random_bool(0.2) {
            now.append(&mut gone);
        }
        for _ in 0..rng.random_range(0..12) {
            let bytes = rng.random_range(0..=TINY.small as usize);
            next += 1;
            now.insert(format!("block_{next:05}"), random(&mut rng, bytes));
        }
        // Any file may change, in length or not, and an index does.
        let paths: Vec<String> = now.keys().cloned().collect();
        for path in paths {
            if !rng.random_bool(0.03) {
                continue;
            }
            let bytes = rng.random_range(0..=TINY.small as usize);
            now.insert(path, random(&mut rng, bytes));
        }
        now.insert("index".to_owned(), random(&mut rng, 60));
        now.insert("large".to_owned(), random(&mut rng, 300));
        let manifest = place.make(&now);
        let before = place.to().list().await.unwrap().into_iter().next();
        let is_ended = rng.random_bool(0.3);
        if is_ended {
            let to = place.at(until(&place.there, rng.random_range(0..30)));
            _ = place.upload(&manifest, &to).await;
        }
        let is_there = place.to().get(&manifest.id).await.is_ok();
        if is_ended && !is_there && rng.random_bool(0.5) {
            // Nobody continues it.
            place.check(&context).await;
            continue;
        }
        place.upload(&manifest, &place.to()).await.unwrap();
        let newest = place.newest().await;
        assert_eq!(newest.id, manifest.id);
        let before = before.map(|listed| match listed {
            Listed::Whole(before) if before.id != newest.id => before,
            listed => panic!("{context}: {listed:?}"),
        });
        let (sent, new, freed) = figures(&place, before.as_ref(), &newest);
        println!("{context}: {sent} bytes of packs, {new} new, {freed} freed");
        assert!(sent <= new + freed + TINY.pack / 2, "{context}: {sent} of {new}, {freed} freed");
        (sent_in_all, new_in_all, uploads) = (sent_in_all + sent, new_in_all + new, uploads + 1);
        check_packs(&newest, &context);
        if rng.random_bool(0.3) {
            let keep = Keep { last: rng.random_range(1..4), within: None };
            place.to().expire(&keep, at(0), Some(&newest.id), &Throttle::none()).await.unwrap();
        }
        if rng.random_bool(0.3) {
            // It is called with every upload, and may be the first in days.
            let hours = rng.random_range(0..60);
            place.to().collect(place.later(hours).await).await.unwrap();
        }
        if step % 5 == 0 {
            place.check(&context).await;
        } else {
            place.check_fetched(&newest, &context).await;
        }
    }
    assert!(
        sent_in_all <= 2 * new_in_all + uploads * TINY.pack / 2,
        "{context}: {sent_in_all} of {new_in_all}"
    );
    for day in 1..4 {
        place.to().collect(place.later(25 * day).await).await.unwrap();
    }
    let whole = place.check(context).await;
    // Nothing is left that no checkpoint has, and packs are few.
    let packs: BTreeMap<String, u64> = whole
        .iter()
        .flat_map(|manifest| manifest.packs.iter().map(|pack| (pack.object.clone(), length(pack))))
        .collect();
    let large = whole
        .iter()
        .flat_map(|manifest| manifest.files.iter().filter_map(|file| file.shared.clone()));
    assert_eq!(place.objects().await, packs.keys().cloned().chain(large).collect(), "{context}");
    let most = packs.values().sum::<u64>() / (TINY.pack / 2) + whole.len() as u64;
    assert!(packs.len() as u64 <= most, "{context}: {} packs, not {most}", packs.len());
}

/// Of an upload after another: the bytes of packs that were sent, those of files that are new, and those
/// that nothing of this checkpoint uses of packs that it does not refer to any more.
fn figures(place: &Place, before: Option<&Manifest>, newest: &Manifest) -> (u64, u64, u64) {
    let none = (Content::new(), Vec::new());
    let (was, packs) = before
        .map_or(none, |before| (place.made[before.id.as_str()].clone(), before.packs.clone()));
    let sent = newest.packs.iter().filter(|pack| !packs.contains(pack)).map(length);
    let packed = |file: &ManifestFile| Some((file.path.clone(), file.packed?.pack as usize));
    let packed: BTreeMap<String, usize> =
        before.iter().flat_map(|before| &before.files).filter_map(packed).collect();
    let (mut new, mut used) = (0, vec![0; packs.len()]);
    for file in newest.files.iter().filter(|file| file.packed.is_some()) {
        let path = file.path.strip_prefix("part-0/").unwrap();
        if was.get(path) == place.made[newest.id.as_str()].get(path) {
            used[packed[&file.path]] += file.bytes;
        } else {
            new += file.bytes;
        }
    }
    let given_up = packs.iter().zip(used).filter(|(pack, _)| !newest.packs.contains(pack));
    let freed = given_up.map(|(pack, used)| length(pack) - used).sum();
    (sent.sum(), new, freed)
}

/// The bytes of files in a pack.
fn length(pack: &Pack) -> u64 {
    pack.plain() - if pack.plain_bytes.is_some() { 32 } else { 0 }
}

/// Of every pack at least half is used, and all but one are at least half full.
fn check_packs(manifest: &Manifest, context: &str) {
    let mut small = 0;
    for (pack, files) in manifest.packs.iter().zip(manifest.members()) {
        let used: u64 = files.iter().map(|file| file.bytes).sum();
        assert!(
            2 * used >= length(pack) && length(pack) <= TINY.pack,
            "{context}: {used} of {pack:?}"
        );
        small += u32::from(2 * length(pack) < TINY.pack);
    }
    assert!(small <= 1, "{context}: {small} small packs");
}
