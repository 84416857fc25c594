//! What is missing or damaged is named, never bridged; what is damaged in one place is taken from
//! another.

use std::fs;
use std::path::Path;

use tipline_proto::{Event, Timestamp};
use tipline_store::conformance::history::{History, log, log_with_lineage};

use super::super::{Target, plan_for};
use super::{Kept, names_in, place, run, settings};
use crate::archive::Archive;
use crate::destination::Destination;
use crate::error::RestoreError;
use crate::keys::Keys;
use crate::sources::Sources;

fn flip(file: &Path, at: impl Fn(usize) -> usize) {
    let mut bytes = fs::read(file).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_after_a_gap_are_refused_and_those_before_it_are_not() {
    let kept = Kept::of(History::random(11, 100)).await;
    let names = kept.segments(100, 20).await;
    fs::remove_file(kept.backup().join(names[2].to_string())).unwrap();
    let time = |index: usize| Target::Time(kept.entries()[index - 1].time);
    for target in
        [Target::Latest, Target::Index(61), Target::Index(41), Target::Index(60), time(90)]
    {
        match kept.restore(&["sqlite"], target.clone(), false).await {
            Err(RestoreError::Gap { first: 41, last, .. }) => {
                assert!(last <= 60, "{target}: {last}")
            }
            other => panic!("{target}: {:?}", other.map(|found| found.report)),
        }
    }
    for (target, index) in [(Target::Index(40), 40), (Target::Index(7), 7), (time(35), 35)] {
        let found = kept.restore(&["sqlite"], target, false).await.unwrap();
        found.assert_is(&kept, index, "before the gap");
    }
    // A checkpoint after the gap makes what follows it reachable, and nothing in it.
    kept.checkpoint(&["sqlite"], 70).await;
    let found = kept.restore(&["sqlite"], Target::Latest, false).await.unwrap();
    found.assert_is(&kept, 100, "from after the gap");
    let refused = kept.restore(&["sqlite"], Target::Index(65), false).await;
    assert!(matches!(refused, Err(RestoreError::Gap { first: 41, last: 60, .. })));
    let found = kept.restore(&["files"], Target::Latest, false).await.unwrap();
    found.assert_is(&kept, 100, "from after the gap, into another kind");
}

/// What is left has no block: that says nothing of how far the chain is.
#[tokio::test(flavor = "multi_thread")]
async fn a_height_that_is_in_what_is_missing_is_not_one_that_comes_later() {
    let mut history = History::blocks(9, 10);
    (0..5).for_each(|_| history.seal(Event::Marked { name: "here".parse().unwrap() }));
    let kept = Kept::of(history).await;
    let names = kept.segments(15, 10).await;
    fs::remove_file(kept.backup().join(names[0].to_string())).unwrap();
    let sought = Target::Height(kept.model(15).cursor.block_tip.unwrap().height);
    match kept.restore(&["sqlite"], sought, false).await {
        Err(RestoreError::Unknown { held, .. }) => assert_eq!(held, "11 to 15"),
        other => panic!("{:?}", other.map(|found| found.report)),
    }
}

/// A checkpoint that can be used as it is comes first. One of another kind, after the damage, is then
/// all that leads to the target.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_after_a_damaged_entry_stands_for_it_whatever_its_kind() {
    let kept = Kept::of(History::random(11, 100)).await;
    let names = kept.segments(100, 20).await;
    kept.checkpoint(&["sqlite"], 10).await;
    kept.checkpoint(&["files"], 70).await;
    flip(&kept.backup().join(names[1].to_string()), |length| length - 10);
    let found = kept.restore(&["sqlite"], Target::Latest, false).await.unwrap();
    found.assert_is(&kept, 100, "from after the damage");
    let notes = found.report.notes.join("; ");
    assert!(notes.contains(&names[1].to_string()), "{notes}");
    match kept.restore(&["sqlite"], Target::Index(69), false).await {
        Err(RestoreError::Corrupt { needed: 21, .. }) => {}
        other => panic!("{:?}", other.map(|found| found.report)),
    }
}

/// A gap may hold the point itself, or what undoes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_not_sought_over_a_gap() {
    for damaged in [false, true] {
        let mut history = History::blocks(9, 10);
        let mark = || Event::Marked { name: "here".parse().unwrap() };
        history.seal(mark());
        (0..9).for_each(|_| history.block_of(10));
        // Entries 21 to 30: the chain goes back, on from there, and is marked.
        let base = *history.model.blocks.keys().next().unwrap();
        let (to_height, to_hash) = (base + 5, history.model.block_hash(base + 5).unwrap());
        history.seal(Event::RolledBack { to_height, to_hash });
        (0..3).for_each(|_| history.block_of(20));
        history.seal(mark());
        (0..5).for_each(|_| history.block_of(20));
        (0..20).for_each(|_| history.block_of(10));
        let kept = Kept::of(history).await;
        let names = kept.segments(50, 10).await;
        let lost = kept.backup().join(names[2].to_string());
        match damaged {
            true => flip(&lost, |length| length - 10),
            false => fs::remove_file(&lost).unwrap(),
        }
        let time = |index: usize| Target::Time(kept.entries()[index - 1].time);
        let within = [time(20), time(25), time(30), Target::Mark("here".parse().unwrap())];
        let heights = [0, 5, 7, 13].map(|above| Target::Height(base + above));
        for target in within.into_iter().chain(heights) {
            let refused = plan_for(&kept.sources(), &[], &target, false).await;
            match (damaged, refused) {
                (false, Err(RestoreError::Gap { first: 21, last: 30, .. })) => {}
                (true, Err(RestoreError::Corrupt { needed: 21, what, .. })) => {
                    assert!(what.contains(&names[2].to_string()), "{what}");
                }
                (_, other) => panic!("{target}, damaged {damaged}: {other:?}"),
            }
        }
        let tip = kept.model(50).cursor.block_tip.unwrap().height;
        let beyond = plan_for(&kept.sources(), &[], &Target::Height(tip + 1), false).await;
        assert!(matches!(beyond, Err(RestoreError::NotYet { .. })), "{beyond:?}");
        // What is kept says enough of these.
        kept.checkpoint(&["sqlite"], 30).await;
        for (target, index) in [(time(19), 19), (time(31), 31), (Target::Height(tip), 50)] {
            let plan = plan_for(&kept.sources(), &[], &target, false).await.unwrap();
            assert_eq!(plan.index, index, "{target}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_after_all_entries_does_not_hide_that_they_are_missing() {
    let kept = Kept::of(History::blocks(99, 10)).await;
    kept.segments(80, 20).await;
    kept.checkpoint(&["sqlite"], 100).await;
    for target in [Target::Time(kept.entries()[89].time), Target::Height(7)] {
        let refused = plan_for(&kept.sources(), &[], &target, false).await;
        let named = matches!(refused, Err(RestoreError::Gap { first: 81, last: 100, .. }));
        assert!(named, "{target}: {refused:?}");
    }
    let plan = plan_for(&kept.sources(), &[], &Target::Latest, false).await.unwrap();
    assert_eq!(plan.index, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_a_segment_is_named_and_another_source_is_used() {
    for at in [0, 1, 2, 3] {
        let kept = Kept::of(History::random(12, 90)).await;
        let names = kept.segments(90, 30).await;
        let damaged = kept.backup().join(names[1].to_string());
        flip(&damaged, |length| [8, length / 2, length - 9, length / 3][at]);
        let refused = kept.restore(&["sqlite"], Target::Latest, false).await;
        match refused {
            // What is before the damaged place is good.
            Err(RestoreError::Corrupt { needed: 31..=60, what, .. }) => {
                assert_eq!(what.matches(&format!("{} is damaged", names[1])).count(), 1, "{what}");
            }
            other => panic!("{:?}", other.map(|found| found.report)),
        }
        // Two that overlap it have the same entries.
        kept.segment(25, 50).await;
        kept.segment(51, 61).await;
        let found = kept.restore(&["sqlite"], Target::Latest, false).await.unwrap();
        found.assert_is(&kept, 90, "from the others");
        let notes = found.report.notes.join("; ");
        assert!(notes.contains(&names[1].to_string()), "{notes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_damaged_checkpoints_the_next_older_one_is_used() {
    for kinds in [&["sqlite"][..], &["files"], &["sqlite", "files"]] {
        let kept = Kept::of(History::random(13, 120)).await;
        kept.segments(120, 50).await;
        let oldest = kept.checkpoint(kinds, 40).await;
        let middle = kept.checkpoint(kinds, 70).await;
        let newest = kept.checkpoint(kinds, 100).await;
        let folder =
            |id: &dyn std::fmt::Display| kept.backup().join("checkpoints").join(id.to_string());
        let largest = newest.files.iter().max_by_key(|file| file.bytes).unwrap();
        flip(&folder(&newest.id).join(&largest.path), |length| length / 2);
        flip(&folder(&middle.id).join("manifest.json"), |length| length / 2);
        let found = kept.restore(kinds, Target::Index(110), false).await.unwrap();
        found.assert_is(&kept, 110, &format!("{kinds:?}"));
        let report = &found.report;
        assert_eq!(report.checkpoint.as_ref().unwrap().id, oldest.id);
        let notes = report.notes.join("; ");
        assert!(notes.contains(&newest.id.to_string()) && notes.contains(&largest.path), "{notes}");
        assert!(notes.contains(&middle.id.to_string()), "{notes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_not_those_of_files() {
    let kept = Kept::of(History::random(14, 60)).await;
    kept.segments(60, 10).await;
    for name in names_in(&kept.backup().join("segments")) {
        let file = fs::File::options().append(true).open(kept.backup().join("segments").join(name));
        file.unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    for index in [3, 29, 60] {
        let time = Target::Time(kept.entries()[index - 1].time);
        kept.restore(&["sqlite"], time, false).await.unwrap().assert_is(
            &kept,
            index as u64,
            "time",
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn points_that_are_not_kept_are_refused_by_what_there_is() {
    let kept = Kept::of(History::random(15, 80)).await;
    kept.segment(31, 80).await;
    let target = |target| kept.restore(&["sqlite"], target, false);
    assert!(matches!(target(Target::Index(81)).await, Err(RestoreError::NotYet { .. })));
    assert!(matches!(target(Target::Height(1 << 40)).await, Err(RestoreError::NotYet { .. })));
    let later = Timestamp::from_micros(kept.entries()[79].time.as_micros() + 1);
    assert!(matches!(target(Target::Time(later)).await, Err(RestoreError::NotYet { .. })));
    let earlier = kept.entries()[10].time;
    assert!(matches!(target(Target::Time(earlier)).await, Err(RestoreError::TooOld { .. })));
    let hash = tipline_store::conformance::history::hash(&[3; 32]);
    assert!(matches!(target(Target::Hash(hash)).await, Err(RestoreError::Unknown { .. })));
    assert!(matches!(
        target(Target::Latest).await,
        Err(RestoreError::Gap { first: 1, last: 30, .. })
    ));
    kept.checkpoint(&["sqlite"], 40).await;
    match target(Target::Index(35)).await {
        Err(RestoreError::TooOld { earliest, .. }) => {
            assert!(earliest.contains("index 40"), "{earliest}")
        }
        other => panic!("{:?}", other.map(|found| found.report)),
    }
    target(Target::Index(40)).await.unwrap().assert_is(&kept, 40, "the checkpoint itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn places_of_two_logs_are_not_mixed() {
    let kept = Kept::of(History::random(16, 30)).await;
    kept.segments(30, 30).await;
    let other = tempfile::tempdir().unwrap();
    let destination = Destination::open(&format!("dir:{}", other.path().display())).unwrap();
    let reset = log_with_lineage(8);
    let reset = Archive::create(destination, &reset, Keys::default()).await.unwrap();
    let archives = vec![kept.archive.clone(), reset];
    let sources = Sources { archives, ..Sources::default() };
    let directory = tempfile::tempdir().unwrap();
    let place = place(&["sqlite"], directory.path());
    let refused = run(sources.into(), place, settings(Target::Latest, false)).await;
    match refused {
        Err(RestoreError::WrongLog { found, expected, .. }) => {
            assert!(expected.contains(&log().lineage.to_string()), "{expected}");
            assert_ne!(found, expected);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_this_program_is_not_a_damaged_backup() {
    let kept = Kept::of(History::random(17, 30)).await;
    kept.segments(30, 30).await;
    let directory = tempfile::tempdir().unwrap();
    let mut place = place(&["sqlite"], directory.path());
    place.open = std::sync::Arc::new(|_| panic!("opening it is a mistake of the program"));
    let failed = run(kept.sources(), place, settings(Target::Latest, false)).await;
    assert!(matches!(failed, Err(RestoreError::Internal { source: Some(_), .. })), "{failed:?}");
}
