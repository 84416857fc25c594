//! What is signed is compared with what is held, whatever of the oldest is not held any more.

use std::fs;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_store::conformance::history::History;

use super::Site;
use super::signing::verify;
use crate::tests::signed::resealed;
use crate::tests::{ALL, from as from_entry, seed};

/// Removes the segments that begin before this entry.
async fn expire(site: &Site, before: u64) {
    for name in site.archive.archive.segments().await.unwrap() {
        if name.first < before {
            fs::remove_file(site.archive.path(&name)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_compared_from_whichever_entry_on() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let history = History::random(seed, 1_300);
    let site = Site::new(&history.entries, 1_300).await;
    site.sign().await.unwrap();
    // At the edges of tiles, and of the last one, which is not full.
    let mut starts = vec![2, 3, 256, 257, 258, 512, 1_280, 1_281, 1_282, 1_300];
    starts.extend((0..5).map(|_| rng.random_range(2..=1_300)));
    for start in starts {
        let report = verify(&site, from_entry(start), true).await.unwrap();
        assert!(report.ok && report.signed == Some(1_300), "from {start}: {report:?}");
        // Nobody knows who signed it.
        let report = verify(&site, from_entry(start), false).await.unwrap();
        assert!(report.ok && report.signed.is_none(), "from {start}: {report:?}");
    }
    // What the tiles say of entries that are not read must lead to the root.
    let (path, name) = (site.tree().join("tile/0/002"), "from 700");
    let whole = fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[7] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let report = verify(&site, from_entry(700), true).await.unwrap();
    assert!(!report.ok && report.signed.is_none(), "{name}: {report:?}");
    fs::remove_file(&path).unwrap();
    assert!(!verify(&site, from_entry(700), true).await.unwrap().ok, "{name}");
    fs::write(&path, whole).unwrap();
    expire(&site, 601).await;
    let report = verify(&site, ALL, true).await.unwrap();
    assert!(report.ok && report.signed == Some(1_300), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_the_oldest_entries_is_no_way_round() {
    let history = History::random(seed(), 800);
    let honest = Site::new(&history.entries, 700).await;
    honest.sign().await.unwrap();
    // Another history from 300 on, right in itself, beside what was signed.
    let forged = Site::new(&resealed(&history.entries, 300), 700).await;
    forged.put_tree(&honest);
    expire(&forged, 301).await;
    let report = verify(&forged, ALL, true).await.unwrap();
    assert!(!report.ok && report.signed.is_none(), "{report:?}");
    assert!(report.problems[0].contains("tile/0/001 has another entry"), "{report:?}");
    // Or of nothing that was signed.
    forged.archive_more(700, 800).await;
    expire(&forged, 701).await;
    let report = verify(&forged, ALL, true).await.unwrap();
    assert!(!report.ok && report.problems[0].contains("none is held to compare"), "{report:?}");
    assert!(verify(&forged, ALL, false).await.unwrap().ok, "nobody asked for a key");
}

/// Whatever the key signed of entries that are not held any more must be the beginning of what it signed
/// later.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_of_entries_that_are_gone_is_compared() {
    let history = History::random(seed(), 1_300);
    let site = Site::new(&history.entries, 1_300).await;
    site.sign().await.unwrap();
    let other = Site::new(&resealed(&history.entries, 200), 300).await;
    other.sign().await.unwrap();
    let cosigned = site.tree().join("cosigned");
    fs::create_dir_all(&cosigned).unwrap();
    for (name, from, is_ok) in [("00000001", &site, true), ("00000002", &other, false)] {
        let note = fs::read(from.tree().join("checkpoint")).unwrap();
        fs::write(cosigned.join(name), note).unwrap();
        for range in [ALL, from_entry(400)] {
            let report = verify(&site, range, true).await.unwrap();
            assert_eq!(report.ok, is_ok, "{range:?}: {report:?}");
            let told = report.problems.iter().any(|what| what.contains("contradict each other"));
            assert_eq!(told, !is_ok, "{range:?}: {report:?}");
        }
    }
}

/// What waits for its witnesses is signed, too.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_begins_after_what_is_published_is_compared_with_what_waits() {
    let history = History::random(seed(), 900);
    let site = Site::new(&history.entries, 600).await;
    site.sign().await.unwrap();
    let published = fs::read(site.tree().join("checkpoint")).unwrap();
    site.archive_more(600, 900).await;
    site.sign().await.unwrap();
    fs::rename(site.tree().join("checkpoint"), site.tree().join("pending")).unwrap();
    fs::write(site.tree().join("checkpoint"), published).unwrap();
    for start in [600, 601, 602, 899] {
        let report = verify(&site, from_entry(start), true).await.unwrap();
        assert!(report.ok && report.problems.is_empty(), "from {start}: {report:?}");
    }
    expire(&site, 601).await;
    let report = verify(&site, ALL, true).await.unwrap();
    assert!(report.ok && report.signed == Some(900), "{report:?}");
}
