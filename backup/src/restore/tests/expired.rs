//! What retention removes from an archive leaves everything that it says it keeps.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_log::AgesBy;
use tipline_proto::{Entry, Event, Position, Timestamp};
use tipline_store::Sink;
use tipline_store::conformance::history::{History, late_log, log};

use super::super::Target;
use super::{KINDS, Kept, names_in, random_history};
use crate::archive::{
    Archive, ArchiveError, ArchiveKeeper, ArchivePlan, ArchiveStore, ExpireError,
};
use crate::checkpoint::{CheckpointRetention, Keep};
use crate::destination::Destination;
use crate::error::RestoreError;
use crate::keys::{Keys, make_identity};
use crate::throttle::Throttle;

/// How many cases; `TIPLINE_EXPIRIES` in the environment overrides it.
fn cases() -> u64 {
    std::env::var("TIPLINE_EXPIRIES").map_or(10, |text| text.parse().unwrap())
}

impl Kept {
    /// Keeps what was committed since this entry.
    async fn expire(&self, since: u64) -> ArchivePlan {
        self.try_expire(since).await.unwrap()
    }

    async fn try_expire(&self, since: u64) -> Result<ArchivePlan, ExpireError> {
        let (keep_for, now) = self.kept_since(since).await;
        self.archive.expire(keep_for, now, &Throttle::none()).await
    }

    fn flip(&self, manifest: &crate::Manifest) {
        let file = self.backup().join("checkpoints").join(manifest.object(&manifest.files[0]));
        let mut bytes = fs::read(&file).unwrap();
        bytes[100] ^= 1;
        fs::write(&file, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_point_that_is_kept_can_be_restored() {
    let first: u64 = rand::random_range(0..1 << 40);
    let mut removed = 0;
    for seed in first..first + cases() {
        let mut random = StdRng::seed_from_u64(seed);
        let length = random.random_range(60..200);
        let kept = Kept::of(random_history(seed, length, 500)).await;
        let end = kept.entries().len() as u64;
        kept.segments(end, random.random_range(1..15)).await;
        for _ in 0..random.random_range(0..4) {
            let first = random.random_range(1..=end);
            kept.segment(first, random.random_range(first..=end)).await;
        }
        let kinds = KINDS[random.random_range(0..KINDS.len())];
        for _ in 0..random.random_range(1..4) {
            kept.checkpoint(kinds, random.random_range(1..=end)).await;
        }
        let since = random.random_range(1..=end);
        let before = kept.archive.segments().await.unwrap();
        let (keep_for, now) = kept.kept_since(since).await;
        let told = kept.archive.plan_expiry(keep_for, now).await.unwrap();
        assert_eq!(kept.archive.segments().await.unwrap(), before, "seed {seed}: nothing changed");
        let plan = kept.expire(since).await;
        assert_eq!(ArchivePlan { applied: plan.applied, ..told }, plan, "seed {seed}");
        removed += plan.segments;
        let context = format!("seed {seed}, since {since}: {plan:?}");
        check_ranges(&plan, &context);
        let reachable = plan.reachable_from.unwrap_or(1).min(since);
        assert!(plan.reachable_from.is_none_or(|from| from <= since), "{context}");
        for target in [reachable, since, random.random_range(since..=end), end] {
            let found = kept.restore(kinds, Target::Index(target), false).await;
            let found = found.unwrap_or_else(|error| panic!("{context}: {target}: {error}"));
            found.assert_is(&kept, target, &context);
        }
        let time = kept.entries()[since as usize - 1].time;
        let found = kept.restore(kinds, Target::Time(time), false).await;
        found
            .unwrap_or_else(|error| panic!("{context}: {error}"))
            .assert_is(&kept, since, &context);
    }
    println!("{removed} segments were removed");
    assert!(removed > 0, "nothing was tried");
}

/// They are all of it, and what may go is what is below the first that stays.
fn check_ranges(plan: &ArchivePlan, context: &str) {
    let mut at = plan.held.first;
    for range in &plan.ranges {
        assert_eq!(range.first, at, "{context}");
        assert_eq!(range.kept_by.is_empty(), range.last < plan.first, "{context}");
        at = range.last + 1;
    }
    assert_eq!(at, plan.held.last + 1, "{context}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_whole_checkpoint_nothing_goes() {
    let kept = Kept::of(History::blocks(100, 10)).await;
    let names = kept.segments(100, 10).await;
    let plan = kept.expire(90).await;
    assert!(!plan.is_well() && !plan.applied && plan.first == 1, "{plan:?}");
    let no_start = |plan: &ArchivePlan| match &plan.ranges[0].kept_by[..] {
        [ArchiveKeeper::NoStart { why }, ..] => why.join("; "),
        other => panic!("{other:?}"),
    };
    assert_eq!(no_start(&plan), "");
    let young = kept.checkpoint(&["sqlite"], 95).await;
    assert!(no_start(&kept.expire(90).await).contains("younger"));
    let newer = kept.checkpoint(&["sqlite"], 65).await;
    kept.flip(&newer);
    assert!(no_start(&kept.expire(90).await).contains("damaged"), "it was believed");
    assert_eq!(kept.archive.segments().await.unwrap(), names, "nothing was removed");
    assert_eq!(kept.checkpoints.pinned().await.unwrap(), BTreeSet::new());
    // An older one that is whole leads to all that is to be kept.
    let older = kept.checkpoint(&["sqlite"], 45).await;
    let plan = kept.expire(90).await;
    assert_eq!((plan.first, plan.start.as_ref()), (41, Some(&older.id)), "{plan:?}");
    let found = kept.restore(&["sqlite"], Target::Index(60), false).await.unwrap();
    found.assert_is(&kept, 60, "from the older checkpoint");
    let refused = kept.restore(&["sqlite"], Target::Index(30), false).await;
    assert!(matches!(refused, Err(RestoreError::TooOld { .. })), "{:?}", refused.err());
    // It does not expire while the archive starts with it; then it does.
    let keep = Keep { last: 1, within: None };
    let planned = kept
        .checkpoints
        .expire(&keep, Timestamp::from_micros(0), None, &Throttle::none())
        .await
        .unwrap();
    let retention = planned.iter().find(|(listed, _)| *listed.id() == older.id).unwrap();
    assert_eq!(retention.1, CheckpointRetention::Pinned);
    let plan = kept.expire(100).await;
    assert_eq!((plan.first, plan.start.as_ref()), (91, Some(&young.id)), "{plan:?}");
    assert_eq!(kept.checkpoints.pinned().await.unwrap(), BTreeSet::from([young.id]));
}

/// Also if the operator pinned it too, before or after.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_archive_starts_with_stays_when_the_operator_releases_it() {
    for operator_first in [true, false] {
        let kept = Kept::of(History::blocks(100, 10)).await;
        kept.segments(100, 10).await;
        let start = kept.checkpoint(&["sqlite"], 65).await;
        kept.checkpoint(&["sqlite"], 95).await;
        if operator_first {
            kept.checkpoints.pin(&start.id).await.unwrap();
        }
        let plan = kept.expire(90).await;
        assert_eq!((plan.applied, plan.start.as_ref()), (true, Some(&start.id)), "{plan:?}");
        if !operator_first {
            kept.checkpoints.pin(&start.id).await.unwrap();
        }
        kept.checkpoints.unpin(&start.id).await.unwrap();
        let keep = Keep { last: 1, within: None };
        let now = Timestamp::from_micros(0);
        kept.checkpoints.expire(&keep, now, None, &Throttle::none()).await.unwrap();
        let found = kept.restore(&["sqlite"], Target::Index(70), false).await.unwrap();
        found.assert_is(&kept, 70, "after the operator's release");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_stays_for_as_long_as_its_proof_is_unattached() {
    let mut history = History::new(5);
    history.claim();
    (0..50).for_each(|_| history.block());
    let lowest = *history.model.blocks.keys().next().unwrap();
    for height in lowest..lowest + 20 {
        history.proof_of(height, 3);
    }
    (0..30).for_each(|_| history.block());
    let unproven = history.model.blocks[&(lowest + 20)].index;
    let kept = Kept::of(history).await;
    let end = kept.entries().len() as u64;
    kept.segments(end, 5).await;
    kept.checkpoint(&["sqlite"], end - 10).await;
    let plan = kept.expire(end).await;
    assert!(plan.applied && plan.first <= unproven && plan.first + 5 > unproven, "{plan:?}");
    assert!(plan.ranges.iter().any(|range| range.kept_by.contains(&ArchiveKeeper::Unproven)));
}

/// Of a chain that never had a proof none is awaited, unless its log says from which block on.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_block_that_is_to_be_proven_stays() {
    for (log, first) in [(log(), None), (late_log(40), Some(40))] {
        let mut history = History::of(&log, 5);
        history.claim();
        history.block_at(7);
        (8..=67).for_each(|_| history.block());
        let kept = Kept::of(history).await;
        let end = kept.entries().len() as u64;
        kept.segments(end, 5).await;
        kept.checkpoint(&["sqlite"], end - 10).await;
        let plan = kept.expire(end).await;
        let mut keepers = plan.ranges.iter().flat_map(|range| &range.kept_by);
        let waits = keepers.any(|keeper| *keeper == ArchiveKeeper::Unproven);
        assert_eq!(waits, first.is_some(), "{plan:?}");
        if let Some(height) = first {
            let index = kept.model(end).blocks[&height].index;
            assert!(plan.first <= index && plan.first + 5 > index, "{plan:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_back_after_a_power_cut_is_no_island() {
    let kept = Kept::of(History::blocks(100, 10)).await;
    let names = kept.segments(100, 10).await;
    let back = kept.backup().join(names[1].to_string());
    let bytes = fs::read(&back).unwrap();
    kept.checkpoint(&["sqlite"], 75).await;
    assert!(kept.expire(90).await.applied);
    assert_eq!(names_in(&kept.backup().join("segments")).len(), 3);
    fs::write(&back, bytes).unwrap();
    assert_eq!(kept.archive.cursor().await.unwrap(), kept.model(100).cursor);
    let found = kept.restore(&["sqlite"], Target::Latest, false).await.unwrap();
    found.assert_is(&kept, 100, "after what is back");
    // The next run clears it away.
    kept.expire(90).await;
    assert_eq!(names_in(&kept.backup().join("segments")).len(), 3);
    assert_eq!(names_in(&kept.backup().join("from")).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_encrypted_archive_a_key_is_needed_only_within_a_segment() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key.txt");
    let public = Keys::default().recipient(&make_identity(&file)).unwrap();
    for (at, needs_key) in [(70, false), (75, true)] {
        let mut kept = Kept::encrypted(History::blocks(100, 10), public.clone()).await;
        kept.segments(100, 10).await;
        kept.checkpoint(&["sqlite"], at).await;
        let without = kept.try_expire(90).await;
        let place = Destination::open(&format!("dir:{}", kept.backup().display())).unwrap();
        let keys = Keys::default().identity_file(&file).unwrap();
        kept.archive = Archive::open(place, keys).await.unwrap();
        match without {
            Err(ExpireError::Archive(ArchiveError::NeedsKey { .. })) if needs_key => {
                assert_eq!(names_in(&kept.backup().join("segments")).len(), 10);
                assert!(kept.expire(90).await.applied);
            }
            without => assert!(without.unwrap().applied && !needs_key, "{at}"),
        }
        assert!(names_in(&kept.backup().join("segments")).len() < 10);
        let found = kept.restore(&["sqlite"], Target::Latest, false).await.unwrap();
        found.assert_is(&kept, 100, "encrypted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_says_which_heights_it_still_has() {
    let kept = Kept::of(History::blocks(100, 10)).await;
    kept.segments(100, 10).await;
    kept.checkpoint(&["sqlite"], 75).await;
    let first = kept.expire(90).await.first;
    assert!(first > 1);
    let block = kept.entries()[first as usize - 1..].iter().find_map(|entry| match &entry.event {
        Event::BlockCommitted { height, hash, .. } => Some((*height, hash.clone())),
        _ => None,
    });
    let (lowest, hash) = block.unwrap();
    let highest = kept.model(100).cursor.block_tip.unwrap().height;
    let place = Destination::open(&format!("dir:{}", kept.backup().display())).unwrap();
    let store = ArchiveStore::new(place, Keys::default(), 1).only_read();
    let read = move || {
        store.identity().unwrap().unwrap();
        let view = store.view().unwrap();
        (view.heights().unwrap(), view.block_hash(lowest).unwrap())
    };
    let read = tokio::task::spawn_blocking(read).await.unwrap();
    assert_eq!(read, (Some((lowest, highest)), Some(hash)));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_decided_about_an_archive_with_a_gap() {
    let kept = Kept::of(History::blocks(100, 10)).await;
    let names = kept.segments(100, 10).await;
    kept.checkpoint(&["sqlite"], 75).await;
    fs::remove_file(kept.backup().join(names[8].to_string())).unwrap();
    let refused = kept.try_expire(90).await.unwrap_err();
    assert!(refused.to_string().contains("entries 81 to 90"), "{refused}");
    assert_eq!(names_in(&kept.backup().join("segments")).len(), 9);
}

/// The clock of whoever runs it may be wrong by a day. What is younger by the primary's clock stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_makes_nothing_older() {
    const DAY: u64 = 86_400_000_000;
    let kept = Kept::of(History::blocks(100, 10)).await;
    kept.segments(100, 10).await;
    for index in [45, 95] {
        kept.checkpoint(&["sqlite"], index).await;
    }
    let (keep_for, newest) = kept.kept_since(75).await;
    let plan = async |here: u64| {
        kept.archive.plan_expiry(keep_for, Timestamp::from_micros(here)).await.unwrap()
    };
    let newest_us = newest.as_micros();
    // The chain is at rest since then, or the clock is ahead: nobody can tell which.
    for here in [newest_us, newest_us + 1, newest_us + DAY] {
        let plan = plan(here).await;
        let ages = (plan.ages.from, plan.ages.by, plan.ages.primary);
        assert_eq!(ages, (newest, AgesBy::NewestEntry, None), "{plan:?}");
        assert_eq!((plan.reachable_from, plan.first), (Some(45), 41), "{plan:?}");
    }
    // It is behind, or the primary's is ahead.
    let plan = plan(newest_us - DAY).await;
    let ages = (plan.ages.from, plan.ages.by, plan.ages.primary);
    let here = Timestamp::from_micros(newest_us - DAY);
    assert_eq!(ages, (here, AgesBy::ThisMachine, Some(newest)), "{plan:?}");
    assert_eq!((plan.reachable_from, plan.segments), (None, 0), "{plan:?}");
}

/// A history of one entry an hour, in which these have times that are a year ahead.
fn a_year_ahead(wrong: RangeInclusive<u64>) -> History {
    let hours = |index: u64| Timestamp::from_micros(index * HOUR.as_micros() as u64);
    let mut history = History::blocks(100, 10);
    let mut position = Position::origin(&log());
    for entry in &mut history.entries {
        let Entry { index, epoch, outbox_sequence, .. } = *entry;
        let ahead = if wrong.contains(&index) { 365 * 24 } else { 0 };
        let event = entry.event.clone();
        *entry = Entry::seal(&position, epoch, hours(index + ahead), outbox_sequence, event);
        position = entry.position();
    }
    history
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_is_ahead_keeps_nothing_but_itself() {
    let now = Timestamp::from_micros(100 * HOUR.as_micros() as u64 + 1);
    let start = async |kept: &Kept| {
        kept.segments(100, 10).await;
        for index in [65, 75, 85] {
            kept.checkpoint(&["sqlite"], index).await;
        }
        kept.archive.plan_expiry(20 * HOUR, now).await.unwrap().reachable_from
    };
    // What is 20 h old is in the segment from 71 to 80.
    let cases = [
        (0..=0, 65),
        (5..=5, 75),
        (42..=42, 75),
        (31..=50, 75),
        // It was committed before entry 80, which is kept.
        (70..=79, 65),
        // The newest, by a primary whose clock is ahead from now on.
        (98..=100, 75),
        (70..=100, 65),
    ];
    for (wrong, expected) in cases {
        let kept = Kept::of(a_year_ahead(wrong.clone())).await;
        assert_eq!(start(&kept).await, Some(expected), "{wrong:?}");
    }
    // Without a key nobody knows which entry it is: then it keeps all that comes after it.
    let public = age::x25519::Identity::generate().to_public().to_string();
    let public = Keys::default().recipient(&public).unwrap();
    let kept = Kept::encrypted(a_year_ahead(42..=42), public).await;
    assert_eq!(start(&kept).await, None);
}
