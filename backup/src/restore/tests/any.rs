//! Any history, any target, any store: against the plain model.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_proto::{Entry, Event, Timestamp};

use super::super::{Target, plan_for};
use super::{KINDS, Kept, names_in, random_history};
use crate::archive::SegmentName;
use crate::error::RestoreError;

/// How many cases; `TIPLINE_RESTORES` in the environment overrides it.
fn cases() -> u64 {
    std::env::var("TIPLINE_RESTORES").map_or(50, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_store_is_what_was_there_at_that_point() {
    let first: u64 = rand::random_range(0..1 << 40);
    let (mut restored, mut refused) = (0, 0);
    for case in 0..cases() {
        let seed = first + case;
        let context = format!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let length = random.random_range(20..200);
        let kept = Kept::of(random_history(seed, length, 2000)).await;
        let end = kept.entries().len() as u64;
        archive(&kept, &mut random).await;
        let kinds = KINDS[random.random_range(0..KINDS.len())];
        for _ in 0..random.random_range(0..3) {
            kept.checkpoint(kinds, random.random_range(1..=end)).await;
        }
        let target = target(&kept, &mut random);
        let exclusive = random.random_bool(0.3);
        let context = format!("{context}: {target}, exclusive {exclusive}, {kinds:?}");
        match (
            expected(&kept, kept.entries(), &target, exclusive),
            kept.restore(kinds, target, exclusive).await,
        ) {
            (Some(index), Ok(found)) => {
                found.assert_is(&kept, index, &context);
                restored += 1;
            }
            (None, Err(_)) => refused += 1,
            (expected, Ok(found)) => {
                panic!("{context}: {expected:?} was expected, not {:?}", found.report.achieved)
            }
            (expected, Err(error)) => panic!("{context}: {expected:?} was expected: {error}"),
        }
    }
    assert!(restored > refused, "{restored} restored, {refused} refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_any_kind_fills_a_store_of_any_other() {
    let first: u64 = rand::random_range(0..1 << 40);
    for case in 0..cases() {
        let seed = first + case;
        let mut random = StdRng::seed_from_u64(seed);
        let mut kinds = || KINDS[random.random_range(0..KINDS.len())];
        let (of, into) = (kinds(), kinds());
        let context = format!("seed {seed}: {of:?} into {into:?}");
        let length = [random.random_range(2..30), random.random_range(30..1500)][case as usize % 2];
        let kept = Kept::of(random_history(seed, length, 2000)).await;
        let end = kept.entries().len() as u64;
        // Of an empty store, too.
        let at = if random.random_bool(0.1) { 0 } else { random.random_range(1..=end) };
        kept.checkpoint(of, at).await;
        // What is before the checkpoint is nowhere else.
        if at < end {
            kept.segment(at + 1, end).await;
        }
        let target = random.random_range(at.max(1)..=end);
        let found = kept.restore(into, Target::Index(target), false).await;
        let found = found.unwrap_or_else(|error| panic!("{context}: {error}"));
        found.assert_is(&kept, target, &context);
        let fills = into.iter().all(|kind| of.contains(kind));
        let told = found.report.checkpoint.as_ref().unwrap();
        assert_eq!(told.of.is_some(), !fills, "{context}");
        for left in names_in(found.directory.path()) {
            assert!(!left.contains("carrying") && !left.contains("fetching"), "{context}: {left}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_entries_lost_it_is_what_was_there_or_refused_by_their_name() {
    let first: u64 = rand::random_range(0..1 << 40);
    let (mut answered, mut refused) = (0, 0);
    for seed in first..first + cases() {
        let mut random = StdRng::seed_from_u64(seed);
        let length = random.random_range(20..200);
        let kept = Kept::of(random_history(seed, length, 2000)).await;
        let end = kept.entries().len() as u64;
        let names = cut(&kept, &mut random).await;
        let kinds = KINDS[random.random_range(0..KINDS.len())];
        for _ in 0..random.random_range(0..3) {
            kept.checkpoint(kinds, random.random_range(1..=end)).await;
        }
        let lost = &names[random.random_range(0..names.len())];
        let how = lose(&kept, lost, &mut random);
        for case in 0..20 {
            let target = target(&kept, &mut random);
            let exclusive = random.random_bool(0.3);
            let context = format!("seed {seed}: {target}, exclusive {exclusive}, {lost}, {how}");
            let found = match case {
                0 => kept.restore(kinds, target.clone(), exclusive).await.map(|found| {
                    let index = found.report.achieved.index;
                    found.assert_is(&kept, index, &context);
                    index
                }),
                _ => {
                    let kinds: Vec<String> = kinds.iter().map(|kind| kind.to_string()).collect();
                    let sources = kept.sources();
                    plan_for(&sources, &kinds, &target, exclusive).await.map(|plan| plan.index)
                }
            };
            match (expected(&kept, kept.entries(), &target, exclusive), found) {
                (Some(index), Ok(found)) => {
                    assert_eq!(found, index, "{context}");
                    answered += 1;
                }
                (Some(_), Err(error)) => {
                    assert!(names_lost(&error, lost, end), "{context}: {error}");
                    refused += 1;
                }
                (None, Err(_)) => {}
                (None, Ok(found)) => panic!("{context}: there is no such point, not even {found}"),
            }
        }
    }
    assert!(answered > 0 && refused > 0, "{answered} answered, {refused} refused");
}

/// Removes a segment, or damages it; the last one is not removed, because nobody can know of it.
fn lose(kept: &Kept, lost: &SegmentName, random: &mut StdRng) -> &'static str {
    let path = kept.backup().join(lost.to_string());
    let (is_last, mut bytes) =
        (lost.last == kept.entries().len() as u64, std::fs::read(&path).unwrap());
    let (how, at) = match random.random_range(u8::from(is_last)..3) {
        0 => {
            std::fs::remove_file(&path).unwrap();
            return "removed";
        }
        1 => ("its body is damaged", 10),
        _ => ("its trailer is damaged", bytes.len() - 10),
    };
    bytes[at] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    how
}

/// Whether the lost entries are named as the reason: nothing else is.
fn names_lost(error: &RestoreError, lost: &SegmentName, end: u64) -> bool {
    match error {
        RestoreError::Gap { first, last, .. } => {
            lost.first <= *first && *first <= lost.last && *last <= end.max(lost.last)
        }
        RestoreError::Corrupt { needed, what, .. } => {
            *needed <= lost.last && what.contains(&lost.to_string())
        }
        // Nothing that is kept goes back that far.
        RestoreError::TooOld { .. } | RestoreError::Unknown { .. } => lost.first == 1,
        _ => false,
    }
}

/// Cuts the history by chance, with some larger segments over the small ones.
async fn archive(kept: &Kept, random: &mut StdRng) {
    let end = kept.entries().len() as u64;
    cut(kept, random).await;
    for _ in 0..random.random_range(0..3) {
        let first = random.random_range(1..=end);
        kept.segment(first, random.random_range(first..=end)).await;
    }
}

/// Cuts the history by chance.
pub(super) async fn cut(kept: &Kept, random: &mut StdRng) -> Vec<SegmentName> {
    let end = kept.entries().len() as u64;
    let (mut first, mut names) = (1, Vec::new());
    while first <= end {
        let last = end.min(first + random.random_range(0..40));
        names.push(kept.segment(first, last).await);
        first = last + 1;
    }
    names
}

pub(super) fn target(kept: &Kept, random: &mut StdRng) -> Target {
    let entries = kept.entries();
    let entry = &entries[random.random_range(0..entries.len())];
    let heights = kept.model(entries.len() as u64).blocks;
    let pick =
        |random: &mut StdRng| heights.keys().nth(random.random_range(0..heights.len().max(1)));
    match random.random_range(0..6) {
        0 => Target::Latest,
        1 => Target::Index(entry.index),
        2 => Target::Time(Timestamp::from_micros(
            entry.time.as_micros() + random.random_range(0..1500) - 500,
        )),
        3 => match entries.iter().rev().find_map(|entry| match &entry.event {
            Event::Marked { name } => Some(name.clone()),
            _ => None,
        }) {
            Some(name) => Target::Mark(name),
            None => Target::Latest,
        },
        4 => match pick(random) {
            Some(height) => Target::Height(*height),
            None => Target::Height(7),
        },
        _ => match &entry.event {
            Event::BlockCommitted { hash, .. } => Target::Hash(hash.clone()),
            _ => Target::Index(entry.index),
        },
    }
}

/// The definition: the index after which a restore must stop, when these entries are known.
pub(super) fn expected(
    kept: &Kept,
    entries: &[Entry],
    target: &Target,
    exclusive: bool,
) -> Option<u64> {
    let end = entries.len() as u64;
    let back = |index: u64| index - u64::from(exclusive);
    match target {
        Target::Latest => Some(end),
        Target::Index(index) => Some(back(*index)).filter(|index| *index <= end),
        Target::Time(time) => {
            if entries.last()?.time < *time {
                return None;
            }
            let before = |at: Timestamp| if exclusive { at < *time } else { at <= *time };
            entries.iter().rev().find(|entry| before(entry.time)).map(|entry| entry.index)
        }
        Target::Hash(wanted) => entries.iter().rev().find_map(|entry| match &entry.event {
            Event::BlockCommitted { hash, .. } if hash == wanted => Some(back(entry.index)),
            _ => None,
        }),
        Target::Mark(wanted) => entries.iter().rev().find_map(|entry| match &entry.event {
            Event::Marked { name } if name == wanted => Some(back(entry.index)),
            _ => None,
        }),
        // Of the chain as it is at the end.
        Target::Height(height) => kept.model(end).blocks.get(height).map(|block| back(block.index)),
    }
}
